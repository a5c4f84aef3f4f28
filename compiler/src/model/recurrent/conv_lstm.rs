//! LSTM over images: convolutions in place of products.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::arguments::CellArguments;
use super::cell::{CellDef, call_once, check_states, item_of, swap_steps};
use super::layer::{Cellular, GatedCell, LayerCell, Recurrent};
use super::lstm::memory;
use crate::diag::Problem;
use crate::ir::{Dim, NodeId, Shape, TensorType};
use crate::model::activation::Activation;
use crate::model::call::CallCx;
use crate::model::conv::{self, ConvArguments, Convolution};
use crate::model::layer::{BuildCx, Layer, LayerDef};
use crate::model::setters::setters;
use crate::model::window::{DataFormat, Extents, Padding, Windows, ranked};

const GATES: usize = 4;

/// The cell of the `ConvLSTM` layers. Keras has no class for it that a model could name.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default = "ConvLSTMCell::default")]
pub struct ConvLSTMCell<const N: usize> {
    filters: usize,
    #[serde(flatten)]
    conv: ConvArguments<N>,
    recurrent_activation: Activation,
    unit_forget_bias: bool,
    #[serde(flatten)]
    common: CellArguments,
}

type ConvLSTM<const N: usize> = Recurrent<ConvLSTMCell<N>>;

/// Runs an LSTM with convolutions over sequences of sequences: items `[steps, positions, channels]` become
/// `[positions, filters]`, or `[steps, positions, filters]`. The input's convolution has strides and padding, the state's keeps its size.
pub type ConvLSTM1D = ConvLSTM<1>;
/// [`ConvLSTM1D`] over sequences of images.
pub type ConvLSTM2D = ConvLSTM<2>;
/// [`ConvLSTM1D`] over sequences of volumes.
pub type ConvLSTM3D = ConvLSTM<3>;

impl<const N: usize> Default for ConvLSTMCell<N> {
    fn default() -> ConvLSTMCell<N> {
        ConvLSTMCell {
            filters: 0,
            conv: ConvArguments::default(),
            recurrent_activation: Activation::Sigmoid,
            unit_forget_bias: true,
            common: CellArguments::default(),
        }
    }
}

impl<const N: usize> ConvLSTM<N> {
    pub fn new(filters: usize, kernel_size: impl Into<Extents<N>>) -> Layer<ConvLSTM<N>> {
        Recurrent::of(ConvLSTMCell { filters, conv: ConvArguments::new(kernel_size), ..ConvLSTMCell::default() })
    }
}

impl<const N: usize> Convolution for ConvLSTM<N> {
    type Arguments = ConvArguments<N>;

    fn arguments(&mut self) -> &mut ConvArguments<N> {
        &mut self.inner().conv
    }
}

impl<const N: usize> Layer<ConvLSTM<N>> {
    setters! {
        in Cellular::inner;
        /// Whether the forget gate's bias begins as one.
        unit_forget_bias: bool;
    }
}

impl<const N: usize> GatedCell for ConvLSTMCell<N> {
    fn recurrent_activation(&mut self) -> &mut Activation {
        &mut self.recurrent_activation
    }
}

impl<const N: usize> LayerCell for ConvLSTMCell<N> {
    const NAME: &'static str = "conv_lstm_cell";

    fn cell_arguments(&mut self) -> &mut CellArguments {
        &mut self.common
    }

    fn check_items(cx: &BuildCx<'_>) -> Result<(), Problem> {
        cx.item(N + 2, "steps, then images").map(drop)
    }
}

impl<const N: usize> ConvLSTMCell<N> {
    /// The number of windows along an axis; any number where the arguments make no sense, which `build` reports.
    fn positions(&self, axis: usize, extent: usize) -> usize {
        let (stride, size) = (self.conv.strides.0[axis].max(1), self.conv.kernel_size.0[axis].max(1));
        match self.conv.padding {
            Padding::Same => extent.div_ceil(stride),
            Padding::Valid | Padding::Causal => {
                let span = (size - 1).saturating_mul(self.conv.dilation_rate.0[axis]).saturating_add(1);
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
        let y = convolve(cx, self.conv.windows(), inputs, kernel);
        cx.add_bias(y, "bias")
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
        let item = self.conv.data_format.item(cx, N)?;
        self.conv.windows().check(cx, "kernel_size", &item[..N])?;
        self.conv.windows().strided_or_dilated(cx)?;
        self.common.check(cx)?;
        self.recurrent_activation.check(cx)?;
        let step = item_of(cx.input());
        check_states(cx, &step, &self.states(&step))?;
        let (filters, all) = (self.filters, GATES * self.filters);
        let ones = if self.unit_forget_bias { filters..2 * filters } else { 0..0 };
        let (kernel, recurrent) = (self.conv.kernel([item[N], all]), self.conv.kernel([filters, all]));
        self.common.weights(cx, &kernel, &recurrent, &[all], ones)
    }

    fn call(&self, cx: &mut CallCx<'_>, inputs: &[NodeId]) -> Vec<NodeId> {
        call_once(self, cx, inputs)
    }
}

impl<const N: usize> CellDef for ConvLSTMCell<N> {
    fn states(&self, item: &[usize]) -> Vec<Vec<usize>> {
        let first = self.conv.data_format == DataFormat::ChannelsFirst;
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
        let inputs: Vec<NodeId> = inputs.into_iter().map(|x| self.conv.data_format.to_last(cx, x)).collect();
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
                self.conv.data_format.to_last(cx, x)
            })
            .collect();
        let y = self.convolved(cx, &inputs);
        let item = cx.ty(y).shape[1..].to_vec();
        let y = cx.reshape(y, Shape([batch, steps].into_iter().chain(item).collect()));
        swap_steps(cx, y)
    }

    fn step(&self, cx: &mut CallCx<'_>, x: NodeId, states: &[NodeId], masks: &[NodeId]) -> (NodeId, Vec<NodeId>) {
        let format = self.conv.data_format;
        let hs = masked(cx, states[0], &masks[self.input_masks(cx.training())..], &[]);
        let hs: Vec<NodeId> = hs.into_iter().map(|h| format.to_last(cx, h)).collect();
        let ones = [1; N];
        let windows =
            Windows { size: &self.conv.kernel_size.0, strides: &ones, dilation: &ones, padding: Padding::Same };
        let kernel = cx.weight("recurrent_kernel");
        let product = convolve(cx, windows, &hs, kernel);
        let z = cx.add(x, product);
        let c = format.to_last(cx, states[1]);
        let [h, c] = memory(cx, z, N + 1, c, &self.common.activation, &self.recurrent_activation);
        let (h, c) = (format.restore(cx, h), format.restore(cx, c));
        (h, vec![h, c])
    }
}
