//! Contractions that no matrix kernel suits become products and sums.
//!
//! A depthwise convolution is one contraction for each channel, with a single column on one side. A matrix kernel wants
//! rows, columns and a sum that lie together; here it is the channels that do, which are a *batch* axis. Written as a
//! product over all axes and a sum, it is an ordinary loop nest, which is vectorised along the channels, and fuses with
//! what is around it.
//!
//! The gradient of such a kernel sums over a whole batch of images to few elements. Its loops over the images come
//! first, so that [`split`](super::split) can cut them into parts that stay in cache.
//!
//! Precondition: a verified graph; a contraction and its permutation are rewritten together if nothing is between them.
//! Postcondition: no contraction with few rows or columns whose batch axes hold what is contiguous in memory.

use crate::ir::{ContractAxes, Dim, Graph, NodeId, Op, Shape, TypeError, reshape_groups};

use super::{Ctx, reads, rebuild};

/// With fewer rows or columns, a matrix kernel leaves most of its lanes empty.
pub(super) const THIN: usize = 8;
/// A result this many times smaller than what is read is a sum over images, not over windows.
const SMALL: usize = 8;

/// Rewrites every thin contraction.
pub fn run(graph: &Graph, ctx: &mut Ctx) -> Graph {
    let uses = graph.use_counts();
    let max_batch = ctx.max_batch;
    // A contraction that only a permutation reads is rewritten together with it, in its order.
    let permuted = |id: NodeId| match &graph.node(id).op {
        Op::Permute(order) if uses[graph.node(id).args[0].index()] == 1 => {
            let contraction = graph.node(id).args[0];
            Thin::find(graph, contraction, max_batch).map(|thin| (contraction, thin, order.clone()))
        }
        _ => None,
    };
    let with_permutation: Vec<NodeId> = graph.ids().filter_map(|id| permuted(id).map(|p| p.0)).collect();
    rebuild(graph, |next, id, op, args| {
        let (thin, order, operands) = match permuted(id) {
            Some((_, thin, order)) => (Some(thin), order, next.node(args[0]).args.clone()),
            None if with_permutation.contains(&id) => (None, Vec::new(), Vec::new()),
            None => (Thin::find(graph, id, max_batch), (0..graph.ty(id).shape.rank()).collect(), args.clone()),
        };
        if let (Some(thin), [x, y]) = (thin, &operands[..]) {
            let first_new = next.nodes().len();
            let loops = thin.rewrite(next, *x, *y, &order, max_batch);
            next.derive_sites(first_new, "thin");
            if let Some(loops) = loops.ok().filter(|_| ctx.fire("thin_contraction", graph.site(id))) {
                return loops;
            }
        }
        next.push(op, &args)
    })
}

/// A contraction that is better written as a product and a sum. Its index space has the axes of its result, then the
/// summed ones in the order that the left operand has them in.
struct Thin {
    space: Vec<Dim>,
    /// The number of result axes.
    kept: usize,
    /// For each axis of an operand, the axis of the index space.
    left: Vec<usize>,
    right: Vec<usize>,
}

impl Thin {
    fn find(g: &Graph, id: NodeId, max_batch: usize) -> Option<Thin> {
        let node = g.node(id);
        let Op::Contract(axes) = &node.op else { return None };
        let (x, y) = (node.args[0], node.args[1]);
        let (left, right) = (&g.ty(x).shape, &g.ty(y).shape);
        let size = |shape: &Shape, axes: &[usize]| axes.iter().map(|&a| shape[a].at(max_batch)).product::<usize>();
        let rows = size(left, &axes.left_free(left.rank()));
        let columns = size(right, &axes.right_free(right.rank()));
        let together = axes.batch.iter().any(|&(a, b)| contiguous(g, x) == Some(a) || contiguous(g, y) == Some(b));
        (together && rows.min(columns) < THIN).then(|| Thin::new(axes, left, right, &node.ty.shape))
    }

    fn new(axes: &ContractAxes, left: &Shape, right: &Shape, result: &Shape) -> Thin {
        let (left_free, right_free) = (axes.left_free(left.rank()), axes.right_free(right.rank()));
        let mut sum = axes.sum.clone();
        sum.sort_unstable();
        let mut space = result.0.clone();
        space.extend(sum.iter().map(|p| left[p.0]));
        let (batch, kept) = (axes.batch.len(), result.rank());
        let mut thin = Thin { space, kept, left: vec![0; left.rank()], right: vec![0; right.rank()] };
        for (i, &(a, b)) in axes.batch.iter().enumerate() {
            (thin.left[a], thin.right[b]) = (i, i);
        }
        left_free.iter().enumerate().for_each(|(i, &a)| thin.left[a] = batch + i);
        right_free.iter().enumerate().for_each(|(i, &b)| thin.right[b] = batch + left_free.len() + i);
        for (i, &(a, b)) in sum.iter().enumerate() {
            (thin.left[a], thin.right[b]) = (kept + i, kept + i);
        }
        thin
    }

    /// The product and its sum, with the result axes in the given order. Fails where the product has too many elements.
    fn rewrite(
        &self,
        g: &mut Graph,
        x: NodeId,
        y: NodeId,
        order: &[usize],
        max_batch: usize,
    ) -> Result<NodeId, TypeError> {
        let (kept, last) = (self.kept, self.space.len());
        let results: usize = self.space[..kept].iter().map(|d| d.at(max_batch)).product();
        let sums_lead = results <= (reads(g, x, max_batch) + reads(g, y, max_batch)) / SMALL;
        let mut loops: Vec<usize> = order.to_vec();
        let at = if sums_lead { 0 } else { kept };
        loops.splice(at..at, kept..last);
        let space = Shape(loops.iter().map(|&a| self.space[a]).collect());
        let spread = |g: &mut Graph, x: NodeId, axes: &[usize]| {
            let place = |a: usize| loops.iter().position(|l| *l == axes[a]).unwrap_or(a);
            let mut order: Vec<usize> = (0..axes.len()).collect();
            order.sort_by_key(|&a| place(a));
            let x = g.permute(x, &order);
            let axes = order.into_iter().map(place).collect();
            g.try_push(Op::Broadcast { axes, shape: space.clone() }, &[x])
        };
        let x = spread(g, x, &self.left)?;
        let y = spread(g, y, &self.right)?;
        let product = g.mul(x, y);
        let summed: Vec<usize> = (at..at + last - kept).collect();
        Ok(g.sum(product, &summed))
    }
}

/// The axis of a tensor along which neighbours are neighbours in memory, as far as views tell.
fn contiguous(g: &Graph, id: NodeId) -> Option<usize> {
    let node = g.node(id);
    let operand = || contiguous(g, node.args[0]);
    match &node.op {
        Op::Permute(order) => operand().and_then(|a| order.iter().position(|&from| from == a)),
        Op::Broadcast { axes, .. } => operand().map(|a| axes[a]),
        Op::Window(axes) => operand().filter(|a| axes.iter().all(|w| w.axis != *a)),
        Op::Slice(axes) => operand().filter(|&a| axes[a].step == 1),
        Op::Reshape(shape) => {
            let from = &g.ty(node.args[0]).shape;
            let axis = operand()?;
            let (_, to) = reshape_groups(from, shape).ok()?.into_iter().find(|(a, _)| a.contains(&axis))?;
            to.rev().find(|&a| shape[a] != Dim::ONE)
        }
        _ => (0..node.ty.shape.rank()).rev().find(|&a| node.ty.shape[a] != Dim::ONE),
    }
}
