use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("net");
    let x = m.input("image", [5, 6, 2], F32);
    let v = m.input("steps", [3, 5], F32);
    RandomRotation::new(1.5).apply(&x);
    RandomRotation::new(0.2).fill_mode(FillMode::Constant).fill_value(f64::NAN).apply(&x);
    RandomCrop::new(0, 3).apply(&x);
    CenterCrop::new(3, 3).apply(&v);
    EinsumDense::new("abc->ab", 4).apply(&v);
    EinsumDense::new("ab,bc->ac", 4).apply(&v);
    EinsumDense::new("abc,cd->abd", 4).apply(&v);
    EinsumDense::new("abc,cd->abd", [7, 4]).apply(&v);
    EinsumDense::new("abc,cd->bad", [3, 4]).apply(&v);
    EinsumDense::new("abc,cd->abd", [None, None]).apply(&v);
    EinsumDense::new("abc,cd->abe", [3, 4]).apply(&v);
    EinsumDense::new("abc,cde->abd", [3, 4]).apply(&v);
    EinsumDense::new("...b,bc->...c", 4).bias_axes("b").apply(&v);
    EinsumDense::new("...b,bc->...c", 1usize << 40).apply(&v);
    SpectralNormalization::new(Flatten).apply(&v);
    SpectralNormalization::new(Dense::new(2)).power_iterations(0).apply(&v);
    MaxPooling1D::new(2).activity_regularizer(L2(-1.0)).apply(&v);
    Dense::new(2).activity_regularizer(Regularizer::orthogonal(0.1)).apply(&v);
    let [a, b] = ["a", "b"].map(|name| m.input(name, (), I32));
    let [pair, whole] = [("pair", 2), ("whole", 1)].map(|(name, n)| m.input(name, n, I32));
    let cross = |bins: usize, columns: &[&Tensor]| HashedCrossing::new(bins).apply_many(columns);
    cross(3, &[&a]);
    cross(0, &[&a, &b]);
    cross(1 << 31, &[&a, &b]);
    cross(3, &[&a, &b.cast(F32)]);
    cross(3, &[&a.cast(Bool), &b]);
    cross(3, &[&pair, &pair]);
    cross(3, &[&a, &whole]);
    HashedCrossing::new(3).output_mode(OutputMode::Count).apply_many(&[&a, &b]);
    m.output(&x);
    m.output_as("v", &v);
    m
}
