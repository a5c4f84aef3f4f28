//! The gradient of a convolution with respect to its input, as a convolution.
//!
//! Differentiation leaves `Fold(Contract(dy, w))`: every output position multiplied by every window element, then
//! summed where windows overlap. Materialised, that is the input once per window element. The same sum, gathered
//! from the other side, is a contraction over windows of `dy`:
//!
//! An input element at `x` is element `q` of the window at position `p` where `x = p * stride + q * dilation`. Spread
//! `dy` out to `z`, with `stride - 1` zeros between positions and `span - 1` zeros in front (`span` is what a window
//! covers): position `p` moves to `z = span - 1 + p * stride`. With the window element counted from the other end,
//! `q' = size - 1 - q`, that is `z = x + q' * dilation`: element `q'` of a window at position `x`, of the same size
//! and dilation and stride 1. So
//!
//! ```text
//! Fold(Contract(dy, w)) = Contract(Window(Pad(dy)), reversed w)
//! ```
//!
//! summed over the window elements too. Zeros behind `dy` make as many positions as the input is long. A slice of the
//! fold (the gradient of padding) moves the first position, so fewer zeros go in front.
//!
//! The zeros cost work: those between positions `stride` times as much, and those around a small `dy` too. The fold
//! costs the time to store the products and to gather them. [`BackwardData::gathers`] compares the two.
//!
//! Precondition: none; simplified graphs may hide the pattern behind other views. Postcondition: no fold reads a
//! contraction, permuted or not, whose operands hold the positions on one side and the window elements on the other,
//! where the contraction over windows is cheaper.

use crate::ir::{ContractAxes, Graph, Node, NodeId, Number, Op, PadAxis, SliceAxis, TypeError, WindowAxis};

use super::thin::THIN;
use super::{Ctx, rebuild};

pub fn run(graph: &Graph, ctx: &mut Ctx) -> Graph {
    let (always, max_batch) = (ctx.options.unfold_always, ctx.max_batch);
    let find = |g: &Graph, id: NodeId| BackwardData::find(g, id).filter(|b| always || b.gathers(g, max_batch));
    // Folds that only a slice reads are rewritten together with it.
    let uses = graph.use_counts();
    let sliced = |id: &NodeId| {
        matches!(graph.node(*id).op, Op::Slice(_))
            && uses[graph.node(*id).args[0].index()] == 1
            && find(graph, *id).is_some()
    };
    let with_slice: Vec<NodeId> = graph.ids().filter(sliced).map(|id| graph.node(id).args[0]).collect();
    rebuild(graph, |next, id, op, args| {
        let plain = next.push(op, &args);
        match find(next, plain) {
            Some(found) if !with_slice.contains(&id) => {
                let first_new = next.nodes().len();
                let convolution = found.rewrite(next).ok();
                next.derive_sites(first_new, "convolution");
                convolution.filter(|_| ctx.fire("backward_data", graph.site(id))).unwrap_or(plain)
            }
            _ => plain,
        }
    })
}

/// Rates of one thread that the choice is made by: operations of a contraction in a nanosecond, and nanoseconds for
/// adding an element of the products to the result, with storing it before.
const RATES: (f64, f64) = (100.0, 0.6);
/// The same for contractions that become plain loops ([`thin`](super::thin)), whose products need not be stored.
const THIN_RATES: (f64, f64) = (15.0, 0.3);
/// Nanoseconds for copying an element into padding.
const PAD_NS: f64 = 0.15;

/// A fold of a contraction of positions with window elements, perhaps sliced.
struct BackwardData {
    windows: Vec<WindowAxis>,
    /// Padding of the positions of each window.
    pads: Vec<PadAxis>,
    /// The operand with the positions, and which of its axes they are.
    left: NodeId,
    positions: Vec<usize>,
    /// The operand with the window elements, and which of its axes they are.
    right: NodeId,
    elements: Vec<usize>,
    contraction: ContractAxes,
    /// For each axis of the result, the axis of the contraction.
    order: Vec<usize>,
}

impl BackwardData {
    /// Whether the contraction over windows of padded positions takes less time than the fold.
    fn gathers(&self, g: &Graph, max_batch: usize) -> bool {
        let count = |id: NodeId, without: &[usize]| -> f64 {
            let axes = g.ty(id).shape.iter().enumerate().filter(|(a, _)| !without.contains(a));
            axes.map(|(_, d)| d.at(max_batch) as f64).product()
        };
        let matched = |axis: &usize| self.contraction.batch.iter().chain(&self.contraction.sum).any(|p| p.1 == *axis);
        // Of each position, and of each element of a window: how many products, and how many results.
        let shared: Vec<usize> = (0..g.ty(self.right).shape.rank()).filter(matched).collect();
        let elements: f64 = self.windows.iter().map(|w| w.size as f64).product();
        let rows = count(self.left, &self.positions);
        let columns = count(self.right, &[&self.elements[..], &shared].concat());
        let summed: f64 =
            self.contraction.sum.iter().map(|p| g.ty(self.left).shape[p.0].at(max_batch) as f64).product();
        let (mut positions, mut padded, mut results) = (1.0, 1.0, 1.0);
        for ((w, pad), axis) in self.windows.iter().zip(&self.pads).zip(&self.positions) {
            let extent = g.ty(self.left).shape[*axis].scale;
            positions *= extent as f64;
            padded *= pad.apply(extent) as f64;
            results *= (pad.apply(extent) - w.span() + 1) as f64;
        }
        let (flops, fold) = if columns < THIN as f64 { THIN_RATES } else { RATES };
        let work = |points: f64| 2.0 * points * elements * rows * columns / flops;
        let gather = work(results) + padded * rows * PAD_NS;
        let fold = work(positions) + positions * elements * rows / summed * columns * fold;
        gather <= fold
    }

