use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("net");
    let x = m.input("x", [3, 4, 5], F32);
    let steps = m.input("steps", 3, Bool);
    let other = m.input("other", 4, Bool);
    m.output(&x.with_mask(&other));
    let x = x.with_mask(&steps);
    m.output(&BatchNormalization::new().apply(&x));
    m.output(&Concatenate::new().apply_many(&[&x, &x]));
    m.output(&Multiply.apply_many(&[&x, &x]));
    m.output(&Softmax::new().apply(&x));
    m.output(&MultiHeadAttention::new(2, 2).apply_many(&[&x, &x]));
    m.output(&Flatten.apply(&x).mask());
    m
}
