//! From the tensor graph to the Program: what is stored, what is fused, in which order, where in memory.
//!
//! [`schedule`] is the pipeline. [`program`] defines its result and what it means.

pub mod cost;
pub mod eval;
mod fuse;
mod index;
mod lower;
pub mod memory;
mod order;
pub(crate) mod print;
pub mod program;
mod scan;
mod select;
#[cfg(test)]
mod tests;
pub mod verify;

use std::collections::{HashMap, HashSet};

use crate::ir::{Dim, Graph, Literal, NodeId, Number, Op, Site, Storage, StorageId};

use fuse::Groups;
use lower::{Context, Failure};
use program::{
    Access, Affine, AxisId, Buffer, BufferId, Expr, Kernel, Place, Program, Stage, StorageLayout, Store, StoreMode,
};
use select::Selection;
pub use verify::{Verified, Violation};

/// Why a verified graph could not be scheduled: always a bug of the compiler.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ScheduleError {
    #[error("{entry}: node {node} ({site}) cannot be lowered: {reason}")]
    Lowering { entry: String, node: NodeId, site: String, reason: String },
    #[error("{entry}: the program breaks its own rules:\n{}", violations.iter().map(|v| format!("  {v}\n")).collect::<String>())]
    Invalid { entry: String, violations: Vec<Violation> },
}

/// Offsets of all storage cells, in declaration order.
pub fn layout_storage(cells: &[Storage]) -> StorageLayout {
    let (mut offsets, mut bytes) = (Vec::new(), 0usize);
    for cell in cells {
        offsets.push(bytes);
        bytes += cell.ty.bytes(1).next_multiple_of(memory::ALIGN);
    }
    StorageLayout { offsets, bytes }
}

/// How to schedule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Whether operations are fused into common kernels. Without, every operation but views is a kernel of its own
    /// and stores its result, as an eager framework does: the baseline of benchmarks and a check on fusion.
    pub fuse: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { fuse: true }
    }
}

/// Schedules one entry point.
pub fn schedule(
    graph: &Graph,
    cells: &[Storage],
    max_batch: usize,
    options: Options,
) -> Result<Verified<Program>, ScheduleError> {
    let mut program = assemble(graph, cells, max_batch, options)?;
    for (k, kernel) in program.kernels.iter_mut().enumerate() {
        kernel.name = format!("k{k}_{}", kernel.name);
    }
    drop_unused(&mut program);
    memory::plan(&mut program);
    cost::share_out(&mut program);
    verify::verify(program).map_err(|violations| ScheduleError::Invalid { entry: graph.name.clone(), violations })
}

/// The program of a graph without its memory plan.
fn assemble(graph: &Graph, cells: &[Storage], max_batch: usize, options: Options) -> Result<Program, ScheduleError> {
    let mut demands = Demands::default();
    loop {
        let selection = select::select(graph, &demands.stored, options.fuse);
        match attempt(graph, cells, max_batch, options, &selection, &demands)? {
            Attempt::Done(program) => return Ok(program),
            Attempt::Store(nodes) => demands.stored.extend(nodes),
            Attempt::Detour(cells) => demands.detours.extend(cells),
        }
    }
}

/// What earlier attempts found out. Each attempt adds a demand at least, so that there are at most as many as nodes and
/// cells.
#[derive(Default)]
struct Demands {
    /// Nodes that have to be stored.
    stored: Vec<NodeId>,
    /// Cells that cannot be written in place: their new value goes through the arena and is copied at the end.
    detours: HashSet<StorageId>,
}

enum Attempt {
    Done(Program),
    Store(Vec<NodeId>),
    Detour(Vec<StorageId>),
}

