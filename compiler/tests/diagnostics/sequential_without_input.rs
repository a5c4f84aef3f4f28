use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Sequential::new("net").add(Dense::new(4)).add(Dense::new(2));
    m.compile(SGD::new(0.1), MeanSquaredError, ());
    Model::clone(&m)
}
