use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("my first net");
    let x = m.input("x", 4, F32);
    m.output(&Dense::new(2).apply(&x));
    m
}
