//! Reverse-mode differentiation, graph to graph.
//!
//! The rules need no operation that the graph does not have: the transpose of every linear operation is in the set,
//! and scalar functions carry their own gradient in their table row. New nodes get the site of the node that they
//! differentiate, derived as `grad`. Nothing is simplified here: zeros, unused halves and transposed convolutions
//! are left to the passes.
//!
//! Where a function is not differentiable: a row without a gradient has derivative zero (comparisons, rounding,
//! `stop_gradient`); a tie of `Reduce` max or min shares the gradient equally; a tie of the binary functions goes to
//! the first operand. A gather clamps an index out of range but trains nothing through it.

use crate::ir::scalar::Val;
use crate::ir::{ContractAxes, DType, Dim, Graph, NodeId, Number, Op, PadAxis, ReduceFn, Shape, SliceAxis, TensorType};

/// Why there is no gradient.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum GradError {
    #[error("only a scalar float can be differentiated, {node} is {ty}")]
    NotScalar { node: NodeId, ty: TensorType },
    #[error("no gradient with respect to {node}: it is {ty}")]
    NotFloat { node: NodeId, ty: TensorType },
    #[error("no gradient through the loop {node}")]
    Loop { node: NodeId },
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
    let mut reverse = Reverse { active: active(graph, of, wrt), adjoints: vec![None; of.index() + 1], graph };
    if let Some(i) = reverse.active.iter().zip(reverse.graph.nodes()).position(|(a, n)| *a && is_loop(&n.op)) {
        return Err(GradError::Loop { node: NodeId(i as u32) });
    }
    let before = reverse.enter(of);
    let seed = reverse.graph.scalar(ty.dtype, 1.0);
    reverse.add(of, seed);
    for index in (0..=of.0).rev() {
        let id = NodeId(index);
        if let (true, Some(d)) = (reverse.active[id.index()], reverse.adjoints[id.index()]) {
            reverse.enter(id);
            reverse.differentiate(id, d);
        }
    }
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

/// Which nodes up to `of` are in `wrt` or computed from it in floating point.
fn active(graph: &Graph, of: NodeId, wrt: &[NodeId]) -> Vec<bool> {
    let mut active = vec![false; of.index() + 1];
    for node in wrt.iter().filter(|n| n.index() <= of.index()) {
        active[node.index()] = true;
    }
    for i in 0..active.len() {
        let node = &graph.nodes()[i];
        active[i] |= node.ty.dtype.is_float() && node.args.iter().any(|a| active[a.index()]);
    }
    active
}

struct Reverse<'g> {
    graph: &'g mut Graph,
    active: Vec<bool>,
    /// The gradient accumulated so far for each node.
    adjoints: Vec<Option<NodeId>>,
}

