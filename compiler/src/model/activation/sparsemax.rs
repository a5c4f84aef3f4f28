use crate::ir::{Graph, NodeId, Shape};

/// `max(x - tau, 0)` along an axis, where tau makes the results sum to 1: the mean of the largest elements, as many as
/// stay above it, less 1 over their number. Whether an element is among them follows from the elements that are not
/// smaller, so that nothing is sorted.
pub fn sparsemax(g: &mut Graph, x: NodeId, axis: usize) -> NodeId {
    let shape = g.ty(x).shape.clone();
    let pairs = Shape(shape.iter().copied().chain([shape[axis]]).collect());
    let rank = shape.rank();
    // An element and, along a new last axis, every element of its axis.
    let this: Vec<usize> = (0..rank).collect();
    let this = g.broadcast(x, &this, pairs.clone());
    let behind: Vec<usize> = (0..rank).filter(|a| *a != axis).chain([axis]).collect();
    let other = g.permute(x, &behind);
    let places: Vec<usize> = (0..=rank).filter(|a| *a != axis).collect();
    let other = g.broadcast(other, &places, pairs);
    let before = g.ge(other, this);
    let (one, zero) = (g.lit_like(other, 1.0), g.lit_like(other, 0.0));
    let rank_of = g.select(before, one, zero);
    let rank_of = g.sum(rank_of, &[rank]);
    let sum = g.select(before, other, zero);
    let sum = g.sum(sum, &[rank]);
    let level = g.mul(rank_of, x);
    let level = g.add_s(level, 1.0);
    let inside = g.gt(level, sum);
    let (one, zero) = (g.lit_like(x, 1.0), g.lit_like(x, 0.0));
    let count = g.select(inside, one, zero);
    let count = g.sum(count, &[axis]);
    let total = g.select(inside, x, zero);
    let total = g.sum(total, &[axis]);
    let excess = g.add_s(total, -1.0);
    let tau = g.div(excess, count);
    let tau = g.unreduce(tau, &[axis], &shape);
    let y = g.sub(x, tau);
    g.relu(y)
}
