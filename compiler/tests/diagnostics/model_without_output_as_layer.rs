use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let encoder = Model::new("encoder");
    encoder.input("x", 4, F32);
    let m = Model::new("net");
    m.output(&encoder.apply(&m.input("x", 4, F32)));
    m
}