fn attempt(
    graph: &Graph,
    cells: &[Storage],
    max_batch: usize,
    options: Options,
    selection: &Selection,
    demands: &Demands,
) -> Result<Attempt, ScheduleError> {
    let places = Places::new(graph, cells, selection, demands);
    let cx = Context { graph, selection, max_batch, buffer: &places.buffer, copies: &places.copies };
    let groups = match Groups::form(&cx, &places.in_place, options.fuse) {
        Ok(groups) => groups,
        Err(failures) => return refused(graph, demands, &failures),
    };
    let order = match order::order(&groups, &cx) {
        Ok(order) => order,
        // Groups that wait for each other do so because of a cell that is overwritten too early.
        Err(stuck) => {
            let cell = places.in_place.iter().find(|(_, node)| stuck.contains(node)).map(|(cell, _)| *cell);
            return match cell {
                Some(cell) => Ok(Attempt::Detour(vec![cell])),
                None => Err(bug(graph, stuck.first().copied(), "groups depend on each other in a cycle")),
            };
        }
    };
    let mut program = Program {
        name: graph.name.clone(),
        max_batch,
        buffers: places.buffers.clone(),
        kernels: Vec::new(),
        loops: Vec::new(),
        inputs: places.inputs.clone(),
        outputs: places.outputs.clone(),
        arena_bytes: 0,
    };
    let mut early = Vec::new();
    for group in order {
        if groups.is_scan(group) {
            scan::splice(&cx, groups.members(group), options, &mut program)?;
            continue;
        }
        let mut kernel = match groups.lower(group) {
            Ok(kernel) => kernel,
            Err(failure) => return refused(graph, demands, &[failure]),
        };
        if kernel.outer.iter().any(|a| kernel.extent(*a).scale == 0) {
            continue; // It has no points, and what it would write has no elements.
        }
        if let Some(cell) = overwrites_too_early(&program, &kernel) {
            early.push(cell);
        }
        name(graph, groups.members(group), &mut kernel);
        program.kernels.push(kernel);
    }
    if !early.is_empty() {
        return Ok(Attempt::Detour(early));
    }
    for &(cell, from, to) in &places.detours {
        let site = Site::path(&cells[cell.0 as usize].name);
        let kernel = copy(&program, Value::Buffer(from), to, "assign", &site);
        program.kernels.push(kernel);
    }
    Ok(Attempt::Done(program))
}

fn refused(graph: &Graph, demands: &Demands, failures: &[Failure]) -> Result<Attempt, ScheduleError> {
    let mut nodes = Vec::new();
    for failure in failures {
        match failure {
            Failure::MustStore(node) if !demands.stored.contains(node) => nodes.push(*node),
            Failure::MustStore(node) => return Err(bug(graph, Some(*node), "storing it did not help")),
            Failure::Unfusable => return Err(bug(graph, None, "a single node does not lower")),
        }
    }
    Ok(Attempt::Store(nodes))
}

fn bug(graph: &Graph, node: Option<NodeId>, reason: &str) -> ScheduleError {
    let node = node.unwrap_or(NodeId(0));
    ScheduleError::Lowering {
        entry: graph.name.clone(),
        node,
        site: graph.site(node).to_string(),
        reason: reason.to_string(),
    }
}

/// Where everything that is stored lives.
struct Places {
    buffers: Vec<Buffer>,
    /// Where each stored node is read.
    buffer: HashMap<NodeId, BufferId>,
    /// Where else its value goes.
    copies: HashMap<NodeId, Vec<BufferId>>,
    inputs: Vec<BufferId>,
    outputs: Vec<BufferId>,
    in_place: Vec<(StorageId, NodeId)>,
    /// Cells that are copied at the end, with the buffer that holds their value.
    detours: Vec<(StorageId, BufferId, BufferId)>,
}

