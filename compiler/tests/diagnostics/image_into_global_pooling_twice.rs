use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("digits");
    let x = m.input("image", [8, 8, 1], F32);
    let x = GlobalAveragePooling2D.name("first").apply(&x);
    m.output(&GlobalAveragePooling2D.name("second").apply(&x));
    m
}
