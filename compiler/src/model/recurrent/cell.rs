//! What a cell is.

use std::rc::Rc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::diag::Problem;
use crate::ir::{Dim, NodeId, Shape, TensorType};
use crate::model::call::CallCx;
use crate::model::layer::{AnyLayer, BuildCx, Layer, LayerDef, snake_case};

/// One step of a recurrent layer: a layer that takes an input and the states, and gives an output and the new states.
///
/// A cell of one's own needs [`CellDef::states`] and [`CellDef::step`]; its [`LayerDef`] declares the weights in `build`,
/// for the input of one step, and has [`call_once`] as its `call`.
pub trait CellDef: LayerDef {
    /// The extents of one item of each state, for the extents of one item of a step's input.
    fn states(&self, item: &[usize]) -> Vec<Vec<usize>>;

    /// The extents of one item of the output.
    fn output(&self, item: &[usize]) -> Vec<usize> {
        self.states(item).swap_remove(0)
    }

    /// Which state is the output, if one is.
    fn output_state(&self) -> Option<usize> {
        None
    }

    /// How many tensors [`CellDef::masks`] gives.
    fn mask_count(&self, _training: bool) -> usize {
        0
    }

    /// What is drawn once for all steps, such as dropout masks, for inputs of a type.
    fn masks(&self, _cx: &mut CallCx<'_>, _input: &TensorType) -> Vec<NodeId> {
        Vec::new()
    }

    /// What is computed of inputs alone, of one step `[batch, item...]` or of all steps `[steps, batch, item...]`.
    fn project(&self, _cx: &mut CallCx<'_>, x: NodeId, _masks: &[NodeId]) -> NodeId {
        x
    }

    /// [`CellDef::project`] of a whole sequence `[batch, steps, item...]`, which comes out as `[steps, batch, ...]`.
    fn project_all(&self, cx: &mut CallCx<'_>, x: NodeId, masks: &[NodeId]) -> NodeId {
        let x = swap_steps(cx, x);
        self.project(cx, x, masks)
    }

    /// A cell of the same kind with weights of its own, where that is more than a new identity: for cells of cells.
    #[doc(hidden)]
    fn copied(&self) -> Option<Rc<dyn CellDef>> {
        None
    }

    /// The output and the new states, from the projected input and the states.
    fn step(&self, cx: &mut CallCx<'_>, x: NodeId, states: &[NodeId], masks: &[NodeId]) -> (NodeId, Vec<NodeId>);
}

/// The cell as a layer of its own: `(input, states...)` to `(output, states...)`.
pub fn call_once(cell: &dyn CellDef, cx: &mut CallCx<'_>, inputs: &[NodeId]) -> Vec<NodeId> {
    let ty = cx.ty(inputs[0]).clone();
    let masks = cell.masks(cx, &ty);
    let x = cell.project(cx, inputs[0], &masks);
    let (output, states) = cell.step(cx, x, &inputs[1..], &masks);
    std::iter::once(output).chain(states).collect()
}

/// Checks the states that follow a cell's or layer's input: `f32`, one for each state.
pub(super) fn check_states(cx: &BuildCx<'_>, item: &[usize], states: &[Vec<usize>]) -> Result<(), Problem> {
    let given = &cx.inputs()[1..];
    if !given.is_empty() && given.len() != states.len() {
        let message = format!("{} has {} states, got {} initial ones", cx.kind(), states.len(), given.len());
        return Err(Problem::shape(message).help("give the sequence, then all states or none"));
    }
    for (i, (given, dims)) in given.iter().zip(states).enumerate() {
        let wanted = Shape::batched(dims);
        if given.shape != wanted {
            let message = format!("state {i} of {} is {wanted} for items {item:?}, got {}", cx.kind(), given.shape);
            return Err(Problem::shape(message));
        }
    }
    Ok(())
}

/// `[batch, steps, ...]` to `[steps, batch, ...]`, and back.
pub(super) fn swap_steps(cx: &mut CallCx<'_>, x: NodeId) -> NodeId {
    let rank = cx.ty(x).shape.rank();
    let perm: Vec<usize> = [1, 0].into_iter().chain(2..rank).collect();
    cx.permute(x, &perm)
}

/// The type of one step of a sequence `[batch, steps, item...]`.
pub(super) fn step_type(sequence: &TensorType) -> TensorType {
    TensorType::new(sequence.dtype, sequence.shape.without(&[1]))
}

/// The constant extents behind the batch.
pub(super) fn item_of(step: &TensorType) -> Vec<usize> {
    step.shape.iter().skip(1).map(|d: &Dim| d.scale).collect()
}

/// A cell of any kind.
#[derive(Clone, Debug)]
pub struct AnyCell {
    pub(super) cell: Rc<dyn CellDef>,
    pub(super) layer: AnyLayer,
    /// What it is called in what it belongs to.
    pub(super) name: String,
}

impl AnyCell {
    fn new(cell: Rc<dyn CellDef>, layer: AnyLayer) -> AnyCell {
        let name = layer.name().unwrap_or_else(|| snake_case(cell.kind()));
        AnyCell { cell, layer, name }
    }

    /// A cell of the same kind with weights of its own.
    pub(super) fn copy(&self) -> AnyCell {
        let cell = self.cell.copied().unwrap_or_else(|| self.cell.clone());
        AnyCell { layer: self.layer.twin(cell.clone()), cell, name: self.name.clone() }
    }
}

impl Serialize for AnyCell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.layer.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for AnyCell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<AnyCell, D::Error> {
        let layer = AnyLayer::deserialize(deserializer)?;
        match layer.def.clone().cell() {
            Some(cell) => Ok(AnyCell::new(cell, layer)),
            None => Err(serde::de::Error::custom(format!("{} is no cell", layer.def.kind()))),
        }
    }
}

/// Whatever can be used as a cell: `LSTMCell::new(8)`, a cell of one's own.
pub trait IntoCell {
    fn into_cell(self) -> AnyCell;
}

impl IntoCell for AnyCell {
    fn into_cell(self) -> AnyCell {
        self
    }
}

impl<D: CellDef + Clone + 'static> IntoCell for Layer<D> {
    fn into_cell(self) -> AnyCell {
        let (cell, core) = self.into_parts();
        AnyCell::new(cell.clone(), AnyLayer { def: cell, core })
    }
}

impl<D: CellDef + 'static> IntoCell for D {
    fn into_cell(self) -> AnyCell {
        let cell = Rc::new(self);
        AnyCell::new(cell.clone(), AnyLayer::from_def(cell))
    }
}
