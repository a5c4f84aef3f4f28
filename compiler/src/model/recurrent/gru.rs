//! The gated recurrent unit.

use std::ops::RangeInclusive;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::arguments::{CellArguments, SequenceArguments, cell_arguments, sequence_arguments};
use super::cell::{CellDef, call_once, check_states};
use super::lstm::{gate_product, recurrent_product};
use super::run::recurrent;
use super::simple::{bias_row, dense};
use crate::diag::Problem;
use crate::ir::{NodeId, Shape, TensorType};
use crate::model::activation::Activation;
use crate::model::call::CallCx;
use crate::model::layer::{BuildCx, Layer, LayerDef};
use crate::model::setters::setters;

/// The cell of [`GRU`]. Its gates are, in the order of their columns: update, reset, the new state.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct GRUCell {
    units: usize,
    recurrent_activation: Activation,
    reset_after: bool,
    #[serde(flatten)]
    common: CellArguments,
}

impl Default for GRUCell {
    fn default() -> GRUCell {
        let common = CellArguments::default();
        GRUCell { units: 0, recurrent_activation: Activation::Sigmoid, reset_after: true, common }
    }
}

impl GRUCell {
    pub fn new(units: usize) -> Layer<GRUCell> {
        Layer::new(GRUCell { units, ..GRUCell::default() })
    }
}

cell_arguments!(GRUCell, common);

impl Layer<GRUCell> {
    setters! {
        recurrent_activation: Activation;
        /// Whether the reset gate acts on the recurrent product, which then has a bias of its own, or on the state before.
        reset_after: bool;
    }
}

/// Runs a [`GRUCell`] over sequences: items `[steps, features]` become `[units]`, or `[steps, units]`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GRU {
    #[serde(flatten)]
    cell: GRUCell,
    #[serde(flatten)]
    sequence: SequenceArguments,
}

impl GRU {
    pub fn new(units: usize) -> Layer<GRU> {
        Layer::new(GRU { cell: GRUCell { units, ..GRUCell::default() }, ..GRU::default() })
    }
}

cell_arguments!(GRU, cell.common);
sequence_arguments!(GRU);
recurrent!(GRU, "GRU", "gru_cell");

impl Layer<GRU> {
    pub fn recurrent_activation(self, activation: Activation) -> Layer<GRU> {
        self.with(|d| d.cell.recurrent_activation = activation)
    }

    /// Whether the reset gate acts on the recurrent product, which then has a bias of its own, or on the state before.
    pub fn reset_after(self, reset_after: bool) -> Layer<GRU> {
        self.with(|d| d.cell.reset_after = reset_after)
    }
}

const GATES: usize = 3;

impl LayerDef for GRUCell {
    fn kind(&self) -> &'static str {
        "GRUCell"
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
        self.recurrent_activation.check(cx)?;
        check_states(cx, &item, &self.states(&item))?;
        let (units, all) = (self.units, GATES * self.units);
        let bias: &[usize] = if self.reset_after { &[2, all] } else { &[all] };
        self.common.weights(cx, &[item[0], all], &[units, all], bias, 0..0)
    }

    fn call(&self, cx: &mut CallCx<'_>, inputs: &[NodeId]) -> Vec<NodeId> {
        call_once(self, cx, inputs)
    }
}

impl CellDef for GRUCell {
    fn states(&self, _item: &[usize]) -> Vec<Vec<usize>> {
        vec![vec![self.units]]
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
        let (h, masks, units) = (states[0], &masks[inputs..], self.units);
        let part = |cx: &mut CallCx<'_>, of: NodeId, i: usize| cx.slice_axis(of, 1, i * units, (i + 1) * units);
        let gate = |cx: &mut CallCx<'_>, x: NodeId, product: NodeId, i: usize| {
            let (x, product) = (part(cx, x, i), part(cx, product, i));
            let sum = cx.add(x, product);
            self.recurrent_activation.on(cx, sum)
        };
        let (z, recurrent) = if self.reset_after {
            let mut product = recurrent_product(cx, h, masks, GATES);
            if let Some(bias) = cx.optional_weight("bias") {
                let bias = bias_row(cx, bias, 1);
                let bias = cx.broadcast_like(bias, product);
                product = cx.add(product, bias);
            }
            let (z, r) = (gate(cx, x, product, 0), gate(cx, x, product, 1));
            let new = part(cx, product, 2);
            (z, cx.mul(r, new))
        } else {
            let kernel = cx.weight("recurrent_kernel");
            let product = match masks.is_empty() {
                true => {
                    let kernel = cx.slice_axis(kernel, 1, 0, 2 * units);
                    cx.contract(h, kernel, &[], &[(1, 0)])
                }
                false => {
                    let parts = [0, 1].map(|i| gate_product(cx, h, masks.get(i), kernel, GATES, i));
                    cx.concat(&parts, 1)
                }
            };
            let (z, r) = (gate(cx, x, product, 0), gate(cx, x, product, 1));
            let masked = masks.get(2).map_or(h, |mask| cx.mul(h, *mask));
            let reset = cx.mul(r, masked);
            (z, gate_product(cx, reset, None, kernel, GATES, 2))
        };
        let new = part(cx, x, 2);
        let new = cx.add(new, recurrent);
        let new = self.common.activation.on(cx, new);
        let kept = cx.mul(z, h);
        let rest = cx.s_sub(1.0, z);
        let added = cx.mul(rest, new);
        let h = cx.add(kept, added);
        (h, vec![h])
    }
}
