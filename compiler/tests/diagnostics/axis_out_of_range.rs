use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("net");
    let x = m.input("x", [8, 4], F32);
    let y = BatchNormalization::new().axis(-4).apply(&x);
    m.output(&Dense::new(2).apply(&y));
    m.output(&x.sum(&[3]));
    m
}
