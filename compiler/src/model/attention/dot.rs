use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::{AttentionArguments, all, attention_setters, causal};
use crate::diag::{Code, Problem};
use crate::ir::{DType, Dim, NodeId, Shape, TensorType};
use crate::model::CallCx;
use crate::model::initializer::Initializer;
use crate::model::layer::{BuildCx, Layer, LayerDef, Weight, floats};
use crate::model::setters::setters;

/// How [`Attention`] compares a query with a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScoreMode {
    /// `query . key`
    #[default]
    Dot,
    /// `sum(tanh(query + key))`, times a trained number.
    Concat,
}

/// Attention without projections, for inputs query, value and perhaps key: `[batch, steps, features]`.
///
/// The mask of the value, its second input, leaves steps out; where the mask of the query leaves a step out, the
/// result is 0.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Attention {
    use_scale: bool,
    score_mode: ScoreMode,
    #[serde(flatten)]
    attention: AttentionArguments,
}

impl Attention {
    pub fn new() -> Layer<Attention> {
        Layer::new(Attention::default())
    }
}

attention_setters!(Attention => attention);

impl Layer<Attention> {
    setters! {
        /// Whether the scores are multiplied by a trained number.
        use_scale: bool;
        score_mode: ScoreMode;
    }
}

/// Attention whose scores are `sum(scale * tanh(query + key))` over the features, for the same inputs as [`Attention`].
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct AdditiveAttention {
    use_scale: bool,
    #[serde(flatten)]
    attention: AttentionArguments,
}

impl Default for AdditiveAttention {
    fn default() -> AdditiveAttention {
        AdditiveAttention { use_scale: true, attention: AttentionArguments::default() }
    }
}

impl AdditiveAttention {
    pub fn new() -> Layer<AdditiveAttention> {
        Layer::new(AdditiveAttention::default())
    }
}

attention_setters!(AdditiveAttention => attention);

impl Layer<AdditiveAttention> {
    setters! {
        /// Whether every feature has a trained factor.
        use_scale: bool;
    }
}

/// Checks query, value and key `[batch..., steps, features]` and their masks. Comparing adds or multiplies features,
/// so query and key have equally many.
fn check(cx: &BuildCx<'_>, kind: &str) -> Result<(), Problem> {
    cx.float()?;
    let (query, value, key) = match cx.inputs() {
        [query, value] => (query, value, value),
        [query, value, key, ..] => (query, value, key),
        _ => return Err(Problem::new(Code::Arity, format!("{kind} takes query, value and perhaps key"))),
    };
    let rank = query.shape.rank();
    let leading = |shape: &Shape| shape.iter().take(rank.saturating_sub(2)).copied().collect::<Vec<Dim>>();
    let alike = [value, key].iter().all(|ty| ty.shape.rank() == rank && leading(&ty.shape) == leading(&query.shape));
    if rank < 3 || !alike {
        return Err(Problem::shape(format!("{kind} of a query {query}, a value {value} and a key {key}"))
            .help("all are sequences [batch, steps, features]"));
    }
    if query.shape[rank - 1] != key.shape[rank - 1] || value.shape[rank - 2] != key.shape[rank - 2] {
        return Err(Problem::shape(format!("{kind} of a query {query}, a value {value} and a key {key}"))
            .help("query and key have equally many features, value and key equally many steps"));
    }
    match (0..2).find_map(|i| cx.mask(i).filter(|mask| mask.shape.rank() != rank - 1)) {
        None => Ok(()),
        Some(mask) => Err(Problem::shape(format!("{kind} of {query} cannot use a mask of {mask}"))
            .help("masks have every axis of their tensors but the features")),
    }
}

