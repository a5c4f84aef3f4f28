use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::heads::{
    Layout, Limits, Operands, Projections, Weighting, attend, check_masks, check_window, features, mask,
    projection_parts,
};
use crate::diag::{Code, Problem};
use crate::ir::{NodeId, Shape, TensorType};
use crate::model::CallCx;
use crate::model::axes::Axes;
use crate::model::config::Config;
use crate::model::constraint::Constraint;
use crate::model::dropout::check_rate;
use crate::model::initializer::Initializer;
use crate::model::layer::{BuildCx, CallForm, Layer, LayerDef};
use crate::model::regularizer::Regularizer;
use crate::model::saved::Part;
use crate::model::setters::setters;

/// Several attentions side by side, each over its own projections of query, key and value, and a projection of their
/// joined results.
///
/// It is applied to query and value, `attention.apply_many(&[&x, &x])`, or to query, value and key; a boolean tensor
/// `[batch, queries, keys]` or `[batch, heads, queries, keys]` behind them says which pairs may attend. Masks of the
/// inputs leave steps out. As in Keras, they end here: the result has the mask of the query, and layers that are
/// applied to the same inputs afterwards see no masks any more.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct MultiHeadAttention {
    num_heads: usize,
    key_dim: usize,
    value_dim: Option<usize>,
    dropout: f64,
    use_bias: bool,
    use_gate: bool,
    output_shape: Option<Sizes>,
    attention_axes: Option<Axes>,
    sliding_window: Option<usize>,
    kernel_initializer: Initializer,
    bias_initializer: Initializer,
    kernel_regularizer: Option<Regularizer>,
    bias_regularizer: Option<Regularizer>,
    kernel_constraint: Option<Constraint>,
    bias_constraint: Option<Constraint>,
    seed: Option<u64>,
    /// Keras gives these two with each call.
    #[serde(skip)]
    use_causal_mask: bool,
    #[serde(skip)]
    return_attention_scores: bool,
}

/// One extent or several.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Sizes {
    One(usize),
    Several(Vec<usize>),
}

impl From<usize> for Sizes {
    fn from(size: usize) -> Sizes {
        Sizes::One(size)
    }
}

impl<const N: usize> From<[usize; N]> for Sizes {
    fn from(sizes: [usize; N]) -> Sizes {
        Sizes::Several(sizes.to_vec())
    }
}

impl Sizes {
    fn list(&self) -> &[usize] {
        match self {
            Sizes::One(size) => std::slice::from_ref(size),
            Sizes::Several(sizes) => sizes,
        }
    }
}

impl Default for MultiHeadAttention {
    fn default() -> MultiHeadAttention {
        MultiHeadAttention {
            num_heads: 0,
            key_dim: 0,
            value_dim: None,
            dropout: 0.0,
            use_bias: true,
            use_gate: false,
            output_shape: None,
            attention_axes: None,
            sliding_window: None,
            kernel_initializer: Initializer::GlorotUniform,
            bias_initializer: Initializer::Zeros,
            kernel_regularizer: None,
            bias_regularizer: None,
            kernel_constraint: None,
            bias_constraint: None,
            seed: None,
            use_causal_mask: false,
            return_attention_scores: false,
        }
    }
}

impl MultiHeadAttention {
    pub fn new(num_heads: usize, key_dim: usize) -> Layer<MultiHeadAttention> {
        Layer::new(MultiHeadAttention { num_heads, key_dim, ..MultiHeadAttention::default() })
    }
}

impl Layer<MultiHeadAttention> {
    setters! {
        /// Features of each head's values; as many as keys have unless set.
        value_dim: some usize;
        /// The fraction of the weights that is dropped in training.
        dropout: f64;
        use_bias: bool;
        /// Whether the joined results are multiplied by a gate, a sigmoid of a projection of the query.
        use_gate: bool;
        /// The extents that the features of the result have; those of the query unless set.
        output_shape: some Sizes;
        /// The axes whose elements attend to each other, counted with the batch as 0; all but the features unless set.
        attention_axes: some Axes;
        /// Attention reaches less than this many steps to either side.
        sliding_window: some usize;
        kernel_initializer: Initializer;
        bias_initializer: Initializer;
        kernel_regularizer: some Regularizer;
        bias_regularizer: some Regularizer;
        kernel_constraint: some Constraint;
        bias_constraint: some Constraint;
        /// A seed of the layer's own: what it drops no longer depends on the seed of the model.
        seed: some u64;
        /// Whether steps attend to earlier ones and themselves only.
        use_causal_mask: bool;
        /// Whether the weights are a second result: `[batch, heads, queries, keys]`.
        return_attention_scores: bool;
    }
}

impl MultiHeadAttention {
    fn projections(&self, activity_regularizer: Option<Regularizer>) -> Projections {
        Projections {
            activity_regularizer,
            use_bias: self.use_bias,
            kernel_initializer: self.kernel_initializer,
            bias_initializer: self.bias_initializer,
            kernel_regularizer: self.kernel_regularizer,
            bias_regularizer: self.bias_regularizer,
            kernel_constraint: self.kernel_constraint.clone(),
            bias_constraint: self.bias_constraint.clone(),
        }
    }

