//! LSTM over images: convolutions in place of products.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::arguments::{CellArguments, SequenceArguments};
use super::cell::{CellDef, call_once, check_states, item_of, swap_steps};
use super::lstm::memory;
use super::run::{Recurrence, RecurrentDef, check_axes};
use crate::diag::Problem;
use crate::ir::{Dim, NodeId, Shape, TensorType};
use crate::model::activation::Activation;
use crate::model::call::CallCx;
use crate::model::constraint::Constraint;
use crate::model::conv;
use crate::model::initializer::Initializer;
use crate::model::layer::{BuildCx, CallForm, Layer, LayerDef};
use crate::model::regularizer::Regularizer;
use crate::model::saved::Part;
use crate::model::window::{DataFormat, Extents, Padding, Windows, ranked};

const GATES: usize = 4;

/// The cell of the `ConvLSTM` layers. Keras has no class for it that a model could name.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default = "ConvLSTMCell::default")]
struct ConvLSTMCell<const N: usize> {
    filters: usize,
    kernel_size: Extents<N>,
    strides: Extents<N>,
    padding: Padding,
    data_format: DataFormat,
    dilation_rate: Extents<N>,
    recurrent_activation: Activation,
    unit_forget_bias: bool,
    #[serde(flatten)]
    common: CellArguments,
}

impl<const N: usize> Default for ConvLSTMCell<N> {
    fn default() -> ConvLSTMCell<N> {
        ConvLSTMCell {
            filters: 0,
            kernel_size: Extents([0; N]),
            strides: Extents([1; N]),
            padding: Padding::Valid,
            data_format: DataFormat::ChannelsLast,
            dilation_rate: Extents([1; N]),
            recurrent_activation: Activation::Sigmoid,
            unit_forget_bias: true,
            common: CellArguments::default(),
        }
    }
}

/// Runs an LSTM over sequences of images: items `[steps, spatial..., channels]` become `[positions..., filters]`, or
/// `[steps, positions..., filters]`. The input's convolution has strides and padding, the state's keeps its size.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default = "ConvLSTM::default")]
pub struct ConvLSTM<const N: usize> {
    #[serde(flatten)]
    cell: ConvLSTMCell<N>,
    #[serde(flatten)]
    sequence: SequenceArguments,
}

pub type ConvLSTM1D = ConvLSTM<1>;
pub type ConvLSTM2D = ConvLSTM<2>;
pub type ConvLSTM3D = ConvLSTM<3>;

impl<const N: usize> Default for ConvLSTM<N> {
    fn default() -> ConvLSTM<N> {
        let (cell, sequence) = (ConvLSTMCell::default(), SequenceArguments::default());
        ConvLSTM { cell, sequence }
    }
}

impl<const N: usize> ConvLSTM<N> {
    pub fn new(filters: usize, kernel_size: impl Into<Extents<N>>) -> Layer<ConvLSTM<N>> {
        let cell = ConvLSTMCell { filters, kernel_size: kernel_size.into(), ..ConvLSTMCell::default() };
        Layer::new(ConvLSTM { cell, ..ConvLSTM::default() })
    }

    fn recurrence(&self) -> Recurrence<'_> {
        Recurrence { cell: &self.cell, name: "conv_lstm_cell", layer: None, sequence: &self.sequence }
    }
}

