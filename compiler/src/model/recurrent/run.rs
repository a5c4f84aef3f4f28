//! Running a cell over sequences.

use std::rc::Rc;

use super::arguments::SequenceArguments;
use super::cell::{CellDef, check_states, item_of, step_type, swap_steps};
use crate::diag::{Code, Problem};
use crate::ir::{DType, Dim, NodeId, Over, Shape, SliceAxis, Stepped, TensorType};
use crate::model::DEFAULT_MAX_BATCH;
use crate::model::call::CallCx;
use crate::model::graph::MaskedType;
use crate::model::initializer::Initializer;
use crate::model::layer::{AnyLayer, BuildCx, LayerDef, Weight};
use crate::model::saved::Part;

/// A layer that runs a cell over sequences: what [`Bidirectional`](super::Bidirectional) takes.
pub trait RecurrentDef: LayerDef {
    /// How it runs.
    fn sequence(&self) -> SequenceArguments;

    /// The same layer, run in another way.
    fn running(&self, sequence: SequenceArguments) -> Rc<dyn RecurrentDef>;
}

/// A cell with everything that says how it is run.
pub(super) struct Recurrence<'a> {
    pub cell: &'a dyn CellDef,
    /// What the cell is called below the layer.
    pub name: &'a str,
    /// The cell's own identity; without one it is a part of the layer.
    pub layer: Option<&'a AnyLayer>,
    pub sequence: &'a SequenceArguments,
}

impl Recurrence<'_> {
    /// The states of a cell and the output.
    pub fn results(&self) -> usize {
        1 + if self.sequence.return_state { self.state_count() } else { 0 }
    }

    pub fn state_count(&self) -> usize {
        *self.cell.arity().end() - 1
    }

    /// Checks the inputs and declares the cell's weights and the kept states.
    pub fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        cx.float()?;
        let item = cx.any_item()?;
        if item.len() < 2 || item[0] == 0 {
            let message = format!("{} takes items [steps, features...], its input is {}", cx.kind(), cx.input().shape);
            return Err(Problem::shape(message).help("give the item an axis of steps: `Reshape::new([...]).apply(&x)`"));
        }
        let states = self.cell.states(&item[1..]);
        check_states(cx, &item[1..], &states)?;
        let mask = if cx.inputs().len() == 1 { cx.mask(0) } else { cx.given_mask(0) };
        if let Some(mask) = mask
            && mask.shape != Shape::batched(&item[..1])
        {
            let message = format!("{} needs a mask [batch, steps], got {}", cx.kind(), mask.shape);
            return Err(Problem::shape(message));
        }
        let step = step_type(cx.input());
        let of_state = |dims: &Vec<usize>| TensorType::new(step.dtype, Shape::batched(dims));
        let inputs: Vec<MaskedType> =
            std::iter::once(step.clone()).chain(states.iter().map(of_state)).map(MaskedType::from).collect();
        match self.layer {
            Some(layer) => layer.build(&inputs)?,
            None => cx.scope(self.name, self.cell.kind(), &inputs, |cx| self.cell.build(cx))?,
        }
        if self.sequence.stateful {
            let rows = self.sequence.state_rows.unwrap_or(DEFAULT_MAX_BATCH);
            cx.positive("state_rows", rows)?;
            for (i, dims) in states.iter().enumerate() {
                let shape = [&[rows], &dims[..]].concat();
                cx.weight(Weight::state(state_name(i), shape, Initializer::Zeros))?;
            }
        }
        Ok(())
    }

    /// The cell as Keras saves it.
    pub fn parts(&self) -> Vec<Part> {
        vec![match self.layer {
            Some(layer) => Part::layer("cell", layer),
            None => Part::scope("cell", self.name),
        }]
    }

    /// Runs something as the cell.
    fn as_cell<'c, R>(&self, cx: &mut CallCx<'c>, run: impl FnOnce(&mut CallCx<'c>) -> R) -> R {
        match self.layer {
            Some(layer) => cx.within(self.name, layer, run),
            None => cx.scope(self.name, run),
        }
    }

    /// The output and, where they are wanted, the final states.
    pub fn call(&self, cx: &mut CallCx<'_>, inputs: &[NodeId]) -> Vec<NodeId> {
        let (x, sequence) = (inputs[0], self.sequence);
        let ty = cx.ty(x).clone();
        let (length, step) = (ty.shape[1].scale, step_type(&ty));
        let item = item_of(&step);
        let states = match &inputs[1..] {
            [] => self.initial(cx, &step),
            given => given.to_vec(),
        };
        let count = states.len();
        let mask = mask_of_sequence(cx, inputs.len());
        let (masks, projected) = self.as_cell(cx, |cx| {
            let masks = self.cell.masks(cx, &step);
            let projected = self.cell.project_all(cx, x, &masks);
            (masks, projected)
        });
        let mut sequences = vec![projected];
        if let Some(mask) = mask {
            sequences.push(swap_steps(cx, mask));
        }
        // The last output is a state, or else a carry of its own.
        let zeroed = mask.is_some() && sequence.zero_output_for_mask;
        let last = match self.cell.output_state() {
            Some(state) if !zeroed => state,
            _ => count,
        };
        let mut carries = states.clone();
        if last == count && !sequence.return_sequences {
            let shape = Shape(
                std::iter::once(step.shape[0]).chain(self.cell.output(&item).into_iter().map(Dim::fixed)).collect(),
            );
            carries.push(cx.splat_of(0.0, TensorType::new(DType::F32, shape)));
        }
        let over = Over {
            length,
            reverse: sequence.go_backwards,
            carries: &carries,
            sequences: &sequences,
            invariants: &masks,
        };
        let looped = cx.scan(over, |cx, reads| {
            let before = &reads.carries[..count];
            let (mut output, mut after) =
                self.as_cell(cx, |cx| self.cell.step(cx, reads.slices[0], before, &reads.invariants));
            if let Some(&seen) = reads.slices.get(1) {
                let instead = match zeroed {
                    true => cx.lit_like(output, 0.0),
                    false => before[self.cell.output_state().unwrap_or(0)],
                };
                output = where_seen(cx, seen, output, instead);
                for (after, &before) in after.iter_mut().zip(before) {
                    *after = where_seen(cx, seen, *after, before);
                }
            }
            if reads.carries.len() > count {
                after.push(output);
            }
            Stepped { carries: after, outputs: if sequence.return_sequences { vec![output] } else { Vec::new() } }
        });
        if sequence.stateful {
            for (i, state) in looped.carries[..count].iter().enumerate() {
                self.keep(cx, &state_name(i), *state);
            }
        }
        let output = match looped.stacked.first() {
            Some(&all) => {
                let all = if sequence.go_backwards { flip(cx, all, 0) } else { all };
                let travelling = cx.mask(0);
                cx.set_mask(0, travelling);
                swap_steps(cx, all)
            }
            None => looped.carries[last],
        };
        let mut results = vec![output];
        if sequence.return_state {
            results.extend(&looped.carries[..count]);
        }
        results
    }

    /// The states before the first step: kept ones, or zeros.
    fn initial(&self, cx: &mut CallCx<'_>, step: &TensorType) -> Vec<NodeId> {
        let batch = step.shape[0];
        let states = self.cell.states(&item_of(step));
        let shape = |dims: &[usize]| Shape(std::iter::once(batch).chain(dims.iter().map(|&n| Dim::fixed(n))).collect());
        let mut nodes = Vec::new();
        for (i, dims) in states.iter().enumerate() {
            let ty = TensorType::new(step.dtype, shape(dims));
            nodes.push(match self.sequence.stateful {
                true => kept(cx, &state_name(i), &ty),
                false => cx.splat_of(0.0, ty),
            });
        }
        nodes
    }

    /// Replaces the first rows of a kept state.
    fn keep(&self, cx: &mut CallCx<'_>, name: &str, state: NodeId) {
        let cell = cx.weight(name);
        let (batch, shape) = (cx.ty(state).shape[0], cx.ty(cell).shape.clone());
        let rows = cx.iota(0, DType::I32, Shape(vec![batch]));
        let new = cx.push(crate::ir::Op::ScatterAdd { axis: 0, batch: 0, shape: shape.clone() }, &[rows, state]);
        let place = cx.iota(0, DType::I32, shape.clone());
        let end = cx.size(batch, DType::I32);
        let end = cx.broadcast(end, &[], shape);
        let replaced = cx.lt(place, end);
        let next = cx.select(replaced, new, cell);
        cx.update(name, next);
    }
}

