use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("net");
    let (a, b) = (m.input("a", 3, F32), m.input("b", 4, F32));
    let fc = Dense::new(2).name("fc");
    m.output(&(fc.apply(&a) + fc.apply(&b)));
    m
}
