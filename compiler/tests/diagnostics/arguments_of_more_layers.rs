use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("net");
    let x = m.input("x", [3, 4], F32);
    let y = m.input("y", [5, 4], F32);
    m.output(&Embedding::new(0, 3).apply(&x));
    m.output(&GroupNormalization::new().groups(3).apply(&x));
    m.output(&Softmax::new().axis(0).apply(&x));
    m.output(&ReLU::new().negative_slope(-1.0).apply(&x));
    m.output(&PReLU::new().shared_axes(vec![3]).apply(&x));
    m.output(&Dot::new(1).apply_many(&[&x, &y]));
    m.output(&Permute::new([2, 2]).apply(&x));
    m.output(&RepeatVector::new(2).apply(&x));
    m.output(&Dropout::new(0.5).noise_shape(vec![None, Some(2), None]).apply(&x));
    m.output(&Lambda::new(|x| Dense::new(2).apply(x)).apply(&x));
    m.output(&MultiHeadAttention::new(2, 0).apply_many(&[&x, &y]));
    m.output(&GroupQueryAttention::new(2, 3, 2).apply_many(&[&x, &y]));
    m.output(&CategoryEncoding::new(0).apply(&x));
    m.output(&Discretization::new([1.0, 0.0]).apply(&x));
    m.output(&RandomFlip::new(FlipMode::Vertical).apply(&x));
    m
}
