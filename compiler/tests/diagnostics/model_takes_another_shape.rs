use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let encoder = Model::new("encoder");
    encoder.output(&Dense::new(4).apply(&encoder.input("x", 4, F32)));
    let m = Model::new("net");
    m.output(&encoder.apply(&m.input("x", 5, F32)));
    m
}