    /// The axes of the projected tensors for a query.
    fn layout(&self, query: &Shape) -> Result<Layout, Problem> {
        let (rank, features) = (query.rank() + 1, query.rank() - 1);
        let axes = match &self.attention_axes {
            None => (1..features).collect(),
            Some(axes) => axes.resolve("MultiHeadAttention", query)?,
        };
        match axes.contains(&features) {
            false => Ok(Layout { axes, rank }),
            true => Err(Problem::new(Code::Axis, "MultiHeadAttention along the features")
                .help("name axes between the batch and the features")),
        }
    }

    fn limits(&self) -> Limits {
        Limits { causal: self.use_causal_mask, window: self.sliding_window }
    }

    fn value_features(&self) -> usize {
        self.value_dim.unwrap_or(self.key_dim)
    }
}

impl LayerDef for MultiHeadAttention {
    fn kind(&self) -> &'static str {
        "MultiHeadAttention"
    }

    fn arity(&self) -> RangeInclusive<usize> {
        2..=4
    }

    fn results(&self) -> usize {
        1 + self.return_attention_scores as usize
    }

    fn call_form(&self) -> CallForm {
        CallForm::Attention
    }

    fn call_arguments(&self) -> Config {
        let flags =
            [("use_causal_mask", self.use_causal_mask), ("return_attention_scores", self.return_attention_scores)];
        flags.into_iter().filter(|(_, on)| *on).map(|(name, on)| (name.to_string(), on.into())).collect()
    }

    fn parts(&self) -> Vec<Part> {
        projection_parts(["query_dense", "key_dense", "value_dense", "output_dense"], self.use_gate)
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        cx.positive("num_heads", self.num_heads)?;
        cx.positive("key_dim", self.key_dim)?;
        cx.positive("value_dim", self.value_features())?;
        let sizes = self.output_shape.as_ref().map(|sizes| sizes.list().to_vec());
        sizes.iter().flatten().try_for_each(|&n| cx.positive("output_shape", n))?;
        check_rate(self.kind(), self.dropout, false)?;
        check_window(self.kind(), self.sliding_window)?;
        let operands = Operands::check(self.kind(), cx.inputs())?;
        let types = |i: usize| cx.inputs()[i].clone();
        let (query, value, key) = (types(operands.query), types(operands.value), types(operands.key));
        let layout = self.layout(&query.shape)?;
        let apart = |a: usize| !layout.axes.contains(&a) && query.shape[a] != value.shape[a];
        if (0..query.shape.rank() - 1).any(apart) {
            return Err(Problem::shape(format!(
                "MultiHeadAttention over axes {:?} of {query} and {value}",
                layout.axes
            ))
            .help("the extents of all other axes but the features must be equal"));
        }
        let scores = layout.scores(&query.shape, &key.shape, self.num_heads);
        check_masks(cx, self.kind(), &operands, &layout, &scores, &self.limits())?;
        let projections = self.projections(None);
        let (heads, values) = ([self.num_heads, self.key_dim], [self.num_heads, self.value_features()]);
        projections.declare(cx, "query", &[features(&query)], &heads)?;
        projections.declare(cx, "key", &[features(&key)], &heads)?;
        if self.use_gate {
            projections.declare(cx, "gate", &[features(&query)], &values)?;
        }
        projections.declare(cx, "value", &[features(&value)], &values)?;
        let sizes = sizes.unwrap_or_else(|| vec![features(&query)]);
        projections.declare(cx, "attention_output", &values, &sizes)
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let types: Vec<TensorType> = x.iter().map(|&x| cx.ty(x).clone()).collect();
        let operands = Operands::of(&types);
        let (query, key) = (&types[operands.query].shape, &types[operands.key].shape);
        let layout = self.layout(query).unwrap_or_else(|p| cx.fault(p.message));
        let scores = layout.scores(query, key, self.num_heads);
        let mask = mask(cx, x, &operands, &layout, &scores, &self.limits());
        let of_query = cx.mask(operands.query);
        cx.set_mask(0, of_query);
        cx.use_up_masks();
        let projections = self.projections(cx.take_activity_regularizer());
        let gate = self.use_gate.then(|| projections.gate(cx, "gate", x[operands.query]));
        let query = projections.apply(cx, "query", x[operands.query], 1);
        let key = projections.apply(cx, "key", x[operands.key], 1);
        let value = projections.apply(cx, "value", x[operands.value], 1);
        let weighting = Weighting {
            scale: 1.0 / (self.key_dim as f64).sqrt(),
            dropout: self.dropout,
            seed: self.seed,
            // Keras takes one of two ways, which differ here.
            empty_is_zero: self.dropout > 0.0 || self.return_attention_scores || layout.rank != 4,
        };
        let (mut y, weights) = attend(cx, [query, key, value], &layout, mask, &weighting);
        if let Some(gate) = gate {
            y = cx.mul(y, gate);
        }
        let y = projections.apply(cx, "attention_output", y, 2);
        if self.return_attention_scores { vec![y, weights] } else { vec![y] }
    }
}
