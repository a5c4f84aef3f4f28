use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("sum");
    let (a, b) = (m.input("a", 3, F32), m.input("b", 4, F32));
    m.output(&Add.apply_many(&[&a, &b]));
    m
}
