use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("net");
    let x = m.input("x", [40_000, 40_000], F32);
    let small = m.input("small", [1 << 15, 1 << 14, 1], F32);
    m.output(&Dense::new(1 << 40).apply(&x));
    m.output(&Dense::new(1 << 28).apply(&small));
    m.output(&Dense::new(1 << 20).use_bias(false).apply(&Flatten.apply(&small)));
    m
}
