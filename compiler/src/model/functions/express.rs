//! The functions as methods of [`Tensor`].

use std::fmt;
use std::ops::RangeInclusive;
use std::rc::Rc;

use super::{Built, Fill, Method, PadMode};
use crate::diag::{Code, Problem};
use crate::ir::graph::MAX_LAYER_NODES;
use crate::ir::{Graph, NodeId, Shape, TensorType};
use crate::model::layer::{BuildCx, Layer, LayerDef};
use crate::model::{CallCx, IntoLayer, Tensor, tensor};

/// The types of what a function gives for inputs of some types, found on a graph of its own.
pub(crate) fn attempt(
    inputs: &[TensorType],
    build: impl FnOnce(&mut Graph, &[NodeId]) -> Built<Vec<NodeId>>,
) -> Built<Vec<TensorType>> {
    let attempt = |graph: &mut Graph| {
        let input = |(i, ty): (usize, &TensorType)| graph.input(format!("x{i}"), ty.clone());
        let nodes: Vec<NodeId> = inputs.iter().enumerate().map(input).collect();
        build(graph, &nodes)
    };
    match Graph::built("probe", MAX_LAYER_NODES, attempt) {
        Ok((graph, built)) => Ok(built?.into_iter().map(|x| graph.ty(x).clone()).collect()),
        Err((error, _)) => Err(error.to_string()),
    }
}

type Build = dyn Fn(&mut Graph, &[NodeId]) -> Built<Vec<NodeId>>;

/// A function of tensors as a layer without weights.
#[derive(Clone)]
struct Function {
    kind: &'static str,
    tensors: usize,
    results: usize,
    build: Rc<Build>,
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Function").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl LayerDef for Function {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn arity(&self) -> RangeInclusive<usize> {
        self.tensors..=self.tensors
    }

    fn results(&self) -> usize {
        self.results
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        let found = attempt(cx.inputs(), |g, x| (self.build)(g, x));
        found.map(drop).map_err(|why| {
            let types: Vec<String> = cx.inputs().iter().map(|ty| ty.to_string()).collect();
            Problem::new(Code::Shape, format!("`{}` of {}: {why}", self.kind, types.join(" and ")))
        })
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        (self.build)(cx, x).unwrap_or_else(|why| cx.fault(why))
    }
}

#[track_caller]
fn apply<const N: usize>(
    kind: &'static str,
    xs: &[&Tensor],
    build: impl Fn(&mut Graph, &[NodeId]) -> Built<[NodeId; N]> + 'static,
) -> [Tensor; N] {
    let build = Rc::new(move |g: &mut Graph, x: &[NodeId]| build(g, x).map(Vec::from));
    let layer = Layer::new(Function { kind, tensors: xs.len(), results: N, build }).into_layer();
    let mut results = tensor::apply(&layer, xs);
    std::array::from_fn(|_| results.remove(0))
}

#[track_caller]
fn one(kind: &'static str, xs: &[&Tensor], build: impl Fn(&mut Graph, &[NodeId]) -> Built + 'static) -> Tensor {
    let [y] = apply(kind, xs, move |g, x| build(g, x).map(|y| [y]));
    y
}

/// An axis of a node, counted from the front or the back.
fn axis_of(g: &Graph, x: NodeId, axis: isize) -> Built<usize> {
    let rank = g.rank_of(x);
    let resolved = if axis < 0 { axis.checked_add(rank as isize) } else { Some(axis) };
    let resolved = resolved.and_then(|a| usize::try_from(a).ok()).filter(|a| *a < rank);
    resolved.ok_or_else(|| format!("axis {axis} of {rank} axes"))
}

fn axes_of(g: &Graph, x: NodeId, axes: &[isize]) -> Built<Vec<usize>> {
    let mut axes = axes.iter().map(|&a| axis_of(g, x, a)).collect::<Built<Vec<usize>>>()?;
    axes.sort_unstable();
    match axes.windows(2).find(|w| w[0] == w[1]) {
        None => Ok(axes),
        Some(w) => Err(format!("axis {} twice", w[0])),
    }
}

impl Tensor {
    /// The elements of an axis in ascending order, NaN last. At most 4,096 of them, which are compared with each other.
    #[track_caller]
    pub fn sort(&self, axis: isize) -> Tensor {
        one("sort", &[self], move |g, x| g.sort(x[0], axis_of(g, x[0], axis)?))
    }

    /// The indices that sort an axis, as `i32`; equal elements keep their order.
    #[track_caller]
    pub fn argsort(&self, axis: isize) -> Tensor {
        one("argsort", &[self], move |g, x| g.argsort(x[0], axis_of(g, x[0], axis)?, false))
    }

    /// The `k` largest elements of the last axis from the largest down, and their indices.
    #[track_caller]
    pub fn top_k(&self, k: usize) -> [Tensor; 2] {
        apply("top_k", &[self], move |g, x| g.top_k(x[0], k))
    }

    /// The sum of each element of an axis and all before it.
    #[track_caller]
    pub fn cumsum(&self, axis: isize) -> Tensor {
        one("cumsum", &[self], move |g, x| g.running_sum(x[0], axis_of(g, x[0], axis)?))
    }

    /// The product of each element of an axis and all before it.
    #[track_caller]
    pub fn cumprod(&self, axis: isize) -> Tensor {
        one("cumprod", &[self], move |g, x| g.running_product(x[0], axis_of(g, x[0], axis)?))
    }

