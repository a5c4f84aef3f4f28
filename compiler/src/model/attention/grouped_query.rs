use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::heads::{
    Layout, Limits, Operands, Projections, Weighting, attend, check_masks, check_window, features, mask,
    projection_parts,
};
use crate::diag::Problem;
use crate::ir::{Dim, NodeId, Shape, TensorType};
use crate::model::CallCx;
use crate::model::config::Config;
use crate::model::constraint::Constraint;
use crate::model::dropout::check_rate;
use crate::model::initializer::Initializer;
use crate::model::layer::{BuildCx, CallForm, Layer, LayerDef};
use crate::model::regularizer::Regularizer;
use crate::model::saved::Part;
use crate::model::setters::setters;

/// Attention with more query heads than heads of keys and values: several query heads share each of these.
///
/// It is applied like [`MultiHeadAttention`](super::MultiHeadAttention), to sequences `[batch, steps, features]`. The result has the mask of the
/// query, and the inputs keep theirs.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupQueryAttention {
    head_dim: usize,
    num_query_heads: usize,
    num_key_value_heads: usize,
    use_bias: bool,
    use_gate: bool,
    sliding_window: Option<usize>,
    dropout: f64,
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

impl Default for GroupQueryAttention {
    fn default() -> GroupQueryAttention {
        GroupQueryAttention {
            head_dim: 0,
            num_query_heads: 0,
            num_key_value_heads: 0,
            use_bias: true,
            use_gate: false,
            sliding_window: None,
            dropout: 0.0,
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

impl GroupQueryAttention {
    pub fn new(head_dim: usize, num_query_heads: usize, num_key_value_heads: usize) -> Layer<GroupQueryAttention> {
        let default = GroupQueryAttention::default();
        Layer::new(GroupQueryAttention { head_dim, num_query_heads, num_key_value_heads, ..default })
    }
}

impl Layer<GroupQueryAttention> {
    setters! {
        use_bias: bool;
        /// Whether the joined results are multiplied by a gate, a sigmoid of a projection of the query.
        use_gate: bool;
        /// Attention reaches less than this many steps to either side.
        sliding_window: some usize;
        /// The fraction of the weights that is dropped in training.
        dropout: f64;
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

impl GroupQueryAttention {
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

    fn limits(&self) -> Limits {
        Limits { causal: self.use_causal_mask, window: self.sliding_window }
    }

    /// The axes of the projected tensors.
    fn layout(&self) -> Layout {
        Layout { axes: vec![1], rank: 4 }
    }

    /// Each head as many times as query heads share it.
    fn repeat(&self, cx: &mut CallCx<'_>, x: NodeId) -> NodeId {
        let shape = cx.ty(x).shape.clone();
        let times = self.num_query_heads / self.num_key_value_heads;
        let mut dims = shape.0.clone();
        dims.insert(3, Dim::fixed(times));
        let wide = cx.broadcast(x, &[0, 1, 2, 4], Shape(dims));
        let mut dims = shape.0;
        dims[2] = Dim::fixed(self.num_query_heads);
        cx.reshape(wide, Shape(dims))
    }
}

impl LayerDef for GroupQueryAttention {
    /// What Keras calls the class inside, after which it names layers and their weights; the name above is the exported one.
    fn kind(&self) -> &'static str {
        "GroupedQueryAttention"
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
        projection_parts(["_query_dense", "_key_dense", "_value_dense", "_output_dense"], self.use_gate)
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        cx.positive("head_dim", self.head_dim)?;
        cx.positive("num_query_heads", self.num_query_heads)?;
        cx.positive("num_key_value_heads", self.num_key_value_heads)?;
        let (queries, pairs) = (self.num_query_heads, self.num_key_value_heads);
        if !queries.is_multiple_of(pairs) {
            return Err(Problem::value(format!(
                "GroupQueryAttention of {queries} query heads over {pairs} heads of keys"
            ))
            .help("num_key_value_heads must divide num_query_heads"));
        }
        check_rate(self.kind(), self.dropout, false)?;
        check_window(self.kind(), self.sliding_window)?;
        let operands = Operands::check(self.kind(), cx.inputs())?;
        let types = |i: usize| cx.inputs()[i].clone();
        let (query, value, key) = (types(operands.query), types(operands.value), types(operands.key));
        if query.shape.rank() != 3 || features(&query) != features(&value) {
            return Err(Problem::shape(format!("GroupQueryAttention of a query {query} and a value {value}"))
                .help("both are sequences [batch, steps, features] with equally many features"));
        }
        let layout = self.layout();
        let scores = layout.scores(&query.shape, &key.shape, queries);
        check_masks(cx, self.kind(), &operands, &layout, &scores, &self.limits())?;
        let projections = self.projections(None);
        let (many, few) = ([queries, self.head_dim], [pairs, self.head_dim]);
        projections.declare(cx, "query", &[features(&query)], &many)?;
        projections.declare(cx, "key", &[features(&key)], &few)?;
        if self.use_gate {
            projections.declare(cx, "gate", &[features(&query)], &many)?;
        }
        projections.declare(cx, "value", &[features(&value)], &few)?;
        projections.declare(cx, "attention_output", &many, &[features(&query)])
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let types: Vec<TensorType> = x.iter().map(|&x| cx.ty(x).clone()).collect();
        let operands = Operands::of(&types);
        let layout = self.layout();
        let scores = layout.scores(&types[operands.query].shape, &types[operands.key].shape, self.num_query_heads);
        let mask = mask(cx, x, &operands, &layout, &scores, &self.limits());
        let of_query = cx.mask(operands.query);
        cx.set_mask(0, of_query);
        let projections = self.projections(cx.activity_regularizer());
        let gate = self.use_gate.then(|| projections.gate(cx, "gate", x[operands.query]));
        let query = projections.apply(cx, "query", x[operands.query], 1);
        let key = projections.apply(cx, "key", x[operands.key], 1);
        let value = projections.apply(cx, "value", x[operands.value], 1);
        let (key, value) = (self.repeat(cx, key), self.repeat(cx, value));
        let weighting = Weighting {
            scale: 1.0 / (self.head_dim as f64).sqrt(),
            dropout: self.dropout,
            seed: self.seed,
            empty_is_zero: self.dropout > 0.0 || self.return_attention_scores,
        };
        let (mut y, weights) = attend(cx, [query, key, value], &layout, mask, &weighting);
        if let Some(gate) = gate {
            y = cx.mul(y, gate);
        }
        let y = projections.apply(cx, "attention_output", y, 2);
        if self.return_attention_scores { vec![y, weights] } else { vec![y] }
    }
}
