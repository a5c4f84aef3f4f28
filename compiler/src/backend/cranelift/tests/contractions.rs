//! Contractions, with and without epilogues.

use crate::ir::{BinaryFn, DType, Dim, ReduceFn, Shape, UnaryFn};
use crate::schedule::program::{AxisId, ContractRoles, ExprId};

use super::build::{KernelBuilder, ProgramBuilder};
use super::run::check;

use DType::F32;

const MAX: usize = 19;

/// The first stage: the sum of products along `k`.
fn product(k: &mut KernelBuilder, left: ExprId, right: ExprId, roles: [&[AxisId]; 4]) -> ExprId {
    let value = k.binary(BinaryFn::Mul, left, right);
    k.stage(roles[3]);
    let sum = k.acc(ReduceFn::Sum, value);
    let [batch, m, n, along] = roles.map(|r| r.to_vec());
    k.kernel.contract = Some(ContractRoles { left, right, batch, m, n, k: along });
    sum
}

/// `act(x w + b)`, with and without the rest.
fn dense(rows: Dim, inner: usize, outer: usize, activation: Option<UnaryFn>, transposed: bool) {
    let mut p = ProgramBuilder::new(MAX);
    let shape = |n: usize| Shape(vec![rows, Dim::fixed(n)]);
    let (x, w) = (p.input(F32, shape(inner)), p.storage(F32, Shape::fixed(&[inner, outer])));
    let (b, y) = (
        p.storage(F32, Shape::fixed(&[outer])),
        p.output(F32, if transposed { Shape::fixed(&[outer, rows.scale]) } else { shape(outer) }),
    );
    let mut k = KernelBuilder::new("dense");
    let (m, n, i) = (k.outer(rows), k.outer(outer), k.axis(inner));
    let left = k.load(x, &[(m, inner as i64), (i, 1)], F32);
    let right = k.load(w, &[(i, outer as i64), (n, 1)], F32);
    let mut value = product(&mut k, left, right, [&[], &[m], &[n], &[i]]);
    if let Some(f) = activation {
        let bias = k.load(b, &[(n, 1)], F32);
        let sum = k.binary(BinaryFn::Add, value, bias);
        value = k.unary(f, sum);
    }
    let at = if transposed { [(m, 1), (n, rows.scale as i64)] } else { [(m, outer as i64), (n, 1)] };
    k.stage(&[]).store(y, &at, value);
    k.kernel.parallel = Some(m);
    p.kernel(k);
    check(p.program);
}

#[test]
fn dense_layers() {
    for (inner, outer) in [(3, 5), (37, 64), (64, 10), (100, 130), (257, 1), (1, 300)] {
        for activation in [None, Some(UnaryFn::Relu), Some(UnaryFn::Tanh), Some(UnaryFn::Softplus)] {
            dense(Dim::BATCH, inner, outer, activation, false);
        }
    }
}

#[test]
fn results_with_columns_first() {
    for activation in [None, Some(UnaryFn::Tanh)] {
        dense(Dim::fixed(40), 33, 50, activation, true);
    }
}

#[test]
fn weights_in_panels() {
    let (inner, panels, width) = (40usize, 3usize, 32usize);
    let outer = panels * width;
    for activation in [None, Some(UnaryFn::Sigmoid)] {
        let mut p = ProgramBuilder::new(MAX);
        let (x, w) = (p.input(F32, Shape::batched(&[inner])), p.storage(F32, Shape::fixed(&[panels, inner, width])));
        let (b, y) = (p.storage(F32, Shape::fixed(&[outer])), p.output(F32, Shape::batched(&[outer])));
        let mut k = KernelBuilder::new("dense");
        let (m, q, n, i) = (k.outer(Dim::BATCH), k.outer(panels), k.outer(width), k.axis(inner));
        let left = k.load(x, &[(m, inner as i64), (i, 1)], F32);
        let right = k.load(w, &[(q, (inner * width) as i64), (i, width as i64), (n, 1)], F32);
        let mut value = product(&mut k, left, right, [&[], &[m], &[q, n], &[i]]);
        let columns = [(q, width as i64), (n, 1)];
        if let Some(f) = activation {
            let bias = k.load(b, &columns, F32);
            let sum = k.binary(BinaryFn::Add, value, bias);
            value = k.unary(f, sum);
        }
        k.stage(&[]).store(y, &[(m, outer as i64), columns[0], columns[1]], value);
        k.kernel.parallel = Some(m);
        p.kernel(k);
        check(p.program);
    }
}

