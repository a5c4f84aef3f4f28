use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::attention_setters;
use super::heads::{Extents, HeadArguments, Heads, Layout, Operands, features, projection_parts};
use crate::diag::Problem;
use crate::ir::{DType, NodeId, TensorType};
use crate::model::CallCx;
use crate::model::affine::KernelAndBias;
use crate::model::layer::{BuildCx, CallForm, Layer, LayerDef, floats};
use crate::model::regularizer::Regularizer;
use crate::model::saved::Part;
use crate::model::setters::{Has, has, setters};

/// Attention with more query heads than heads of keys and values: several query heads share each of these.
///
/// It is applied like [`MultiHeadAttention`](super::MultiHeadAttention), to sequences `[batch, steps, features]`. The
/// result has the mask of the query, and the inputs keep theirs.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupQueryAttention {
    head_dim: usize,
    num_query_heads: usize,
    num_key_value_heads: usize,
    #[serde(flatten)]
    heads: HeadArguments,
}

impl GroupQueryAttention {
    pub fn new(head_dim: usize, num_query_heads: usize, num_key_value_heads: usize) -> Layer<GroupQueryAttention> {
        let default = GroupQueryAttention::default();
        Layer::new(GroupQueryAttention { head_dim, num_query_heads, num_key_value_heads, ..default })
    }
}

has!(GroupQueryAttention => heads: HeadArguments);
has!(GroupQueryAttention => heads.weights: KernelAndBias);
attention_setters!(GroupQueryAttention => heads.attention);

impl Layer<GroupQueryAttention> {
    setters! {
        in Has::<HeadArguments>::part;
        use_bias: bool;
    }
}

impl GroupQueryAttention {
    fn heads(&self, activity_regularizer: Option<Regularizer>) -> Heads<'_> {
        let (many, few) = ([self.num_query_heads, self.head_dim], [self.num_key_value_heads, self.head_dim]);
        let attention = &self.heads.attention;
        Heads {
            arguments: &self.heads,
            layout: Layout { axes: vec![1], rank: 4 },
            extents: Extents { query: many, key: few, value: few, joined: many },
            activity_regularizer,
            empty_is_zero: attention.dropout > 0.0 || attention.return_attention_scores,
        }
    }
}

impl LayerDef for GroupQueryAttention {
    /// What Keras calls the class inside, after which it names layers and their weights; the name above is the exported one.
    fn kind(&self) -> &'static str {
        "GroupedQueryAttention"
    }

    attention_setters!(in impl heads.attention);

    fn arity(&self) -> RangeInclusive<usize> {
        2..=4
    }

    fn call_form(&self) -> CallForm {
        CallForm::Attention
    }

    fn parts(&self) -> Vec<Part> {
        projection_parts(["_query_dense", "_key_dense", "_value_dense", "_output_dense"], self.heads.use_gate)
    }

    fn operands(&self, given: &[TensorType]) -> Vec<DType> {
        floats(given)
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
        self.heads.check(self.kind())?;
        let operands = Operands::check(self.kind(), cx.inputs())?;
        let (query, value, _) = operands.types(cx.inputs());
        if query.shape.rank() != 3 || features(&query) != features(&value) {
            return Err(Problem::shape(format!("GroupQueryAttention of a query {query} and a value {value}"))
                .help("both are sequences [batch, steps, features] with equally many features"));
        }
        self.heads(None).build(cx, &operands, &[features(&query)])
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        self.heads(cx.activity_regularizer()).call(cx, x)
    }
}
