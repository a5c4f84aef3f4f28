use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("join");
    let (a, b) = (m.input("a", [3, 2], F32), m.input("b", [4, 2], F32));
    m.output(&Concatenate::new().apply_many(&[&a, &b]));
    m
}