impl Places {
    fn new(graph: &Graph, cells: &[Storage], selection: &Selection, demands: &Demands) -> Places {
        let mut places = Places {
            buffers: Vec::new(),
            buffer: HashMap::new(),
            copies: HashMap::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            in_place: Vec::new(),
            detours: Vec::new(),
        };
        for (i, input) in graph.inputs.iter().enumerate() {
            let buffer = Buffer {
                name: input.name.clone(),
                dtype: input.ty.dtype,
                shape: input.ty.shape.clone(),
                place: Place::Input(i),
            };
            let id = places.add(buffer);
            places.inputs.push(id);
        }
        let mut cell_buffers: HashMap<StorageId, BufferId> = HashMap::new();
        let mut cell_buffer = |places: &mut Places, id: StorageId| {
            *cell_buffers.entry(id).or_insert_with(|| {
                let cell = &cells[id.0 as usize];
                places.add(Buffer {
                    name: cell.name.clone(),
                    dtype: cell.ty.dtype,
                    shape: cell.ty.shape.clone(),
                    place: Place::Storage(id),
                })
            })
        };
        // Destinations of the roots, the first one being where the node is read too.
        let mut wanted: HashMap<NodeId, Vec<BufferId>> = HashMap::new();
        for (i, output) in graph.outputs.iter().enumerate() {
            let ty = graph.ty(output.node);
            let buffer =
                Buffer { name: output.name.clone(), dtype: ty.dtype, shape: ty.shape.clone(), place: Place::Output(i) };
            let id = places.add(buffer);
            places.outputs.push(id);
            wanted.entry(output.node).or_default().push(id);
        }
        let mut detoured = Vec::new();
        for assign in &graph.assigns {
            let buffer = cell_buffer(&mut places, assign.target);
            if matches!(graph.node(assign.node).op, Op::Storage { id, .. } if id == assign.target) {
                continue;
            }
            if demands.detours.contains(&assign.target) {
                detoured.push((assign.target, assign.node, buffer));
            } else {
                places.in_place.push((assign.target, assign.node));
                wanted.entry(assign.node).or_default().push(buffer);
            }
        }
        for id in graph.ids().filter(|id| selection.stored[id.index()]) {
            let node = graph.node(id);
            let mut wanted = wanted.remove(&id).unwrap_or_default();
            let own = match &node.op {
                Op::Input { index, .. } => places.inputs[*index],
                Op::Storage { id, .. } => cell_buffer(&mut places, *id),
                Op::Const { value: Literal::Dense(values), .. } => places.add(Buffer {
                    name: format!("const{}", id.0),
                    dtype: node.ty.dtype,
                    shape: node.ty.shape.clone(),
                    place: Place::Const(values.clone()),
                }),
                _ if !wanted.is_empty() => wanted.remove(0),
                _ => places.add(Buffer {
                    name: format!("t{}", id.0),
                    dtype: node.ty.dtype,
                    shape: node.ty.shape.clone(),
                    place: Place::Arena { offset: 0 },
                }),
            };
            places.buffer.insert(id, own);
            places.copies.insert(id, wanted);
        }
        for (cell, node, to) in detoured {
            let from = places.detour(graph, node);
            places.detours.push((cell, from, to));
        }
        places
    }

    /// A buffer that holds a node's value until the end of the call.
    fn detour(&mut self, graph: &Graph, node: NodeId) -> BufferId {
        let own = self.buffer[&node];
        if matches!(self.buffers[own.index()].place, Place::Arena { .. } | Place::Output(_)) {
            return own;
        }
        let ty = graph.ty(node);
        let buffer = Buffer {
            name: format!("t{}_new", node.0),
            dtype: ty.dtype,
            shape: ty.shape.clone(),
            place: Place::Arena { offset: 0 },
        };
        let id = self.add(buffer);
        self.copies.entry(node).or_default().push(id);
        id
    }

    fn add(&mut self, buffer: Buffer) -> BufferId {
        self.buffers.push(buffer);
        BufferId(self.buffers.len() as u32 - 1)
    }
}

/// The cell that a kernel would overwrite before it has finished reading it, if there is one: every load of a cell
/// that the kernel stores to must read the very element that the same point stores, in the same stage or before.
fn overwrites_too_early(program: &Program, kernel: &Kernel) -> Option<StorageId> {
    for (s, stage) in kernel.stages.iter().enumerate() {
        for store in &stage.stores {
            let Place::Storage(cell) = program.buffer(store.access.buffer).place else { continue };
            for (later, other) in kernel.stages.iter().enumerate() {
                for access in kernel.loads_of(other) {
                    let same = access == &store.access && later == s;
                    if access.buffer == store.access.buffer && !same {
                        return Some(cell);
                    }
                }
            }
        }
    }
    None
}

