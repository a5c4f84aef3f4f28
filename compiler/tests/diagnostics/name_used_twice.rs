use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("net");
    let x = m.input("x", 4, F32);
    let x = Dense::new(4).name("fc").apply(&x);
    m.output(&Dense::new(2).name("fc").apply(&x));
    m
}
