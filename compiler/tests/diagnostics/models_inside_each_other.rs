use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let inner = Model::new("inner");
    let y = Dense::new(4).apply(&inner.input("x", 4, F32));
    inner.output(&y);
    let m = Model::new("outer");
    let x = m.input("x", 4, F32);
    m.output(&inner.apply(&x));
    inner.output_as("again", &m.apply(&y));
    inner
}