/// What [`copy`] writes.
enum Value {
    Buffer(BufferId),
    /// A number everywhere.
    Splat(f64),
}

/// A kernel that copies a buffer to another of the same type, or fills it.
fn copy(program: &Program, from: Value, to: BufferId, what: &str, site: &Site) -> Kernel {
    let buffer = program.buffer(to);
    let mut kernel = Kernel {
        name: format!("{}_{what}", identifier(&site.to_string())),
        sites: vec![site.clone()],
        axes: Vec::new(),
        outer: Vec::new(),
        exprs: Vec::new(),
        accs: Vec::new(),
        stages: Vec::new(),
        contract: None,
        parallel: None,
    };
    let mut index = Affine::default();
    for (&dim, stride) in buffer.shape.iter().zip(buffer.strides(program.max_batch)) {
        if dim != Dim::ONE {
            let axis = AxisId(kernel.axes.len() as u32);
            kernel.axes.push(dim);
            kernel.outer.push(axis);
            index.add_scaled(&Affine::axis(axis), stride);
        }
    }
    let value = match from {
        Value::Buffer(from) => Expr::Load(Access { buffer: from, index: index.clone(), indirect: None }),
        Value::Splat(number) => Expr::Const(Number(number)),
    };
    let value = kernel.push(value, buffer.dtype);
    let store = Store { access: Access { buffer: to, index, indirect: None }, value, mode: StoreMode::Set };
    kernel.stages.push(Stage { axes: Vec::new(), accs: Vec::new(), stores: vec![store] });
    kernel
}

/// Names a kernel after its members and records their sites.
fn name(graph: &Graph, members: &[NodeId], kernel: &mut Kernel) {
    let of = |id: &NodeId| match graph.node(*id).op {
        Op::Contract(_) => 0,
        Op::Reduce { .. } => 1,
        _ => 2,
    };
    let lead = members.iter().copied().min_by_key(|m| (of(m), *m)).unwrap_or(members[0]);
    let word = match &graph.node(lead).op {
        Op::Unary(f) => f.row().name,
        Op::Binary(f) => f.row().name,
        Op::Reduce { f, .. } => f.name(),
        op => op.name(),
    };
    kernel.name = format!("{}_{word}", identifier(&graph.site(lead).to_string()));
    for id in members {
        let site = graph.site(*id);
        if !kernel.sites.contains(site) {
            kernel.sites.push(site.clone());
        }
    }
}

/// A text as part of an identifier of C and CUDA: at most 40 letters, digits and underscores.
fn identifier(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    plain.trim_matches('_').chars().take(40).collect()
}

/// Removes buffers that no kernel touches; inputs and outputs stay, and what is left of a slice stays whole.
fn drop_unused(program: &mut Program) {
    let mut used = vec![false; program.buffers.len()];
    for kernel in &program.kernels {
        let (reads, writes) = kernel.touches();
        for mut buffer in reads.into_iter().chain(writes) {
            used[buffer.index()] = true;
            while let Place::Slice { of, .. } = program.buffer(buffer).place {
                buffer = of;
                used[buffer.index()] = true;
            }
        }
    }
    program.inputs.iter().chain(&program.outputs).for_each(|b| used[b.index()] = true);
    let mut renamed = vec![BufferId(u32::MAX); used.len()];
    let mut kept = Vec::new();
    for (i, buffer) in std::mem::take(&mut program.buffers).into_iter().enumerate() {
        if used[i] {
            renamed[i] = BufferId(kept.len() as u32);
            kept.push(buffer);
        }
    }
    for buffer in &mut kept {
        if let Place::Slice { of, .. } = &mut buffer.place {
            *of = renamed[of.index()];
        }
    }
    program.buffers = kept;
    for kernel in &mut program.kernels {
        kernel.rename_buffers(&|b| renamed[b.index()]);
    }
    program.inputs.iter_mut().chain(&mut program.outputs).for_each(|b| *b = renamed[b.index()]);
}
