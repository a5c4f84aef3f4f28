//! What the layers with several heads share: projections, masks, and the attention itself.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{AttentionArguments, all, causal, within};
use crate::diag::{Code, Problem};
use crate::ir::{DType, Dim, NodeId, ReduceFn, Shape, TensorType};
use crate::model::CallCx;
use crate::model::activation::masked_softmax;
use crate::model::affine::KernelAndBias;
use crate::model::layer::{BuildCx, Layer, LayerDef};
use crate::model::merge::broadcast_shape;
use crate::model::regularizer::Regularizer;
use crate::model::saved::Part;
use crate::model::setters::{Has, setters};

/// The arguments that the layers with several heads share.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct HeadArguments {
    pub use_bias: bool,
    pub use_gate: bool,
    pub sliding_window: Option<usize>,
    #[serde(flatten)]
    pub weights: KernelAndBias,
    #[serde(flatten)]
    pub attention: AttentionArguments,
}

impl Default for HeadArguments {
    fn default() -> HeadArguments {
        HeadArguments {
            use_bias: true,
            use_gate: false,
            sliding_window: None,
            weights: KernelAndBias::default(),
            attention: AttentionArguments::default(),
        }
    }
}

impl<D: LayerDef + Clone + Has<HeadArguments>> Layer<D> {
    setters! {
        in Has::<HeadArguments>::part;
        /// Whether the joined results are multiplied by a gate, a sigmoid of a projection of the query.
        use_gate: bool;
        /// Attention reaches less than this many steps to either side.
        sliding_window: some usize;
    }
}

/// The heads and features of what the inputs are projected to.
pub struct Extents {
    pub query: [usize; 2],
    pub key: [usize; 2],
    pub value: [usize; 2],
    /// Of the results that the output is projected from.
    pub joined: [usize; 2],
}

/// One layer's attention.
pub struct Heads<'a> {
    pub arguments: &'a HeadArguments,
    pub layout: Layout,
    pub extents: Extents,
    /// The penalty on every projection.
    pub activity_regularizer: Option<Regularizer>,
    /// Whether the weights of a query that attends to nothing are all 0; otherwise they are all equal.
    pub empty_is_zero: bool,
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

impl HeadArguments {
    pub fn check(&self, kind: &str) -> Result<(), Problem> {
        self.attention.check(kind)?;
        match self.sliding_window {
            Some(0) => Err(Problem::value(format!("{kind} with sliding_window 0: must be at least 1"))),
            _ => Ok(()),
        }
    }

    /// Declares the kernel `[from..., to...]` and the bias `[to...]` of one projection.
    fn declare(&self, cx: &mut BuildCx<'_>, name: &str, from: &[usize], to: &[usize]) -> Result<(), Problem> {
        let size = |extents: &[usize]| extents.iter().fold(1usize, |n, d| n.saturating_mul(*d));
        let shape = [from, to].concat();
        cx.weight(self.weights.kernel_with_fans(format!("{name}/kernel"), shape, size(from), size(to)))?;
        match self.use_bias {
            true => cx.weight(self.weights.bias(format!("{name}/bias"), to)),
            false => Ok(()),
        }
    }
}

