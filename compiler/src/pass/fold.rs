//! Constant folding.
//!
//! Precondition: none. Postcondition: no operation has only splat operands, unless its result depends on the batch
//! in its values; no small operation has only constant operands, unless it repeats them; a dense constant has two
//! different elements.
//!
//! A folded `f32` value is rounded once from its value in `f64`, and so are the literals it is computed from. For
//! `add`, `sub`, `mul`, `div`, `sqrt` and everything exact that is bit for bit what `f32` hardware gives; for the
//! other functions and for sums it is at least as close to the truth as any runtime. The result does not depend on
//! the machine that compiles.

use crate::ir::eval::{Tensor, apply_constant};
use crate::ir::{BinaryFn, DType, Dim, Graph, Literal, NodeId, Number, Op, ReduceFn, TensorType};

use super::{Ctx, rebuild};

pub fn run(graph: &Graph, ctx: &mut Ctx) -> Graph {
    let limit = ctx.options.fold_limit;
    rebuild(graph, |next, id, op, args| {
        let mut value = next.push(op, &args);
        let mut first_new = next.nodes().len();
        while let Some(folded) = fold(next, value, limit) {
            if !ctx.fire("constant", graph.site(id)) {
                break;
            }
            next.derive_sites(first_new, "fold");
            first_new = next.nodes().len();
            value = folded;
        }
        value
    })
}

fn fold(g: &mut Graph, id: NodeId, limit: usize) -> Option<NodeId> {
    let node = g.node(id).clone();
    if let Op::Const { value: Literal::Dense(v), ty } = &node.op {
        let number = *v.first().filter(|x| v.iter().all(|y| y == *x))?;
        return Some(g.push(Op::Const { value: Literal::Splat(number), ty: ty.clone() }, &[]));
    }
    if node.args.is_empty() {
        return None;
    }
    let splats: Option<Vec<f64>> = node.args.iter().map(|a| g.splat(*a)).collect();
    match (&node.op, splats) {
        (op, Some(splats)) if op.is_elementwise() => {
            let args: Vec<Tensor> = node.args.iter().zip(splats).map(|(a, x)| scalar(g.ty(*a).dtype, x)).collect();
            let args: Vec<&Tensor> = args.iter().collect();
            let value = rounded(apply_constant(&node.op, node.ty.dtype, &[], &args), node.ty.dtype)[0];
            Some(splat(g, value, node.ty))
        }
        (Op::Reduce { f, axes }, Some(splats)) => reduce_splat(g, *f, axes, node.args[0], splats[0], node.ty),
        (Op::Scan { .. }, _) => None,
        _ => dense(g, id, limit),
    }
}

/// A reduction of equal elements; a sum over the batch is a multiple of its size.
fn reduce_splat(g: &mut Graph, f: ReduceFn, axes: &[usize], x: NodeId, value: f64, ty: TensorType) -> Option<NodeId> {
    let count = axes.iter().try_fold(Dim::ONE, |n, &a| n.times(g.ty(x).shape[a]))?;
    if count.scale == 0 {
        return Some(splat(g, f.neutral(ty.dtype), ty));
    }
    match f {
        ReduceFn::Max | ReduceFn::Min => Some(splat(g, value, ty)),
        ReduceFn::Sum if !exact_count(count, ty.dtype) => None,
        ReduceFn::Sum if !count.batch => {
            let args = [scalar(ty.dtype, value), scalar(ty.dtype, count.scale as f64)];
            let product = Op::Binary(BinaryFn::Mul);
            let value = rounded(apply_constant(&product, ty.dtype, &[], &[&args[0], &args[1]]), ty.dtype)[0];
            Some(splat(g, value, ty))
        }
        ReduceFn::Sum if matches!(ty.dtype, DType::U8 | DType::Bool) => None,
        ReduceFn::Sum => {
            let size = g.push(Op::Const { value: Literal::Size(count), ty: ty.clone() }, &[]);
            let value = splat(g, value, ty);
            Some(g.mul(size, value))
        }
    }
}

/// Whether a count is exact as a number of a type.
pub(super) fn exact_count(count: Dim, dtype: DType) -> bool {
    let limit = match dtype {
        DType::F32 => 1 << 24,
        DType::F64 => 1 << 52,
        DType::I32 | DType::U32 => 1 << 31,
        DType::U8 => 1 << 8,
        DType::Bool => 0,
    };
    count.scale < limit
}

/// A small operation on constants, some of them not splats.
fn dense(g: &mut Graph, id: NodeId, limit: usize) -> Option<NodeId> {
    let node = g.node(id).clone();
    let shape = node.ty.shape.as_fixed()?;
    let count: usize = shape.iter().product();
    let mut args = Vec::new();
    let mut largest = 0;
    for &arg in &node.args {
        let Op::Const { value, ty } = &g.node(arg).op else { return None };
        let (shape, dtype) = (ty.shape.as_fixed()?, ty.dtype);
        let arg_count: usize = shape.iter().product();
        largest = largest.max(arg_count);
        if arg_count > limit {
            return None;
        }
        let numbers: Vec<f64> = match value {
            Literal::Splat(x) => vec![x.0; arg_count],
            Literal::Dense(v) => v.iter().map(|x| x.0).collect(),
            Literal::Size(_) => return None,
        };
        let numbers = numbers.into_iter().map(|x| round(x, dtype)).collect::<Vec<_>>();
        args.push(Tensor::from_numbers(dtype, &shape, &numbers));
    }
    // What repeats elements is better left an index map.
    if count > limit || count > largest.max(16) {
        return None;
    }
    let args: Vec<&Tensor> = args.iter().collect();
    let numbers = rounded(apply_constant(&node.op, node.ty.dtype, &shape, &args), node.ty.dtype);
    Some(g.dense(node.ty, numbers))
}

fn scalar(dtype: DType, x: f64) -> Tensor {
    Tensor::splat(dtype, &[], round(x, dtype))
}

fn splat(g: &mut Graph, value: f64, ty: TensorType) -> NodeId {
    g.push(Op::Const { value: Literal::Splat(Number(value)), ty }, &[])
}

/// A number as a value of its type holds it. There is one NaN.
fn round(x: f64, dtype: DType) -> f64 {
    match dtype {
        _ if x.is_nan() => f64::NAN,
        DType::F32 => x as f32 as f64,
        DType::F64 | DType::I32 | DType::U32 | DType::U8 | DType::Bool => x,
    }
}

fn rounded(tensor: Tensor, dtype: DType) -> Vec<f64> {
    tensor.to_numbers().into_iter().map(|x| round(x, dtype)).collect()
}
