//! Splits long reductions to few elements into two.
//!
//! Summing `[batch, 26, 26, 32]` to `[32]` in one kernel leaves 32 independent sums and strides through memory. As
//! a reduction of each row, then of the rows, the first has `batch * 32` independent sums over contiguous memory.
//!
//! A sum that reads the same elements for many of its results, such as the gradient of a depthwise kernel, is split so
//! that what the first step reads for a part stays in cache.
//!
//! A sum down the columns of a matrix that no cache holds walks through memory once for every few columns; it is split too.
//!
//! The parts are chosen from the shape alone, so that the order of a sum does not depend on the number of threads.
//!
//! Precondition: a verified graph. Postcondition: the same reductions up to the order of sums.

use crate::ir::{Graph, NodeId, Op};

use super::{Ctx, reads, rebuild};

/// A first step should leave at least this many independent results.
const ENOUGH: usize = 256;
/// Reductions of fewer elements than this to one are left alone.
const LONG: usize = 512;

/// Elements that stay in cache while they are read again and again.
const CACHED: usize = 48 * 1024;
/// Elements of a matrix that leaves the second-level cache before the next columns are summed.
const VAST: usize = 512 * 1024;

/// Splits all reductions that profit.
pub fn run(graph: &Graph, ctx: &mut Ctx) -> Graph {
    rebuild(graph, |next, id, op, args| {
        let Op::Reduce { f, axes } = &op else { return next.push(op, &args) };
        match split(graph, id, axes, ctx.max_batch).or_else(|| localise(graph, id, axes, ctx.max_batch)) {
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

/// The axes to reduce first where elements, or the cache lines that they are in, are read several times: as many of the
/// last ones as leave what is read in cache, and at least one.
fn localise(graph: &Graph, id: NodeId, axes: &[usize], max_batch: usize) -> Option<Vec<usize>> {
    let operand = graph.node(id).args[0];
    let from = &graph.ty(operand).shape;
    let results = graph.ty(id).shape.count(max_batch);
    if !axes.iter().copied().eq(0..axes.len()) || axes.len() < 2 || from.count(max_batch) < CACHED {
        return None;
    }
    let mut read = reads(graph, operand, max_batch);
    let again = from.count(max_batch) >= 3 * read || read >= VAST && results >= ENOUGH;
    if read <= CACHED || !again || results > read / 8 {
        return None;
    }
    let mut parts = 0;
    while parts + 1 < axes.len() && read > CACHED {
        read /= from[axes[parts]].at(max_batch).max(1);
        parts += 1;
    }
    (parts > 0).then(|| axes[parts..].to_vec())
}
