use crate::ir::{DType, Graph, NodeId, Shape};

/// Keras's sparsemax along an axis: `max(x - tau, 0)`. The k largest elements, those with `1 + rank * x` above their
/// partial sum, make tau: the sum of their partial sums less 1, over k. That is what Keras 3.15 computes; the published
/// function takes the last of the partial sums instead, so that the two agree for k = 1.
///
/// Nothing is sorted: rank and partial sum of an element follow from those that come before it, which are the larger
/// ones and of equal ones the earlier.
pub fn sparsemax(g: &mut Graph, x: NodeId, axis: usize) -> NodeId {
    let shape = g.ty(x).shape.clone();
    let rank = shape.rank();
    let pairs = Shape(shape.iter().copied().chain([shape[axis]]).collect());
    // An element and, along a new last axis, every element of its axis.
    let this: Vec<usize> = (0..rank).collect();
    let this = g.broadcast(x, &this, pairs.clone());
    let behind: Vec<usize> = (0..rank).filter(|a| *a != axis).chain([axis]).collect();
    let other = g.permute(x, &behind);
    let places: Vec<usize> = (0..=rank).filter(|a| *a != axis).collect();
    let other = g.broadcast(other, &places, pairs.clone());
    let (here, there) = (g.iota(axis, DType::I32, pairs.clone()), g.iota(rank, DType::I32, pairs));
    let (larger, equal, earlier) = (g.gt(other, this), g.eq(other, this), g.le(there, here));
    let tie = g.and(equal, earlier);
    let before = g.or(larger, tie);
    let (one, zero) = (g.lit_like(other, 1.0), g.lit_like(other, 0.0));
    let order = g.select(before, one, zero);
    let order = g.sum(order, &[rank]);
    let partial = g.select(before, other, zero);
    let partial = g.sum(partial, &[rank]);
    let level = g.mul(order, x);
    let level = g.add_s(level, 1.0);
    let inside = g.gt(level, partial);
    let (one, zero) = (g.lit_like(x, 1.0), g.lit_like(x, 0.0));
    let count = g.select(inside, one, zero);
    let count = g.sum(count, &[axis]);
    let total = g.select(inside, partial, zero);
    let total = g.sum(total, &[axis]);
    let excess = g.add_s(total, -1.0);
    let tau = g.div(excess, count);
    let tau = g.unreduce(tau, &[axis], &shape);
    let y = g.sub(x, tau);
    g.relu(y)
}
