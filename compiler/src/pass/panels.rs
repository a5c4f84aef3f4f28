//! Keeps weights in the layout that matrix kernels read.
//!
//! A kernel reads its right operand in panels of [`WIDTH`] columns, each contiguous. A weight whose last axis is a free
//! axis of a contraction and holds several whole panels is therefore stored as `[columns / WIDTH, rows..., WIDTH]`,
//! at training time too: every read sees the logical weight through a view, every assignment goes back through the
//! inverse view, and since views are index maps, nothing is moved. Optimizer slots that are updated together with
//! a weight take its layout, so that updates stay one contiguous pass.
//!
//! A weight that a loop reads counts as one that the contractions of its body read; the view that it becomes is moved
//! inside by [`super::loops`] afterwards.
//!
//! Precondition: a verified module. Postcondition: the same values under the logical shapes that `Module::panels`
//! records; access by name packs and unpacks.

use std::collections::{BTreeSet, HashMap};

use crate::ir::{Dim, Graph, Module, NodeId, Op, Shape, StorageId, TensorType};

/// Columns of a panel, at every instruction set level.
pub const WIDTH: usize = 32;

/// Moves all cells that profit into panels.
pub fn run(module: &mut Module) {
    let mut chosen: BTreeSet<StorageId> = module.entries.iter().flat_map(columns_of_contractions).collect();
    chosen.retain(|id| !module.panels.contains_key(id) && physical(&module.cell(*id).ty.shape).is_some());
    loop {
        let before = chosen.len();
        for entry in &module.entries {
            for group in updated_together(entry) {
                let shape = |id: &StorageId| &module.cell(*id).ty.shape;
                if let Some(first) = group.iter().find(|id| chosen.contains(id)) {
                    let alike: Vec<StorageId> = group.iter().filter(|id| shape(id) == shape(first)).copied().collect();
                    chosen.extend(alike);
                }
            }
        }
        if chosen.len() == before {
            break;
        }
    }
    for &id in &chosen {
        let cell = &mut module.storage[id.0 as usize];
        if let Some(shape) = physical(&cell.ty.shape) {
            let logical = std::mem::replace(&mut cell.ty.shape, shape);
            module.panels.insert(id, logical);
        }
    }
    for entry in &mut module.entries {
        *entry = rewrite(entry, module.storage.as_slice(), &chosen);
    }
}

/// The shape of a cell in panels; nothing for a shape that does not hold several whole panels.
fn physical(logical: &Shape) -> Option<Shape> {
    let (last, rows) = logical.split_last()?;
    let columns = last.as_fixed()?;
    if rows.is_empty() || columns <= WIDTH || !columns.is_multiple_of(WIDTH) {
        return None;
    }
    let mut dims = vec![Dim::fixed(columns / WIDTH)];
    dims.extend_from_slice(rows);
    dims.push(Dim::fixed(WIDTH));
    Some(Shape(dims))
}

/// The cells whose last axis is a free axis of a contraction.
fn columns_of_contractions(graph: &Graph) -> Vec<StorageId> {
    let mut found = Vec::new();
    let cell = |op: &Op| if let Op::Storage { id, .. } = op { Some(*id) } else { None };
    search(graph, &cell, &mut found);
    found
}

/// [`columns_of_contractions`] of a graph in which `cell` says what is the value of a cell.
fn search(graph: &Graph, cell: &dyn Fn(&Op) -> Option<StorageId>, found: &mut Vec<StorageId>) {
    let loops = graph.loops(graph.ids());
    for id in graph.ids().filter(|id| !loops.is_further(*id)) {
        let node = graph.node(id);
        match &node.op {
            Op::Contract(axes) => {
                for (side, &arg) in node.args.iter().enumerate() {
                    let Some(id) = cell(&graph.node(arg).op) else { continue };
                    let rank = graph.ty(arg).shape.rank();
                    let free = if side == 0 { axes.left_free(rank) } else { axes.right_free(rank) };
                    if free.last() == Some(&(rank.wrapping_sub(1))) && rank > 0 {
                        found.push(id);
                    }
                }
            }
            Op::Scan { scan, .. } => {
                let invariants = node.args[scan.carries.len()..].iter().enumerate().skip(scan.sequences);
                let passed: HashMap<usize, StorageId> =
                    invariants.filter_map(|(i, arg)| Some((i, cell(&graph.node(*arg).op)?))).collect();
                let inside = |op: &Op| if let Op::Input { index, .. } = op { passed.get(index).copied() } else { None };
                if !passed.is_empty() {
                    search(&scan.body, &inside, found);
                }
            }
            _ => {}
        }
    }
}

/// For each assignment, its cell and the cells that its value reads elementwise.
fn updated_together(graph: &Graph) -> Vec<Vec<StorageId>> {
    let mut groups = Vec::new();
    for assign in &graph.assigns {
        let mut group = vec![assign.target];
        let mut seen = BTreeSet::new();
        let mut stack = vec![assign.node];
        while let Some(id) = stack.pop() {
            if !seen.insert(id) {
                continue;
            }
            let node = graph.node(id);
            match &node.op {
                Op::Storage { id, .. } => group.push(*id),
                op if op.is_elementwise() => stack.extend(&node.args),
                _ => {}
            }
        }
        groups.push(group);
    }
    groups
}

fn rewrite(graph: &Graph, cells: &[crate::ir::Storage], chosen: &BTreeSet<StorageId>) -> Graph {
    let mut out = Graph::successor(graph);
    let mut new: Vec<NodeId> = Vec::with_capacity(graph.nodes().len());
    for id in graph.ids() {
        let node = graph.node(id);
        out.set_site(graph.site_of(id));
        let made = match &node.op {
            Op::Storage { id, ty } if chosen.contains(id) => {
                let held = TensorType::new(ty.dtype, cells[id.0 as usize].ty.shape.clone());
                let rank = held.shape.rank();
                let cell = out.push(Op::Storage { id: *id, ty: held }, &[]);
                // [panels, rows..., width] -> [rows..., panels, width] -> logical.
                let perm: Vec<usize> = (1..rank - 1).chain([0, rank - 1]).collect();
                let apart = out.permute(cell, &perm);
                out.reshape(apart, ty.shape.clone())
            }
            op => {
                let args: Vec<NodeId> = node.args.iter().map(|a| new[a.index()]).collect();
                out.push(op.clone(), &args)
            }
        };
        new.push(made);
    }
    for output in &graph.outputs {
        out.output(output.name.clone(), new[output.node.index()]);
    }
    for assign in &graph.assigns {
        let mut value = new[assign.node.index()];
        out.set_site(graph.site_of(assign.node));
        if chosen.contains(&assign.target) {
            let held = &cells[assign.target.0 as usize].ty.shape;
            let rank = held.rank();
            let mut apart = held[1..rank - 1].to_vec();
            apart.extend([held[0], held[rank - 1]]);
            value = out.reshape(value, Shape(apart));
            let perm: Vec<usize> = [rank - 2].into_iter().chain(0..rank - 2).chain([rank - 1]).collect();
            value = out.permute(value, &perm);
        }
        out.assign(assign.target, value);
    }
    out
}
