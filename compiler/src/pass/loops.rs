//! Brings loops into their smallest form.
//!
//! - Results that nothing reads go, and with them carries, operands and nodes that only they needed.
//! - What every step computes alike is computed once, before the loop. Views stay inside: they cost nothing there, and
//!   outside they would have to be stored. So does cheap elementwise work on what a broadcast makes large.
//! - A carry that no step changes is an invariant; so is a sequence with equal slices. A stacked output that is equal in
//!   every step is a broadcast, one that is a slice is the sequence itself.
//! - An invariant that is a view of something else is passed as that, with the view inside, so that a weight that is
//!   kept in [`super::panels`] is read as such. Constants move inside. Equal operands are passed once.
//!
//! Precondition: none. Postcondition: nothing of that is left to do, in any body.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::ir::graph::InputDecl;
use crate::ir::{Graph, Literal, NodeId, Op, Scan, Shape, SiteId, StorageId, TensorType};

use super::{Ctx, over_bodies, walk};

/// Elementwise work of at most this many operations stays inside where its result is larger than what it reads.
const CHEAP: usize = 8;

pub fn run(graph: &Graph, ctx: &mut Ctx) -> Graph {
    let mut graph = graph.clone();
    loop {
        let before = ctx.rewrites();
        if let Some(next) = level(&graph, ctx) {
            graph = next;
        }
        if let Some(next) = over_bodies(&graph, |body| run(body, ctx)) {
            graph = next;
        }
        if ctx.rewrites() == before {
            return graph;
        }
    }
}

/// All loops of one graph; `None` where nothing is to do.
fn level(graph: &Graph, ctx: &mut Ctx) -> Option<Graph> {
    let live = graph.live();
    let loops = graph.loops(graph.ids().filter(|id| live[id.index()]));
    if loops.list.is_empty() {
        return None;
    }
    let used = |at: usize, scan: &Scan| {
        let mut used = vec![false; scan.results()];
        for id in &loops.list[at].results {
            if let Op::Scan { result, .. } = graph.node(*id).op {
                used[result] = true;
            }
        }
        used
    };
    let mut changed = false;
    let mut done: HashMap<usize, Vec<Option<NodeId>>> = HashMap::new();
    let next = walk(graph, |next, id, op, args| {
        let (Op::Scan { scan, result }, Some(at)) = (&graph.node(id).op, loops.of(id)) else {
            return next.push(op, &args);
        };
        let values = done.entry(at).or_insert_with(|| {
            let site = graph.site_of(id);
            let tidied = Tidy::new(next, scan, &args, ctx.max_batch).run(&used(at, scan));
            match tidied.filter(|_| ctx.fire("tidy_loop", graph.site_at(site))) {
                Some(values) => {
                    changed = true;
                    values
                }
                None => vec![None; scan.results()],
            }
        });
        values[*result].unwrap_or_else(|| next.push(op, &args))
    });
    changed.then(|| walk(&next, |next, _, op, args| next.push(op, &args)))
}

/// What stands for a node of the body that the new body does not compute.
#[derive(Clone)]
enum Stop {
    Carry,
    /// A slice of a sequence outside.
    Slice(NodeId),
    /// A node outside, seen through views, outermost first.
    Invariant(NodeId, Vec<(Op, TensorType)>),
    /// A leaf without memory, seen through views.
    Leaf(Op, Vec<(Op, TensorType)>),
}

struct Tidy<'a> {
    /// The graph around the new loop.
    next: &'a mut Graph,
    scan: &'a Scan,
    args: &'a [NodeId],
    max_batch: usize,
    /// Which nodes of the body are equal in every step.
    steady: Vec<bool>,
    /// What steady nodes are outside, as far as it is known.
    outside: Vec<Option<NodeId>>,
}

