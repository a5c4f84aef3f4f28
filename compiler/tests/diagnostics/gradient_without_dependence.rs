use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("net");
    let x = m.input("x", 4, F32);
    let y = Dense::new(3).name("a").apply(&x);
    let z = Dense::new(3).name("b").apply(&x);
    m.output(&y).output(&z);
    m.entry("slope").output("dz", &y.sum_all().gradient(&z));
    m
}
