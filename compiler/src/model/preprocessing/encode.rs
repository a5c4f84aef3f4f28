//! Categories as rows of numbers.

use super::OutputMode;
use crate::diag::Problem;
use crate::ir::{DType, Dim, Graph, NodeId, ReduceFn, Shape, TensorType};

/// Encodes numbers of categories below `depth`; others leave no trace. Weights, if there are any, multiply counts.
pub(super) fn encode(
    mode: OutputMode,
    g: &mut Graph,
    mut index: NodeId,
    depth: usize,
    weights: Option<NodeId>,
) -> NodeId {
    let shape = g.ty(index).shape.clone();
    if mode == OutputMode::Int {
        return index;
    }
    if mode == OutputMode::OneHot && shape.rank() > 1 && shape.last() == Some(&Dim::ONE) {
        index = g.reshape(index, Shape(shape[..shape.rank() - 1].to_vec()));
    }
    let shape = g.ty(index).shape.clone();
    let rank = shape.rank();
    let wide = Shape(shape.iter().copied().chain([Dim::fixed(depth)]).collect());
    let class = g.iota(rank, DType::I32, wide.clone());
    let index = g.unreduce(index, &[rank], &wide);
    let hit = g.eq(index, class);
    let hot = g.cast(hit, DType::F32);
    match mode {
        OutputMode::Int | OutputMode::OneHot => hot,
        OutputMode::MultiHot => g.reduce(ReduceFn::Max, hot, &[1]),
        OutputMode::Count | OutputMode::TfIdf => {
            let counted = match weights {
                Some(weights) => {
                    let weights = g.unreduce(weights, &[rank], &wide);
                    g.mul(hot, weights)
                }
                None => hot,
            };
            g.sum(counted, &[1])
        }
    }
}

/// Fails where there is nothing to gather into one row, and where columns would need weights.
pub(super) fn check_mode(mode: OutputMode, kind: &str, ty: &TensorType) -> Result<(), Problem> {
    match mode {
        OutputMode::TfIdf => Err(Problem::value(format!("{kind} with OutputMode::TfIdf: only lookups have weights"))),
        _ => check_row(mode, kind, ty),
    }
}

/// Fails where there is nothing to gather into one row.
pub(super) fn check_row(mode: OutputMode, kind: &str, ty: &TensorType) -> Result<(), Problem> {
    match mode {
        OutputMode::MultiHot | OutputMode::Count | OutputMode::TfIdf if ty.shape.rank() < 2 => {
            Err(Problem::shape(format!("{kind} of {ty}: an item is one category"))
                .help("one row for several categories needs items with an axis; or use OutputMode::OneHot"))
        }
        _ => Ok(()),
    }
}
