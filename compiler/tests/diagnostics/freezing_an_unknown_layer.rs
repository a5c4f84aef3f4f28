use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("net");
    let x = m.input("x", 3, F32);
    m.output(&Dense::new(2).name("head").apply(&Dense::new(2).name("body").apply(&x)));
    m.freeze("encoder/body");
    m
}
