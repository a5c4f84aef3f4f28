use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("net");
    let x = m.input("x", 4, F32);
    let x = Dense::new(4).kernel_initializer(RandomNormal { mean: 0.0, stddev: -1.0 }).apply(&x);
    m.output(&x);
    let z = m.input("z", 4, F32);
    m.output(&Dense::new(4).name("fc").kernel_regularizer(L2(-0.1)).apply(&z));
    m
}
