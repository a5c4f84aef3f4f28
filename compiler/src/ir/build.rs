//! Short spellings for building graph: what layers, losses, optimizers and gradients are written in.
//!
//! These add nodes and nothing else. `add`, `mul` and the other arithmetic take operands of one shape; `broadcast_to`
//! and the `*_s` forms with a number are explicit about the rest.

use super::dtype::DType;
use super::graph::{Graph, NodeId};
use super::op::{ContractAxes, Literal, Number, Op, ReduceFn, SliceAxis};
use super::scalar::{BinaryFn, UnaryFn};
use super::shape::{Dim, Shape, TensorType};

macro_rules! binaries {
    ($($name:ident $f:ident),+ $(,)?) => { $(
        #[doc = concat!("Elementwise [`BinaryFn::", stringify!($f), "`].")]
        #[track_caller]
        pub fn $name(&mut self, x: NodeId, y: NodeId) -> NodeId { self.push(Op::Binary(BinaryFn::$f), &[x, y]) }
    )+ };
}

macro_rules! unaries {
    ($($name:ident $f:ident),+ $(,)?) => { $(
        #[doc = concat!("Elementwise [`UnaryFn::", stringify!($f), "`].")]
        #[track_caller]
        pub fn $name(&mut self, x: NodeId) -> NodeId { self.push(Op::Unary(UnaryFn::$f), &[x]) }
    )+ };
}

impl Graph {
    binaries! {
        add Add, sub Sub, mul Mul, div Div, rem Rem, min Min, max Max, pow Pow, eq Eq, ne Ne, lt Lt, le Le, gt Gt,
        ge Ge, and And, or Or, xor Xor, shl Shl, shr Shr, gradient_of GradientOf,
    }
    unaries! {
        neg Neg, abs Abs, sign Sign, floor Floor, ceil Ceil, round Round, trunc Trunc, sqrt Sqrt, rsqrt Rsqrt,
        recip Recip, square Square, exp Exp, expm1 Expm1, log Log, log1p Log1p, tanh Tanh, sigmoid Sigmoid, erf Erf,
        sin Sin, cos Cos, tan Tan, relu Relu, softplus Softplus, not Not, is_nan IsNan, to_bits ToBits, from_bits FromBits,
        stop_gradient StopGradient,
    }

    /// A constant with every element equal.
    pub fn splat_of(&mut self, value: f64, ty: TensorType) -> NodeId {
        self.push(Op::Const { value: Literal::Splat(Number(value)), ty }, &[])
    }

    /// A constant of the type of `like`.
    pub fn lit_like(&mut self, like: NodeId, value: f64) -> NodeId {
        let ty = self.ty(like).clone();
        self.splat_of(value, ty)
    }

    /// A scalar constant.
    pub fn scalar(&mut self, dtype: DType, value: f64) -> NodeId {
        self.splat_of(value, TensorType::scalar(dtype))
    }

    /// A constant tensor from row-major values.
    pub fn dense(&mut self, ty: TensorType, values: impl IntoIterator<Item = f64>) -> NodeId {
        let value = Literal::Dense(values.into_iter().map(Number).collect());
        self.push(Op::Const { value, ty }, &[])
    }

    /// The run-time value of an extent, as a scalar.
    pub fn size(&mut self, dim: Dim, dtype: DType) -> NodeId {
        match dim.as_fixed() {
            Some(n) => self.scalar(dtype, n as f64),
            None => self.push(Op::Const { value: Literal::Size(dim), ty: TensorType::scalar(dtype) }, &[]),
        }
    }

    /// The index along an axis, in a tensor of the given type.
    pub fn iota(&mut self, axis: usize, dtype: DType, shape: Shape) -> NodeId {
        self.push(Op::Iota { axis, ty: TensorType::new(dtype, shape) }, &[])
    }

