use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("net");
    let x = m.input("x", [28, 0], F32);
    m.output(&Dense::new(2).apply(&x));
    m
}
