//! The layer that runs any cell.

use std::ops::RangeInclusive;
use std::rc::Rc;

use super::arguments::{SequenceArguments, sequence_arguments};
use super::cell::{AnyCell, IntoCell};
use super::run::{Recurrence, RecurrentDef};
use crate::diag::Problem;
use crate::ir::NodeId;
use crate::model::call::CallCx;
use crate::model::layer::{BuildCx, Layer, LayerDef, snake_case};
use crate::model::regularizer::Regularizer;

/// Runs a cell over sequences: items `[steps, item...]` become what the cell puts out last, or in every step.
#[derive(Clone, Debug)]
pub struct RNN {
    cell: AnyCell,
    name: String,
    sequence: SequenceArguments,
    activity_regularizer: Option<Regularizer>,
}

impl RNN {
    /// Runs a cell such as `LSTMCell::new(8)`, several of them stacked in `StackedRNNCells`, or a
    /// [`CellDef`](super::CellDef) of one's own.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(cell: impl IntoCell) -> Layer<RNN> {
        let cell = cell.into_cell();
        let name = cell.layer.name().unwrap_or_else(|| snake_case(cell.cell.kind()));
        Layer::new(RNN { cell, name, sequence: SequenceArguments::default(), activity_regularizer: None })
    }

    fn recurrence(&self) -> Recurrence<'_> {
        Recurrence {
            cell: &*self.cell.cell,
            name: &self.name,
            layer: Some(&self.cell.layer),
            sequence: &self.sequence,
            activity_regularizer: &self.activity_regularizer,
        }
    }
}

sequence_arguments!(RNN);

impl Layer<RNN> {
    /// A penalty on the result, averaged over the batch.
    pub fn activity_regularizer(self, regularizer: impl Into<Option<Regularizer>>) -> Layer<RNN> {
        let regularizer = regularizer.into();
        self.with(|d| d.activity_regularizer = regularizer)
    }
}

impl LayerDef for RNN {
    fn kind(&self) -> &'static str {
        "RNN"
    }

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1 + self.recurrence().state_count()
    }

    fn results(&self) -> usize {
        self.recurrence().results()
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        self.recurrence().build(cx)
    }

    fn call(&self, cx: &mut CallCx<'_>, inputs: &[NodeId]) -> Vec<NodeId> {
        self.recurrence().call(cx, inputs)
    }
}

impl RecurrentDef for RNN {
    fn sequence(&self) -> SequenceArguments {
        self.sequence
    }

    fn running(&self, sequence: SequenceArguments) -> Rc<dyn RecurrentDef> {
        // A copy has weights of its own.
        let cell = AnyCell {
            layer: crate::model::layer::AnyLayer::from_def(self.cell.layer.def.clone()),
            ..self.cell.clone()
        };
        Rc::new(RNN { cell, sequence, ..self.clone() })
    }
}
