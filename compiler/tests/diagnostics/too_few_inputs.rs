use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("net");
    let x = m.input("x", 3, F32);
    m.output(&Add.apply(&x));
    m.output(&Dense::new(2).apply_many(&[&x, &x]));
    m.output(&Maximum.apply_many(&[]));
    m
}
