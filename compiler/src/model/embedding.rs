//! The table of trained vectors.

use super::CallCx;
use super::initializer::Initializer;
use super::layer::{BuildCx, Layer, LayerDef, Weight};
use super::regularizer::Regularizer;
use crate::diag::{Code, Problem};
use crate::ir::{DType, NodeId, Op};

/// Replaces every index by its row of a trained table: items `[...]` of integers become `[..., output_dim]`.
///
/// An index outside `0..input_dim` gives a vector of NaN, in training and in prediction, and no gradient: the loss
/// shows it, and no other row is read or changed in its place.
#[derive(Clone, PartialEq, Debug)]
pub struct Embedding {
    input_dim: usize,
    output_dim: usize,
    embeddings_initializer: Initializer,
    embeddings_regularizer: Option<Regularizer>,
    mask_zero: bool,
}

impl Embedding {
    pub fn new(input_dim: usize, output_dim: usize) -> Layer<Embedding> {
        Layer::new(Embedding {
            input_dim,
            output_dim,
            embeddings_initializer: Initializer::RandomUniform { minval: -0.05, maxval: 0.05 },
            embeddings_regularizer: None,
            mask_zero: false,
        })
    }
}

impl Layer<Embedding> {
    pub fn embeddings_initializer(self, initializer: Initializer) -> Layer<Embedding> {
        self.with(|e| e.embeddings_initializer = initializer)
    }

    pub fn embeddings_regularizer(self, regularizer: Regularizer) -> Layer<Embedding> {
        self.with(|e| e.embeddings_regularizer = Some(regularizer))
    }

    /// Whether index 0 is padding, which the result's mask leaves out.
    pub fn mask_zero(self, mask_zero: bool) -> Layer<Embedding> {
        self.with(|e| e.mask_zero = mask_zero)
    }
}

impl LayerDef for Embedding {
    fn kind(&self) -> &'static str {
        "Embedding"
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        cx.positive("input_dim", self.input_dim)?;
        cx.positive("output_dim", self.output_dim)?;
        if matches!(cx.input().dtype, DType::Bool | DType::F64) {
            let message = format!("Embedding takes integers, its input is {}", cx.input());
            return Err(Problem::new(Code::DType, message).help("declare the input as I32"));
        }
        let table = Weight::new("embeddings", [self.input_dim, self.output_dim], self.embeddings_initializer);
        cx.weight(table.regularizer(self.embeddings_regularizer))
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let index = cx.cast(x[0], DType::I32);
        if self.mask_zero {
            let zero = cx.lit_like(index, 0.0);
            let mask = cx.ne(index, zero);
            cx.set_mask(0, Some(mask));
        }
        let table = cx.weight("embeddings");
        let rows = cx.push(Op::Gather { axis: 0 }, &[table, index]);
        // Negative indices are large numbers here.
        let unsigned = cx.cast(index, DType::U32);
        let end = cx.lit_like(unsigned, self.input_dim as f64);
        let inside = cx.lt(unsigned, end);
        let shape = cx.ty(rows).shape.clone();
        let inside = cx.unreduce(inside, &[shape.rank() - 1], &shape);
        let nothing = cx.lit_like(rows, f64::NAN);
        vec![cx.select(inside, rows, nothing)]
    }
}
