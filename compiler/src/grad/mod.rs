//! Reverse-mode differentiation, graph to graph.
//!
//! The rules need no operation that the graph does not have: the transpose of every linear operation is in the set,
//! and scalar functions carry their own gradient in their table row. New nodes get the site of the node that they
//! differentiate, derived as `grad`. A contribution that is constantly zero ends there: what it would be multiplied with
//! on its way need not be finite, and no later pass could take it out. Nothing else is simplified here: unused halves and
//! transposed convolutions are left to the passes.
//!
//! Where a function is not differentiable: a row without a gradient has derivative zero (comparisons, rounding,
//! `stop_gradient`); a tie of `Reduce` max or min shares the gradient equally; a tie of the binary functions goes to
//! the first operand. A gather clamps an index out of range but trains nothing through it.

use std::collections::HashMap;

use crate::ir::scalar::Val;
use crate::ir::{ContractAxes, DType, Dim, Graph, NodeId, Number, Op, PadAxis, ReduceFn, Shape, SliceAxis, TensorType};

mod scan;
#[cfg(test)]
mod tests;

/// Why there is no gradient.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum GradError {
    #[error("only a scalar float can be differentiated, {node} is {ty}")]
    NotScalar { node: NodeId, ty: TensorType },
    #[error("no gradient with respect to {node}: it is {ty}")]
    NotFloat { node: NodeId, ty: TensorType },
}

/// Adds the gradients of a scalar with respect to some nodes, in their order and of their types. A node that the
/// scalar does not depend on gets zeros.
pub fn gradients(graph: &mut Graph, of: NodeId, wrt: &[NodeId]) -> Result<Vec<NodeId>, GradError> {
    let ty = graph.ty(of).clone();
    if !ty.dtype.is_float() || ty.shape.rank() != 0 {
        return Err(GradError::NotScalar { node: of, ty });
    }
    if let Some(&node) = wrt.iter().find(|n| !graph.ty(**n).dtype.is_float()) {
        return Err(GradError::NotFloat { node, ty: graph.ty(node).clone() });
    }
    let active = active(graph, of.index() + 1, |id| wrt.contains(&id));
    let mut reverse = Reverse::new(graph, active);
    let before = reverse.enter(of);
    let seed = reverse.graph.scalar(ty.dtype, 1.0);
    reverse.add(of, seed);
    reverse.sweep();
    let mut results = Vec::new();
    for &node in wrt {
        results.push(match reverse.adjoints.get(node.index()).copied().flatten() {
            Some(d) => d,
            None => {
                reverse.enter(node);
                reverse.graph.lit_like(node, 0.0)
            }
        });
    }
    graph.set_site(before);
    Ok(results)
}

/// Which of the first nodes are sources or computed from one in floating point.
fn active(graph: &Graph, count: usize, source: impl Fn(NodeId) -> bool) -> Vec<bool> {
    let mut active = vec![false; count];
    for id in graph.ids().take(count) {
        let node = graph.node(id);
        let float = node.ty.dtype.is_float();
        active[id.index()] = float && (source(id) || node.args.iter().any(|a| active[a.index()]));
    }
    active
}

struct Reverse<'g> {
    graph: &'g mut Graph,
    active: Vec<bool>,
    /// The gradient accumulated so far for each node.
    adjoints: Vec<Option<NodeId>>,
    /// The nodes of each loop under the first of them: users of any are later than that, operands are earlier.
    loops: HashMap<NodeId, Vec<NodeId>>,
}

