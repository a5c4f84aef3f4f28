use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("net");
    let x = m.input("x", 4, F32);
    m.output(&Dense::new(3).name("a").apply(&x)).output(&Dense::new(3).name("b").apply(&x));
    m.target("b", 2, F32);
    m.compile(Adam::new(1e-3), Losses::new().output("a", MeanSquaredError), Metrics::new().output("b", Accuracy));
    m
}