    fn find(g: &Graph, id: NodeId) -> Option<BackwardData> {
        let node = g.node(id);
        let fold = if let Op::Slice(_) = node.op { g.node(node.args[0]) } else { node };
        let Node { op: Op::Fold { axes: windows, shape }, args, .. } = fold else {
            return None;
        };
        if windows.iter().all(|w| w.size == 1) {
            return None;
        }
        let mut starts = vec![0; shape.rank()];
        if let Op::Slice(axes) = &node.op {
            for (a, s) in axes.iter().enumerate() {
                let windowed = windows.iter().any(|w| w.axis == a);
                if s.step != 1 || s.count.scale == 0 || !windowed && s.count != shape[a] {
                    return None;
                }
                starts[a] = s.start;
            }
        }
        let mut pads = Vec::new();
        for w in windows {
            let reach = (w.positions(shape[w.axis].scale) - 1) * w.stride;
            let low = (w.span() - 1).checked_sub(starts[w.axis])?;
            let high = (node.ty.shape[w.axis].scale + w.span() - 1).checked_sub(low + reach + 1)?;
            pads.push(PadAxis { low, high, interior: w.stride - 1 });
        }

        let folded = g.node(args[0]);
        let (mut order, product) = match &folded.op {
            Op::Permute(perm) => (perm.clone(), g.node(folded.args[0])),
            _ => ((0..folded.ty.shape.rank()).collect(), folded),
        };
        let Node { op: Op::Contract(contraction), args, .. } = product else {
            return None;
        };
        let (mut contraction, mut left, mut right) = (contraction.clone(), args[0], args[1]);
        let free = |g: &Graph, c: &ContractAxes, left: NodeId, right: NodeId| {
            (c.left_free(g.ty(left).shape.rank()), c.right_free(g.ty(right).shape.rank()))
        };
        let (mut left_free, mut right_free) = free(g, &contraction, left, right);
        let batch = contraction.batch.len();
        if order[windows.first()?.axis] >= batch + left_free.len() {
            // The positions are on the right: exchange the operands.
            let (l, r) = (left_free.len(), right_free.len());
            for axis in order.iter_mut().filter(|axis| **axis >= batch) {
                *axis = if *axis < batch + l { *axis + r } else { *axis - l };
            }
            let flip = |pairs: &[(usize, usize)]| pairs.iter().map(|&(a, b)| (b, a)).collect();
            contraction = ContractAxes { batch: flip(&contraction.batch), sum: flip(&contraction.sum) };
            (left, right) = (right, left);
            (left_free, right_free) = (right_free, left_free);
        }
        let (mut positions, mut elements) = (Vec::new(), Vec::new());
        for (i, w) in windows.iter().enumerate() {
            let (position, element) = (order[w.axis], order[shape.rank() + i]);
            positions.push(*left_free.get(position.checked_sub(batch)?)?);
            elements.push(*right_free.get(element.checked_sub(batch + left_free.len())?)?);
        }
        let (windows, rank) = (windows.clone(), shape.rank());
        // Without the window elements, the axes of the right operand move up.
        let summed: Vec<usize> = order[rank..].to_vec();
        order.truncate(rank);
        for axis in &mut order {
            *axis -= summed.iter().filter(|s| **s < *axis).count();
        }
        Some(BackwardData { windows, pads, left, positions, right, elements, contraction, order })
    }

    /// Fails where the windows would hold too many elements.
    fn rewrite(self, g: &mut Graph) -> Result<NodeId, TypeError> {
        let rank = g.ty(self.left).shape.rank();
        let mut pads = vec![PadAxis::default(); rank];
        let mut reversed: Vec<SliceAxis> =
            g.ty(self.right).shape.iter().map(|&count| SliceAxis { start: 0, step: 1, count }).collect();
        let mut windows = Vec::new();
        for (i, w) in self.windows.iter().enumerate() {
            pads[self.positions[i]] = self.pads[i];
            reversed[self.elements[i]].start = w.size - 1;
            reversed[self.elements[i]].step = -1;
            windows.push((WindowAxis { axis: self.positions[i], stride: 1, ..*w }, self.elements[i]));
        }
        windows.sort_by_key(|w| w.0.axis);
        let spread = pad(g, self.left, pads)?;
        let windowed = g.try_push(Op::Window(windows.iter().map(|w| w.0).collect()), &[spread])?;
        let kernel = g.try_push(Op::Slice(reversed), &[self.right])?;
        let mut axes = self.contraction;
        axes.sum.extend(windows.iter().enumerate().map(|(i, w)| (rank + i, w.1)));
        let product = g.try_push(Op::Contract(axes), &[windowed, kernel])?;
        Ok(g.permute(product, &self.order))
    }
}

/// Pads with zeros. Padding is a copy, so a permuted tensor is padded before it is permuted, which keeps together what is
/// contiguous.
fn pad(g: &mut Graph, x: NodeId, axes: Vec<PadAxis>) -> Result<NodeId, TypeError> {
    let Op::Permute(order) = g.node(x).op.clone() else {
        return g.try_push(Op::Pad { axes, value: Number(0.0) }, &[x]);
    };
    let mut inner = vec![PadAxis::default(); axes.len()];
    order.iter().zip(axes).for_each(|(&from, axis)| inner[from] = axis);
    let padded = pad(g, g.node(x).args[0], inner)?;
    Ok(g.permute(padded, &order))
}