impl<'a> Tidy<'a> {
    fn new(next: &'a mut Graph, scan: &'a Scan, args: &'a [NodeId], max_batch: usize) -> Tidy<'a> {
        let count = scan.body.nodes().len();
        Tidy { next, scan, args, max_batch, steady: vec![false; count], outside: vec![None; count] }
    }

    /// What stands for each used result, unless the loop is as it should be.
    fn run(mut self, used: &[bool]) -> Option<Vec<Option<NodeId>>> {
        let (scan, args) = (self.scan, self.args);
        self.find_steady();
        let mut results = vec![None; used.len()];
        let (mut outputs, mut output_of) = (Vec::new(), vec![0; used.len()]);
        let split = scan.carries.len();
        let mut roots = Vec::new();
        for (result, _) in used.iter().enumerate().filter(|(_, used)| **used) {
            if result < split {
                match self.changing(result) {
                    Some(next) => roots.push(next),
                    None => results[result] = Some(args[result]),
                }
                continue;
            }
            let node = scan.body.outputs[result - split].node;
            if self.steady[node.index()] {
                results[result] = Some(self.repeated(node));
            } else if let Some(sequence) = self.sequence(node) {
                results[result] = Some(sequence);
            } else {
                output_of[result] = outputs.iter().position(|o| *o == node).unwrap_or_else(|| {
                    outputs.push(node);
                    outputs.len() - 1
                });
                roots.push(node);
            }
        }
        let (stops, needed) = self.reach(roots);
        let mut carries: Vec<usize> = (0..split).filter(|&i| used[i] && self.changing(i).is_some()).collect();
        carries.extend(stops.keys().filter_map(|id| match (&stops[id], &scan.body.node(*id).op) {
            (Stop::Carry, Op::Storage { id, .. }) => Some(id.0 as usize),
            _ => None,
        }));
        carries.sort_unstable();
        carries.dedup();
        let (new, operands) = self.build(&stops, &needed, &carries, &outputs);
        let made = new != *scan || operands != args;
        if !made && results.iter().all(Option::is_none) {
            return None;
        }
        let new = Arc::new(new);
        for (result, _) in used.iter().enumerate().filter(|(_, used)| **used) {
            if results[result].is_some() {
                continue;
            }
            let place = match carries.iter().position(|c| *c == result) {
                Some(carry) if result < split => carry,
                _ => carries.len() + output_of[result],
            };
            results[result] = Some(self.next.push(Op::Scan { scan: new.clone(), result: place }, &operands));
        }
        Some(results)
    }

    /// The value of a carry after a step, if it is not the one before.
    fn changing(&self, carry: usize) -> Option<NodeId> {
        let id = StorageId(carry as u32);
        let same =
            |node: &NodeId| matches!(self.scan.body.node(*node).op, Op::Storage { id: other, .. } if other == id);
        self.scan.next(carry).filter(|node| !same(node))
    }

    /// The sequence that a node is a slice of.
    fn sequence(&self, node: NodeId) -> Option<NodeId> {
        match self.scan.body.node(node).op {
            Op::Input { index, .. } if index < self.scan.sequences => Some(self.args[self.scan.carries.len() + index]),
            _ => None,
        }
    }

    /// Finds the steady nodes, and for the leaves among them what they are outside.
    fn find_steady(&mut self) {
        let (scan, args) = (self.scan, self.args);
        for id in scan.body.ids() {
            let node = scan.body.node(id);
            let outside = match node.op {
                Op::Storage { id, .. } => match self.changing(id.0 as usize) {
                    None => Some(args[id.0 as usize]),
                    Some(_) => continue,
                },
                Op::Input { index, .. } => match self.sequence(id) {
                    None => Some(args[scan.carries.len() + index]),
                    Some(sequence) => match self.slice_of_equals(sequence) {
                        Some(slice) => Some(slice),
                        None => continue,
                    },
                },
                _ if node.args.iter().all(|a| self.steady[a.index()]) => None,
                _ => continue,
            };
            self.steady[id.index()] = true;
            self.outside[id.index()] = outside;
        }
    }

    /// The slice of a sequence whose slices are equal.
    fn slice_of_equals(&mut self, sequence: NodeId) -> Option<NodeId> {
        let node = self.next.node(sequence);
        match &node.op {
            Op::Const { value: value @ (Literal::Splat(_) | Literal::Size(_)), ty } => {
                let ty = TensorType::new(ty.dtype, Shape(ty.shape[1..].to_vec()));
                let value = value.clone();
                Some(self.next.push(Op::Const { value, ty }, &[]))
            }
            Op::Broadcast { axes, shape } if !axes.contains(&0) => {
                let axes: Vec<usize> = axes.iter().map(|a| a - 1).collect();
                let (x, shape) = (node.args[0], Shape(shape[1..].to_vec()));
                Some(self.next.broadcast(x, &axes, shape))
            }
            _ => None,
        }
    }

    /// A steady node outside.
    fn hoisted(&mut self, node: NodeId) -> NodeId {
        self.next.graft(&self.scan.body, [node], &mut self.outside);
        self.outside[node.index()].unwrap_or(node)
    }

    /// The stack of a steady node.
    fn repeated(&mut self, node: NodeId) -> NodeId {
        let once = self.hoisted(node);
        let shape = self.scan.stacked(self.next.ty(once)).shape;
        let axes: Vec<usize> = (1..shape.rank()).collect();
        self.next.broadcast(once, &axes, shape)
    }

    /// What the new body computes for its roots and the carries that those need, and where that stops.
    fn reach(&mut self, roots: Vec<NodeId>) -> (BTreeMap<NodeId, Stop>, Vec<bool>) {
        let scan = self.scan;
        let mut needed = vec![false; self.steady.len()];
        let mut stops = BTreeMap::new();
        let mut stack = roots;
        while let Some(id) = stack.pop() {
            if std::mem::replace(&mut needed[id.index()], true) {
                continue;
            }
            let node = scan.body.node(id);
            let steady = self.steady[id.index()];
            match &node.op {
                Op::Storage { id: carry, .. } if !steady => {
                    stops.insert(id, Stop::Carry);
                    stack.extend(self.changing(carry.0 as usize));
                }
                Op::Input { .. } if !steady => {
                    stops.extend(self.sequence(id).map(|sequence| (id, Stop::Slice(sequence))));
                }
                Op::Input { .. } | Op::Storage { .. } => _ = stops.insert(id, self.invariant(id)),
                op if steady && !op.is_leaf() && !op.is_index_view() && self.worth(id) => {
                    stops.insert(id, self.invariant(id));
                }
                _ => stack.extend(&node.args),
            }
        }
        (stops, needed)
    }

    /// Whether a steady node should be computed outside.
    fn worth(&self, id: NodeId) -> bool {
        let body = &self.scan.body;
        let size = |id: NodeId| body.ty(id).shape.count(self.max_batch);
        let (mut stack, mut seen) = (vec![id], vec![false; id.index() + 1]);
        let (mut operations, mut reads) = (0, 0);
        while let Some(at) = stack.pop() {
            if std::mem::replace(&mut seen[at.index()], true) {
                continue;
            }
            let node = body.node(at);
            operations += node.op.is_elementwise() as usize;
            match &node.op {
                op if op.is_elementwise() || op.is_index_view() => stack.extend(&node.args),
                Op::Const { value: Literal::Splat(_) | Literal::Size(_), .. } | Op::Iota { .. } => {}
                _ => reads += size(at),
            }
        }
        !body.node(id).op.is_elementwise() || operations > CHEAP || size(id) <= 2 * reads
    }

    /// A steady node as the new body reads it: the views that lead to what is passed, or to a leaf, go inside.
    fn invariant(&mut self, id: NodeId) -> Stop {
        let mut at = self.hoisted(id);
        let mut views = Vec::new();
        while self.next.node(at).op.is_index_view() {
            let node = self.next.node(at);
            if matches!(node.op, Op::Slice(_)) && !self.in_memory(at) {
                break;
            }
            views.push((node.op.clone(), node.ty.clone()));
            at = node.args[0];
        }
        match &self.next.node(at).op {
            op @ (Op::Const { value: Literal::Splat(_) | Literal::Size(_), .. } | Op::Iota { .. }) => {
                Stop::Leaf(op.clone(), views)
            }
            _ => Stop::Invariant(at, views),
        }
    }

    /// Whether the tensor under a chain of views lies in memory anyway.
    fn in_memory(&self, mut id: NodeId) -> bool {
        while self.next.node(id).op.is_index_view() {
            id = self.next.node(id).args[0];
        }
        self.next.node(id).op.is_leaf()
    }

    /// The new loop and its operands.
    fn build(
        &self,
        stops: &BTreeMap<NodeId, Stop>,
        needed: &[bool],
        carries: &[usize],
        outputs: &[NodeId],
    ) -> (Scan, Vec<NodeId>) {
        let old = &self.scan.body;
        // Operands in the order of the old ones, what is new behind them.
        let place = |id: &NodeId| match old.node(*id).op {
            Op::Input { index, .. } => (0, index),
            _ => (1, id.index()),
        };
        let mut order: Vec<NodeId> = stops.keys().copied().collect();
        order.sort_by_key(place);
        let (mut slices, mut invariants) = (Vec::new(), Vec::new());
        for id in &order {
            match &stops[id] {
                Stop::Slice(from) if !slices.contains(from) => slices.push(*from),
                Stop::Invariant(from, _) if !invariants.contains(from) => invariants.push(*from),
                _ => {}
            }
        }
        let mut body = Graph::successor(old);
        body.inputs = slices.iter().enumerate().map(|(i, x)| self.decl("slice", i, self.slice(*x))).collect();
        body.inputs
            .extend(invariants.iter().enumerate().map(|(i, x)| self.decl("invariant", i, self.next.ty(*x).clone())));
        let mut map: Vec<Option<NodeId>> = vec![None; needed.len()];
        for id in old.ids().filter(|id| needed[id.index()]) {
            let site: SiteId = old.site_of(id);
            body.set_site(site);
            let place = |list: &[NodeId], x: &NodeId| list.iter().position(|y| x == y).unwrap_or(0);
            map[id.index()] = Some(match stops.get(&id) {
                Some(Stop::Carry) => {
                    let Op::Storage { id: carry, ty } = &old.node(id).op else { continue };
                    let carry = carries.iter().position(|c| *c == carry.0 as usize).unwrap_or(0);
                    body.push(Op::Storage { id: StorageId(carry as u32), ty: ty.clone() }, &[])
                }
                Some(Stop::Slice(from)) => {
                    let index = place(&slices, from);
                    body.push(Op::Input { index, ty: self.slice(*from) }, &[])
                }
                Some(Stop::Invariant(from, views)) => {
                    let index = slices.len() + place(&invariants, from);
                    let base = body.push(Op::Input { index, ty: self.next.ty(*from).clone() }, &[]);
                    views.iter().rev().fold(base, |x, (op, _)| body.push(op.clone(), &[x]))
                }
                Some(Stop::Leaf(op, views)) => match (op, views.first()) {
                    (Op::Const { value, .. }, Some((_, ty))) => {
                        body.push(Op::Const { value: value.clone(), ty: ty.clone() }, &[])
                    }
                    _ => {
                        let base = body.push(op.clone(), &[]);
                        views.iter().rev().fold(base, |x, (op, _)| body.push(op.clone(), &[x]))
                    }
                },
                None => {
                    let node = old.node(id);
                    let args: Vec<NodeId> = node.args.iter().filter_map(|a| map[a.index()]).collect();
                    body.push(node.op.clone(), &args)
                }
            });
        }
        for (i, output) in outputs.iter().enumerate() {
            map[output.index()].into_iter().for_each(|node| body.output(format!("output{i}"), node));
        }
        for (i, &carry) in carries.iter().enumerate() {
            let value = self.changing(carry).and_then(|node| map[node.index()]);
            value.into_iter().for_each(|node| body.assign(StorageId(i as u32), node));
        }
        let types = carries.iter().map(|&i| self.scan.carries[i].clone()).collect();
        let scan = Scan::new(body, self.scan.length, self.scan.reverse, types, slices.len());
        let mut operands: Vec<NodeId> = carries.iter().map(|&i| self.args[i]).collect();
        operands.extend(slices);
        operands.extend(invariants);
        (scan, operands)
    }

    fn decl(&self, kind: &str, index: usize, ty: TensorType) -> InputDecl {
        InputDecl::new(format!("{kind}{index}"), ty)
    }

    /// The type of a slice of a sequence.
    fn slice(&self, sequence: NodeId) -> TensorType {
        let ty = self.next.ty(sequence);
        TensorType::new(ty.dtype, Shape(ty.shape[1..].to_vec()))
    }
}
