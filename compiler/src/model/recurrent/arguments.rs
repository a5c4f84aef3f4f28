//! Arguments that recurrent layers share, and what they mean.

use serde::{Deserialize, Serialize};

use crate::diag::Problem;
use crate::ir::{DType, NodeId, TensorType};
use crate::model::activation::Activation;
use crate::model::affine::KernelAndBias;
use crate::model::call::CallCx;
use crate::model::constraint::Constraint;
use crate::model::initializer::Initializer;
use crate::model::layer::{BuildCx, Layer, LayerDef};
use crate::model::regularizer::Regularizer;
use crate::model::setters::{Has, setters};

/// What all of Keras's cells take.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct CellArguments {
    pub activation: Activation,
    pub use_bias: bool,
    #[serde(flatten)]
    pub weights: KernelAndBias,
    pub recurrent_initializer: Initializer,
    pub recurrent_regularizer: Option<Regularizer>,
    pub recurrent_constraint: Option<Constraint>,
    pub dropout: f64,
    pub recurrent_dropout: f64,
    pub seed: Option<u64>,
}

impl Default for CellArguments {
    fn default() -> CellArguments {
        CellArguments {
            activation: Activation::Tanh,
            use_bias: true,
            weights: KernelAndBias::default(),
            recurrent_initializer: Initializer::Orthogonal { gain: 1.0 },
            recurrent_regularizer: None,
            recurrent_constraint: None,
            dropout: 0.0,
            recurrent_dropout: 0.0,
            seed: None,
        }
    }
}

impl CellArguments {
    /// Checks what does not depend on the kind of cell.
    pub fn check(&self, cx: &BuildCx<'_>) -> Result<(), Problem> {
        self.activation.check(cx)?;
        for (name, rate) in [("dropout", self.dropout), ("recurrent_dropout", self.recurrent_dropout)] {
            if !(0.0..1.0).contains(&rate) {
                return Err(Problem::value(format!("{} with {name} {rate}: must be from 0 to below 1", cx.kind()))
                    .help("it is the fraction that is dropped"));
            }
        }
        Ok(())
    }

    /// Declares the kernel, the recurrent kernel, and the bias, some of whose elements may begin as one.
    pub fn weights(
        &self,
        cx: &mut BuildCx<'_>,
        kernel: &[usize],
        recurrent: &[usize],
        bias: &[usize],
        ones: std::ops::Range<usize>,
    ) -> Result<(), Problem> {
        cx.weight(self.weights.kernel("kernel", kernel))?;
        cx.param(
            "recurrent_kernel",
            recurrent,
            self.recurrent_initializer,
            self.recurrent_regularizer,
            &self.recurrent_constraint,
        )?;
        if self.use_bias {
            cx.weight(self.weights.bias("bias", bias).ones(ones))?;
        }
        Ok(())
    }

    /// How many masks a cell with so many gates draws for its input and for its state. As in Keras, dropping the
    /// state gives each gate masks of its own, for the input too.
    pub fn mask_counts(&self, gates: usize, training: bool) -> (usize, usize) {
        let each = if self.recurrent_dropout > 0.0 { gates } else { 1 };
        match training {
            true => ((self.dropout > 0.0) as usize * each, (self.recurrent_dropout > 0.0) as usize * gates),
            false => (0, 0),
        }
    }

    /// Draws those masks, for the whole sequence.
    pub fn masks(&self, cx: &mut CallCx<'_>, gates: usize, input: &TensorType, state: &TensorType) -> Vec<NodeId> {
        let (inputs, states) = self.mask_counts(gates, cx.training());
        let mut masks = self.input_masks(cx, inputs, input);
        masks.extend(self.state_masks(cx, states, state));
        masks
    }

    pub fn input_masks(&self, cx: &mut CallCx<'_>, count: usize, input: &TensorType) -> Vec<NodeId> {
        cx.seed(self.seed);
        (0..count).map(|_| drop_mask(cx, self.dropout, input)).collect()
    }

    pub fn state_masks(&self, cx: &mut CallCx<'_>, count: usize, state: &TensorType) -> Vec<NodeId> {
        cx.seed(self.seed);
        (0..count).map(|_| drop_mask(cx, self.recurrent_dropout, state)).collect()
    }
}

/// Zeros where an element is dropped, `1 / (1 - rate)` elsewhere.
fn drop_mask(cx: &mut CallCx<'_>, rate: f64, ty: &TensorType) -> NodeId {
    let bits = cx.random_bits(&ty.shape);
    let limit = ((1.0 - rate) * 2f64.powi(32)).round().min(u32::MAX as f64);
    let limit = cx.lit_like(bits, limit);
    let keep = cx.lt(bits, limit);
    let ty = TensorType::new(DType::F32, ty.shape.clone());
    let (kept, dropped) = (cx.splat_of(1.0 / (1.0 - rate), ty.clone()), cx.splat_of(0.0, ty));
    cx.select(keep, kept, dropped)
}

/// How a cell is run over a sequence.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SequenceArguments {
    pub return_sequences: bool,
    pub return_state: bool,
    pub go_backwards: bool,
    pub stateful: bool,
    pub zero_output_for_mask: bool,
    /// Rows of the kept states, where the layer is stateful; not an argument of Keras, which takes it from the input.
    #[serde(skip)]
    pub state_rows: Option<usize>,
}

impl<D: LayerDef + Clone + Has<SequenceArguments>> Layer<D> {
    setters! {
        in Has::<SequenceArguments>::part;
        /// Whether the result is the output of every step instead of the last.
        return_sequences: bool;
        /// Whether the final states are further results.
        return_state: bool;
        /// Whether the last step comes first; the result is in the order of the steps taken.
        go_backwards: bool;
        /// Whether a batch begins with the states that the batch before ended with, row by row. The states are kept for
        /// [`DEFAULT_MAX_BATCH`](crate::model::DEFAULT_MAX_BATCH) rows; see `state_rows`.
        stateful: bool;
        /// For how many rows a stateful layer keeps states. Rows beyond them are NaN.
        state_rows: some usize;
        /// Whether the output of a masked step is zero instead of the output before.
        zero_output_for_mask: bool;
    }

    /// Keras's hint to unroll the loop; it changes no result and is not followed.
    pub fn unroll(self, _: bool) -> Self {
        self
    }
}
