use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("digits");
    let x = m.input("pixels", 784, F32);
    m.output(&Conv2D::new(8, 3).apply(&x));
    m
}