#[test]
fn a_convolution_with_a_residual() {
    let (side, size, channels, filters) = (7usize, 3usize, 4usize, 20usize);
    let out = side - size + 1;
    let mut p = ProgramBuilder::new(MAX);
    let (x, w) = (
        p.input(F32, Shape::batched(&[side, side, channels])),
        p.storage(F32, Shape::fixed(&[size, size, channels, filters])),
    );
    let (r, y) =
        (p.input(F32, Shape::batched(&[out, out, filters])), p.output(F32, Shape::batched(&[out, out, filters])));
    let z = p.output(F32, Shape::batched(&[out, filters, out]));
    let mut k = KernelBuilder::new("conv");
    let (n, h, v, f) = (k.outer(Dim::BATCH), k.outer(out), k.outer(out), k.outer(filters));
    let (i, j, c) = (k.axis(size), k.axis(size), k.axis(channels));
    let (row, image) = ((side * channels) as i64, (side * side * channels) as i64);
    let ch = channels as i64;
    let left = k.load(x, &[(n, image), (h, row), (v, ch), (i, row), (j, ch), (c, 1)], F32);
    let fs = filters as i64;
    let right = k.load(w, &[(i, size as i64 * ch * fs), (j, ch * fs), (c, fs), (f, 1)], F32);
    let sum = product(&mut k, left, right, [&[], &[n, h, v], &[f], &[i, j, c]]);
    let at = [(n, (out * out * filters) as i64), (h, (out * filters) as i64), (v, fs), (f, 1)];
    let before = k.load(r, &at, F32);
    let total = k.binary(BinaryFn::Add, sum, before);
    let value = k.unary(UnaryFn::Tanh, total);
    k.stage(&[]).store(y, &at, value);
    k.store(z, &[at[0], at[1], (f, out as i64), (v, 1)], total);
    k.kernel.parallel = Some(n);
    p.kernel(k);
    check(p.program);
}

#[test]
fn batched_products_with_normalised_rows() {
    let (heads, length, depth) = (3usize, 8usize, 16usize);
    let mut p = ProgramBuilder::new(MAX);
    let qk = Shape::batched(&[length, heads, depth]);
    let (q, kk) = (p.input(F32, qk.clone()), p.input(F32, qk));
    let y = p.output(F32, Shape::batched(&[heads, length, length]));
    let mut k = KernelBuilder::new("scores");
    let (b, h, m, n, d) = (k.outer(Dim::BATCH), k.outer(heads), k.outer(length), k.outer(length), k.axis(depth));
    let (row, sample) = ((heads * depth) as i64, (length * heads * depth) as i64);
    let left = k.load(q, &[(b, sample), (m, row), (h, depth as i64), (d, 1)], F32);
    let right = k.load(kk, &[(b, sample), (n, row), (h, depth as i64), (d, 1)], F32);
    let sum = product(&mut k, left, right, [&[b, h], &[m], &[n], &[d]]);
    let scale = k.constant(0.25, F32);
    let scaled = k.binary(BinaryFn::Mul, sum, scale);
    let value = k.unary(UnaryFn::Exp, scaled);
    let (l, square) = (length as i64, (length * length) as i64);
    k.stage(&[]).store(y, &[(b, heads as i64 * square), (h, square), (m, l), (n, 1)], value);
    k.kernel.parallel = Some(b);
    p.kernel(k);
    check(p.program);
}

#[test]
fn a_weight_gradient_updates_the_weight_in_place() {
    let (inner, outer) = (24usize, 40usize);
    let mut p = ProgramBuilder::new(MAX);
    let (x, d) = (p.input(F32, Shape::batched(&[inner])), p.input(F32, Shape::batched(&[outer])));
    let (w, v) = (p.storage(F32, Shape::fixed(&[inner, outer])), p.storage(F32, Shape::fixed(&[inner, outer])));
    let mut k = KernelBuilder::new("update");
    let (m, n, b) = (k.outer(inner), k.outer(outer), k.axis(Dim::BATCH));
    let left = k.load(x, &[(b, inner as i64), (m, 1)], F32);
    let right = k.load(d, &[(b, outer as i64), (n, 1)], F32);
    let gradient = product(&mut k, left, right, [&[], &[m], &[n], &[b]]);
    let at = [(m, outer as i64), (n, 1)];
    let (old, weight) = (k.load(v, &at, F32), k.load(w, &at, F32));
    let decay = k.constant(0.9, F32);
    let kept = k.binary(BinaryFn::Mul, old, decay);
    let velocity = k.binary(BinaryFn::Add, kept, gradient);
    let rate = k.constant(0.1, F32);
    let step = k.binary(BinaryFn::Mul, velocity, rate);
    let new = k.binary(BinaryFn::Sub, weight, step);
    k.stage(&[]).store(v, &at, velocity).store(w, &at, new);
    k.kernel.parallel = Some(m);
    p.kernel(k);
    check(p.program);
}
