//! Describes the networks that `digits` trains: a dense one and a small convnet, each for the 8x8 digits of the UCI
//! set and for the 28x28 digits of MNIST.

use bakelite_compiler::prelude::*;

fn dense(name: &str, side: usize, units: usize) -> Result<(), Diagnostics> {
    let m = Model::new(name);
    let image = m.input("image", [side, side, 1], F32);
    let x = Flatten.apply(&image);
    let x = Dense::new(units).activation(Relu).apply(&x);
    let x = Dropout::new(0.2).apply(&x);
    m.output(&Dense::new(10).name("digit").apply(&x));
    m.compile(RMSprop::new(1e-3), SparseCategoricalCrossentropy::from_logits(), [Accuracy]);
    m.build()
}

fn convnet(name: &str, side: usize) -> Result<(), Diagnostics> {
    let m = Model::new(name);
    let image = m.input("image", [side, side, 1], F32);
    let x = Conv2D::new(32, 3).activation(Relu).apply(&image);
    let x = MaxPooling2D::new(2).apply(&x);
    let x = Conv2D::new(64, 3).padding(Same).activation(Relu).apply(&x);
    let x = Flatten.apply(&x);
    let x = Dropout::new(0.3).apply(&x);
    m.output(&Dense::new(10).name("digit").apply(&x));
    m.compile(RMSprop::new(1e-3), SparseCategoricalCrossentropy::from_logits(), [Accuracy]);
    m.build()
}

fn main() -> Result<(), Diagnostics> {
    dense("dense_8x8", 8, 128)?;
    convnet("convnet_8x8", 8)?;
    dense("dense_28x28", 28, 512)?;
    convnet("convnet_28x28", 28)
}