    /// `x + c`
    pub fn add_s(&mut self, x: NodeId, c: f64) -> NodeId {
        let c = self.lit_like(x, c);
        self.add(x, c)
    }

    /// `x * c`
    pub fn mul_s(&mut self, x: NodeId, c: f64) -> NodeId {
        let c = self.lit_like(x, c);
        self.mul(x, c)
    }

    /// `c - x`
    pub fn s_sub(&mut self, c: f64, x: NodeId) -> NodeId {
        let c = self.lit_like(x, c);
        self.sub(c, x)
    }

    /// `max(x, c)`
    pub fn max_s(&mut self, x: NodeId, c: f64) -> NodeId {
        let c = self.lit_like(x, c);
        self.max(x, c)
    }

    /// `min(x, c)`
    pub fn min_s(&mut self, x: NodeId, c: f64) -> NodeId {
        let c = self.lit_like(x, c);
        self.min(x, c)
    }

    /// `c ? a : b`
    pub fn select(&mut self, c: NodeId, a: NodeId, b: NodeId) -> NodeId {
        self.push(Op::Select, &[c, a, b])
    }

    /// Conversion; none where the type is already right.
    pub fn cast(&mut self, x: NodeId, to: DType) -> NodeId {
        if self.ty(x).dtype == to { x } else { self.push(Op::Cast(to), &[x]) }
    }

    /// Reduction over axes, which disappear.
    pub fn reduce(&mut self, f: ReduceFn, x: NodeId, axes: &[usize]) -> NodeId {
        if axes.is_empty() { x } else { self.push(Op::Reduce { f, axes: axes.to_vec() }, &[x]) }
    }

    /// Sum over axes.
    pub fn sum(&mut self, x: NodeId, axes: &[usize]) -> NodeId {
        self.reduce(ReduceFn::Sum, x, axes)
    }

    /// Sum of all elements.
    pub fn sum_all(&mut self, x: NodeId) -> NodeId {
        let axes: Vec<usize> = (0..self.ty(x).shape.rank()).collect();
        self.sum(x, &axes)
    }

    /// Mean over axes; the count includes the run-time batch where an axis is one.
    pub fn mean(&mut self, x: NodeId, axes: &[usize]) -> NodeId {
        let ty = self.ty(x).clone();
        let count = axes.iter().fold(Dim::ONE, |n, &a| n.times(ty.shape[a]).unwrap_or(n));
        let sum = self.sum(x, axes);
        let count = self.size(count, ty.dtype);
        let count = self.broadcast_like(count, sum);
        self.div(sum, count)
    }

    /// Reshape; none where the shape is already right.
    pub fn reshape(&mut self, x: NodeId, shape: Shape) -> NodeId {
        if self.ty(x).shape == shape { x } else { self.push(Op::Reshape(shape), &[x]) }
    }

    /// Result axis `i` is operand axis `perm[i]`.
    pub fn permute(&mut self, x: NodeId, perm: &[usize]) -> NodeId {
        if perm.iter().enumerate().all(|(i, &a)| i == a) { x } else { self.push(Op::Permute(perm.to_vec()), &[x]) }
    }

    /// Operand axis `i` becomes result axis `axes[i]`.
    pub fn broadcast(&mut self, x: NodeId, axes: &[usize], shape: Shape) -> NodeId {
        if self.ty(x).shape == shape { x } else { self.push(Op::Broadcast { axes: axes.to_vec(), shape }, &[x]) }
    }

    /// Aligns trailing axes, as NumPy does.
    pub fn broadcast_to(&mut self, x: NodeId, shape: &Shape) -> NodeId {
        let rank = self.ty(x).shape.rank();
        let axes: Vec<usize> = (shape.rank() - rank..shape.rank()).collect();
        self.broadcast(x, &axes, shape.clone())
    }

    /// [`Graph::broadcast_to`] the shape of another node.
    pub fn broadcast_like(&mut self, x: NodeId, like: NodeId) -> NodeId {
        let shape = self.ty(like).shape.clone();
        self.broadcast_to(x, &shape)
    }

