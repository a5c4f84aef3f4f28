//! The gated recurrent unit.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::arguments::CellArguments;
use super::dense::{DenseCell, bias_row, gate_product, recurrent_product};
use super::layer::{Cellular, GatedCell, Recurrent};
use crate::diag::Problem;
use crate::ir::NodeId;
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

/// Runs a [`GRUCell`] over sequences: items `[steps, features]` become `[units]`, or `[steps, units]`.
pub type GRU = Recurrent<GRUCell>;

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

impl GRU {
    pub fn new(units: usize) -> Layer<GRU> {
        Recurrent::of(GRUCell { units, ..GRUCell::default() })
    }
}

impl<D: LayerDef + Clone + Cellular<Cell = GRUCell>> Layer<D> {
    setters! {
        in Cellular::inner;
        /// Whether the reset gate acts on the recurrent product, which then has a bias of its own, or on the state before.
        reset_after: bool;
    }
}

impl GatedCell for GRUCell {
    fn recurrent_activation(&mut self) -> &mut Activation {
        &mut self.recurrent_activation
    }
}

const GATES: usize = 3;

impl DenseCell for GRUCell {
    const KIND: &'static str = "GRUCell";
    const NAME: &'static str = "gru_cell";
    const GATES: usize = GATES;

    fn units(&self) -> usize {
        self.units
    }

    fn common(&self) -> &CellArguments {
        &self.common
    }

    fn common_mut(&mut self) -> &mut CellArguments {
        &mut self.common
    }

    fn check(&self, cx: &BuildCx<'_>) -> Result<(), Problem> {
        self.recurrent_activation.check(cx)
    }

    fn bias(&self) -> (Vec<usize>, Range<usize>) {
        let all = GATES * self.units;
        (if self.reset_after { vec![2, all] } else { vec![all] }, 0..0)
    }

    fn advance(&self, cx: &mut CallCx<'_>, x: NodeId, states: &[NodeId], masks: &[NodeId]) -> Vec<NodeId> {
        let (h, units) = (states[0], self.units);
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
        vec![cx.add(kept, added)]
    }
}
