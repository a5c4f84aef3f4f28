//! Attention: each query's weighted mean of values, with weights that come from comparing it with keys.

mod dot;
mod grouped_query;
mod heads;
mod multi_head;

pub use dot::{AdditiveAttention, Attention, ScoreMode};
pub use grouped_query::GroupQueryAttention;
pub use multi_head::{MultiHeadAttention, Sizes};

use serde::{Deserialize, Serialize};

use super::CallCx;
use super::config::Config;
use super::dropout::{check_rate, dropout};
use crate::diag::Problem;
use crate::ir::{DType, Dim, Graph, NodeId, Shape};

/// What every layer of attention takes.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AttentionArguments {
    dropout: f64,
    seed: Option<u64>,
    /// Keras gives these two with each call.
    #[serde(skip)]
    use_causal_mask: bool,
    #[serde(skip)]
    return_attention_scores: bool,
}

impl AttentionArguments {
    fn check(&self, kind: &str) -> Result<(), Problem> {
        check_rate(kind, self.dropout, false)
    }

    /// Sets a flag that Keras gives with a call; whether there is one with this name.
    fn set_flag(&mut self, flag: &str, value: bool) -> bool {
        match flag {
            "use_causal_mask" => self.use_causal_mask = value,
            "return_attention_scores" => self.return_attention_scores = value,
            _ => return false,
        }
        true
    }

    /// The flags that are set.
    fn flags(&self) -> Config {
        let flags =
            [("use_causal_mask", self.use_causal_mask), ("return_attention_scores", self.return_attention_scores)];
        flags.into_iter().filter(|(_, on)| *on).map(|(name, on)| (name.to_string(), on.into())).collect()
    }

    /// The weights of the values, some of them dropped in training.
    fn drop(&self, cx: &mut CallCx<'_>, weights: NodeId) -> NodeId {
        if self.dropout == 0.0 || !cx.training() {
            return weights;
        }
        cx.seed(self.seed);
        let shape = cx.ty(weights).shape.clone();
        dropout(cx, weights, self.dropout, &shape)
    }

    /// The results of a layer: the weighted values, and the weights where they are asked for.
    fn results(&self, y: NodeId, weights: NodeId) -> Vec<NodeId> {
        if self.return_attention_scores { vec![y, weights] } else { vec![y] }
    }
}

/// Builder methods for the [`AttentionArguments`] in a field.
macro_rules! attention_setters {
    ($def:ident => $($path:ident).+) => {
        $crate::model::setters::has!($def => $($path).+: $crate::model::attention::AttentionArguments);

        impl $crate::model::Layer<$def> {
            $crate::model::setters::setters! {
                in $crate::model::setters::Has::<$crate::model::attention::AttentionArguments>::part;
                /// The fraction of the weights that is dropped in training.
                dropout: f64;
                /// A seed of the layer's own: what it drops no longer depends on the seed of the model.
                seed: some u64;
                /// Whether steps attend to earlier ones and themselves only.
                use_causal_mask: bool;
                /// Whether the weights are a second result, `[batch, heads, queries, keys]`, without heads where a layer
                /// has none.
                return_attention_scores: bool;
            }
        }
    };
    // The methods of `LayerDef` that they decide about.
    (in impl $($path:ident).+) => {
        fn results(&self) -> usize {
            1 + self.$($path).+.return_attention_scores as usize
        }

        fn call_arguments(&self) -> $crate::model::config::Config {
            self.$($path).+.flags()
        }

        fn called_with(&self, flag: &str, value: bool) -> Option<std::rc::Rc<dyn LayerDef>> {
            let mut called = self.clone();
            called.$($path).+.set_flag(flag, value).then(|| std::rc::Rc::new(called) as std::rc::Rc<dyn LayerDef>)
        }
    };
}

use attention_setters;

/// Whether a position, an element of the axis `query`, comes no earlier than another, one of the axis `key`.
fn causal(g: &mut Graph, shape: &Shape, query: usize, key: usize) -> NodeId {
    let (row, column) = positions(g, shape, query, key);
    g.ge(row, column)
}

/// Whether two positions are less than `width` apart.
fn within(g: &mut Graph, shape: &Shape, query: usize, key: usize, width: usize) -> NodeId {
    let (row, column) = positions(g, shape, query, key);
    let distance = g.sub(row, column);
    let distance = g.abs(distance);
    let width = g.lit_like(distance, width as f64);
    g.lt(distance, width)
}

/// The indices along two axes, of extents `[query, key]`, stretched to the shape.
fn positions(g: &mut Graph, shape: &Shape, query: usize, key: usize) -> (NodeId, NodeId) {
    let plane = Shape(vec![Dim::fixed(shape[query].scale), Dim::fixed(shape[key].scale)]);
    let (row, column) = (g.iota(0, DType::I32, plane.clone()), g.iota(1, DType::I32, plane));
    (g.broadcast(row, &[query, key], shape.clone()), g.broadcast(column, &[query, key], shape.clone()))
}

/// Joins conditions that may be missing.
fn all(g: &mut Graph, conditions: impl IntoIterator<Item = Option<NodeId>>) -> Option<NodeId> {
    conditions.into_iter().flatten().reduce(|a, b| g.and(a, b))
}