impl Reverse<'_> {
    /// New nodes belong to the gradient of this one.
    fn enter(&mut self, id: NodeId) -> crate::ir::SiteId {
        let site = self.graph.site(id).derive("grad");
        let site = self.graph.site_id(&site);
        self.graph.set_site(site)
    }

    fn wants(&self, id: NodeId) -> bool {
        self.active[id.index()]
    }

    /// Adds a contribution to the gradient of a node.
    fn add(&mut self, to: NodeId, d: NodeId) {
        if !self.wants(to) {
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
            Op::Gather { axis } => {
                let shape = self.shape(arg(0));
                let dx = self.graph.push(Op::ScatterAdd { axis: *axis, shape }, &[arg(1), d]);
                self.add(arg(0), dx);
            }
            Op::ScatterAdd { axis, shape } => {
                let dx = self.scatter(*axis, shape, arg(0), d);
                self.add(arg(1), dx);
            }
            Op::Scan { .. } => {}
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
    fn scatter(&mut self, axis: usize, shape: &Shape, indices: NodeId, d: NodeId) -> NodeId {
        let g = &mut *self.graph;
        let dtype = g.ty(indices).dtype;
        if shape[axis].scale == 0 {
            let shape = [&shape[..axis], &g.ty(indices).shape, &shape[axis + 1..]].concat();
            return g.splat_of(0.0, TensorType::new(g.ty(d).dtype, Shape(shape)));
        }
        let picked = g.push(Op::Gather { axis }, &[d, indices]);
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
        let places: Vec<usize> = (axis..axis + g.ty(indices).shape.rank()).collect();
        let inside = g.broadcast(inside, &places, wide);
        let zero = g.lit_like(picked, 0.0);
        g.select(inside, picked, zero)
    }
}

fn val(id: NodeId) -> Val {
    Val(id.0)
}

fn is_loop(op: &Op) -> bool {
    matches!(op, Op::Scan { .. })
}

/// The permutation that undoes one.
fn inverse(perm: &[usize]) -> Vec<usize> {
    let mut out = vec![0; perm.len()];
    for (i, &a) in perm.iter().enumerate() {
        out[a] = i;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::eval::{Tensor, evaluate};
    use crate::ir::random::Rng;
    use crate::ir::scalar::Class;
    use crate::ir::{BinaryFn, UnaryFn, WindowAxis};

    const BATCH: usize = 3;
    const DOMAIN: (f64, f64) = (-3.0, 3.0);

    /// Checks the gradients of `sum(f(x...) * w)` for random `w` against central differences in a random direction.
    fn check(name: &str, inputs: &[(Shape, (f64, f64))], f: impl Fn(&mut Graph, &[NodeId]) -> NodeId) {
        let mut graph = Graph::new(name);
        let ty = |shape: &Shape| TensorType::new(DType::F64, shape.clone());
        let xs: Vec<NodeId> =
            inputs.iter().enumerate().map(|(i, (s, _))| graph.input(format!("x{i}"), ty(s))).collect();
        let y = f(&mut graph, &xs);
        let w = graph.input("w", graph.ty(y).clone());
        let product = graph.mul(y, w);
        let of = graph.sum_all(product);
        let grads = gradients(&mut graph, of, &xs).unwrap();
        graph.output("of", of);
        for (&g, &x) in grads.iter().zip(&xs) {
            assert_eq!(graph.ty(g), graph.ty(x), "{name}");
            graph.output("grad", g);
        }

        let mut rng = Rng::new(7);
        let mut draw = |shape: &Shape, domain| rng.floats(shape.count(BATCH), domain);
        let points: Vec<Vec<f64>> = inputs.iter().map(|(s, domain)| draw(s, *domain)).collect();
        let directions: Vec<Vec<f64>> = inputs.iter().map(|(s, _)| draw(s, (-1.0, 1.0))).collect();
        let weights = Tensor::f64(&graph.ty(y).shape.at(BATCH), &draw(&graph.ty(y).shape, (-1.0, 1.0)));
        let run = |h: f64| {
            let moved = points.iter().zip(&directions).map(|(p, v)| p.iter().zip(v).map(|(p, v)| p + h * v).collect());
            let moved: Vec<Vec<f64>> = moved.collect();
            let tensors = moved.iter().zip(inputs).map(|(x, (s, _))| Tensor::f64(&s.at(BATCH), x));
            let tensors: Vec<Tensor> = tensors.chain([weights.clone()]).collect();
            evaluate(&graph, BATCH, &tensors, &[]).unwrap().outputs
        };
        let h = 1e-6;
        let numeric = (run(h)[0].to_numbers()[0] - run(-h)[0].to_numbers()[0]) / (2.0 * h);
        let exact: f64 = run(0.0)[1..]
            .iter()
            .zip(&directions)
            .map(|(g, v)| g.to_numbers().iter().zip(v).map(|(g, v)| g * v).sum::<f64>())
            .sum();
        assert!((numeric - exact).abs() <= 1e-6 * (1.0 + numeric.abs().max(exact.abs())), "{name}: {numeric} {exact}");
    }

    fn fixed(dims: &[usize]) -> (Shape, (f64, f64)) {
        (Shape::fixed(dims), DOMAIN)
    }

    fn batched(dims: &[usize]) -> (Shape, (f64, f64)) {
        (Shape::batched(dims), DOMAIN)
    }

    fn whole(count: usize) -> SliceAxis {
        SliceAxis { start: 0, step: 1, count: Dim::fixed(count) }
    }

    #[test]
    fn scalar_rows() {
        let differentiable = |takes: Class, gives: DType| takes.accepts(DType::F64) && gives.is_float();
        for f in UnaryFn::ALL.iter().filter(|f| differentiable(f.row().takes, f.row().gives.dtype(DType::F64))) {
            if *f != UnaryFn::StopGradient {
                check(f.row().name, &[(Shape::batched(&[5]), f.row().domain)], |g, x| g.push(Op::Unary(*f), &[x[0]]));
            }
        }
        for f in BinaryFn::ALL.iter().filter(|f| differentiable(f.row().takes, f.row().gives.dtype(DType::F64))) {
            if *f == BinaryFn::GradientOf {
                continue;
            }
            let [a, b] = f.row().domain;
            let inputs = [(Shape::batched(&[5]), a), (Shape::batched(&[5]), b)];
            check(f.row().name, &inputs, |g, x| g.push(Op::Binary(*f), &[x[0], x[1]]));
        }
    }

    #[test]
    fn select_and_cast() {
        check("select", &[batched(&[4]), batched(&[4])], |g, x| {
            let c = g.gt(x[0], x[1]);
            let s = g.square(x[1]);
            g.select(c, x[0], s)
        });
        check("cast", &[batched(&[4])], |g, x| {
            let narrow = g.cast(x[0], DType::F32);
            let square = g.square(narrow);
            g.cast(square, DType::F64)
        });
        check("cast through integers", &[batched(&[4])], |g, x| {
            let int = g.cast(x[0], DType::I32);
            let back = g.cast(int, DType::F64);
            g.mul(back, x[0])
        });
    }

    #[test]
    fn reductions() {
        for f in ReduceFn::ALL {
            for axes in [vec![0], vec![1], vec![0, 2], vec![0, 1, 2]] {
                check(f.name(), &[batched(&[4, 2])], |g, x| g.reduce(f, x[0], &axes));
            }
        }
    }

    #[test]
    fn ties_share_the_gradient() {
        let mut g = Graph::new("ties");
        let x = g.dense(TensorType::new(DType::F32, Shape::fixed(&[4])), [1.0, 2.0, 2.0, 0.0]);
        let top = g.reduce(ReduceFn::Max, x, &[0]);
        let d = gradients(&mut g, top, &[x]).unwrap()[0];
        g.output("d", d);
        assert_eq!(evaluate(&g, 1, &[], &[]).unwrap().outputs[0].to_numbers(), [0.0, 0.5, 0.5, 0.0]);
    }

    #[test]
    fn contractions() {
        check("dense", &[batched(&[4]), fixed(&[4, 5])], |g, x| g.contract(x[0], x[1], &[], &[(1, 0)]));
        check("attention", &[batched(&[4, 2, 5]), batched(&[3, 2, 5])], |g, x| {
            g.contract(x[0], x[1], &[(0, 0), (2, 2)], &[(3, 3)])
        });
        check("summed over several, out of order", &[batched(&[2, 3, 4, 5]), fixed(&[5, 6, 2, 4])], |g, x| {
            g.contract(x[0], x[1], &[], &[(4, 0), (1, 2), (3, 3)])
        });
        check("batch not leading", &[fixed(&[4, 3, 2]), fixed(&[2, 5, 3])], |g, x| {
            g.contract(x[0], x[1], &[(1, 2)], &[(2, 0)])
        });
        check("outer product", &[fixed(&[4]), fixed(&[3])], |g, x| g.contract(x[0], x[1], &[], &[]));
        check("over the batch", &[batched(&[4]), batched(&[3])], |g, x| g.contract(x[0], x[1], &[], &[(0, 0)]));
        check("with itself", &[fixed(&[4, 4])], |g, x| g.contract(x[0], x[0], &[], &[(1, 0)]));
    }

    #[test]
    fn views() {
        check("reshape", &[batched(&[4, 6])], |g, x| g.reshape(x[0], Shape::batched(&[2, 12])));
        check("permute", &[batched(&[4, 6])], |g, x| g.permute(x[0], &[2, 0, 1]));
        check("broadcast", &[fixed(&[4, 1])], |g, x| {
            let shape = Shape([&[Dim::BATCH], &Shape::fixed(&[4, 2, 5]).0[..]].concat());
            g.broadcast(x[0], &[1, 3], shape)
        });
        check("broadcast over the batch", &[fixed(&[1, 4])], |g, x| g.broadcast(x[0], &[0, 1], Shape::batched(&[4])));
        for (start, step, count) in [(1, 2, 3), (6, -2, 3), (0, 1, 7), (6, -1, 7), (3, 5, 1), (3, -5, 1), (2, 1, 0)] {
            let rows = SliceAxis { start, step, count: Dim::fixed(count) };
            let axes = vec![rows, whole(2)];
            check("slice", &[fixed(&[7, 2])], |g, x| g.push(Op::Slice(axes.clone()), &[x[0]]));
        }
        let pads = [PadAxis { low: 1, high: 2, interior: 2 }, PadAxis { low: 0, high: 1, interior: 0 }];
        check("pad", &[fixed(&[3, 2])], |g, x| g.push(Op::Pad { axes: pads.to_vec(), value: Number(7.0) }, &[x[0]]));
        check("concat", &[batched(&[3]), batched(&[1]), batched(&[2])], |g, x| g.concat(&[x[0], x[1], x[2], x[0]], 1));
    }

    #[test]
    fn windows() {
        let axes = vec![
            WindowAxis { axis: 1, size: 3, stride: 2, dilation: 1 },
            WindowAxis { axis: 2, size: 2, stride: 1, dilation: 3 },
        ];
        check("window", &[batched(&[8, 5, 2])], |g, x| g.push(Op::Window(axes.clone()), &[x[0]]));
        check("fold", &[batched(&[3, 2, 2, 3, 2])], |g, x| {
            g.push(Op::Fold { axes: axes.clone(), shape: Shape::batched(&[8, 5, 2]) }, &[x[0]])
        });
        check("convolution", &[batched(&[8, 5, 2]), fixed(&[3, 2, 2, 4])], |g, x| {
            let window = g.push(Op::Window(axes.clone()), &[x[0]]);
            g.contract(window, x[1], &[], &[(3, 2), (4, 0), (5, 1)])
        });
    }

    #[test]
    fn indexing() {
        let indices = |g: &mut Graph, values: &[f64]| {
            g.dense(TensorType::new(DType::I32, Shape::fixed(&[2, 2])), values.iter().copied())
        };
        check("gather", &[batched(&[5, 2])], |g, x| {
            let i = indices(g, &[4.0, 0.0, 4.0, 1.0]);
            g.push(Op::Gather { axis: 1 }, &[x[0], i])
        });
        check("scatter_add, one index out of range on each side", &[batched(&[2, 2, 3])], |g, x| {
            let i = indices(g, &[1.0, -1.0, 5.0, 1.0]);
            g.push(Op::ScatterAdd { axis: 1, shape: Shape::batched(&[5, 3]) }, &[i, x[0]])
        });
    }

    #[test]
    fn compositions() {
        check("softmax", &[batched(&[4])], |g, x| g.softmax(x[0], 1));
        check("log_sum_exp", &[batched(&[4])], |g, x| g.log_sum_exp(x[0], 1));
        check("mean over the batch", &[batched(&[4])], |g, x| g.mean(x[0], &[0]));
        check("second derivative", &[batched(&[4])], |g, x| {
            let t = g.tanh(x[0]);
            let q = g.mul(t, x[0]);
            let of = g.sum_all(q);
            gradients(g, of, &[x[0]]).unwrap()[0]
        });
    }

    #[test]
    fn stops_where_told_and_gives_zero_elsewhere() {
        let mut g = Graph::new("stop");
        let x = g.input("x", TensorType::scalar(DType::F32));
        let other = g.input("other", TensorType::scalar(DType::F32));
        let fixed = g.stop_gradient(x);
        let y = g.mul(x, fixed);
        let d = gradients(&mut g, y, &[x, other]).unwrap();
        g.output("dx", d[0]);
        g.output("dother", d[1]);
        let three = Tensor::f32(&[], &[3.0]);
        let out = evaluate(&g, 1, &[three.clone(), three], &[]).unwrap().outputs;
        assert_eq!((out[0].to_numbers()[0], out[1].to_numbers()[0]), (3.0, 0.0));
        assert_eq!(g.site(d[1]).derived, ["grad"]);
    }

    #[test]
    fn refuses_what_has_no_gradient() {
        let mut g = Graph::new("bad");
        let x = g.input("x", TensorType::new(DType::F32, Shape::fixed(&[2])));
        let i = g.input("i", TensorType::scalar(DType::I32));
        let s = g.sum_all(x);
        assert!(matches!(gradients(&mut g, x, &[x]), Err(GradError::NotScalar { .. })));
        assert!(matches!(gradients(&mut g, s, &[i]), Err(GradError::NotFloat { .. })));
    }
}
