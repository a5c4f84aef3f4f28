use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("difference");
    let (a, b) = (m.input("a", [3, 2], F32), m.input("b", 3, F32));
    m.output(&(&a - &b));
    m
}
