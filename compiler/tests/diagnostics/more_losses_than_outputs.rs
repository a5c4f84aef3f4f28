use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("net");
    let x = m.input("x", 4, F32);
    m.output(&Dense::new(1).name("age").apply(&x));
    m.compile(Adam::new(1e-3), (MeanSquaredError, MeanAbsoluteError), ());
    m
}