impl Heads<'_> {
    /// Checks the masks of a layer over operands that have been checked, and declares its weights.
    pub fn build(&self, cx: &mut BuildCx<'_>, operands: &Operands, output: &[usize]) -> Result<(), Problem> {
        let (query, value, key) = operands.types(cx.inputs());
        self.check_masks(cx, operands)?;
        let Heads { arguments, extents, .. } = self;
        arguments.declare(cx, "query", &[features(&query)], &extents.query)?;
        arguments.declare(cx, "key", &[features(&key)], &extents.key)?;
        if arguments.use_gate {
            arguments.declare(cx, "gate", &[features(&query)], &extents.joined)?;
        }
        arguments.declare(cx, "value", &[features(&value)], &extents.value)?;
        arguments.declare(cx, "attention_output", &extents.joined, output)
    }

    /// The results of a layer. The first one has the mask of the query.
    pub fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let types: Vec<TensorType> = x.iter().map(|&x| cx.ty(x).clone()).collect();
        let operands = Operands::of(&types);
        let mask = self.mask(cx, x, &operands);
        let of_query = cx.mask(operands.query);
        cx.set_mask(0, of_query);
        let gate = self.arguments.use_gate.then(|| {
            let gate = self.linear(cx, "gate", x[operands.query], 1);
            let gate = cx.sigmoid(gate);
            self.penalized(cx, gate)
        });
        let query = self.project(cx, "query", x[operands.query], 1);
        let key = self.project(cx, "key", x[operands.key], 1);
        let value = self.project(cx, "value", x[operands.value], 1);
        let (key, value) = (self.shared(cx, key), self.shared(cx, value));
        let (mut y, weights) = self.attend(cx, [query, key, value], mask);
        if let Some(gate) = gate {
            y = cx.mul(y, gate);
        }
        let y = self.project(cx, "attention_output", y, 2);
        self.arguments.attention.results(y, weights)
    }

    /// Projects the last `axes` axes of a tensor.
    fn project(&self, cx: &mut CallCx<'_>, name: &str, x: NodeId, axes: usize) -> NodeId {
        let y = self.linear(cx, name, x, axes);
        self.penalized(cx, y)
    }

    fn penalized(&self, cx: &mut CallCx<'_>, y: NodeId) -> NodeId {
        cx.penalize_activity(self.activity_regularizer, y);
        y
    }

    fn linear(&self, cx: &mut CallCx<'_>, name: &str, x: NodeId, axes: usize) -> NodeId {
        let kernel = cx.weight(&format!("{name}/kernel"));
        let first = cx.ty(x).shape.rank() - axes;
        let sum: Vec<(usize, usize)> = (0..axes).map(|i| (first + i, i)).collect();
        let y = cx.contract(x, kernel, &[], &sum);
        cx.add_bias(y, &format!("{name}/bias"))
    }

    /// Projected keys or values with each head as many times as query heads share it.
    fn shared(&self, cx: &mut CallCx<'_>, x: NodeId) -> NodeId {
        let (heads, own) = (self.extents.query[0], self.extents.key[0]);
        if heads == own {
            return x;
        }
        let mut dims = cx.ty(x).shape.0.clone();
        let place = dims.len() - 2;
        dims[place] = Dim::fixed(heads);
        let result = Shape(dims.clone());
        dims[place] = Dim::fixed(own);
        dims.insert(place + 1, Dim::fixed(heads / own));
        let axes: Vec<usize> = (0..dims.len()).filter(|axis| *axis != place + 1).collect();
        let wide = cx.broadcast(x, &axes, Shape(dims));
        cx.reshape(wide, result)
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

    /// The types of query, value and key.
    pub fn types(&self, inputs: &[TensorType]) -> (TensorType, TensorType, TensorType) {
        (inputs[self.query].clone(), inputs[self.value].clone(), inputs[self.key].clone())
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

/// The extent of the last axis.
pub fn features(ty: &TensorType) -> usize {
    ty.shape.last().map_or(1, |d| d.scale)
}

impl Heads<'_> {
    fn scores(&self, query: &TensorType, key: &TensorType) -> Shape {
        self.layout.scores(&query.shape, &key.shape, self.extents.query[0])
    }

    /// Checks masks against the scores.
    fn check_masks(&self, cx: &BuildCx<'_>, operands: &Operands) -> Result<(), Problem> {
        let (kind, layout) = (cx.kind(), &self.layout);
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
        let HeadArguments { attention, sliding_window, .. } = self.arguments;
        if !linear && (attention.use_causal_mask || sliding_window.is_some()) {
            let message = format!("{kind} over axes {:?} has no order for a causal mask or a window", layout.axes);
            return Err(
                Problem::new(Code::Axis, message).help("they serve attention over the last axis before the features")
            );
        }
        let Some(mask) = operands.mask.map(|i| &cx.inputs()[i]) else { return Ok(()) };
        let (query, _, key) = operands.types(cx.inputs());
        let scores = self.scores(&query, &key);
        let wide = layout.mask_axes(mask.shape.rank()).map(|axes| {
            let mut dims = vec![Dim::ONE; scores.rank()];
            axes.iter().zip(mask.shape.iter()).for_each(|(&a, &d)| dims[a] = d);
            Shape(dims)
        });
        match wide.and_then(|wide| broadcast_shape(&wide, &scores)).as_ref() == Some(&scores) {
            true => Ok(()),
            false => Err(Problem::shape(format!("{kind} with an attention mask of {mask}, its scores are {scores}"))
                .help("a mask is [batch, queries, keys] or [batch, heads, queries, keys]")),
        }
    }

    /// Which scores count: everything that the masks of the inputs, the attention mask and the arguments leave.
    fn mask(&self, cx: &mut CallCx<'_>, x: &[NodeId], operands: &Operands) -> Option<NodeId> {
        let (query, key) = (cx.ty(x[operands.query]).clone(), cx.ty(x[operands.key]).clone());
        let scores = self.scores(&query, &key);
        let (queries, keys) = self.layout.places();
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
            let axes = self.layout.mask_axes(cx.ty(x[input]).shape.rank());
            let axes = axes.unwrap_or_else(|| cx.fault("cannot use its attention mask".into()));
            cx.broadcast(x[input], &axes, scores.clone())
        });
        let order = self.arguments.attention.use_causal_mask.then(|| causal(cx, &scores, query, key));
        let near = self.arguments.sliding_window.map(|width| within(cx, &scores, query, key, width));
        all(cx, [by_query, by_value, by_key, given, order, near])
    }

    /// Attention of projected tensors: the weighted values, laid out as the queries, and the weights before dropout.
    fn attend(&self, cx: &mut CallCx<'_>, [query, key, value]: [NodeId; 3], mask: Option<NodeId>) -> (NodeId, NodeId) {
        let layout = &self.layout;
        let kept = layout.kept();
        let (queries, keys) = layout.places();
        let features = layout.rank - 1;
        let query = cx.mul_s(query, 1.0 / (self.extents.query[1] as f64).sqrt());
        let same: Vec<(usize, usize)> = kept.iter().map(|&a| (a, a)).collect();
        let scores = cx.contract(query, key, &same, &[(features, features)]);
        let along: Vec<usize> = keys.clone().collect();
        let weights = match mask {
            Some(mask) if !self.empty_is_zero => even_softmax(cx, scores, mask, &along),
            mask => masked_softmax(cx, scores, mask, &along),
        };
        let used = self.arguments.attention.drop(cx, weights);
        let same: Vec<(usize, usize)> = kept.iter().copied().enumerate().collect();
        let sum: Vec<(usize, usize)> = keys.zip(layout.axes.iter().copied()).collect();
        let y = cx.contract(used, value, &same, &sum);
        let from_kept = |a: usize| kept.iter().position(|&k| k == a);
        let from_axes = |a: usize| layout.axes.iter().position(|&k| k == a).map(|i| queries.start + i);
        let order: Vec<usize> =
            (0..features).filter_map(|a| from_kept(a).or(from_axes(a))).chain([queries.end]).collect();
        (cx.permute(y, &order), weights)
    }
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
