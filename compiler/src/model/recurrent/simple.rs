//! The fully connected recurrent layer.

use serde::{Deserialize, Serialize};

use super::arguments::CellArguments;
use super::dense::{DenseCell, recurrent_product};
use super::layer::Recurrent;
use crate::ir::NodeId;
use crate::model::call::CallCx;
use crate::model::layer::Layer;

/// `h = activation(x . kernel + bias + h . recurrent_kernel)`
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SimpleRNNCell {
    units: usize,
    #[serde(flatten)]
    common: CellArguments,
}

/// Runs a [`SimpleRNNCell`] over sequences: items `[steps, features]` become `[units]`, or `[steps, units]`.
pub type SimpleRNN = Recurrent<SimpleRNNCell>;

impl SimpleRNNCell {
    pub fn new(units: usize) -> Layer<SimpleRNNCell> {
        Layer::new(SimpleRNNCell { units, ..SimpleRNNCell::default() })
    }
}

impl SimpleRNN {
    pub fn new(units: usize) -> Layer<SimpleRNN> {
        Recurrent::of(SimpleRNNCell { units, ..SimpleRNNCell::default() })
    }
}

impl DenseCell for SimpleRNNCell {
    const KIND: &'static str = "SimpleRNNCell";
    const NAME: &'static str = "simple_rnn_cell";

    fn units(&self) -> usize {
        self.units
    }

    fn common(&self) -> &CellArguments {
        &self.common
    }

    fn common_mut(&mut self) -> &mut CellArguments {
        &mut self.common
    }

    fn advance(&self, cx: &mut CallCx<'_>, x: NodeId, states: &[NodeId], masks: &[NodeId]) -> Vec<NodeId> {
        let product = recurrent_product(cx, states[0], masks, 1);
        let z = cx.add(x, product);
        vec![self.common.activation.on(cx, z)]
    }
}
