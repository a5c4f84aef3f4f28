//! Which nodes are stored in buffers, and which are recomputed by every kernel that reads them.

use crate::ir::scalar::Lower;
use crate::ir::{Graph, Literal, NodeId, Op, UnaryFn};

/// The decision for each node of a graph.
pub(super) struct Selection {
    /// Nodes that are computed once: by a kernel of their own or inside one. Leaves that live in memory count too.
    pub stored: Vec<bool>,
    /// For each stored node that is no leaf, the stored nodes that computing it reads.
    pub reads: Vec<Vec<NodeId>>,
    /// What an element of each node costs, in simple instructions, from what is stored.
    pub cost: Vec<u32>,
}

/// A recomputed value may cost this many simple instructions per element when it has several users.
const RECOMPUTE_LIMIT: u32 = 12;
/// The same for a value that a broadcast or a window repeats.
const REPEAT_LIMIT: u32 = 4;
/// A value that costs more is stored, however many users it has: the time of generating a kernel's code grows faster
/// than the kernel.
const EXPRESSION_LIMIT: u32 = 512;

/// Chooses the stored nodes. `forced` names nodes that lowering found impossible to inline. Without `fuse` every
/// elementwise operation stores its result.
pub(super) fn select(graph: &Graph, forced: &[NodeId], fuse: bool) -> Selection {
    let live = graph.live();
    let mut stored = vec![false; graph.nodes().len()];
    for id in graph.ids().filter(|id| live[id.index()]) {
        let node = graph.node(id);
        if node.op.needs_kernel() || lives_in_memory(graph, id) {
            stored[id.index()] = true;
        }
        match node.op {
            Op::Contract(_) => node.args.iter().for_each(|&a| stored[base(graph, a).index()] = true),
            Op::Gather { .. } => stored[base(graph, node.args[0]).index()] = true,
            // A loop reads its operands as they are; a carry that begins with one number is filled with it.
            Op::Scan { ref scan, .. } => {
                for (i, &arg) in node.args.iter().enumerate() {
                    stored[arg.index()] |= i >= scan.carries.len() || graph.splat(arg).is_none();
                }
            }
            _ => {}
        }
    }
    for root in graph.roots().chain(forced.iter().copied()) {
        stored[root.index()] = true;
    }
    let users = user_counts(graph, &live, &stored);
    let repeated = repeated(graph, &live, &stored);
    let mut cost = vec![0u32; stored.len()];
    for id in graph.ids().filter(|id| live[id.index()]) {
        let (i, node) = (id.index(), graph.node(id));
        let below = node.args.iter().map(|a| if stored[a.index()] { 1 } else { cost[a.index()] });
        cost[i] = below.fold(own_cost(&node.op), u32::saturating_add);
        let limit = if repeated[i] { REPEAT_LIMIT } else { RECOMPUTE_LIMIT };
        let shared = users[i] > 1 || repeated[i];
        if node.op.is_elementwise() && (!fuse || shared && cost[i] >= limit || cost[i] >= EXPRESSION_LIMIT) {
            stored[i] = true;
        }
    }
    let reads =
        graph.ids().map(|id| if stored[id.index()] { reads_of(graph, id, &stored) } else { Vec::new() }).collect();
    Selection { stored, reads, cost }
}

/// Leaves that are read from memory.
pub(super) fn lives_in_memory(graph: &Graph, id: NodeId) -> bool {
    let op = &graph.node(id).op;
    matches!(op, Op::Input { .. } | Op::Storage { .. } | Op::Const { value: Literal::Dense(_), .. })
}

/// The tensor under a chain of views that only rewrite the index.
pub(super) fn base(graph: &Graph, mut id: NodeId) -> NodeId {
    while graph.node(id).op.is_index_view() {
        id = graph.node(id).args[0];
    }
    id
}

/// How many expressions use each node, where these nodes are stored.
fn user_counts(graph: &Graph, live: &[bool], stored: &[bool]) -> Vec<u32> {
    let mut counts = vec![0u32; live.len()];
    for id in graph.ids().filter(|id| live[id.index()]) {
        for arg in &graph.node(id).args {
            counts[arg.index()] += 1;
        }
    }
    for root in graph.roots() {
        counts[root.index()] += 1;
    }
    // A view with several users gives its operand as many, unless it is stored.
    let inlined = |id: &NodeId| live[id.index()] && !stored[id.index()] && graph.node(*id).op.is_view();
    for id in graph.ids().rev().filter(inlined) {
        let extra = counts[id.index()].saturating_sub(1);
        for arg in &graph.node(id).args {
            counts[arg.index()] += extra;
        }
    }
    counts
}

/// Nodes whose elements an inlining kernel would compute more than once, because a user repeats them. What is stored
/// reads its operands once.
fn repeated(graph: &Graph, live: &[bool], stored: &[bool]) -> Vec<bool> {
    let mut repeated = vec![false; live.len()];
    for id in graph.ids().rev().filter(|id| live[id.index()]) {
        let node = graph.node(id);
        let inlined = !stored[id.index()] && (node.op.is_elementwise() || node.op.is_view());
        let repeats = match &node.op {
            Op::Broadcast { .. } => node.ty.shape.elements() != graph.ty(node.args[0]).shape.elements(),
            Op::Window(axes) => axes.iter().any(|w| w.stride < w.span()),
            _ => false,
        };
        if repeats || inlined && repeated[id.index()] {
            node.args.iter().for_each(|a| repeated[a.index()] = true);
        }
    }
    repeated
}

fn own_cost(op: &Op) -> u32 {
    match op {
        Op::Unary(f) => match f {
            UnaryFn::Sqrt => 4,
            _ => match f.row().lower {
                Lower::Strip => 12,
                Lower::Expand(_) => 3,
                Lower::Native => 1,
            },
        },
        Op::Binary(f) => match f.row().lower {
            Lower::Strip => 24,
            Lower::Expand(_) => 4,
            Lower::Native => 1,
        },
        Op::Select | Op::Cast(_) => 1,
        Op::Gather { .. } => 2,
        _ => 0,
    }
}

/// The stored nodes that an expression for `id` loads, in order, each once.
fn reads_of(graph: &Graph, id: NodeId, stored: &[bool]) -> Vec<NodeId> {
    let mut seen = std::collections::HashSet::new();
    let mut reads = Vec::new();
    let mut stack: Vec<NodeId> = graph.node(id).args.iter().rev().copied().collect();
    while let Some(next) = stack.pop() {
        if !seen.insert(next) {
            continue;
        }
        if stored[next.index()] {
            reads.push(next);
        } else {
            stack.extend(graph.node(next).args.iter().rev());
        }
    }
    reads.sort();
    reads
}
