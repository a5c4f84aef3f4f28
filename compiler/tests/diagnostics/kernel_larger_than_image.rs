use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("digits");
    let x = m.input("image", [28, 28, 1], F32);
    let mut x = Conv2D::new(32, 3).apply(&x);
    for filters in [32, 64, 64] {
        x = MaxPooling2D::new(2).apply(&x);
        x = Conv2D::new(filters, 3).activation(Relu).apply(&x);
    }
    m.output(&Dense::new(10).apply(&Flatten.apply(&x)));
    m
}