/// The mask that a recurrent layer called with a number of tensors looks at: with initial states behind the sequence,
/// Keras hands it none but what the call was given.
pub(super) fn mask_of_sequence(cx: &CallCx<'_>, tensors: usize) -> Option<NodeId> {
    if tensors == 1 { cx.mask(0) } else { cx.given_mask(0) }
}

fn state_name(i: usize) -> String {
    if i == 0 { "rnn_state".into() } else { format!("rnn_state_{i}") }
}

/// The first rows of a kept state; rows that it does not have are NaN.
fn kept(cx: &mut CallCx<'_>, name: &str, ty: &TensorType) -> NodeId {
    let cell = cx.weight(name);
    let held = cx.ty(cell).shape[0].scale;
    let rows = cx.iota(0, DType::I32, Shape(vec![ty.shape[0]]));
    let state = cx.push(crate::ir::Op::Gather { axis: 0, batch: 0 }, &[cell, rows]);
    let place = cx.iota(0, DType::I32, ty.shape.clone());
    let end = cx.lit_like(place, held as f64);
    let there = cx.lt(place, end);
    let nothing = cx.lit_like(state, f64::NAN);
    cx.select(there, state, nothing)
}

/// One value where a step counts, another where it is masked; the mask has the leading axes.
fn where_seen(cx: &mut CallCx<'_>, seen: NodeId, x: NodeId, instead: NodeId) -> NodeId {
    let shape = cx.ty(x).shape.clone();
    let axes: Vec<usize> = (0..cx.ty(seen).shape.rank()).collect();
    let seen = cx.broadcast(seen, &axes, shape);
    cx.select(seen, x, instead)
}

/// Reverses an axis of constant extent.
pub(super) fn flip(cx: &mut CallCx<'_>, x: NodeId, axis: usize) -> NodeId {
    let mut axes: Vec<SliceAxis> = cx.ty(x).shape.iter().map(|&count| SliceAxis { start: 0, step: 1, count }).collect();
    axes[axis] = SliceAxis { start: axes[axis].count.scale - 1, step: -1, count: axes[axis].count };
    cx.push(crate::ir::Op::Slice(axes), &[x])
}

/// Fails where a layer cannot be what a wrapper needs.
pub(super) fn refuse(kind: &str, message: String, help: &str) -> Problem {
    Problem::new(Code::Layer, format!("{kind} {message}")).help(help)
}
