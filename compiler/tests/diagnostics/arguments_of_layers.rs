use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("net");
    let x = m.input("image", [9, 9, 4], F32);
    Dense::new(0).apply(&x);
    Dropout::new(1.5).apply(&x);
    Conv2D::new(6, 3).groups(4).apply(&x);
    Conv2D::new(8, 3).groups(3).apply(&x);
    Conv2D::new(8, 3).strides(2).dilation_rate(2).apply(&x);
    MaxPooling2D::new((2, 0)).apply(&x);
    BatchNormalization::new().momentum(2.0).epsilon(-1.0).apply(&x);
    LeakyRelu(f64::NAN).apply(&x);
    m.output(&x.slice(3, 2, 9));
    m
}
