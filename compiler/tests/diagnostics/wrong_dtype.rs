use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("net");
    let x = m.input("bytes", 4, U8);
    m.output(&Dense::new(3).apply(&x));
    m.output(&x.exp());
    m
}
