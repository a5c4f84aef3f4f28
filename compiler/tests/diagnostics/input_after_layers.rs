use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Sequential::new("net").input("x", 4, F32).add(Dense::new(2)).input("z", 4, F32);
    Model::clone(&m)
}
