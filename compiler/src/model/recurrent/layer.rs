//! The layers that run one of Keras's cells.

use std::ops::RangeInclusive;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::arguments::{CellArguments, SequenceArguments};
use super::cell::CellDef;
use super::run::{Recurrence, RecurrentDef};
use crate::diag::Problem;
use crate::ir::{DType, NodeId, TensorType};
use crate::model::activation::Activation;
use crate::model::affine::KernelAndBias;
use crate::model::call::CallCx;
use crate::model::constraint::Constraint;
use crate::model::initializer::Initializer;
use crate::model::layer::{BuildCx, CallForm, Layer, LayerDef, floats};
use crate::model::regularizer::Regularizer;
use crate::model::saved::Part;
use crate::model::setters::{Has, setters};

/// Runs a cell over sequences, with the arguments of both: items `[steps, item...]` become the last output of the cell,
/// or that of every step.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Recurrent<C> {
    #[serde(flatten)]
    cell: C,
    #[serde(flatten)]
    sequence: SequenceArguments,
}

/// A cell that Keras has a layer for. The layer is called as the cell, without `Cell`.
pub trait LayerCell: CellDef + Clone {
    /// What the cell is called below the layer.
    const NAME: &'static str;

    fn cell_arguments(&mut self) -> &mut CellArguments;

    /// Fails unless the layer's input has items of the right rank.
    fn check_items(cx: &BuildCx<'_>) -> Result<(), Problem>;
}

impl<C: LayerCell> Recurrent<C> {
    pub(super) fn of(cell: C) -> Layer<Recurrent<C>> {
        Layer::new(Recurrent { cell, sequence: SequenceArguments::default() })
    }

    fn recurrence(&self) -> Recurrence<'_> {
        Recurrence { cell: &self.cell, name: C::NAME, layer: None, sequence: &self.sequence }
    }
}

impl<C: LayerCell> LayerDef for Recurrent<C> {
    fn kind(&self) -> &'static str {
        let cell = self.cell.kind();
        cell.strip_suffix("Cell").unwrap_or(cell)
    }

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1 + self.recurrence().state_count()
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

    fn operands(&self, given: &[TensorType]) -> Vec<DType> {
        floats(given)
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        C::check_items(cx)?;
        self.recurrence().build(cx)
    }

    fn call(&self, cx: &mut CallCx<'_>, inputs: &[NodeId]) -> Vec<NodeId> {
        self.recurrence().call(cx, inputs)
    }
}

impl<C: LayerCell> RecurrentDef for Recurrent<C> {
    fn sequence(&self) -> SequenceArguments {
        self.sequence
    }

    fn running(&self, sequence: SequenceArguments) -> Rc<dyn RecurrentDef> {
        Rc::new(Recurrent { sequence, ..self.clone() })
    }
}

impl<C> Has<SequenceArguments> for Recurrent<C> {
    fn part(&mut self) -> &mut SequenceArguments {
        &mut self.sequence
    }
}

/// A cell, or the layer that runs it: what has the cell's arguments.
pub trait Cellular {
    type Cell: LayerCell;

    fn inner(&mut self) -> &mut Self::Cell;

    fn arguments(&mut self) -> &mut CellArguments {
        self.inner().cell_arguments()
    }
}

impl<C: LayerCell> Cellular for C {
    type Cell = C;

    fn inner(&mut self) -> &mut C {
        self
    }
}

impl<C: LayerCell> Cellular for Recurrent<C> {
    type Cell = C;

    fn inner(&mut self) -> &mut C {
        &mut self.cell
    }
}

impl<D: Cellular> Has<KernelAndBias> for D {
    fn part(&mut self) -> &mut KernelAndBias {
        &mut self.arguments().weights
    }
}

impl<D: LayerDef + Clone + Cellular> Layer<D> {
    setters! {
        in Cellular::arguments;
        activation: Activation;
        use_bias: bool;
        recurrent_initializer: Initializer;
        recurrent_regularizer: some Regularizer;
        recurrent_constraint: some Constraint;
        /// The fraction of the input's features that is dropped in training, the same in all steps.
        dropout: f64;
        /// The fraction of the state that is dropped in training where the cell reads it, the same in all steps.
        recurrent_dropout: f64;
        /// A seed of the layer's own: what it drops no longer depends on the seed of the model.
        seed: some u64;
    }
}

/// A cell whose gates have an activation of their own.
pub trait GatedCell: LayerCell {
    fn recurrent_activation(&mut self) -> &mut Activation;
}

impl<D: LayerDef + Clone + Cellular<Cell: GatedCell>> Layer<D> {
    /// The activation of the gates.
    pub fn recurrent_activation(self, activation: Activation) -> Layer<D> {
        self.with(|def| *def.inner().recurrent_activation() = activation)
    }
}