/// Builder methods that set a field of the cell, or of what all cells share.
macro_rules! of_cell {
    ($($(#[$doc:meta])* $name:ident: $ty:ty => $($path:ident).+;)*) => { $(
        $(#[$doc])*
        pub fn $name(self, $name: impl Into<$ty>) -> Self {
            self.with(|def| def.$($path).+.$name = $name.into())
        }
    )* };
}

impl<const N: usize> Layer<ConvLSTM<N>> {
    of_cell! {
        strides: Extents<N> => cell;
        padding: Padding => cell;
        data_format: DataFormat => cell;
        dilation_rate: Extents<N> => cell;
        recurrent_activation: Activation => cell;
        /// Whether the forget gate's bias begins as one.
        unit_forget_bias: bool => cell;
        activation: Activation => cell.common;
        use_bias: bool => cell.common;
        kernel_initializer: Initializer => cell.common;
        recurrent_initializer: Initializer => cell.common;
        bias_initializer: Initializer => cell.common;
        kernel_regularizer: Option<Regularizer> => cell.common;
        recurrent_regularizer: Option<Regularizer> => cell.common;
        bias_regularizer: Option<Regularizer> => cell.common;
        kernel_constraint: Option<Constraint> => cell.common;
        recurrent_constraint: Option<Constraint> => cell.common;
        bias_constraint: Option<Constraint> => cell.common;
        /// The fraction of the input that is dropped in training, the same in all steps.
        dropout: f64 => cell.common;
        /// The fraction of the state that is dropped in training where the cell reads it, the same in all steps.
        recurrent_dropout: f64 => cell.common;
        /// A seed of the layer's own: what it drops no longer depends on the seed of the model.
        seed: Option<u64> => cell.common;
        /// Whether the result is the output of every step instead of the last.
        return_sequences: bool => sequence;
        /// Whether the final states are further results.
        return_state: bool => sequence;
        /// Whether the last step comes first; the result is in the order of the steps taken.
        go_backwards: bool => sequence;
        /// Whether a batch begins with the states that the batch before ended with, row by row.
        stateful: bool => sequence;
        /// Whether the output of a masked step is zero instead of the output before.
        zero_output_for_mask: bool => sequence;
    }

    /// For how many rows a stateful layer keeps states. Rows beyond them are NaN.
    pub fn state_rows(self, rows: usize) -> Self {
        self.with(|def| def.sequence.state_rows = Some(rows))
    }
}

impl<const N: usize> LayerDef for ConvLSTM<N> {
    fn kind(&self) -> &'static str {
        ranked::<N>(["ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"])
    }

    fn arity(&self) -> RangeInclusive<usize> {
        1..=3
    }

    fn results(&self) -> usize {
        self.recurrence().results()
    }

    fn recurrent(&self) -> Option<&dyn RecurrentDef> {
        Some(self)
    }

    fn call_form(&self) -> CallForm {
        CallForm::States
    }

    fn parts(&self) -> Vec<Part> {
        self.recurrence().parts()
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        check_axes(cx, N + 2, "steps, then images")?;
        self.recurrence().build(cx)
    }

    fn call(&self, cx: &mut CallCx<'_>, inputs: &[NodeId]) -> Vec<NodeId> {
        self.recurrence().call(cx, inputs)
    }
}

impl<const N: usize> RecurrentDef for ConvLSTM<N> {
    fn sequence(&self) -> SequenceArguments {
        self.sequence
    }

    fn running(&self, sequence: SequenceArguments) -> std::rc::Rc<dyn RecurrentDef> {
        std::rc::Rc::new(ConvLSTM { sequence, ..self.clone() })
    }
}

impl<const N: usize> ConvLSTMCell<N> {
    fn windows(&self) -> Windows<'_> {
        let (size, strides, dilation) = (&self.kernel_size.0, &self.strides.0, &self.dilation_rate.0);
        Windows { size, strides, dilation, padding: self.padding }
    }

    /// The number of windows along an axis; any number where the arguments make no sense, which `build` reports.
    fn positions(&self, axis: usize, extent: usize) -> usize {
        let (stride, size) = (self.strides.0[axis].max(1), self.kernel_size.0[axis].max(1));
        match self.padding {
            Padding::Same => extent.div_ceil(stride),
            Padding::Valid | Padding::Causal => {
                let span = (size - 1).saturating_mul(self.dilation_rate.0[axis]).saturating_add(1);
                extent.checked_sub(span).map_or(0, |rest| rest / stride + 1)
            }
        }
    }

    fn input_masks(&self, training: bool) -> usize {
        if training && self.common.dropout > 0.0 { GATES } else { 0 }
    }

    fn state_masks(&self, training: bool) -> usize {
        if training && self.common.recurrent_dropout > 0.0 { GATES } else { 0 }
    }

    /// The convolution of channels-last inputs, one for all gates or one for each, and the bias.
    fn convolved(&self, cx: &mut CallCx<'_>, inputs: &[NodeId]) -> NodeId {
        let kernel = cx.weight("kernel");
        let y = convolve(cx, self.windows(), inputs, kernel);
        match cx.optional_weight("bias") {
            Some(bias) => {
                let bias = cx.broadcast_like(bias, y);
                cx.add(y, bias)
            }
            None => y,
        }
    }
}

/// One convolution for all gates, or one for each with an input of its own, side by side.
fn convolve(cx: &mut CallCx<'_>, windows: Windows<'_>, inputs: &[NodeId], kernel: NodeId) -> NodeId {
    let last = cx.ty(kernel).shape.rank() - 1;
    let width = cx.ty(kernel).shape[last].scale / inputs.len();
    let mut parts = Vec::new();
    for (i, &x) in inputs.iter().enumerate() {
        let kernel = if inputs.len() == 1 { kernel } else { cx.slice_axis(kernel, last, i * width, (i + 1) * width) };
        parts.push(conv::convolve(cx, windows, x, kernel, 1));
    }
    cx.concat(&parts, last)
}

/// The tensor, or its products with each mask, which lacks some axes.
fn masked(cx: &mut CallCx<'_>, x: NodeId, masks: &[NodeId], lacks: &[usize]) -> Vec<NodeId> {
    if masks.is_empty() {
        return vec![x];
    }
    let shape = cx.ty(x).shape.clone();
    let product = |mask: &NodeId| {
        let mask = cx.unreduce(*mask, lacks, &shape);
        cx.mul(x, mask)
    };
    masks.iter().map(product).collect()
}

