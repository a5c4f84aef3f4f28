//! Attention: each query's weighted mean of values, with weights that come from comparing it with keys.

mod dot;
mod grouped_query;
mod heads;
mod multi_head;

pub use dot::{AdditiveAttention, Attention, ScoreMode};
pub use grouped_query::GroupQueryAttention;
pub use multi_head::{MultiHeadAttention, Sizes};

use crate::ir::{DType, Dim, Graph, NodeId, Shape};

/// Whether a position, an element of the axis `query`, comes no earlier than another, one of the axis `key`.
fn causal(g: &mut Graph, shape: &Shape, query: usize, key: usize) -> NodeId {
    let (row, column) = positions(g, shape, query, key);
    g.ge(row, column)
}

/// Whether two positions are less than `width` apart.
fn within(g: &mut Graph, shape: &Shape, query: usize, key: usize, width: usize) -> NodeId {
    let (row, column) = positions(g, shape, query, key);
    let distance = g.sub(row, column);
    let distance = g.abs(distance);
    let width = g.lit_like(distance, width as f64);
    g.lt(distance, width)
}

/// The indices along two axes, of extents `[query, key]`, stretched to the shape.
fn positions(g: &mut Graph, shape: &Shape, query: usize, key: usize) -> (NodeId, NodeId) {
    let plane = Shape(vec![Dim::fixed(shape[query].scale), Dim::fixed(shape[key].scale)]);
    let (row, column) = (g.iota(0, DType::I32, plane.clone()), g.iota(1, DType::I32, plane));
    (g.broadcast(row, &[query, key], shape.clone()), g.broadcast(column, &[query, key], shape.clone()))
}

/// Joins conditions that may be missing.
fn all(g: &mut Graph, conditions: impl IntoIterator<Item = Option<NodeId>>) -> Option<NodeId> {
    conditions.into_iter().flatten().reduce(|a, b| g.and(a, b))
}
