//! Which layer differs first: the beginnings of an entry point, each up to one layer.

use crate::ir::eval::Tensor;
use crate::ir::{Graph, Module, NodeId, Op, StorageId};

use super::code::Code;
use super::{Case, CheckError};

/// The beginning of an entry point that shows a difference.
pub(super) struct Part {
    /// The node behind which it shows; nothing where only the whole entry point shows it.
    pub behind: Option<NodeId>,
    pub module: Module,
    /// The cells of the module, by their place in the whole one.
    pub cells: Vec<usize>,
}

/// The shortest beginning that shows a difference.
pub(super) fn first_difference(
    meant: &Module,
    compiled: &Module,
    entry: &Graph,
    case: &Case<'_>,
    threads: usize,
) -> Result<Part, CheckError> {
    let only = |module: &Module| {
        let mut module = module.clone();
        module.entries.retain(|e| e.name == entry.name);
        module
    };
    let (meant, compiled) = (only(meant), only(compiled));
    let counts = if threads == 1 { vec![1] } else { vec![1, threads] };
    for behind in borders(entry) {
        let ((part, cells), (code, _)) = (cut(&meant, &behind), cut(&compiled, &behind));
        let storage: Vec<Tensor> = cells.iter().map(|cell| case.storage[*cell].clone()).collect();
        let case = Case { batch: case.batch, inputs: case.inputs, storage: &storage };
        let differs = match Code::new(&code) {
            Ok(mut machine) => {
                let (found, _) = case.run(&mut machine, &part, &part.entries[0], &code, &counts)?;
                found.is_some()
            }
            // A beginning that does not compile is no less of a mistake.
            Err(CheckError::Bug(_) | CheckError::Backend(_)) => true,
            Err(other) => return Err(other),
        };
        if differs {
            return Ok(Part { behind: behind.last().copied(), module: code, cells });
        }
    }
    let cells = (0..compiled.storage.len()).collect();
    Ok(Part { behind: None, module: compiled, cells })
}

/// For each layer, in order, and for each derivation of its nodes: those of its values that others read.
fn borders(entry: &Graph) -> Vec<Vec<NodeId>> {
    let live = entry.live();
    let mut sites = Vec::new();
    let mut borders: Vec<Vec<NodeId>> = Vec::new();
    let mut read_elsewhere = vec![false; live.len()];
    entry.roots().for_each(|root| read_elsewhere[root.index()] = true);
    for id in entry.ids().filter(|id| live[id.index()]) {
        for arg in &entry.node(id).args {
            read_elsewhere[arg.index()] |= entry.site(*arg).to_string() != entry.site(id).to_string();
        }
    }
    for id in entry.ids().filter(|id| live[id.index()] && read_elsewhere[id.index()]) {
        if matches!(entry.node(id).op, Op::Input { .. } | Op::Storage { .. } | Op::Const { .. } | Op::Iota { .. }) {
            continue;
        }
        let site = entry.site(id).to_string();
        match sites.iter().position(|s| *s == site) {
            Some(at) => borders[at].push(id),
            None => {
                sites.push(site);
                borders.push(vec![id]);
            }
        }
    }
    borders
}

/// A module whose only entry point gives some of its values instead of its results, and what of the module it needs: its
/// cells, by their place there.
fn cut(module: &Module, behind: &[NodeId]) -> (Module, Vec<usize>) {
    let entry = &module.entries[0];
    let mut needed = vec![false; entry.nodes().len()];
    behind.iter().for_each(|id| needed[id.index()] = true);
    for id in entry.ids().rev() {
        if needed[id.index()] {
            entry.node(id).args.iter().for_each(|arg| needed[arg.index()] = true);
        }
    }
    let mut part = Graph::successor(entry);
    let mut cells: Vec<usize> = Vec::new();
    let mut map: Vec<NodeId> = Vec::with_capacity(needed.len());
    for id in entry.ids() {
        if !needed[id.index()] {
            map.push(NodeId(0));
            continue;
        }
        let node = entry.node(id);
        part.set_site(entry.site_of(id));
        let op = match &node.op {
            Op::Storage { id, ty } => {
                let cell = id.0 as usize;
                let place = cells.iter().position(|c| *c == cell).unwrap_or_else(|| {
                    cells.push(cell);
                    cells.len() - 1
                });
                Op::Storage { id: StorageId(place as u32), ty: ty.clone() }
            }
            op => op.clone(),
        };
        let args: Vec<NodeId> = node.args.iter().map(|arg| map[arg.index()]).collect();
        map.push(part.push(op, &args));
    }
    for &id in behind {
        let shape = &entry.ty(id).shape;
        let front = shape.iter().position(|d| d.batch).unwrap_or(0);
        let mut perm: Vec<usize> = (0..shape.rank()).collect();
        let mut node = map[id.index()];
        if front > 0 {
            // The batch leads in outputs.
            part.set_site(entry.site_of(id));
            perm[..=front].rotate_right(1);
            node = part.permute(node, &perm);
        }
        part.output(format!("value {}", id.0), node);
    }
    let storage = cells.iter().map(|cell| module.storage[*cell].clone()).collect();
    (
        Module {
            name: module.name.clone(),
            max_batch: module.max_batch,
            storage,
            entries: vec![part],
            ..Module::default()
        },
        cells,
    )
}
