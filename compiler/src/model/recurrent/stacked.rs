//! Cells on top of each other.

use std::ops::RangeInclusive;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::cell::{AnyCell, CellDef, IntoCell, call_once, check_states, item_of};
use crate::diag::Problem;
use crate::ir::{NodeId, Shape, TensorType};
use crate::model::call::CallCx;
use crate::model::graph::MaskedType;
use crate::model::layer::{BuildCx, Layer, LayerDef};
use crate::model::saved::Part;

/// A cell made of cells: each takes the output of the one before, in every step.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "StackedArguments", default)]
pub struct StackedRNNCells {
    cells: Vec<AnyCell>,
}

/// The arguments of Keras's class.
#[derive(Default, Deserialize)]
#[serde(default)]
struct StackedArguments {
    cells: Vec<AnyCell>,
}

impl From<StackedArguments> for StackedRNNCells {
    fn from(StackedArguments { cells }: StackedArguments) -> StackedRNNCells {
        cells.into_iter().fold(StackedRNNCells::default(), StackedRNNCells::on_top)
    }
}

impl StackedRNNCells {
    /// No cells yet: `StackedRNNCells::new().add(LSTMCell::new(8)).add(LSTMCell::new(4))`.
    #[allow(clippy::new_ret_no_self)]
    pub fn new() -> Layer<StackedRNNCells> {
        Layer::new(StackedRNNCells::default())
    }

    /// With one more cell, which gets a number where its name is taken.
    fn on_top(mut self, cell: AnyCell) -> StackedRNNCells {
        let taken = |name: &String| self.cells.iter().any(|other| other.name == *name);
        let numbered = (1..).map(|i| format!("{}_{i}", cell.name));
        let free = std::iter::once(cell.name.clone()).chain(numbered).find(|name| !taken(name));
        self.cells.push(AnyCell { name: free.unwrap_or_default(), ..cell });
        self
    }

    /// Each cell with its states, and the item that it takes.
    fn members(&self, item: &[usize]) -> Vec<Member<'_>> {
        let (mut parts, mut state, mut item) = (Vec::new(), 0, item.to_vec());
        for cell in &self.cells {
            let states = cell.cell.states(&item).len();
            let next = cell.cell.output(&item);
            parts.push(Member { cell, states: state..state + states, item });
            (state, item) = (state + states, next);
        }
        parts
    }
}

struct Member<'a> {
    cell: &'a AnyCell,
    states: std::ops::Range<usize>,
    item: Vec<usize>,
}

impl Layer<StackedRNNCells> {
    /// Puts a cell on top.
    #[allow(clippy::should_implement_trait)]
    pub fn add(self, cell: impl IntoCell) -> Layer<StackedRNNCells> {
        let cell = cell.into_cell();
        self.with(|stack| *stack = std::mem::take(stack).on_top(cell))
    }
}

impl LayerDef for StackedRNNCells {
    fn kind(&self) -> &'static str {
        "StackedRNNCells"
    }

    fn arity(&self) -> RangeInclusive<usize> {
        let states = self.cells.iter().map(|c| *c.cell.arity().end() - 1).sum::<usize>();
        1 + states..=1 + states
    }

    fn results(&self) -> usize {
        *self.arity().end()
    }

    fn cell(self: Rc<Self>) -> Option<Rc<dyn CellDef>> {
        Some(self)
    }

    fn parts(&self) -> Vec<Part> {
        vec![Part::layers("cells", self.cells.iter().map(|cell| (cell.name.as_str(), &cell.layer)))]
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        if self.cells.is_empty() {
            return Err(Problem::value("StackedRNNCells has no cells").help("add one: `.add(LSTMCell::new(8))`"));
        }
        let step = cx.input().clone();
        let item = item_of(&step);
        check_states(cx, &item, &self.states(&item))?;
        for part in self.members(&item) {
            let input = Shape(std::iter::once(step.shape[0]).chain(Shape::fixed(&part.item).0).collect());
            let states = cx.inputs()[1..][part.states.clone()].iter().cloned();
            let inputs = std::iter::once(TensorType::new(step.dtype, input)).chain(states);
            part.cell.layer.build(&inputs.map(MaskedType::from).collect::<Vec<_>>())?;
        }
        Ok(())
    }

    fn call(&self, cx: &mut CallCx<'_>, inputs: &[NodeId]) -> Vec<NodeId> {
        call_once(self, cx, inputs)
    }
}

impl CellDef for StackedRNNCells {
    fn states(&self, item: &[usize]) -> Vec<Vec<usize>> {
        self.members(item).iter().flat_map(|part| part.cell.cell.states(&part.item)).collect()
    }

    fn output(&self, item: &[usize]) -> Vec<usize> {
        self.members(item).last().map_or(Vec::new(), |part| part.cell.cell.output(&part.item))
    }

    fn output_state(&self) -> Option<usize> {
        let last = self.cells.last()?;
        let below: usize = self.cells[..self.cells.len() - 1].iter().map(|c| *c.cell.arity().end() - 1).sum();
        last.cell.output_state().map(|state| below + state)
    }

    fn copied(&self) -> Option<Rc<dyn CellDef>> {
        Some(Rc::new(StackedRNNCells { cells: self.cells.iter().map(AnyCell::copy).collect() }))
    }

    fn mask_count(&self, training: bool) -> usize {
        self.cells.iter().map(|cell| cell.cell.mask_count(training)).sum()
    }

    fn masks(&self, cx: &mut CallCx<'_>, input: &TensorType) -> Vec<NodeId> {
        let mut masks = Vec::new();
        for part in self.members(&item_of(input)) {
            let shape = Shape(std::iter::once(input.shape[0]).chain(Shape::fixed(&part.item).0).collect());
            let ty = TensorType::new(input.dtype, shape);
            masks.extend(cx.within(&part.cell.name, &part.cell.layer, |cx| part.cell.cell.masks(cx, &ty)));
        }
        masks
    }

    fn project(&self, cx: &mut CallCx<'_>, x: NodeId, masks: &[NodeId]) -> NodeId {
        let Some(first) = self.cells.first() else { return x };
        let count = first.cell.mask_count(cx.training());
        cx.within(&first.name, &first.layer, |cx| first.cell.project(cx, x, &masks[..count]))
    }

    fn project_all(&self, cx: &mut CallCx<'_>, x: NodeId, masks: &[NodeId]) -> NodeId {
        let Some(first) = self.cells.first() else { return x };
        let count = first.cell.mask_count(cx.training());
        cx.within(&first.name, &first.layer, |cx| first.cell.project_all(cx, x, &masks[..count]))
    }

    fn step(&self, cx: &mut CallCx<'_>, x: NodeId, states: &[NodeId], masks: &[NodeId]) -> (NodeId, Vec<NodeId>) {
        let (mut x, mut after) = (x, Vec::new());
        let (mut state, mut mask) = (0, 0);
        for (i, cell) in self.cells.iter().enumerate() {
            let (taken, drawn) = (*cell.cell.arity().end() - 1, cell.cell.mask_count(cx.training()));
            let (states, masks) = (&states[state..state + taken], &masks[mask..mask + drawn]);
            let (output, new) = cx.within(&cell.name, &cell.layer, |cx| {
                let x = if i == 0 { x } else { cell.cell.project(cx, x, masks) };
                cell.cell.step(cx, x, states, masks)
            });
            (x, state, mask) = (output, state + taken, mask + drawn);
            after.extend(new);
        }
        (x, after)
    }
}