impl<const N: usize> LayerDef for ConvLSTMCell<N> {
    fn kind(&self) -> &'static str {
        ranked::<N>(["ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"])
    }

    fn arity(&self) -> RangeInclusive<usize> {
        3..=3
    }

    fn results(&self) -> usize {
        3
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        cx.positive("filters", self.filters)?;
        let item = self.data_format.item(cx, N)?;
        self.windows().check(cx, "kernel_size", &item[..N])?;
        self.windows().strided_or_dilated(cx)?;
        self.common.check(cx)?;
        self.recurrent_activation.check(cx)?;
        let step = item_of(cx.input());
        check_states(cx, &step, &self.states(&step))?;
        let (filters, all) = (self.filters, GATES * self.filters);
        let ones = if self.unit_forget_bias { filters..2 * filters } else { 0..0 };
        let kernel = [&self.kernel_size.0[..], &[item[N], all]].concat();
        let recurrent = [&self.kernel_size.0[..], &[filters, all]].concat();
        self.common.weights(cx, &kernel, &recurrent, &[all], ones)
    }

    fn call(&self, cx: &mut CallCx<'_>, inputs: &[NodeId]) -> Vec<NodeId> {
        call_once(self, cx, inputs)
    }
}

impl<const N: usize> CellDef for ConvLSTMCell<N> {
    fn states(&self, item: &[usize]) -> Vec<Vec<usize>> {
        let first = self.data_format == DataFormat::ChannelsFirst;
        let spatial = item.iter().skip(first as usize).take(N).enumerate();
        let mut dims: Vec<usize> = spatial.map(|(axis, &extent)| self.positions(axis, extent)).collect();
        dims.insert(if first { 0 } else { dims.len() }, self.filters);
        vec![dims; 2]
    }

    fn output_state(&self) -> Option<usize> {
        Some(0)
    }

    fn mask_count(&self, training: bool) -> usize {
        self.input_masks(training) + self.state_masks(training)
    }

    fn masks(&self, cx: &mut CallCx<'_>, input: &TensorType) -> Vec<NodeId> {
        let state = TensorType::new(input.dtype, Shape::batched(&self.states(&item_of(input))[0]));
        let training = cx.training();
        let mut masks = self.common.input_masks(cx, self.input_masks(training), input);
        masks.extend(self.common.state_masks(cx, self.state_masks(training), &state));
        masks
    }

    fn project(&self, cx: &mut CallCx<'_>, x: NodeId, masks: &[NodeId]) -> NodeId {
        let inputs = masked(cx, x, &masks[..self.input_masks(cx.training())], &[]);
        let inputs: Vec<NodeId> = inputs.into_iter().map(|x| self.data_format.to_last(cx, x)).collect();
        self.convolved(cx, &inputs)
    }

    /// All steps are one large batch of images.
    fn project_all(&self, cx: &mut CallCx<'_>, x: NodeId, masks: &[NodeId]) -> NodeId {
        let shape = cx.ty(x).shape.clone();
        let (batch, steps) = (shape[0], shape[1]);
        let rows = Dim { scale: batch.scale * steps.scale, batch: batch.batch };
        let merged = Shape(std::iter::once(rows).chain(shape[2..].iter().copied()).collect());
        let inputs = masked(cx, x, &masks[..self.input_masks(cx.training())], &[1]);
        let inputs: Vec<NodeId> = inputs
            .into_iter()
            .map(|x| {
                let x = cx.reshape(x, merged.clone());
                self.data_format.to_last(cx, x)
            })
            .collect();
        let y = self.convolved(cx, &inputs);
        let item = cx.ty(y).shape[1..].to_vec();
        let y = cx.reshape(y, Shape([batch, steps].into_iter().chain(item).collect()));
        swap_steps(cx, y)
    }

    fn step(&self, cx: &mut CallCx<'_>, x: NodeId, states: &[NodeId], masks: &[NodeId]) -> (NodeId, Vec<NodeId>) {
        let format = self.data_format;
        let hs = masked(cx, states[0], &masks[self.input_masks(cx.training())..], &[]);
        let hs: Vec<NodeId> = hs.into_iter().map(|h| format.to_last(cx, h)).collect();
        let ones = [1; N];
        let windows = Windows { size: &self.kernel_size.0, strides: &ones, dilation: &ones, padding: Padding::Same };
        let kernel = cx.weight("recurrent_kernel");
        let product = convolve(cx, windows, &hs, kernel);
        let z = cx.add(x, product);
        let c = format.to_last(cx, states[1]);
        let (h, c) = memory(cx, z, N + 1, c, &self.common.activation, &self.recurrent_activation);
        let (h, c) = (format.restore(cx, h), format.restore(cx, c));
        (h, vec![h, c])
    }
}
