use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("net");
    let x = m.input("x", [3, 4], F32);
    m.output(&Reshape::new([5, -1]).name("a").apply(&x));
    m.output(&Reshape::new([-1, -1]).name("b").apply(&x));
    m.output(&Reshape::new([12, 0]).name("c").apply(&x));
    m.output(&Reshape::new([2, 5]).name("d").apply(&x));
    m
}
