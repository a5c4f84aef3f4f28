use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::attention_setters;
use super::heads::{Extents, HeadArguments, Heads, Layout, Operands, features, projection_parts};
use crate::diag::{Code, Problem};
use crate::ir::{DType, NodeId, Shape, TensorType};
use crate::model::CallCx;
use crate::model::affine::KernelAndBias;
use crate::model::axes::Axes;
use crate::model::layer::{BuildCx, CallForm, Layer, LayerDef, floats};
use crate::model::regularizer::Regularizer;
use crate::model::saved::Part;
use crate::model::setters::{Has, has, setters};

/// Several attentions side by side, each over its own projections of query, key and value, and a projection of their
/// joined results.
///
/// It is applied to query and value, `attention.apply_many(&[&x, &x])`, or to query, value and key; a boolean tensor
/// `[batch, queries, keys]` or `[batch, heads, queries, keys]` behind them says which pairs may attend. Masks of the
/// inputs leave steps out. As in Keras, they end here: the result has the mask of the query, and layers that are
/// applied to the same inputs afterwards see no masks any more.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MultiHeadAttention {
    num_heads: usize,
    key_dim: usize,
    value_dim: Option<usize>,
    output_shape: Option<Sizes>,
    attention_axes: Option<Axes>,
    #[serde(flatten)]
    heads: HeadArguments,
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

impl MultiHeadAttention {
    pub fn new(num_heads: usize, key_dim: usize) -> Layer<MultiHeadAttention> {
        Layer::new(MultiHeadAttention { num_heads, key_dim, ..MultiHeadAttention::default() })
    }
}

has!(MultiHeadAttention => heads: HeadArguments);
has!(MultiHeadAttention => heads.weights: KernelAndBias);
attention_setters!(MultiHeadAttention => heads.attention);

impl Layer<MultiHeadAttention> {
    setters! {
        in Has::<HeadArguments>::part;
        use_bias: bool;
    }

    setters! {
        /// Features of each head's values; as many as keys have unless set.
        value_dim: some usize;
        /// The extents that the features of the result have; those of the query unless set.
        output_shape: some into Sizes;
        /// The axes whose elements attend to each other, counted with the batch as 0; all but the features unless set.
        attention_axes: some into Axes;
    }
}

impl MultiHeadAttention {
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

    /// The attention for a query.
    fn heads(&self, query: &Shape, activity_regularizer: Option<Regularizer>) -> Result<Heads<'_>, Problem> {
        let layout = self.layout(query)?;
        let keys = [self.num_heads, self.key_dim];
        let values = [self.num_heads, self.value_features()];
        let attention = &self.heads.attention;
        // Keras takes one of two ways, which differ here.
        let empty_is_zero = attention.dropout > 0.0 || attention.return_attention_scores || layout.rank != 4;
        let extents = Extents { query: keys, key: keys, value: values, joined: values };
        Ok(Heads { arguments: &self.heads, layout, extents, activity_regularizer, empty_is_zero })
    }

    fn value_features(&self) -> usize {
        self.value_dim.unwrap_or(self.key_dim)
    }
}

impl LayerDef for MultiHeadAttention {
    fn kind(&self) -> &'static str {
        "MultiHeadAttention"
    }

    attention_setters!(in impl heads.attention);

    fn arity(&self) -> RangeInclusive<usize> {
        2..=4
    }

    fn call_form(&self) -> CallForm {
        CallForm::Attention
    }

    fn parts(&self) -> Vec<Part> {
        projection_parts(["query_dense", "key_dense", "value_dense", "output_dense"], self.heads.use_gate)
    }

    fn operands(&self, given: &[TensorType]) -> Vec<DType> {
        floats(given)
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        cx.positive("num_heads", self.num_heads)?;
        cx.positive("key_dim", self.key_dim)?;
        cx.positive("value_dim", self.value_features())?;
        let sizes = self.output_shape.as_ref().map(|sizes| sizes.list().to_vec());
        sizes.iter().flatten().try_for_each(|&n| cx.positive("output_shape", n))?;
        self.heads.check(self.kind())?;
        let operands = Operands::check(self.kind(), cx.inputs())?;
        let (query, value, _) = operands.types(cx.inputs());
        let heads = self.heads(&query.shape, None)?;
        let axes = &heads.layout.axes;
        let apart = |a: usize| !axes.contains(&a) && query.shape[a] != value.shape[a];
        if (0..query.shape.rank() - 1).any(apart) {
            return Err(Problem::shape(format!("MultiHeadAttention over axes {axes:?} of {query} and {value}"))
                .help("the extents of all other axes but the features must be equal"));
        }
        heads.build(cx, &operands, &sizes.unwrap_or_else(|| vec![features(&query)]))
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let query = cx.ty(x[0]).shape.clone();
        let penalty = cx.take_activity_regularizer();
        let heads = self.heads(&query, penalty).unwrap_or_else(|p| cx.fault(p.message));
        let results = heads.call(cx, x);
        cx.use_up_masks();
        results
    }
}
