use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("net");
    let x = m.input("x", 4, F32);
    m.output(&Dense::new(3).name("kind").apply(&x));
    m.target("kind", (), I32);
    m.compile(Adam::new(1e-3), CategoricalCrossentropy::from_logits(), ());
    m
}
