//! Networks that several tests train.

use bakelite_compiler::prelude::*;

/// Two dense layers with RMSprop; wide enough that weights are kept in panels and threads share the work.
pub fn mlp(max_batch: usize) -> Model {
    let m = Model::new("mlp");
    m.max_batch(max_batch);
    let x = m.input("x", [61], F32);
    let h = Dense::new(128).activation(Relu).apply(&x);
    m.output(&Dense::new(10).apply(&h));
    m.compile(RMSprop::new(1e-3), SparseCategoricalCrossentropy::from_logits(), [Accuracy]);
    m
}

/// Two convolutions with pooling and Adam.
pub fn convnet(max_batch: usize) -> Model {
    let m = Model::new("convnet");
    m.max_batch(max_batch);
    let x = m.input("x", [13, 11, 3], F32);
    let h = Conv2D::new(32, 3).activation(Relu).apply(&x);
    let h = MaxPooling2D::new(2).apply(&h);
    let h = Conv2D::new(64, 3).padding(Same).strides(2).activation(Relu).apply(&h);
    let h = Flatten.apply(&h);
    m.output(&Dense::new(10).apply(&h));
    m.compile(Adam::new(1e-3), SparseCategoricalCrossentropy::from_logits(), [Accuracy]);
    m
}

/// Normalisation, dropout, a residual connection, regularizers and momentum.
pub fn everything(max_batch: usize) -> Model {
    let m = Model::new("everything");
    m.max_batch(max_batch);
    let x = m.input("x", [7, 7, 4], F32);
    let h = Conv2D::new(8, 3).padding(Same).kernel_regularizer(L2(1e-3)).apply(&x);
    let h = BatchNormalization::new().apply(&h);
    let h = Relu.apply(&h);
    let r = Conv2D::new(8, 1).apply(&x);
    let h = Add.apply_many(&[&h, &r]);
    let h = Dropout::new(0.25).apply(&h);
    let h = GlobalAveragePooling2D.apply(&h);
    let h = Dense::new(16).activation(Gelu).apply(&h);
    m.output(&Dense::new(10).activation(Softmax).apply(&h));
    m.compile(SGD::new(0.05).momentum(0.9).nesterov(true), SparseCategoricalCrossentropy::new(), [Accuracy]);
    m
}
