use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("net");
    let x = m.input("image", [8, 8, 3], F32);
    let a = Conv2D::new(16, 9).name("a").apply(&x);
    let a = Relu.apply(&MaxPooling2D::new(2).apply(&a));
    let b = Conv2D::new(0, 3).name("b").apply(&x);
    let c = Conv2D::new(16, 3).padding(Same).name("c").apply(&x);
    m.output(&Dense::new(10).name("out").apply(&Flatten.apply(&Concatenate::new().apply_many(&[&a, &b, &c]))));
    m.output_as("flat", &Dense::new(10).apply(&Reshape::new([7, 7]).apply(&c)));
    m.compile(SGD::new(0.1), SparseCategoricalCrossentropy::from_logits(), [Accuracy]);
    m
}
