//! Long short-term memory.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::arguments::CellArguments;
use super::dense::{DenseCell, recurrent_product};
use super::layer::{Cellular, GatedCell, Recurrent};
use crate::diag::Problem;
use crate::ir::{Graph, NodeId};
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

/// Runs an [`LSTMCell`] over sequences: items `[steps, features]` become `[units]`, or `[steps, units]`.
pub type LSTM = Recurrent<LSTMCell>;

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

impl LSTM {
    pub fn new(units: usize) -> Layer<LSTM> {
        Recurrent::of(LSTMCell { units, ..LSTMCell::default() })
    }
}

impl<D: LayerDef + Clone + Cellular<Cell = LSTMCell>> Layer<D> {
    setters! {
        in Cellular::inner;
        /// Whether the forget gate's bias begins as one.
        unit_forget_bias: bool;
    }
}

impl GatedCell for LSTMCell {
    fn recurrent_activation(&mut self) -> &mut Activation {
        &mut self.recurrent_activation
    }
}

impl DenseCell for LSTMCell {
    const KIND: &'static str = "LSTMCell";
    const NAME: &'static str = "lstm_cell";
    const GATES: usize = GATES;
    const STATES: usize = 2;

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
        let units = self.units;
        (vec![GATES * units], if self.unit_forget_bias { units..2 * units } else { 0..0 })
    }

    fn advance(&self, cx: &mut CallCx<'_>, x: NodeId, states: &[NodeId], masks: &[NodeId]) -> Vec<NodeId> {
        let product = recurrent_product(cx, states[0], masks, GATES);
        let z = cx.add(x, product);
        memory(cx, z, 1, states[1], &self.common.activation, &self.recurrent_activation).into()
    }
}

const GATES: usize = 4;

/// The new `h` and `c` from the sums of all gates, side by side along an axis.
pub(super) fn memory(
    g: &mut Graph,
    z: NodeId,
    axis: usize,
    c: NodeId,
    activation: &Activation,
    recurrent_activation: &Activation,
) -> [NodeId; 2] {
    let width = g.ty(z).shape[axis].scale / GATES;
    let gate = |g: &mut Graph, i: usize| g.slice_axis(z, axis, i * width, (i + 1) * width);
    let (i, f, new, o) = (gate(g, 0), gate(g, 1), gate(g, 2), gate(g, 3));
    let (i, f) = (recurrent_activation.on(g, i), recurrent_activation.on(g, f));
    let new = activation.on(g, new);
    let o = recurrent_activation.on(g, o);
    let (kept, added) = (g.mul(f, c), g.mul(i, new));
    let c = g.add(kept, added);
    let shown = activation.on(g, c);
    [g.mul(o, shown), c]
}
