use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("net");
    let x = m.input("x", 4, F32);
    let z = m.input("z", 4, F32);
    Dense::new(4).apply(&z);
    m.output(&Dense::new(2).apply(&x));
    m
}
