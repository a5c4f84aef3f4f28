//! Long short-term memory.

use std::ops::RangeInclusive;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::arguments::{CellArguments, SequenceArguments, cell_arguments, sequence_arguments};
use super::cell::{CellDef, call_once, check_states};
use super::run::recurrent;
use super::simple::dense;
use crate::diag::Problem;
use crate::ir::{Graph, NodeId, Shape, TensorType};
use crate::model::activation::Activation;
use crate::model::call::CallCx;
use crate::model::layer::{BuildCx, Layer, LayerDef};
use crate::model::setters::setters;

/// The cell of [`LSTM`], with states `h` and `c`. Its gates are, in the order of their columns: input, forget, the new
/// memory, output.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct LSTMCell {
    units: usize,
    recurrent_activation: Activation,
    unit_forget_bias: bool,
    #[serde(flatten)]
    common: CellArguments,
}

impl Default for LSTMCell {
    fn default() -> LSTMCell {
        let common = CellArguments::default();
        LSTMCell { units: 0, recurrent_activation: Activation::Sigmoid, unit_forget_bias: true, common }
    }
}

impl LSTMCell {
    pub fn new(units: usize) -> Layer<LSTMCell> {
        Layer::new(LSTMCell { units, ..LSTMCell::default() })
    }
}

cell_arguments!(LSTMCell, common);

impl Layer<LSTMCell> {
    setters! {
        recurrent_activation: Activation;
        /// Whether the forget gate's bias begins as one.
        unit_forget_bias: bool;
    }
}

/// Runs an [`LSTMCell`] over sequences: items `[steps, features]` become `[units]`, or `[steps, units]`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LSTM {
    #[serde(flatten)]
    cell: LSTMCell,
    #[serde(flatten)]
    sequence: SequenceArguments,
}

impl LSTM {
    pub fn new(units: usize) -> Layer<LSTM> {
        Layer::new(LSTM { cell: LSTMCell { units, ..LSTMCell::default() }, ..LSTM::default() })
    }
}

cell_arguments!(LSTM, cell.common);
sequence_arguments!(LSTM);
recurrent!(LSTM, "LSTM", "lstm_cell");

impl Layer<LSTM> {
    pub fn recurrent_activation(self, activation: Activation) -> Layer<LSTM> {
        self.with(|d| d.cell.recurrent_activation = activation)
    }

    /// Whether the forget gate's bias begins as one.
    pub fn unit_forget_bias(self, unit_forget_bias: bool) -> Layer<LSTM> {
        self.with(|d| d.cell.unit_forget_bias = unit_forget_bias)
    }
}

const GATES: usize = 4;

impl LayerDef for LSTMCell {
    fn kind(&self) -> &'static str {
        "LSTMCell"
    }

    fn arity(&self) -> RangeInclusive<usize> {
        3..=3
    }

    fn results(&self) -> usize {
        3
    }

    fn cell(self: Rc<Self>) -> Option<Rc<dyn CellDef>> {
        Some(self)
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        cx.positive("units", self.units)?;
        let item = cx.item(1, "features of one step")?;
        self.common.check(cx)?;
        self.recurrent_activation.check(cx)?;
        check_states(cx, &item, &self.states(&item))?;
        let (units, all) = (self.units, GATES * self.units);
        let ones = if self.unit_forget_bias { units..2 * units } else { 0..0 };
        self.common.weights(cx, &[item[0], all], &[units, all], &[all], ones)
    }

    fn call(&self, cx: &mut CallCx<'_>, inputs: &[NodeId]) -> Vec<NodeId> {
        call_once(self, cx, inputs)
    }
}

impl CellDef for LSTMCell {
    fn states(&self, _item: &[usize]) -> Vec<Vec<usize>> {
        vec![vec![self.units]; 2]
    }

    fn output_state(&self) -> Option<usize> {
        Some(0)
    }

    fn mask_count(&self, training: bool) -> usize {
        let (inputs, states) = self.common.mask_counts(GATES, training);
        inputs + states
    }

    fn masks(&self, cx: &mut CallCx<'_>, input: &TensorType) -> Vec<NodeId> {
        let state = TensorType::new(input.dtype, Shape::batched(&[self.units]));
        self.common.masks(cx, GATES, input, &state)
    }

    fn project(&self, cx: &mut CallCx<'_>, x: NodeId, masks: &[NodeId]) -> NodeId {
        let (inputs, _) = self.common.mask_counts(GATES, cx.training());
        dense(cx, x, &masks[..inputs])
    }

    fn step(&self, cx: &mut CallCx<'_>, x: NodeId, states: &[NodeId], masks: &[NodeId]) -> (NodeId, Vec<NodeId>) {
        let (inputs, _) = self.common.mask_counts(GATES, cx.training());
        let product = recurrent_product(cx, states[0], &masks[inputs..], GATES);
        let z = cx.add(x, product);
        let (h, c) = memory(cx, z, 1, states[1], &self.common.activation, &self.recurrent_activation);
        (h, vec![h, c])
    }
}

/// `h . recurrent_kernel`, where masks give each gate an `h` of its own.
pub(super) fn recurrent_product(cx: &mut CallCx<'_>, h: NodeId, masks: &[NodeId], gates: usize) -> NodeId {
    let kernel = cx.weight("recurrent_kernel");
    if masks.is_empty() {
        return cx.contract(h, kernel, &[], &[(1, 0)]);
    }
    let parts: Vec<NodeId> = (0..gates).map(|gate| gate_product(cx, h, masks.get(gate), kernel, gates, gate)).collect();
    cx.concat(&parts, 1)
}

/// `h . kernel` for the columns of one gate.
pub(super) fn gate_product(
    cx: &mut CallCx<'_>,
    h: NodeId,
    mask: Option<&NodeId>,
    kernel: NodeId,
    gates: usize,
    gate: usize,
) -> NodeId {
    let width = cx.ty(kernel).shape[1].scale / gates;
    let kernel = cx.slice_axis(kernel, 1, gate * width, (gate + 1) * width);
    let h = mask.map_or(h, |mask| cx.mul(h, *mask));
    cx.contract(h, kernel, &[], &[(1, 0)])
}

/// The new `h` and `c` from the sums of all gates, side by side along an axis.
pub(super) fn memory(
    g: &mut Graph,
    z: NodeId,
    axis: usize,
    c: NodeId,
    activation: &Activation,
    recurrent_activation: &Activation,
) -> (NodeId, NodeId) {
    let width = g.ty(z).shape[axis].scale / GATES;
    let gate = |g: &mut Graph, i: usize| g.slice_axis(z, axis, i * width, (i + 1) * width);
    let (i, f, new, o) = (gate(g, 0), gate(g, 1), gate(g, 2), gate(g, 3));
    let (i, f) = (recurrent_activation.on(g, i), recurrent_activation.on(g, f));
    let new = activation.on(g, new);
    let o = recurrent_activation.on(g, o);
    let (kept, added) = (g.mul(f, c), g.mul(i, new));
    let c = g.add(kept, added);
    let shown = activation.on(g, c);
    (g.mul(o, shown), c)
}
