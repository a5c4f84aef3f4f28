//! The layer that runs any cell.

use std::ops::RangeInclusive;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::arguments::SequenceArguments;
use super::cell::{AnyCell, IntoCell};
use super::run::{Recurrence, RecurrentDef};
use crate::diag::Problem;
use crate::ir::{DType, NodeId, TensorType};
use crate::model::call::CallCx;
use crate::model::layer::{BuildCx, CallForm, Layer, LayerDef, floats};
use crate::model::saved::Part;
use crate::model::setters::has;

/// Runs a cell over sequences: items `[steps, item...]` become what the cell puts out last, or in every step.
#[derive(Clone, Debug, Default)]
pub struct RNN {
    cell: Option<AnyCell>,
    sequence: SequenceArguments,
}

impl RNN {
    /// Runs a cell such as `LSTMCell::new(8)`, several of them stacked in `StackedRNNCells`, or a `CellDef` of one's
    /// own.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(cell: impl IntoCell) -> Layer<RNN> {
        Layer::new(RNN { cell: Some(cell.into_cell()), ..RNN::default() })
    }

    fn recurrence(&self) -> Option<Recurrence<'_>> {
        self.cell.as_ref().map(|cell| Recurrence {
            cell: &*cell.cell,
            name: &cell.name,
            layer: Some(&cell.layer),
            sequence: &self.sequence,
        })
    }
}

/// The arguments of Keras's class.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RNNArguments {
    cell: Option<AnyCell>,
    #[serde(flatten)]
    sequence: SequenceArguments,
}

impl From<RNNArguments> for RNN {
    fn from(RNNArguments { cell, sequence }: RNNArguments) -> RNN {
        RNN { cell, sequence }
    }
}

impl From<RNN> for RNNArguments {
    fn from(RNN { cell, sequence }: RNN) -> RNNArguments {
        RNNArguments { cell, sequence }
    }
}

has!(RNN => sequence: SequenceArguments);

impl LayerDef for RNN {
    fn kind(&self) -> &'static str {
        "RNN"
    }

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1 + self.recurrence().map_or(0, |r| r.state_count())
    }

    fn results(&self) -> usize {
        self.recurrence().map_or(1, |r| r.results())
    }

    fn recurrent(&self) -> Option<&dyn RecurrentDef> {
        Some(self)
    }

    fn call_form(&self) -> CallForm {
        CallForm::States
    }

    fn parts(&self) -> Vec<Part> {
        self.recurrence().map_or(Vec::new(), |recurrence| recurrence.parts())
    }

    fn operands(&self, given: &[TensorType]) -> Vec<DType> {
        floats(given)
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        match self.recurrence() {
            Some(recurrence) => recurrence.build(cx),
            None => Err(Problem::value("RNN without a cell")),
        }
    }

    fn call(&self, cx: &mut CallCx<'_>, inputs: &[NodeId]) -> Vec<NodeId> {
        self.recurrence().map_or(Vec::new(), |recurrence| recurrence.call(cx, inputs))
    }
}

impl RecurrentDef for RNN {
    fn sequence(&self) -> SequenceArguments {
        self.sequence
    }

    fn running(&self, sequence: SequenceArguments) -> Rc<dyn RecurrentDef> {
        Rc::new(RNN { cell: self.cell.as_ref().map(AnyCell::copy), sequence })
    }
}