impl<'g> Reverse<'g> {
    /// Of the first nodes of a graph, as many as `active` tells about.
    fn new(graph: &'g mut Graph, active: Vec<bool>) -> Reverse<'g> {
        let loops = graph.loops(graph.ids().take(active.len()));
        let loops = loops.list.into_iter().map(|found| (found.results[0], found.results)).collect();
        Reverse { adjoints: vec![None; active.len()], active, loops, graph }
    }

    /// Passes the gradients that have been added on to everything that they depend on.
    fn sweep(&mut self) {
        for index in (0..self.active.len()).rev() {
            let id = NodeId(index as u32);
            if let Some(results) = self.loops.remove(&id) {
                self.enter(id);
                scan::differentiate(self, &results);
            } else if let (true, Some(d)) = (self.active[index], self.adjoints[index]) {
                self.enter(id);
                self.differentiate(id, d);
            }
        }
    }

    /// New nodes belong to the gradient of this one.
    fn enter(&mut self, id: NodeId) -> crate::ir::SiteId {
        let site = self.graph.site(id).derive("grad");
        let site = self.graph.site_id(&site);
        self.graph.set_site(site)
    }

    fn wants(&self, id: NodeId) -> bool {
        self.active[id.index()]
    }

    /// Adds a contribution to the gradient of a node, unless it is constantly zero.
    fn add(&mut self, to: NodeId, d: NodeId) {
        if !self.wants(to) || self.graph.splat(d) == Some(0.0) {
            return;
        }
        debug_assert_eq!(self.graph.ty(to), self.graph.ty(d));
        let sum = match self.adjoints[to.index()] {
            Some(before) => self.graph.add(before, d),
            None => d,
        };
        self.adjoints[to.index()] = Some(sum);
    }

    /// Passes the gradient `d` of a node on to its operands.
    #[deny(clippy::wildcard_enum_match_arm)]
    fn differentiate(&mut self, id: NodeId, d: NodeId) {
        let node = self.graph.node(id).clone();
        let arg = |i: usize| node.args[i];
        match &node.op {
            Op::Input { .. } | Op::Storage { .. } | Op::Const { .. } | Op::Iota { .. } => {}
            Op::Unary(f) => {
                if let (Some(rule), true) = (f.row().grad, self.wants(arg(0))) {
                    let dx = rule(self.graph, val(arg(0)), val(id), val(d));
                    self.add(arg(0), NodeId(dx.0));
                }
            }
            Op::Binary(f) => {
                if let Some(rule) = f.row().grad {
                    let (dx, dy) = rule(self.graph, val(arg(0)), val(arg(1)), val(id), val(d));
                    self.add(arg(0), NodeId(dx.0));
                    self.add(arg(1), NodeId(dy.0));
                }
            }
            Op::Select => {
                let zero = self.graph.lit_like(d, 0.0);
                if self.wants(arg(1)) {
                    let da = self.graph.select(arg(0), d, zero);
                    self.add(arg(1), da);
                }
                if self.wants(arg(2)) {
                    let db = self.graph.select(arg(0), zero, d);
                    self.add(arg(2), db);
                }
            }
            Op::Cast(_) => {
                let from = self.graph.ty(arg(0)).dtype;
                if from.is_float() {
                    let dx = self.graph.cast(d, from);
                    self.add(arg(0), dx);
                }
            }
            Op::Reduce { f, axes } => {
                let dx = self.reduce(*f, axes, arg(0), id, d);
                self.add(arg(0), dx);
            }
            Op::Contract(axes) => {
                if self.wants(arg(0)) {
                    let dx = self.contract_left(axes, arg(0), arg(1), d);
                    self.add(arg(0), dx);
                }
                if self.wants(arg(1)) {
                    let dy = self.contract_right(axes, arg(0), arg(1), d);
                    self.add(arg(1), dy);
                }
            }
            Op::Reshape(_) => {
                let dx = self.graph.reshape(d, self.shape(arg(0)));
                self.add(arg(0), dx);
            }
            Op::Permute(perm) => {
                let dx = self.graph.permute(d, &inverse(perm));
                self.add(arg(0), dx);
            }
            Op::Broadcast { axes, shape } => {
                let from = self.shape(arg(0));
                let carried = |a: usize| axes.iter().zip(from.iter()).any(|(&to, dim)| to == a && *dim == shape[a]);
                let repeated: Vec<usize> = (0..shape.rank()).filter(|&a| !carried(a)).collect();
                let sum = self.graph.sum(d, &repeated);
                let dx = self.graph.reshape(sum, from);
                self.add(arg(0), dx);
            }
            Op::Slice(axes) => {
                let dx = self.slice(axes, arg(0), d);
                self.add(arg(0), dx);
            }
            Op::Pad { axes, .. } => {
                let from = self.shape(arg(0));
                let slice =
                    |(p, &count): (&PadAxis, &Dim)| SliceAxis { start: p.low, step: p.interior as isize + 1, count };
                let dx = self.graph.push(Op::Slice(axes.iter().zip(from.iter()).map(slice).collect()), &[d]);
                self.add(arg(0), dx);
            }
            Op::Concat { axis } => {
                let mut start = 0;
                for &x in &node.args {
                    let end = start + self.graph.ty(x).shape[*axis].scale;
                    if self.wants(x) {
                        let dx = self.graph.slice_axis(d, *axis, start, end);
                        self.add(x, dx);
                    }
                    start = end;
                }
            }
            Op::Window(axes) => {
                let shape = self.shape(arg(0));
                let dx = self.graph.push(Op::Fold { axes: axes.clone(), shape }, &[d]);
                self.add(arg(0), dx);
            }
            Op::Fold { axes, .. } => {
                let dx = self.graph.push(Op::Window(axes.clone()), &[d]);
                self.add(arg(0), dx);
            }
            Op::Gather { axis, batch } => {
                let shape = self.shape(arg(0));
                let dx = self.graph.push(Op::ScatterAdd { axis: *axis, batch: *batch, shape }, &[arg(1), d]);
                self.add(arg(0), dx);
            }
            Op::ScatterAdd { axis, batch, shape } => {
                let dx = self.scatter(*axis, *batch, shape, arg(0), d);
                self.add(arg(1), dx);
            }
            Op::Scan { .. } => {} // All results of a loop together, in `sweep`.
        }
    }

    fn shape(&self, id: NodeId) -> Shape {
        self.graph.ty(id).shape.clone()
    }

    fn reduce(&mut self, f: ReduceFn, axes: &[usize], x: NodeId, y: NodeId, d: NodeId) -> NodeId {
        let shape = self.shape(x);
        let g = &mut *self.graph;
        match f {
            ReduceFn::Sum => g.unreduce(d, axes, &shape),
            ReduceFn::Max | ReduceFn::Min => {
                let best = g.unreduce(y, axes, &shape);
                let hit = g.eq(x, best);
                let ones = g.cast(hit, g.ty(x).dtype);
                let ties = g.sum(ones, axes);
                let share = g.div(d, ties);
                let share = g.unreduce(share, axes, &shape);
                let zero = g.lit_like(x, 0.0);
                g.select(hit, share, zero)
            }
        }
    }

    /// `dx = dz . y` over the free axes of `y`.
    fn contract_left(&mut self, axes: &ContractAxes, x: NodeId, y: NodeId, d: NodeId) -> NodeId {
        let (x_rank, y_rank) = (self.shape(x).rank(), self.shape(y).rank());
        let (left, right) = (axes.left_free(x_rank), axes.right_free(y_rank));
        let rights_at = axes.batch.len() + left.len();
        let batch: Vec<_> = axes.batch.iter().enumerate().map(|(i, p)| (i, p.1)).collect();
        let sum: Vec<_> = right.iter().enumerate().map(|(i, &b)| (rights_at + i, b)).collect();
        let dx = self.graph.contract(d, y, &batch, &sum);
        // The result's axes, named as axes of x: batch, free of x, and the summed ones in the order they have in y.
        let mut summed = axes.sum.clone();
        summed.sort_by_key(|p| p.1);
        let names: Vec<usize> = axes.batch.iter().map(|p| p.0).chain(left).chain(summed.iter().map(|p| p.0)).collect();
        self.graph.permute(dx, &inverse(&names))
    }

    /// `dy = x . dz` over the free axes of `x`.
    fn contract_right(&mut self, axes: &ContractAxes, x: NodeId, y: NodeId, d: NodeId) -> NodeId {
        let (x_rank, y_rank) = (self.shape(x).rank(), self.shape(y).rank());
        let (left, right) = (axes.left_free(x_rank), axes.right_free(y_rank));
        let batch: Vec<_> = axes.batch.iter().enumerate().map(|(i, p)| (p.0, i)).collect();
        let sum: Vec<_> = left.iter().enumerate().map(|(i, &a)| (a, axes.batch.len() + i)).collect();
        let dy = self.graph.contract(x, d, &batch, &sum);
        let mut summed = axes.sum.clone();
        summed.sort_by_key(|p| p.0);
        let names: Vec<usize> = axes.batch.iter().map(|p| p.1).chain(summed.iter().map(|p| p.1)).chain(right).collect();
        self.graph.permute(dy, &inverse(&names))
    }

    /// Puts the gradient of a strided box back into zeros; axes read backwards are reversed first.
    fn slice(&mut self, axes: &[SliceAxis], x: NodeId, d: NodeId) -> NodeId {
        let from = self.shape(x);
        if axes.iter().any(|s| s.count.scale == 0) {
            return self.graph.lit_like(x, 0.0);
        }
        let (mut turn, mut pads, mut turned) = (Vec::new(), Vec::new(), false);
        for (s, dim) in axes.iter().zip(from.iter()) {
            if dim.batch {
                turn.push(SliceAxis { start: 0, step: 1, count: *dim });
                pads.push(PadAxis::default());
                continue;
            }
            let reach = (s.count.scale - 1) * s.step.unsigned_abs();
            let backwards = s.step < 0 && s.count.scale > 1;
            turned |= backwards;
            turn.push(if backwards {
                SliceAxis { start: s.count.scale - 1, step: -1, count: s.count }
            } else {
                SliceAxis { start: 0, step: 1, count: s.count }
            });
            let low = if s.step < 0 { s.start - reach } else { s.start };
            let interior = if s.count.scale > 1 { s.step.unsigned_abs() - 1 } else { 0 };
            pads.push(PadAxis { low, high: dim.scale - 1 - low - reach, interior });
        }
        let d = if turned { self.graph.push(Op::Slice(turn), &[d]) } else { d };
        self.graph.push(Op::Pad { axes: pads, value: Number(0.0) }, &[d])
    }

    /// Gathers the gradient of the updates; what an index out of range skipped gets none.
    fn scatter(&mut self, axis: usize, batch: usize, shape: &Shape, indices: NodeId, d: NodeId) -> NodeId {
        let g = &mut *self.graph;
        let dtype = g.ty(indices).dtype;
        if shape[axis].scale == 0 {
            let shape = [&shape[..axis], &g.ty(indices).shape[batch..], &shape[axis + 1..]].concat();
            return g.splat_of(0.0, TensorType::new(g.ty(d).dtype, Shape(shape)));
        }
        let picked = g.push(Op::Gather { axis, batch }, &[d, indices]);
        // An extent beyond the largest index of the type needs no test against it.
        let largest = if dtype == DType::U8 { u8::MAX as usize } else { i32::MAX as usize };
        let mut inside = None;
        if shape[axis].scale <= largest {
            let end = g.lit_like(indices, shape[axis].scale as f64);
            inside = Some(g.lt(indices, end));
        }
        if dtype == DType::I32 {
            let zero = g.lit_like(indices, 0.0);
            let low = g.ge(indices, zero);
            inside = Some(inside.map_or(low, |high| g.and(low, high)));
        }
        let Some(inside) = inside else {
            return picked;
        };
        let wide = g.ty(picked).shape.clone();
        let own = g.ty(indices).shape.rank() - batch;
        let places: Vec<usize> = (0..batch).chain(axis..axis + own).collect();
        let inside = g.broadcast(inside, &places, wide);
        let zero = g.lit_like(picked, 0.0);
        g.select(inside, picked, zero)
    }
}

fn val(id: NodeId) -> Val {
    Val(id.0)
}

/// The permutation that undoes one.
fn inverse(perm: &[usize]) -> Vec<usize> {
    let mut out = vec![0; perm.len()];
    for (i, &a) in perm.iter().enumerate() {
        out[a] = i;
    }
    out
}
