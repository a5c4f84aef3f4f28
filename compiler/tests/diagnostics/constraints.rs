use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("net");
    let x = m.input("x", 4, F32);
    let x = Dense::new(4).kernel_constraint(Constraint::max_norm(-1.0)).apply(&x);
    let y = m.input("y", 4, F32);
    let y = Dense::new(4).name("a").bias_constraint(Constraint::unit_norm().axis([1])).apply(&y);
    let z = m.input("z", 4, F32);
    let z = Dense::new(4).name("b").kernel_constraint(Constraint::min_max_norm(2.0, 1.0)).apply(&z);
    let w = m.input("w", 4, F32);
    let w = Dense::new(4).name("c").bias_initializer(Initializer::orthogonal()).apply(&w);
    let v = m.input("v", 4, F32);
    let v = Dense::new(4).name("d").bias_regularizer(Regularizer::orthogonal(0.1)).apply(&v);
    for y in [&x, &y, &z, &w, &v] {
        m.output(y);
    }
    m
}
