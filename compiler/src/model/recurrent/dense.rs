//! Cells over vectors.

use std::ops::{Range, RangeInclusive};
use std::rc::Rc;

use super::arguments::CellArguments;
use super::cell::{CellDef, call_once, check_states};
use super::layer::LayerCell;
use crate::diag::Problem;
use crate::ir::{NodeId, Shape, TensorType};
use crate::model::call::CallCx;
use crate::model::layer::{BuildCx, LayerDef};

/// A cell with states `[units]`, the first of which is its output, and a kernel each for its input and for that state.
/// The columns of both kernels are its gates, `units` for each.
pub trait DenseCell: std::fmt::Debug + Clone + 'static {
    /// Keras's class name.
    const KIND: &'static str;
    /// See [`LayerCell::NAME`].
    const NAME: &'static str;
    const GATES: usize = 1;
    const STATES: usize = 1;

    fn units(&self) -> usize;

    /// What all cells take.
    fn common(&self) -> &CellArguments;

    fn common_mut(&mut self) -> &mut CellArguments;

    /// Checks the arguments of its own.
    fn check(&self, _cx: &BuildCx<'_>) -> Result<(), Problem> {
        Ok(())
    }

    /// The shape of the bias, and which elements of it begin as one.
    fn bias(&self) -> (Vec<usize>, Range<usize>) {
        (vec![Self::GATES * self.units()], 0..0)
    }

    /// The new states from the projected input and the states before, whose masks are given.
    fn advance(&self, cx: &mut CallCx<'_>, x: NodeId, states: &[NodeId], masks: &[NodeId]) -> Vec<NodeId>;
}

impl<C: DenseCell> LayerDef for C {
    fn kind(&self) -> &'static str {
        C::KIND
    }

    fn arity(&self) -> RangeInclusive<usize> {
        1 + C::STATES..=1 + C::STATES
    }

    fn results(&self) -> usize {
        1 + C::STATES
    }

    fn cell(self: Rc<Self>) -> Option<Rc<dyn CellDef>> {
        Some(self)
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        let (units, common) = (self.units(), self.common());
        cx.positive("units", units)?;
        let item = cx.item(1, "features of one step")?;
        common.check(cx)?;
        self.check(cx)?;
        check_states(cx, &item, &self.states(&item))?;
        let (all, (bias, ones)) = (C::GATES * units, self.bias());
        common.weights(cx, &[item[0], all], &[units, all], &bias, ones)
    }

    fn call(&self, cx: &mut CallCx<'_>, inputs: &[NodeId]) -> Vec<NodeId> {
        call_once(self, cx, inputs)
    }
}

impl<C: DenseCell> CellDef for C {
    fn states(&self, _item: &[usize]) -> Vec<Vec<usize>> {
        vec![vec![self.units()]; C::STATES]
    }

    fn output_state(&self) -> Option<usize> {
        Some(0)
    }

    fn mask_count(&self, training: bool) -> usize {
        let (inputs, states) = self.common().mask_counts(C::GATES, training);
        inputs + states
    }

    fn masks(&self, cx: &mut CallCx<'_>, input: &TensorType) -> Vec<NodeId> {
        let state = TensorType::new(input.dtype, Shape::batched(&[self.units()]));
        self.common().masks(cx, C::GATES, input, &state)
    }

    fn project(&self, cx: &mut CallCx<'_>, x: NodeId, masks: &[NodeId]) -> NodeId {
        let (inputs, _) = self.common().mask_counts(C::GATES, cx.training());
        input_product(cx, x, &masks[..inputs])
    }

    fn step(&self, cx: &mut CallCx<'_>, x: NodeId, states: &[NodeId], masks: &[NodeId]) -> (NodeId, Vec<NodeId>) {
        let (inputs, _) = self.common().mask_counts(C::GATES, cx.training());
        let states = self.advance(cx, x, states, &masks[inputs..]);
        (states[0], states)
    }
}

impl<C: DenseCell> LayerCell for C {
    const NAME: &'static str = C::NAME;

    fn cell_arguments(&mut self) -> &mut CellArguments {
        self.common_mut()
    }

    fn check_items(cx: &BuildCx<'_>) -> Result<(), Problem> {
        cx.item(2, "steps, features").map(drop)
    }
}

/// `x . kernel + bias` along the last axis; a mask of one step goes over `x` first, or masks of as many gates as the
/// kernel has, side by side.
fn input_product(cx: &mut CallCx<'_>, x: NodeId, masks: &[NodeId]) -> NodeId {
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
