//! Splits long reductions to few elements into two.
//!
//! Summing `[batch, 26, 26, 32]` to `[32]` in one kernel leaves 32 independent sums and strides through memory. As
//! a reduction of each row, then of the rows, the first has `batch * 32` independent sums over contiguous memory. The
//! parts are chosen from the shape alone, so that the order of a sum does not depend on the number of threads.
//!
//! Precondition: a verified graph. Postcondition: the same reductions up to the order of sums.

use crate::ir::{Graph, NodeId, Op};

/// A first step should leave at least this many independent results.
const ENOUGH: usize = 256;
/// Reductions of fewer elements than this to one are left alone.
const LONG: usize = 512;

/// Splits all reductions that profit.
pub fn run(graph: &Graph, max_batch: usize) -> Graph {
    let mut out = Graph::successor(graph);
    let mut new: Vec<NodeId> = Vec::with_capacity(graph.nodes().len());
    for id in graph.ids() {
        let node = graph.node(id);
        out.set_site(graph.site_of(id));
        let args: Vec<NodeId> = node.args.iter().map(|a| new[a.index()]).collect();
        let made = match &node.op {
            Op::Reduce { f, axes } => match split(graph, id, axes, max_batch) {
                Some(first) => {
                    let part = out.reduce(*f, args[0], &first);
                    let rest: Vec<usize> = axes
                        .iter()
                        .filter(|a| !first.contains(a))
                        .map(|a| a - first.iter().filter(|b| *b < a).count())
                        .collect();
                    out.reduce(*f, part, &rest)
                }
                None => out.push(node.op.clone(), &args),
            },
            op => out.push(op.clone(), &args),
        };
        new.push(made);
    }
    for output in &graph.outputs {
        out.output(output.name.clone(), new[output.node.index()]);
    }
    for assign in &graph.assigns {
        out.assign(assign.target, new[assign.node.index()]);
    }
    out
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
