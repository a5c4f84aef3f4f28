use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("net");
    let x = m.input("x", 3, F32);
    m.output(&Dense::new(2).trainable(false).apply(&x));
    m.compile(SGD::new(0.1), MeanSquaredError, ());
    m
}
