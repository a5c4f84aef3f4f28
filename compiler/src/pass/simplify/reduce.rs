//! Rules of reductions.

use super::super::fold::exact_count;
use crate::ir::{DType, Dim, Graph, Literal, Node, NodeId, Op, ReduceFn, TensorType};

/// A reduction over no axes, or over axes of extent 1.
pub fn reduce_nothing(g: &mut Graph, id: NodeId) -> Option<NodeId> {
    let Node { op: Op::Reduce { axes, .. }, args, ty } = g.node(id).clone() else { return None };
    let x = args[0];
    let trivial = axes.iter().all(|&a| g.ty(x).shape[a] == Dim::ONE);
    if trivial { g.try_push(Op::Reshape(ty.shape), &[x]).ok() } else { None }
}

/// Reductions by one function are one.
pub fn reduce_of_reduce(g: &mut Graph, id: NodeId) -> Option<NodeId> {
    let Node { op: Op::Reduce { f, axes: outer }, args, .. } = g.node(id) else { return None };
    let Node { op: Op::Reduce { f: inner_f, axes: inner }, args: inner_args, .. } = g.node(args[0]) else {
        return None;
    };
    if f != inner_f {
        return None;
    }
    let (f, x) = (*f, inner_args[0]);
    let kept: Vec<usize> = (0..g.ty(x).shape.rank()).filter(|a| !inner.contains(a)).collect();
    let mut axes: Vec<usize> = inner.iter().copied().chain(outer.iter().map(|&a| kept[a])).collect();
    axes.sort_unstable();
    Some(g.reduce(f, x, &axes))
}

/// What repeats is reduced before: a sum over repeated elements multiplies by their number, `max` and `min` ignore it.
pub fn reduce_of_broadcast(g: &mut Graph, id: NodeId) -> Option<NodeId> {
    let Node { op: Op::Reduce { f, axes: reduced }, args, ty } = g.node(id).clone() else { return None };
    let Node { op: Op::Broadcast { axes: places, shape }, args, .. } = g.node(args[0]).clone() else { return None };
    let x = args[0];
    let from = g.ty(x).shape.clone();
    let source = |a: usize| places.iter().position(|&p| p == a);
    let repeats = |a: &usize| source(*a).is_none_or(|i| from[i] != shape[*a]);
    let count = reduced.iter().filter(|a| repeats(a)).try_fold(Dim::ONE, |n, &a| n.times(shape[a]))?;
    if count.scale == 0 || from.elements() == shape.elements() {
        return None;
    }
    let sum = f == ReduceFn::Sum;
    if sum && (!exact_count(count, ty.dtype) || count.batch && ty.dtype == DType::U8) {
        return None;
    }
    let inner: Vec<usize> = (0..from.rank()).filter(|i| reduced.contains(&places[*i])).collect();
    let value = g.reduce(f, x, &inner);
    // What remains of the operand's axes goes where the result has them.
    let kept: Vec<usize> = (0..shape.rank()).filter(|a| !reduced.contains(a)).collect();
    let left = (0..from.rank()).filter(|i| !inner.contains(i)).map(|i| places[i]);
    let axes: Vec<usize> = left.map(|p| kept.iter().position(|&k| k == p)).collect::<Option<_>>()?;
    let small = TensorType::new(ty.dtype, g.ty(value).shape.clone());
    let value = match (sum, count.as_fixed()) {
        (false, _) | (_, Some(1)) => value,
        (true, Some(n)) => g.mul_s(value, n as f64),
        (true, None) => {
            let n = g.push(Op::Const { value: Literal::Size(count), ty: small }, &[]);
            g.mul(value, n)
        }
    };
    Some(g.broadcast(value, &axes, ty.shape))
}
