use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("net");
    let x = m.input("x", 4, F32);
    m.output(&Dense::new(1).name("age").apply(&x));
    m.target("sex", 1, F32);
    m.compile(Adam::new(1e-3), Losses::new().output("income", MeanSquaredError), Metrics::new().output("size", Accuracy));
    m
}
