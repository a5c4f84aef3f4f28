use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("net");
    let x = m.input("x", 4, F32);
    let y = Dense::new(3).name("fc").apply(&x);
    m.output(&y);
    m.entry("predict").output("y", &y);
    m.entry("fc").output("y", &y);
    m.entry("look").output("y", &y).output("y", &x);
    m.entry("look").output("y", &y);
    m.entry("step").minimize(&y.mean_all(), &["fd"], SGD::new(-1.0));
    m.entry("idle");
    m
}