/// Weights the values by the softmax of scores `[batch..., queries, values]`: the results of the layer.
fn weigh(cx: &mut CallCx<'_>, scores: NodeId, value: NodeId, attention: &AttentionArguments) -> Vec<NodeId> {
    /// What the scores of masked steps are lowered by.
    const PENALTY: f64 = 1e9;
    let shape = cx.ty(scores).shape.clone();
    let rank = shape.rank();
    let by_value = cx.mask(1).map(|mask| cx.unreduce(mask, &[rank - 2], &shape));
    let order = attention.use_causal_mask.then(|| causal(cx, &shape, rank - 2, rank - 1));
    let mut scores = scores;
    if let Some(mask) = all(cx, [by_value, order]) {
        let lowered = cx.add_s(scores, -PENALTY);
        scores = cx.select(mask, scores, lowered);
    }
    let weights = cx.softmax(scores, rank - 1);
    let used = attention.drop(cx, weights);
    let same: Vec<(usize, usize)> = (0..rank - 2).map(|a| (a, a)).collect();
    let mut y = cx.contract(used, value, &same, &[(rank - 1, rank - 2)]);
    if let Some(mask) = cx.mask(0) {
        let shape = cx.ty(y).shape.clone();
        let mask = cx.unreduce(mask, &[rank - 1], &shape);
        let zero = cx.lit_like(y, 0.0);
        y = cx.select(mask, y, zero);
    }
    let of_query = cx.mask(0);
    cx.set_mask(0, of_query);
    attention.results(y, weights)
}

/// `query + key` for every pair: `[batch..., queries, keys, features]`.
fn pairs(cx: &mut CallCx<'_>, query: NodeId, key: NodeId) -> NodeId {
    let (q, k) = (cx.ty(query).shape.clone(), cx.ty(key).shape.clone());
    let rank = q.rank();
    let mut dims = q.0;
    dims.insert(rank - 1, k[rank - 2]);
    let shape = Shape(dims);
    let query = cx.unreduce(query, &[rank - 1], &shape);
    let key = cx.unreduce(key, &[rank - 2], &shape);
    cx.add(query, key)
}

impl LayerDef for Attention {
    fn kind(&self) -> &'static str {
        "Attention"
    }

    attention_setters!(in impl attention);

    fn arity(&self) -> RangeInclusive<usize> {
        2..=3
    }

    fn operands(&self, given: &[TensorType]) -> Vec<DType> {
        floats(given)
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        self.attention.check(self.kind())?;
        check(cx, self.kind())?;
        if self.use_scale {
            cx.weight(Weight::new("scale", [], Initializer::Ones))?;
        }
        if self.score_mode == ScoreMode::Concat {
            cx.weight(Weight::new("concat_score_weight", [], Initializer::Ones))?;
        }
        Ok(())
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let (query, value, key) = (x[0], x[1], x.get(2).copied().unwrap_or(x[1]));
        let rank = cx.ty(query).shape.rank();
        let scale = cx.optional_weight("scale");
        let times = |cx: &mut CallCx<'_>, x: NodeId, factor: Option<NodeId>| match factor {
            Some(factor) => {
                let factor = cx.broadcast_like(factor, x);
                cx.mul(x, factor)
            }
            None => x,
        };
        let scores = match self.score_mode {
            ScoreMode::Dot => {
                let same: Vec<(usize, usize)> = (0..rank - 2).map(|a| (a, a)).collect();
                let scores = cx.contract(query, key, &same, &[(rank - 1, rank - 1)]);
                times(cx, scores, scale)
            }
            ScoreMode::Concat => {
                let sum = pairs(cx, query, key);
                let sum = times(cx, sum, scale);
                let tanh = cx.tanh(sum);
                let scores = cx.sum(tanh, &[rank]);
                let weight = cx.weight("concat_score_weight");
                times(cx, scores, Some(weight))
            }
        };
        weigh(cx, scores, value, &self.attention)
    }
}

impl LayerDef for AdditiveAttention {
    fn kind(&self) -> &'static str {
        "AdditiveAttention"
    }

    attention_setters!(in impl attention);

    fn arity(&self) -> RangeInclusive<usize> {
        2..=3
    }

    fn operands(&self, given: &[TensorType]) -> Vec<DType> {
        floats(given)
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        self.attention.check(self.kind())?;
        check(cx, self.kind())?;
        let features = cx.input().shape.last().and_then(|d| d.as_fixed()).unwrap_or(1);
        match self.use_scale {
            true => cx.weight(Weight::new("scale", [features], Initializer::GlorotUniform)),
            false => Ok(()),
        }
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let (query, value, key) = (x[0], x[1], x.get(2).copied().unwrap_or(x[1]));
        let rank = cx.ty(query).shape.rank();
        let sum = pairs(cx, query, key);
        let mut compared = cx.tanh(sum);
        if let Some(scale) = cx.optional_weight("scale") {
            let scale = cx.broadcast_like(scale, compared);
            compared = cx.mul(compared, scale);
        }
        let scores = cx.sum(compared, &[rank]);
        weigh(cx, scores, value, &self.attention)
    }
}
