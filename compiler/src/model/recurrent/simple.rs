//! The fully connected recurrent layer.

use std::ops::RangeInclusive;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::arguments::{CellArguments, SequenceArguments, cell_arguments, sequence_arguments};
use super::cell::{CellDef, call_once, check_states, item_of};
use super::run::recurrent;
use crate::diag::Problem;
use crate::ir::{NodeId, Shape, TensorType};
use crate::model::call::CallCx;
use crate::model::layer::{BuildCx, Layer, LayerDef};

/// `h = activation(x . kernel + bias + h . recurrent_kernel)`
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SimpleRNNCell {
    units: usize,
    #[serde(flatten)]
    common: CellArguments,
}

impl SimpleRNNCell {
    pub fn new(units: usize) -> Layer<SimpleRNNCell> {
        Layer::new(SimpleRNNCell { units, ..SimpleRNNCell::default() })
    }
}

cell_arguments!(SimpleRNNCell, common);

/// Runs a [`SimpleRNNCell`] over sequences: items `[steps, features]` become `[units]`, or `[steps, units]`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SimpleRNN {
    #[serde(flatten)]
    cell: SimpleRNNCell,
    #[serde(flatten)]
    sequence: SequenceArguments,
}

impl SimpleRNN {
    pub fn new(units: usize) -> Layer<SimpleRNN> {
        Layer::new(SimpleRNN { cell: SimpleRNNCell { units, ..SimpleRNNCell::default() }, ..SimpleRNN::default() })
    }
}

cell_arguments!(SimpleRNN, cell.common);
sequence_arguments!(SimpleRNN);
recurrent!(SimpleRNN, "SimpleRNN", "simple_rnn_cell");

impl LayerDef for SimpleRNNCell {
    fn kind(&self) -> &'static str {
        "SimpleRNNCell"
    }

    fn arity(&self) -> RangeInclusive<usize> {
        2..=2
    }

    fn results(&self) -> usize {
        2
    }

    fn cell(self: Rc<Self>) -> Option<Rc<dyn CellDef>> {
        Some(self)
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        cx.positive("units", self.units)?;
        let item = cx.item(1, "features of one step")?;
        self.common.check(cx)?;
        check_states(cx, &item, &self.states(&item))?;
        let units = self.units;
        self.common.weights(cx, &[item[0], units], &[units, units], &[units], 0..0)
    }

    fn call(&self, cx: &mut CallCx<'_>, inputs: &[NodeId]) -> Vec<NodeId> {
        call_once(self, cx, inputs)
    }
}

impl CellDef for SimpleRNNCell {
    fn states(&self, _item: &[usize]) -> Vec<Vec<usize>> {
        vec![vec![self.units]]
    }

    fn output_state(&self) -> Option<usize> {
        Some(0)
    }

    fn mask_count(&self, training: bool) -> usize {
        let (inputs, states) = self.common.mask_counts(1, training);
        inputs + states
    }

    fn masks(&self, cx: &mut CallCx<'_>, input: &TensorType) -> Vec<NodeId> {
        let state = TensorType::new(input.dtype, Shape::batched(&self.states(&item_of(input))[0]));
        self.common.masks(cx, 1, input, &state)
    }

    fn project(&self, cx: &mut CallCx<'_>, x: NodeId, masks: &[NodeId]) -> NodeId {
        let (inputs, _) = self.common.mask_counts(1, cx.training());
        dense(cx, x, &masks[..inputs])
    }

    fn step(&self, cx: &mut CallCx<'_>, x: NodeId, states: &[NodeId], masks: &[NodeId]) -> (NodeId, Vec<NodeId>) {
        let (inputs, _) = self.common.mask_counts(1, cx.training());
        let recurrent = cx.weight("recurrent_kernel");
        let h = masks[inputs..].iter().fold(states[0], |h, mask| cx.mul(h, *mask));
        let product = cx.contract(h, recurrent, &[], &[(1, 0)]);
        let z = cx.add(x, product);
        let h = self.common.activation.on(cx, z);
        (h, vec![h])
    }
}

/// `x . kernel + bias` along the last axis; a mask of one step goes over `x` first, or masks of as many gates as the
/// kernel has, side by side.
pub(super) fn dense(cx: &mut CallCx<'_>, x: NodeId, masks: &[NodeId]) -> NodeId {
    let kernel = cx.weight("kernel");
    let last = cx.ty(x).shape.rank() - 1;
    let gates = masks.len().max(1);
    let width = cx.ty(kernel).shape[1].scale / gates;
    let mut parts = Vec::new();
    for gate in 0..gates {
        let kernel = if gates == 1 { kernel } else { cx.slice_axis(kernel, 1, gate * width, (gate + 1) * width) };
        let masked = match masks.get(gate) {
            Some(&mask) => {
                let mask = cx.broadcast_like(mask, x);
                cx.mul(x, mask)
            }
            None => x,
        };
        parts.push(cx.contract(masked, kernel, &[], &[(last, 0)]));
    }
    let y = cx.concat(&parts, last);
    match cx.optional_weight("bias") {
        Some(bias) => {
            // A second row of biases belongs to the recurrent product.
            let row = if cx.ty(bias).shape.rank() == 1 { bias } else { bias_row(cx, bias, 0) };
            let bias = cx.broadcast_like(row, y);
            cx.add(y, bias)
        }
        None => y,
    }
}

/// One row of a bias `[rows, n]`.
pub(super) fn bias_row(cx: &mut CallCx<'_>, bias: NodeId, row: usize) -> NodeId {
    let width = cx.ty(bias).shape[1];
    let row = cx.slice_axis(bias, 0, row, row + 1);
    cx.reshape(row, Shape(vec![width]))
}
