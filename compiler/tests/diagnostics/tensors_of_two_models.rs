use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let encoder = Model::new("encoder");
    let code = Dense::new(2).name("code").apply(&encoder.input("x", 4, F32));
    let m = Model::new("net");
    let x = m.input("x", 4, F32);
    let y = Dense::new(2).apply(&x);
    m.output(&Add.apply_many(&[&y, &code]));
    m.output(&y);
    m
}
