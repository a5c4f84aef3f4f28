use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("net");
    let x = m.input("x", 4, F32);
    let y = Dense::new(4).apply(&x);
    m.output(&y);
    m.output_as("again", &m.apply(&y));
    m
}