    /// The product along some axes, which disappear.
    #[track_caller]
    pub fn prod(&self, axes: &[isize]) -> Tensor {
        let axes = axes.to_vec();
        one("prod", &[self], move |g, x| g.product(x[0], &axes_of(g, x[0], &axes)?))
    }

    /// The median along some axes, which disappear.
    #[track_caller]
    pub fn median(&self, axes: &[isize]) -> Tensor {
        self.quantile(0.5, axes)
    }

    /// The quantile `q`, from 0 to 1, along some axes, which disappear; between two elements on a straight line.
    #[track_caller]
    pub fn quantile(&self, q: f64, axes: &[isize]) -> Tensor {
        let axes = axes.to_vec();
        one("quantile", &[self], move |g, x| {
            if !(0.0..=1.0).contains(&q) {
                return Err(format!("the quantile {q}, which is not from 0 to 1"));
            }
            g.quantile(x[0], q, &axes_of(g, x[0], &axes)?, Method::Linear, false)
        })
    }

    /// The elements at `indices` along an axis, which their axes replace. Negative indices count from the back; one out of
    /// range gives NaN.
    #[track_caller]
    pub fn take(&self, indices: &Tensor, axis: isize) -> Tensor {
        one("take", &[self, indices], move |g, x| {
            let axis = axis_of(g, x[0], axis)?;
            Ok(g.take(x[0], x[1], axis, Fill::Missing))
        })
    }

    /// For each of `indices` the element at it along an axis, at the same place along the others.
    #[track_caller]
    pub fn take_along_axis(&self, indices: &Tensor, axis: isize) -> Tensor {
        one("take_along_axis", &[self, indices], move |g, x| {
            g.take_along(x[0], x[1], axis_of(g, x[0], axis)?, Fill::Missing)
        })
    }

    /// Moves the elements of an axis by some places; those that leave come in at the other end.
    #[track_caller]
    pub fn roll(&self, shift: isize, axis: isize) -> Tensor {
        one("roll", &[self], move |g, x| g.rolled(x[0], shift as i64, axis_of(g, x[0], axis)?))
    }

    /// Each element of an axis several times.
    #[track_caller]
    pub fn repeat(&self, repeats: usize, axis: isize) -> Tensor {
        one("repeat", &[self], move |g, x| g.repeated(x[0], repeats, axis_of(g, x[0], axis)?))
    }

    /// Elements of a value before and behind every axis, the batch among them: `[(0, 0), (1, 2)]`.
    #[track_caller]
    pub fn pad(&self, edges: &[(usize, usize)], value: f64) -> Tensor {
        let edges = edges.to_vec();
        one("pad", &[self], move |g, x| g.padded(x[0], &edges, PadMode::Constant(value)))
    }

    /// The elements in the opposite order along some axes.
    #[track_caller]
    pub fn flip(&self, axes: &[isize]) -> Tensor {
        let axes = axes.to_vec();
        one("flip", &[self], move |g, x| {
            let axes = axes_of(g, x[0], &axes)?;
            Ok(g.reversed(x[0], &axes))
        })
    }

    /// The product of matrices, of stacks of them, and of rows and columns: NumPy's `matmul`.
    #[track_caller]
    pub fn matmul(&self, other: &Tensor) -> Tensor {
        one("matmul", &[self, other], |g, x| g.matrix_product(x[0], x[1]))
    }

    /// Softmax along some axes together.
    #[track_caller]
    pub fn softmax(&self, axes: &[isize]) -> Tensor {
        let axes = axes.to_vec();
        one("softmax", &[self], move |g, x| {
            let axes = axes_of(g, x[0], &axes)?;
            g.softmax_over(x[0], &axes)
        })
    }

    /// NumPy's `einsum` of this tensor and others: `x.einsum("bij,bjk->bik", &[&y])`.
    #[track_caller]
    pub fn einsum(&self, equation: &str, others: &[&Tensor]) -> Tensor {
        let equation = equation.to_string();
        let all: Vec<&Tensor> = std::iter::once(self).chain(others.iter().copied()).collect();
        one("einsum", &all, move |g, x| g.einsum(&equation, x))
    }
}

impl Graph {
    /// Softmax along axes together.
    pub(crate) fn softmax_over(&mut self, x: NodeId, axes: &[usize]) -> Built {
        if let [axis] = axes {
            return Ok(self.softmax(x, *axis));
        }
        let shape = self.shape_of(x);
        let flat = self.joined(x, axes)?;
        let y = self.softmax(flat, self.rank_of(flat) - 1);
        Ok(self.separated(y, axes, &shape))
    }

    /// Undoes [`Graph::joined`].
    pub(crate) fn separated(&mut self, x: NodeId, axes: &[usize], shape: &Shape) -> NodeId {
        let kept: Vec<usize> = (0..shape.rank()).filter(|a| !axes.contains(a)).collect();
        let order: Vec<usize> = kept.iter().chain(axes).copied().collect();
        let x = self.reshape(x, Shape(order.iter().map(|&a| shape[a]).collect()));
        let back: Vec<usize> = (0..order.len()).map(|a| order.iter().position(|o| *o == a).unwrap_or(a)).collect();
        self.permute(x, &back)
    }
}
