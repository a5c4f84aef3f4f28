use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("net");
    let x = m.input("x", 4, F32);
    m.output(&Dense::new(4).apply(&x));
    m.compile(Adam::new(f64::NAN).beta_1(1.5), MeanSquaredError, ());
    m
}
