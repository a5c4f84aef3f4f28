use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("net");
    let x = m.input("x", 4, F32);
    let y = Dense::new(1).name("score").apply(&x);
    m.output(&y);
    m.entry("slope").output("dx", &y.gradient(&x));
    m
}
