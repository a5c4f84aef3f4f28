//! What the layers with several heads share: projections, masks, and the attention itself.

use std::ops::Range;

use super::{all, causal, within};
use crate::diag::{Code, Problem};
use crate::ir::{DType, Dim, NodeId, ReduceFn, Shape, TensorType};
use crate::model::CallCx;
use crate::model::activation::masked_softmax;
use crate::model::constraint::Constraint;
use crate::model::dropout::dropout;
use crate::model::initializer::Initializer;
use crate::model::layer::BuildCx;
use crate::model::merge::broadcast_shape;
use crate::model::regularizer::Regularizer;
use crate::model::saved::Part;

/// Initializers, penalties and constraints of every projection.
pub struct Projections {
    pub use_bias: bool,
    pub kernel_initializer: Initializer,
    pub bias_initializer: Initializer,
    pub kernel_regularizer: Option<Regularizer>,
    pub bias_regularizer: Option<Regularizer>,
    pub activity_regularizer: Option<Regularizer>,
    pub kernel_constraint: Option<Constraint>,
    pub bias_constraint: Option<Constraint>,
}

/// The projections of query, key, value and result as Keras saves them, under the attributes that hold them. That of the
/// gate is always private.
pub fn projection_parts(attributes: [&'static str; 4], gate: bool) -> Vec<Part> {
    let [query, key, value, output] = attributes;
    let gate = gate.then_some(("_gate_dense", "gate"));
    let rest = [(value, "value"), (output, "attention_output")];
    let all = [(query, "query"), (key, "key")].into_iter().chain(gate).chain(rest);
    all.map(|(attribute, name)| Part::scope(attribute, name)).collect()
}

impl Projections {
    /// Declares the kernel `[from..., to...]` and the bias `[to...]` of one projection.
    pub fn declare(&self, cx: &mut BuildCx<'_>, name: &str, from: &[usize], to: &[usize]) -> Result<(), Problem> {
        let size = |extents: &[usize]| extents.iter().fold(1usize, |n, d| n.saturating_mul(*d));
        let initializer = self.kernel_initializer.with_fans(size(from), size(to));
        cx.param(
            format!("{name}/kernel"),
            [from, to].concat(),
            initializer,
            self.kernel_regularizer,
            &self.kernel_constraint,
        )?;
        if self.use_bias {
            cx.param(format!("{name}/bias"), to, self.bias_initializer, self.bias_regularizer, &self.bias_constraint)?;
        }
        Ok(())
    }

    /// Projects the last `axes` axes of a tensor.
    pub fn apply(&self, cx: &mut CallCx<'_>, name: &str, x: NodeId, axes: usize) -> NodeId {
        let y = self.linear(cx, name, x, axes);
        cx.penalize_activity(self.activity_regularizer, y);
        y
    }

    /// A projection through a sigmoid.
    pub fn gate(&self, cx: &mut CallCx<'_>, name: &str, x: NodeId) -> NodeId {
        let y = self.linear(cx, name, x, 1);
        let y = cx.sigmoid(y);
        cx.penalize_activity(self.activity_regularizer, y);
        y
    }

    fn linear(&self, cx: &mut CallCx<'_>, name: &str, x: NodeId, axes: usize) -> NodeId {
        let kernel = cx.weight(&format!("{name}/kernel"));
        let first = cx.ty(x).shape.rank() - axes;
        let sum: Vec<(usize, usize)> = (0..axes).map(|i| (first + i, i)).collect();
        let y = cx.contract(x, kernel, &[], &sum);
        match cx.optional_weight(&format!("{name}/bias")) {
            Some(bias) => {
                let bias = cx.broadcast_like(bias, y);
                cx.add(y, bias)
            }
            None => y,
        }
    }
}

/// The inputs of a layer: query, value, perhaps a key of its own, perhaps a boolean attention mask.
pub struct Operands {
    pub query: usize,
    pub value: usize,
    pub key: usize,
    pub mask: Option<usize>,
}

impl Operands {
    /// Which input is what.
    pub fn of(inputs: &[TensorType]) -> Operands {
        let mask = inputs.iter().rposition(|ty| ty.dtype == DType::Bool);
        let tensors = mask.unwrap_or(inputs.len());
        Operands { query: 0, value: 1, key: if tensors > 2 { 2 } else { 1 }, mask }
    }

    /// Checks that there are query, value and perhaps key, of one rank, `f32`, where value and key differ in their
    /// features at most, and that a mask comes last.
    pub fn check(kind: &str, inputs: &[TensorType]) -> Result<Operands, Problem> {
        let this = Operands::of(inputs);
        let tensors = &inputs[..this.mask.unwrap_or(inputs.len())];
        if !(2..=3).contains(&tensors.len()) || this.mask.is_some_and(|m| m + 1 != inputs.len()) {
            return Err(Problem::new(
                Code::Arity,
                format!("{kind} takes query, value, perhaps key, perhaps a bool mask"),
            )
            .help("self-attention is `layer.apply_many(&[&x, &x])`"));
        }
        if let Some(bad) = tensors.iter().find(|ty| ty.dtype != DType::F32) {
            return Err(Problem::new(Code::DType, format!("{kind} takes f32, one of its inputs is {bad}")));
        }
        let (query, value, key) = (&tensors[this.query], &tensors[this.value], &tensors[this.key]);
        let steps = |ty: &TensorType| ty.shape.without(&[ty.shape.rank() - 1]);
        if query.shape.rank() < 3 || value.shape.rank() != query.shape.rank() {
            return Err(Problem::shape(format!("{kind} of a query {query} and a value {value}"))
                .help("both are sequences of one rank: [batch, steps, features]"));
        }
        match key.shape.rank() == value.shape.rank() && steps(value) == steps(key) {
            true => Ok(this),
            false => Err(Problem::shape(format!("{kind} of a value {value} with a key {key}"))
                .help("each value has one key: all extents but the last are equal")),
        }
    }
}

/// The axes of a projected tensor `[batch, ..., heads, features]`.
pub struct Layout {
    /// Those that attend to each other.
    pub axes: Vec<usize>,
    pub rank: usize,
}

impl Layout {
    /// Axes that attention does not mix, the heads last.
    fn kept(&self) -> Vec<usize> {
        (0..self.rank - 1).filter(|a| !self.axes.contains(a)).collect()
    }

    /// In the scores `[kept..., queries..., keys...]`: the axes of queries and those of keys.
    fn places(&self) -> (Range<usize>, Range<usize>) {
        let (kept, n) = (self.kept().len(), self.axes.len());
        (kept..kept + n, kept + n..kept + 2 * n)
    }

    /// The shape of the scores of some queries and keys before they are projected to heads.
    pub fn scores(&self, query: &Shape, key: &Shape, heads: usize) -> Shape {
        let kept = self.kept();
        let rest = kept[..kept.len() - 1].iter().map(|&a| query[a]).chain([Dim::fixed(heads)]);
        let axes = self.axes.iter();
        Shape(rest.chain(axes.clone().map(|&a| query[a])).chain(axes.map(|&a| key[a])).collect())
    }

    /// Where the axes of an attention mask of some rank are among those of the scores: it lacks the last of those that
    /// are kept, if any.
    fn mask_axes(&self, rank: usize) -> Option<Vec<usize>> {
        let (queries, keys) = self.places();
        let leading = rank.checked_sub(2 * self.axes.len())?;
        (leading <= queries.start).then(|| (0..leading).chain(queries.start..keys.end).collect())
    }
}

/// What weakens attention besides the inputs' masks.
pub struct Limits {
    pub causal: bool,
    pub window: Option<usize>,
}

/// Fails where a window is empty.
pub fn check_window(kind: &str, window: Option<usize>) -> Result<(), Problem> {
    match window {
        Some(0) => Err(Problem::value(format!("{kind} with sliding_window 0: must be at least 1"))),
        _ => Ok(()),
    }
}

/// The extent of the last axis.
pub fn features(ty: &TensorType) -> usize {
    ty.shape.last().map_or(1, |d| d.scale)
}

/// Checks masks against the scores.
pub fn check_masks(
    cx: &BuildCx<'_>,
    kind: &str,
    operands: &Operands,
    layout: &Layout,
    scores: &Shape,
    limits: &Limits,
) -> Result<(), Problem> {
    let linear = layout.axes == [layout.rank - 3];
    let masked = [operands.query, operands.value, operands.key].into_iter().find_map(|i| Some((i, cx.mask(i)?)));
    if let Some((input, mask)) = masked {
        let ty = &cx.inputs()[input];
        if !linear || mask.shape.rank() + 1 != ty.shape.rank() {
            return Err(Problem::shape(format!(
                "{kind} over axes {:?} of {ty} cannot use a mask of {mask}",
                layout.axes
            ))
            .help("masks serve attention over the last axis before the features"));
        }
    }
    if !linear && (limits.causal || limits.window.is_some()) {
        let message = format!("{kind} over axes {:?} has no order for a causal mask or a window", layout.axes);
        return Err(
            Problem::new(Code::Axis, message).help("they serve attention over the last axis before the features")
        );
    }
    let Some(mask) = operands.mask.map(|i| &cx.inputs()[i]) else { return Ok(()) };
    let wide = layout.mask_axes(mask.shape.rank()).map(|axes| {
        let mut dims = vec![Dim::ONE; scores.rank()];
        axes.iter().zip(mask.shape.iter()).for_each(|(&a, &d)| dims[a] = d);
        Shape(dims)
    });
    match wide.and_then(|wide| broadcast_shape(&wide, scores)).as_ref() == Some(scores) {
        true => Ok(()),
        false => Err(Problem::shape(format!("{kind} with an attention mask of {mask}, its scores are {scores}"))
            .help("a mask is [batch, queries, keys] or [batch, heads, queries, keys]")),
    }
}

/// Which scores count: everything that the masks of the inputs, the attention mask and the limits leave.
pub fn mask(
    cx: &mut CallCx<'_>,
    x: &[NodeId],
    operands: &Operands,
    layout: &Layout,
    scores: &Shape,
    limits: &Limits,
) -> Option<NodeId> {
    let (queries, keys) = layout.places();
    let (query, key) = (queries.start, keys.start);
    let mut steps = |input: usize, place: usize| {
        let mask = cx.mask(input)?;
        let leading = cx.ty(mask).shape.rank() - 1;
        let axes: Vec<usize> = (0..leading).chain([place]).collect();
        Some(cx.broadcast(mask, &axes, scores.clone()))
    };
    let by_query = steps(operands.query, query);
    let by_value = steps(operands.value, key);
    let by_key = if operands.key == operands.value { None } else { steps(operands.key, key) };
    let given = operands.mask.map(|input| {
        let axes = layout.mask_axes(cx.ty(x[input]).shape.rank());
        let axes = axes.unwrap_or_else(|| cx.fault("cannot use its attention mask".into()));
        cx.broadcast(x[input], &axes, scores.clone())
    });
    let order = limits.causal.then(|| causal(cx, scores, query, key));
    let near = limits.window.map(|width| within(cx, scores, query, key, width));
    all(cx, [by_query, by_value, by_key, given, order, near])
}

/// How scores become weights.
pub struct Weighting {
    /// What the queries are multiplied by.
    pub scale: f64,
    pub dropout: f64,
    pub seed: Option<u64>,
    /// Whether the weights of a query that attends to nothing are all 0; otherwise they are all equal.
    pub empty_is_zero: bool,
}

/// Attention of projected tensors: the weighted values, laid out as the queries, and the weights before dropout.
pub fn attend(
    cx: &mut CallCx<'_>,
    [query, key, value]: [NodeId; 3],
    layout: &Layout,
    mask: Option<NodeId>,
    weighting: &Weighting,
) -> (NodeId, NodeId) {
    let kept = layout.kept();
    let (queries, keys) = layout.places();
    let features = layout.rank - 1;
    let query = cx.mul_s(query, weighting.scale);
    let same: Vec<(usize, usize)> = kept.iter().map(|&a| (a, a)).collect();
    let scores = cx.contract(query, key, &same, &[(features, features)]);
    let along: Vec<usize> = keys.clone().collect();
    let weights = match mask {
        Some(mask) if !weighting.empty_is_zero => even_softmax(cx, scores, mask, &along),
        mask => masked_softmax(cx, scores, mask, &along),
    };
    let mut used = weights;
    if weighting.dropout > 0.0 && cx.training() {
        let shape = cx.ty(weights).shape.clone();
        cx.seed(weighting.seed);
        used = dropout(cx, weights, weighting.dropout, &shape);
    }
    let same: Vec<(usize, usize)> = kept.iter().copied().enumerate().collect();
    let sum: Vec<(usize, usize)> = keys.zip(layout.axes.iter().copied()).collect();
    let y = cx.contract(used, value, &same, &sum);
    let from_kept = |a: usize| kept.iter().position(|&k| k == a);
    let from_axes = |a: usize| layout.axes.iter().position(|&k| k == a).map(|i| queries.start + i);
    let order: Vec<usize> = (0..features).filter_map(|a| from_kept(a).or(from_axes(a))).chain([queries.end]).collect();
    (cx.permute(y, &order), weights)
}

/// Softmax over the elements that a mask keeps, and over all of them where it keeps none.
fn even_softmax(cx: &mut CallCx<'_>, x: NodeId, mask: NodeId, axes: &[usize]) -> NodeId {
    let lowest = cx.lit_like(x, -0.7 * f32::MAX as f64);
    let kept = cx.select(mask, x, lowest);
    let shape = cx.ty(x).shape.clone();
    let top = cx.reduce(ReduceFn::Max, kept, axes);
    let top = cx.stop_gradient(top);
    let top = cx.unreduce(top, axes, &shape);
    let shifted = cx.sub(kept, top);
    let e = cx.exp(shifted);
    let sum = cx.sum(e, axes);
    let sum = cx.unreduce(sum, axes, &shape);
    cx.div(e, sum)
}
