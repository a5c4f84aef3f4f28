use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("net");
    let x = m.input("bytes", 4, U8);
    let y = Rescaling::new(1.0 / 255.0).apply(&x);
    m.output(&y);
    m.entry("slope").output("dx", &y.sum_all().gradient(&x));
    m
}
