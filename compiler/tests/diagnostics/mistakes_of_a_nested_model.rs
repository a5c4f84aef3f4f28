use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let encoder = Sequential::new("encoder").add(Dense::new(4)).add(Conv2D::new(8, 3)).add(Flatten);
    let m = Model::new("net");
    m.output(&encoder.apply(&m.input("x", 4, F32)));
    m
}
