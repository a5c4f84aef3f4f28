//! Some of a model's entry points, and no storage that only the others need.

use std::collections::BTreeSet;

use crate::ir::{Graph, Module, NodeId, Op, StorageId, StorageKind};

/// Keeps the entry points with these names, in the model's order. Cells of training that none of them touches go, and
/// with them the optimizer's memory; parameters and the state of predictions stay, so that files of weights fit.
///
/// # Errors
/// The first name that no entry point has.
pub fn select(module: &mut Module, names: &[&str]) -> Result<(), String> {
    if let Some(unknown) = names.iter().find(|name| module.entry(name).is_none()) {
        return Err(unknown.to_string());
    }
    module.entries.retain(|entry| names.contains(&entry.name.as_str()));
    let touched: BTreeSet<StorageId> =
        module.entries.iter().flat_map(|entry| entry.reads().into_iter().chain(entry.writes())).collect();
    let mut next = Vec::new();
    let mut ids = Vec::new();
    for (i, cell) in module.storage.drain(..).enumerate() {
        ids.push(StorageId(next.len() as u32));
        if cell.kind != StorageKind::Training || touched.contains(&StorageId(i as u32)) {
            next.push(cell);
        }
    }
    module.storage = next;
    for entry in &mut module.entries {
        *entry = renumbered(entry, &ids);
    }
    Ok(())
}

/// The live part of a graph with other numbers of cells.
fn renumbered(graph: &Graph, ids: &[StorageId]) -> Graph {
    let live = graph.live();
    let mut next = Graph::successor(graph);
    let mut map = vec![NodeId(u32::MAX); live.len()];
    for id in graph.ids().filter(|id| live[id.index()]) {
        let node = graph.node(id);
        let op = match node.op.clone() {
            Op::Storage { id, ty } => Op::Storage { id: ids[id.0 as usize], ty },
            op => op,
        };
        let args: Vec<NodeId> = node.args.iter().map(|arg| map[arg.index()]).collect();
        let site = next.set_site(graph.site_of(id));
        map[id.index()] = next.push(op, &args);
        next.set_site(site);
    }
    for output in &graph.outputs {
        next.output(output.name.clone(), map[output.node.index()]);
    }
    for assign in &graph.assigns {
        next.assign(ids[assign.target.0 as usize], map[assign.node.index()]);
    }
    next
}
