//! Splits long reductions to few elements into two.
//!
//! Summing `[batch, 26, 26, 32]` to `[32]` in one kernel leaves 32 independent sums and strides through memory. As
//! a reduction of each row, then of the rows, the first has `batch * 32` independent sums over contiguous memory. The
//! parts are chosen from the shape alone, so that the order of a sum does not depend on the number of threads.
//!
//! Precondition: a verified graph. Postcondition: the same reductions up to the order of sums.

use crate::ir::{Graph, NodeId, Op};

use super::{Ctx, rebuild};

/// A first step should leave at least this many independent results.
const ENOUGH: usize = 256;
/// Reductions of fewer elements than this to one are left alone.
const LONG: usize = 512;

/// Splits all reductions that profit.
pub fn run(graph: &Graph, ctx: &mut Ctx) -> Graph {
    rebuild(graph, |next, id, op, args| {
        let Op::Reduce { f, axes } = &op else { return next.push(op, &args) };
        match split(graph, id, axes, ctx.max_batch) {
            Some(first) if ctx.fire("split_reduction", graph.site(id)) => {
                let part = next.reduce(*f, args[0], &first);
                let left = |a: &usize| a - first.iter().filter(|b| *b < a).count();
                let rest: Vec<usize> = axes.iter().filter(|a| !first.contains(a)).map(left).collect();
                next.reduce(*f, part, &rest)
            }
            _ => next.push(op, &args),
        }
    })
}

/// The axes to reduce first: as many of the last ones as leave enough results.
fn split(graph: &Graph, id: NodeId, axes: &[usize], max_batch: usize) -> Option<Vec<usize>> {
    let from = &graph.ty(graph.node(id).args[0]).shape;
    let kept = graph.ty(id).shape.count(max_batch);
    let all: usize = axes.iter().map(|&a| from[a].at(max_batch)).product();
    if axes.len() < 2 || kept >= ENOUGH || all < LONG {
        return None;
    }
    (1..axes.len()).map(|i| &axes[i..]).find_map(|first| {
        let count: usize = first.iter().map(|&a| from[a].at(max_batch)).product();
        (count >= 16 && kept * (all / count.max(1)) >= ENOUGH).then(|| first.to_vec())
    })
}
