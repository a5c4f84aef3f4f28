//! Layers in loops.

use std::collections::HashMap;

use super::CallCx;
use crate::ir::{DType, Graph, Looped, NodeId, Op, Over, Shape, Step, Stepped, StorageId};

impl CallCx<'_> {
    /// A loop whose step may do whatever a layer does: read and update weights, draw random numbers (others in every
    /// step), add to the loss (the sum over the steps counts), and call layers.
    ///
    /// The body is first built as a graph over storage cells like any other. Then cells that it only reads become
    /// invariants of the loop, and cells that it updates become carries.
    pub fn scan(&mut self, over: Over<'_>, step: impl FnOnce(&mut Self, &Step) -> Stepped) -> Looped {
        let index = self.graph.iota(0, DType::U32, Shape::fixed(&[over.length]));
        let sequences = [over.sequences, &[index]].concat();
        let invariants = [over.invariants, self.step.as_slice()].concat();
        let over = Over { sequences: &sequences, invariants: &invariants, ..over };

        // The step, over inputs that stand for everything that the loop gives it.
        let mut body = self.graph.body();
        let reads = Step {
            carries: self.placeholders(&mut body, over.carries, 0),
            slices: self.placeholders(&mut body, over.sequences, 1),
            invariants: self.placeholders(&mut body, over.invariants, 0),
        };
        let placeholders = [&reads.carries[..], &reads.slices, &reads.invariants].concat();
        let mut offered = reads.clone();
        let place = offered.slices.pop();
        let around = if self.step.is_some() { offered.invariants.pop() } else { None };
        let number = place.map(|place| match around {
            Some(around) => {
                let steps = body.scalar(DType::U32, over.length as f64);
                let before = body.mul(around, steps);
                body.add(before, place)
            }
            None => place,
        });
        let outer = Outside {
            step: std::mem::replace(&mut self.step, number),
            updated: std::mem::take(&mut self.updated),
            updates: std::mem::take(&mut self.updates),
            losses: std::mem::take(&mut self.losses),
        };
        std::mem::swap(self.graph, &mut body);
        let gives = step(self, &offered);
        let loss = self.losses.drain(..).collect::<Vec<_>>().into_iter().reduce(|a, b| self.graph.add(a, b));
        std::mem::swap(self.graph, &mut body);
        self.step = outer.step;
        let updated = std::mem::replace(&mut self.updated, outer.updated);
        let updates = std::mem::replace(&mut self.updates, outer.updates);
        self.losses = outer.losses;
        // What the step says about its inputs holds for what they stand for.
        let around = [&over.carries[..0], over.sequences, over.invariants].concat();
        for (input, node) in body.inputs[over.carries.len()..].iter().zip(around) {
            input.range.into_iter().for_each(|range| self.graph.limit(node, range));
        }

        // The loop, with the cells as operands.
        let cells = cells_of(&body);
        let (mut held, mut read) = (over.carries.to_vec(), over.invariants.to_vec());
        held.extend(updates.iter().map(|id| self.value(*id)));
        let fixed: Vec<StorageId> = cells.keys().copied().filter(|id| !updated.contains_key(id)).collect();
        read.extend(fixed.iter().map(|id| self.value(*id)));
        let closed = Over { carries: &held, invariants: &read, ..over };
        let mut looped = self.graph.scan(closed, |graph, reads| {
            let mut map = vec![None; body.nodes().len()];
            let (own, of_cells) = reads.carries.split_at(over.carries.len());
            let (passed, of_fixed) = reads.invariants.split_at(over.invariants.len());
            let given = own.iter().chain(&reads.slices).chain(passed);
            placeholders.iter().zip(given).for_each(|(from, to)| map[from.index()] = Some(*to));
            for (id, to) in updates.iter().zip(of_cells).chain(fixed.iter().zip(of_fixed)) {
                cells.get(id).into_iter().for_each(|from| map[from.index()] = Some(*to));
            }
            let next: Vec<NodeId> = gives.carries.iter().copied().chain(updates.iter().map(|id| updated[id])).collect();
            let outputs: Vec<NodeId> = gives.outputs.iter().copied().chain(loss).collect();
            graph.graft(&body, next.iter().chain(&outputs).copied(), &mut map);
            let value = |id: &NodeId| map[id.index()].unwrap_or(*id);
            Stepped { carries: next.iter().map(value).collect(), outputs: outputs.iter().map(value).collect() }
        });
        let finals = looped.carries.split_off(over.carries.len());
        for (id, value) in updates.into_iter().zip(finals) {
            if self.updated.insert(id, value).is_none() {
                self.updates.push(id);
            }
        }
        if loss.is_some()
            && let Some(losses) = looped.stacked.pop()
        {
            let total = self.graph.sum_all(losses);
            self.losses.push(total);
        }
        looped
    }

    /// Inputs of a body that have the types of nodes around it, without some leading axes.
    fn placeholders(&self, body: &mut Graph, nodes: &[NodeId], drop: usize) -> Vec<NodeId> {
        let mut ty = nodes.iter().map(|node| self.graph.ty(*node).clone()).collect::<Vec<_>>();
        ty.iter_mut().for_each(|ty| ty.shape = Shape(ty.shape.get(drop..).unwrap_or_default().to_vec()));
        ty.into_iter().map(|ty| body.input(format!("placeholder{}", body.inputs.len()), ty)).collect()
    }

    /// The value of a cell at this point.
    fn value(&mut self, id: StorageId) -> NodeId {
        match self.updated.get(&id) {
            Some(&node) => node,
            None => self.store.read(self.graph, id),
        }
    }
}

/// What the run around a loop has seen so far.
struct Outside {
    step: Option<NodeId>,
    updated: HashMap<StorageId, NodeId>,
    updates: Vec<StorageId>,
    losses: Vec<NodeId>,
}

/// The nodes that read storage cells.
fn cells_of(body: &Graph) -> std::collections::BTreeMap<StorageId, NodeId> {
    let read = |id: NodeId| if let Op::Storage { id: cell, .. } = body.node(id).op { Some((cell, id)) } else { None };
    body.ids().filter_map(read).collect()
}
