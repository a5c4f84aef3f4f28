use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("net");
    let x = m.input("x", [8, 4], F32);
    m.output(&BatchNormalization::new().axis(0).apply(&x));
    m.output(&Concatenate::new().axis(0).apply_many(&[&x, &x]));
    m
}
