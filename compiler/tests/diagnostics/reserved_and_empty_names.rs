use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("net");
    let x = m.input("x", 4, F32);
    let y = Dense::new(4).name("optimizer").apply(&x);
    m.entry("optimizer").output("y", &y);
    Dense::new(4).name("").apply(&x);
    m.input("encoder/x", 4, F32);
    m
}
