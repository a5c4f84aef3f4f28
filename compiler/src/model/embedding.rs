//! The table of trained vectors.

use serde::{Deserialize, Serialize};

use super::CallCx;
use super::constraint::Constraint;
use super::initializer::Initializer;
use super::layer::{BuildCx, Layer, LayerDef, Weight};
use super::lora::Lora;
use super::quantization::{Quantization, scale_of};
use super::regularizer::Regularizer;
use super::setters::{has, setters};
use crate::diag::{Code, Problem};
use crate::ir::{DType, NodeId, Op, ValueRange};

/// Replaces every index by its row of a trained table: items `[...]` of integers become `[..., output_dim]`.
///
/// Where the indices are an input of the model, one outside `0..input_dim` is an error of the call that names it. An
/// index that the model computes gives a vector of NaN there, in training and in prediction, and no gradient: the loss
/// shows it, and no other row is read or changed in its place.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Embedding {
    input_dim: usize,
    output_dim: usize,
    embeddings_initializer: Initializer,
    embeddings_regularizer: Option<Regularizer>,
    embeddings_constraint: Option<Constraint>,
    mask_zero: bool,
    #[serde(flatten)]
    lora: Lora,
    #[serde(flatten)]
    quantization: Quantization,
}

impl Default for Embedding {
    fn default() -> Embedding {
        Embedding {
            input_dim: 0,
            output_dim: 0,
            embeddings_initializer: Initializer::random_uniform(),
            embeddings_regularizer: None,
            embeddings_constraint: None,
            mask_zero: false,
            lora: Lora::default(),
            quantization: Quantization::default(),
        }
    }
}

impl Embedding {
    pub fn new(input_dim: usize, output_dim: usize) -> Layer<Embedding> {
        Layer::new(Embedding { input_dim, output_dim, ..Embedding::default() })
    }
}

has!(Embedding => lora: Lora);
has!(Embedding => quantization: Quantization);

impl Layer<Embedding> {
    setters! {
        embeddings_initializer: Initializer;
        embeddings_regularizer: some Regularizer;
        embeddings_constraint: some Constraint;
        /// Whether index 0 is padding, which the result's mask leaves out.
        mask_zero: bool;
    }
}

impl LayerDef for Embedding {
    fn kind(&self) -> &'static str {
        "Embedding"
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        cx.positive("input_dim", self.input_dim)?;
        cx.positive("output_dim", self.output_dim)?;
        if cx.input().dtype == DType::F64 {
            let message = format!("Embedding takes integers, its input is {}", cx.input());
            return Err(Problem::new(Code::DType, message).help("declare the input as I32"));
        }
        let table = Weight::new("embeddings", [self.input_dim, self.output_dim], self.embeddings_initializer)
            .regularizer(self.embeddings_regularizer)
            .constraint(self.embeddings_constraint.clone());
        cx.weight(self.quantization.kernel(self.lora.kernel(table.clone())))?;
        self.lora.declare(cx, &table)?;
        self.quantization.declare(cx, "embeddings", vec![self.input_dim], &self.lora)
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let index = cx.cast(x[0], DType::I32);
        cx.limit(index, ValueRange::indices(self.input_dim));
        if self.mask_zero {
            let zero = cx.lit_like(index, 0.0);
            let mask = cx.ne(index, zero);
            cx.set_mask(0, Some(mask));
        }
        let table = self.lora.weight(cx, "embeddings");
        let mut rows = cx.push(Op::Gather { axis: 0, batch: 0 }, &[table, index]);
        if self.quantization.is_int8() {
            let scales = cx.weight(&scale_of("embeddings"));
            let scales = cx.push(Op::Gather { axis: 0, batch: 0 }, &[scales, index]);
            let shape = cx.ty(rows).shape.clone();
            let scales = cx.unreduce(scales, &[shape.rank() - 1], &shape);
            rows = cx.div(rows, scales);
        }
        // Negative indices are large numbers here.
        let unsigned = cx.cast(index, DType::U32);
        let end = cx.lit_like(unsigned, self.input_dim as f64);
        let inside = cx.lt(unsigned, end);
        let shape = cx.ty(rows).shape.clone();
        let inside = cx.unreduce(inside, &[shape.rank() - 1], &shape);
        let nothing = cx.lit_like(rows, f64::NAN);
        let y = cx.select(inside, rows, nothing);
        vec![y]
    }
}