    /// Puts back axes that a reduction removed: operand axes go, in order, to the axes not in `removed`.
    pub fn unreduce(&mut self, x: NodeId, removed: &[usize], shape: &Shape) -> NodeId {
        let axes: Vec<usize> = (0..shape.rank()).filter(|a| !removed.contains(a)).collect();
        self.broadcast(x, &axes, shape.clone())
    }

    /// Elements `start..end` along one axis of constant extent.
    pub fn slice_axis(&mut self, x: NodeId, axis: usize, start: usize, end: usize) -> NodeId {
        let mut axes: Vec<SliceAxis> =
            self.ty(x).shape.iter().map(|&count| SliceAxis { start: 0, step: 1, count }).collect();
        axes[axis] = SliceAxis { start, step: 1, count: Dim::fixed(end - start) };
        self.push(Op::Slice(axes), &[x])
    }

    /// Joins along an axis.
    pub fn concat(&mut self, xs: &[NodeId], axis: usize) -> NodeId {
        if let [x] = xs { *x } else { self.push(Op::Concat { axis }, xs) }
    }

    /// Dot-general: pairs of (left, right) axes.
    pub fn contract(&mut self, x: NodeId, y: NodeId, batch: &[(usize, usize)], sum: &[(usize, usize)]) -> NodeId {
        self.push(Op::Contract(ContractAxes { batch: batch.to_vec(), sum: sum.to_vec() }), &[x, y])
    }

    /// The index of the first maximum along an axis, as `i32`.
    pub fn argmax(&mut self, x: NodeId, axis: usize) -> NodeId {
        let shape = self.ty(x).shape.clone();
        let best = self.reduce(ReduceFn::Max, x, &[axis]);
        let best = self.unreduce(best, &[axis], &shape);
        let mut hit = self.ge(x, best);
        if self.ty(x).dtype.is_float() {
            // Among numbers, the first that is none is the largest.
            let none = self.ne(x, x);
            hit = self.or(hit, none);
        }
        let index = self.iota(axis, DType::I32, shape.clone());
        let none = self.lit_like(index, shape[axis].scale as f64 - 1.0);
        let candidate = self.select(hit, index, none);
        self.reduce(ReduceFn::Min, candidate, &[axis])
    }

    /// `log(sum(exp(x)))` along an axis, shifted by the maximum; the axis disappears. The value does not depend on the
    /// shift, so no gradient goes through it.
    pub fn log_sum_exp(&mut self, x: NodeId, axis: usize) -> NodeId {
        let shape = self.ty(x).shape.clone();
        let top = self.reduce(ReduceFn::Max, x, &[axis]);
        let top = self.stop_gradient(top);
        // An infinity shifts nothing: its difference to itself is no number.
        let (size, infinity, zero) = (self.abs(top), self.lit_like(top, f64::INFINITY), self.lit_like(top, 0.0));
        let finite = self.lt(size, infinity);
        let top = self.select(finite, top, zero);
        let wide = self.unreduce(top, &[axis], &shape);
        let shifted = self.sub(x, wide);
        let e = self.exp(shifted);
        let s = self.sum(e, &[axis]);
        let l = self.log(s);
        self.add(l, top)
    }

    /// Softmax along an axis.
    pub fn softmax(&mut self, x: NodeId, axis: usize) -> NodeId {
        let shape = self.ty(x).shape.clone();
        let top = self.reduce(ReduceFn::Max, x, &[axis]);
        let top = self.stop_gradient(top);
        let wide = self.unreduce(top, &[axis], &shape);
        let shifted = self.sub(x, wide);
        let e = self.exp(shifted);
        let s = self.sum(e, &[axis]);
        let s = self.unreduce(s, &[axis], &shape);
        self.div(e, s)
    }
}
