//! Arguments that recurrent layers share, and what they mean.

use serde::{Deserialize, Serialize};

use crate::diag::Problem;
use crate::ir::{DType, NodeId, TensorType};
use crate::model::activation::Activation;
use crate::model::call::CallCx;
use crate::model::constraint::Constraint;
use crate::model::initializer::Initializer;
use crate::model::layer::{BuildCx, Weight};
use crate::model::regularizer::Regularizer;

/// What all of Keras's cells take.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct CellArguments {
    pub activation: Activation,
    pub use_bias: bool,
    pub kernel_initializer: Initializer,
    pub recurrent_initializer: Initializer,
    pub bias_initializer: Initializer,
    pub kernel_regularizer: Option<Regularizer>,
    pub recurrent_regularizer: Option<Regularizer>,
    pub bias_regularizer: Option<Regularizer>,
    pub kernel_constraint: Option<Constraint>,
    pub recurrent_constraint: Option<Constraint>,
    pub bias_constraint: Option<Constraint>,
    pub dropout: f64,
    pub recurrent_dropout: f64,
    pub seed: Option<u64>,
}

impl Default for CellArguments {
    fn default() -> CellArguments {
        CellArguments {
            activation: Activation::Tanh,
            use_bias: true,
            kernel_initializer: Initializer::GlorotUniform,
            recurrent_initializer: Initializer::Orthogonal { gain: 1.0 },
            bias_initializer: Initializer::Zeros,
            kernel_regularizer: None,
            recurrent_regularizer: None,
            bias_regularizer: None,
            kernel_constraint: None,
            recurrent_constraint: None,
            bias_constraint: None,
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
        cx.param("kernel", kernel, self.kernel_initializer, self.kernel_regularizer, &self.kernel_constraint)?;
        cx.param(
            "recurrent_kernel",
            recurrent,
            self.recurrent_initializer,
            self.recurrent_regularizer,
            &self.recurrent_constraint,
        )?;
        if self.use_bias {
            let weight = Weight::new("bias", bias, self.bias_initializer).ones(ones);
            cx.weight(weight.regularizer(self.bias_regularizer).constraint(self.bias_constraint.clone()))?;
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

/// Builder methods for the arguments in a field.
macro_rules! cell_arguments {
    ($def:ty, $($path:ident).+) => {
        impl $crate::model::Layer<$def> {
            cell_arguments! { @each $($path).+;
                activation: $crate::model::Activation,
                use_bias: bool,
                kernel_initializer: $crate::model::Initializer,
                recurrent_initializer: $crate::model::Initializer,
                bias_initializer: $crate::model::Initializer,
                kernel_regularizer: Option<$crate::model::Regularizer>,
                recurrent_regularizer: Option<$crate::model::Regularizer>,
                bias_regularizer: Option<$crate::model::Regularizer>,
                kernel_constraint: Option<$crate::model::Constraint>,
                recurrent_constraint: Option<$crate::model::Constraint>,
                bias_constraint: Option<$crate::model::Constraint>,
                /// The fraction of the input's features that is dropped in training, the same in all steps.
                dropout: f64,
                /// The fraction of the state that is dropped in training where the cell reads it, the same in all steps.
                recurrent_dropout: f64,
                /// A seed of the layer's own: what it drops no longer depends on the seed of the model.
                seed: Option<u64>,
            }
        }
    };
    (@each $($path:ident).+;) => {};
    (@each $a:ident; $(#[$doc:meta])* $name:ident: $ty:ty, $($rest:tt)*) => {
        $(#[$doc])*
        pub fn $name(self, $name: impl Into<$ty>) -> Self {
            self.with(|def| def.$a.$name = $name.into())
        }
        cell_arguments! { @each $a; $($rest)* }
    };
    (@each $a:ident.$b:ident; $(#[$doc:meta])* $name:ident: $ty:ty, $($rest:tt)*) => {
        $(#[$doc])*
        pub fn $name(self, $name: impl Into<$ty>) -> Self {
            self.with(|def| def.$a.$b.$name = $name.into())
        }
        cell_arguments! { @each $a.$b; $($rest)* }
    };
}

/// Builder methods of a layer whose `sequence` field says how it runs.
macro_rules! sequence_arguments {
    ($def:ty) => {
        impl $crate::model::Layer<$def> {
            /// Whether the result is the output of every step instead of the last.
            pub fn return_sequences(self, return_sequences: bool) -> Self {
                self.with(|def| def.sequence.return_sequences = return_sequences)
            }

            /// Whether the final states are further results.
            pub fn return_state(self, return_state: bool) -> Self {
                self.with(|def| def.sequence.return_state = return_state)
            }

            /// Whether the last step comes first; the result is in the order of the steps taken.
            pub fn go_backwards(self, go_backwards: bool) -> Self {
                self.with(|def| def.sequence.go_backwards = go_backwards)
            }

            /// Whether a batch begins with the states that the batch before ended with, row by row. The states are
            /// kept for [`DEFAULT_MAX_BATCH`](crate::model::DEFAULT_MAX_BATCH) rows; see `state_rows`.
            pub fn stateful(self, stateful: bool) -> Self {
                self.with(|def| def.sequence.stateful = stateful)
            }

            /// For how many rows a stateful layer keeps states. Rows beyond them are NaN.
            pub fn state_rows(self, rows: usize) -> Self {
                self.with(|def| def.sequence.state_rows = Some(rows))
            }

            /// Whether the output of a masked step is zero instead of the output before.
            pub fn zero_output_for_mask(self, zero_output_for_mask: bool) -> Self {
                self.with(|def| def.sequence.zero_output_for_mask = zero_output_for_mask)
            }

            /// Keras's hint to unroll the loop; it changes no result and is not followed.
            pub fn unroll(self, _: bool) -> Self {
                self
            }
        }
    };
}

pub(crate) use {cell_arguments, sequence_arguments};
