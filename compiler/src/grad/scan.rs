//! The gradient of a loop: a loop that runs the other way.
//!
//! One step of the reverse loop takes the gradients of the carries after a forward step, and of what that step put out,
//! to the gradients of the carries before it and of what it read. Its carries are the gradients of the carries. To
//! write it, the body is differentiated like any graph ([`Joint`]), with inputs that stand for the gradients that come
//! in. Then three questions are left.
//!
//! *What of the forward step does the reverse step need, and how does it get it?* ([`residuals`]) Slices and invariants
//! are there already. Carries, contractions, reductions and whatever else costs is stored: the forward loop is run with
//! further outputs, which [`crate::pass::merge`] makes one with the loop that is there. Elementwise work is done
//! again. What is stored is taken as late as that costs no memory: the sum `x + h U` instead of the product, its
//! activation instead of the sum if nothing else reads the sum.
//!
//! *How do the gradients of invariants leave the loop?* ([`After`]) They are sums over all steps. Where a step's part is
//! a contraction or a sum over axes of what can be stacked, the sum over the steps joins the sums of that one operation,
//! after the loop: the gradient of a recurrent weight is one contraction. Additions and views change places with the
//! sum. What else there is is added up in a carry.
//!
//! *Which carries and results matter at all?* Those that depend on what is wanted ([`activity`]) and that the
//! gradients reach ([`relevance`]).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::{Reverse, active};
use crate::ir::{
    BinaryFn, ContractAxes, Dim, Graph, NodeId, Op, ReduceFn, Scan, Shape, StorageId, TensorType, UnaryFn,
};

/// The batch for which memory is compared.
const NOMINAL_BATCH: usize = 64;

/// Passes the gradients of a loop's results on to its operands. `results` are its nodes.
pub(super) fn differentiate(reverse: &mut Reverse, results: &[NodeId]) {
    let node = reverse.graph.node(results[0]).clone();
    let Op::Scan { scan, .. } = &node.op else { return };
    let mut gradients = vec![None; scan.results()];
    for &id in results.iter().filter(|id| reverse.wants(**id)) {
        if let Op::Scan { result, .. } = reverse.graph.node(id).op {
            gradients[result] = reverse.adjoints[id.index()];
        }
    }
    if gradients.iter().all(Option::is_none) {
        return;
    }
    let wanted: Vec<bool> = node.args.iter().map(|a| reverse.wants(*a)).collect();
    let joint = Joint::new(scan, &wanted, &gradients);
    let mut after = After::new(&joint, scan);
    let mut passed_on = Vec::new();
    for &(input, d) in &joint.inputs {
        let total = if input < scan.sequences { after.stack(d) } else { after.total(d) };
        passed_on.push((scan.carries.len() + input, total));
    }
    let (after_graph, requests) = (after.graph, after.requests);
    let plan = Plan::new(&joint, scan, &requests);
    let values = plan.build(reverse.graph, &node.args, &gradients, &requests);
    // The requests are the inputs of the graph of what comes after the loop.
    let mut map = vec![None; after_graph.nodes().len()];
    for id in after_graph.ids() {
        if let Op::Input { index, .. } = after_graph.node(id).op {
            map[id.index()] = Some(values.requested[index]);
        }
    }
    reverse.graph.graft(&after_graph, passed_on.iter().map(|p| p.1), &mut map);
    for (arg, total) in passed_on {
        map[total.index()].into_iter().for_each(|d| reverse.add(node.args[arg], d));
    }
    for (carry, d) in values.initial {
        reverse.add(node.args[carry], d);
    }
}

/// Which nodes of the body depend on what is wanted, through however many steps; and which carries.
fn activity(scan: &Scan, wanted: &[bool]) -> (Vec<bool>, Vec<bool>) {
    let body = &scan.body;
    let split = scan.carries.len();
    let mut carries = wanted[..split].to_vec();
    loop {
        let nodes = active(body, body.nodes().len(), |id| match body.node(id).op {
            Op::Storage { id, .. } => carries[id.0 as usize],
            Op::Input { index, .. } => wanted[split + index],
            _ => false,
        });
        let reached = |i: &usize| !carries[*i] && scan.next(*i).is_some_and(|next| nodes[next.index()]);
        match (0..split).find(reached) {
            Some(i) => carries[i] = true,
            None => return (nodes, carries),
        }
    }
}

/// Which carries the gradients of results reach, through however many steps.
fn relevance(scan: &Scan, active: &[bool], gradients: &[Option<NodeId>]) -> Vec<bool> {
    let body = &scan.body;
    let (of_carries, of_outputs) = gradients.split_at(scan.carries.len());
    let mut carries: Vec<bool> = of_carries.iter().map(Option::is_some).collect();
    loop {
        let mut reached = vec![false; active.len()];
        let outputs = body.outputs.iter().zip(of_outputs).filter(|(_, d)| d.is_some()).map(|(o, _)| o.node);
        let nexts = (0..carries.len()).filter(|&i| carries[i]).filter_map(|i| scan.next(i));
        outputs.chain(nexts).for_each(|node| reached[node.index()] = true);
        let before = carries.clone();
        for id in body.ids().rev().filter(|id| active[id.index()]) {
            if !reached[id.index()] {
                continue;
            }
            let node = body.node(id);
            node.args.iter().for_each(|a| reached[a.index()] = true);
            if let Op::Storage { id, .. } = node.op {
                carries[id.0 as usize] = true;
            }
        }
        if carries == before {
            return carries;
        }
    }
}

/// The body and its reverse in one graph.
struct Joint {
    /// The body's nodes, with their numbers, then those of the reverse.
    graph: Graph,
    /// How many nodes are the body's.
    primal: usize,
    /// Carries with a gradient: the input that stands for it after the step, and its value before the step.
    carries: Vec<(usize, NodeId, NodeId)>,
    /// The inputs that stand for gradients of outputs.
    outputs: Vec<(usize, NodeId)>,
    /// The gradients of the body's inputs in one step.
    inputs: Vec<(usize, NodeId)>,
    /// Which nodes depend on no gradient.
    forward: Vec<bool>,
    /// Which nodes are equal in every step.
    steady: Vec<bool>,
}

impl Joint {
    fn new(scan: &Scan, wanted: &[bool], gradients: &[Option<NodeId>]) -> Joint {
        let (body, split) = (&scan.body, scan.carries.len());
        let (active, active_carries) = activity(scan, wanted);
        let relevant = relevance(scan, &active, gradients);
        let mut graph = body.clone();
        graph.outputs.clear();
        graph.assigns.clear();
        let (primal, primal_inputs) = (graph.nodes().len(), graph.inputs.len());
        let place = |op: &dyn Fn(&Op) -> bool| body.ids().find(|id| op(&body.node(*id).op));
        let mut carried = Vec::new();
        for i in (0..split).filter(|&i| active_carries[i] && relevant[i]) {
            carried.push((i, graph.input(format!("d carry{i}"), scan.carries[i].clone())));
        }
        let mut outputs = Vec::new();
        for (j, output) in body.outputs.iter().enumerate() {
            if gradients[split + j].is_some() && active[output.node.index()] {
                outputs.push((j, graph.input(format!("d output{j}"), body.ty(output.node).clone())));
            }
        }
        let mut reverse = Reverse::new(&mut graph, active);
        for &(i, d) in &carried {
            if let Some(next) = scan.next(i) {
                reverse.enter(next);
                reverse.add(next, d);
            }
        }
        for &(j, d) in &outputs {
            let node = body.outputs[j].node;
            reverse.enter(node);
            reverse.add(node, d);
        }
        reverse.sweep();
        let mut carries = Vec::new();
        for (i, d) in carried {
            let read = place(&|op| matches!(op, Op::Storage { id, .. } if id.0 as usize == i));
            let part = read.and_then(|id| reverse.adjoints[id.index()]);
            let before = match (part, scan.next(i)) {
                (Some(part), Some(_)) => part,
                (Some(part), None) => reverse.graph.add(part, d),
                (None, Some(_)) => reverse.graph.lit_like(d, 0.0),
                (None, None) => d,
            };
            carries.push((i, d, before));
        }
        let mut inputs = Vec::new();
        for input in (0..primal_inputs).filter(|i| wanted[split + i]) {
            let read = place(&|op| matches!(op, Op::Input { index, .. } if *index == input));
            inputs.extend(read.and_then(|id| reverse.adjoints[id.index()]).map(|d| (input, d)));
        }
        let (mut forward, mut steady) = (Vec::new(), Vec::new());
        for node in graph.nodes() {
            let all = |of: &[bool]| node.args.iter().all(|a| of[a.index()]);
            let (is_forward, is_steady) = match node.op {
                Op::Input { index, .. } => (index < primal_inputs, (scan.sequences..primal_inputs).contains(&index)),
                Op::Storage { id, .. } => (true, scan.next(id.0 as usize).is_none()),
                _ => (all(&forward), all(&steady)),
            };
            forward.push(is_forward);
            steady.push(is_steady);
        }
        Joint { graph, primal, carries, outputs, inputs, forward, steady }
    }

    fn op(&self, id: NodeId) -> &Op {
        &self.graph.node(id).op
    }

    fn arg(&self, id: NodeId, i: usize) -> NodeId {
        self.graph.node(id).args[i]
    }

    fn bytes(&self, id: NodeId) -> usize {
        self.graph.ty(id).bytes(NOMINAL_BATCH)
    }

    /// Whether a forward node is there without computing anything.
    fn is_free(&self, id: NodeId) -> bool {
        self.op(id).is_leaf() && !matches!(self.op(id), Op::Storage { .. }) || self.is_kept(id)
    }

    /// Whether a node reads a carry that never changes.
    fn is_kept(&self, id: NodeId) -> bool {
        matches!(self.op(id), Op::Storage { .. }) && self.steady[id.index()]
    }

    /// Whether a forward node is stored rather than computed again.
    fn is_costly(&self, id: NodeId) -> bool {
        let op = self.op(id);
        let cheap = op.is_elementwise() || op.is_index_view();
        !(cheap || self.steady[id.index()] || self.is_free(id))
    }
}

/// What is computed after the loop asks for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
enum Request {
    /// An operand of the loop, by its place.
    Operand(usize),
    /// The values of a node of the joint body in all steps.
    Stack(NodeId),
    /// Their sum.
    Total(NodeId),
}

/// What comes after the loop, as a graph whose inputs are the requests.
struct After<'j> {
    joint: &'j Joint,
    scan: &'j Scan,
    graph: Graph,
    requests: Vec<Request>,
    inputs: HashMap<Request, NodeId>,
    totals: HashMap<NodeId, NodeId>,
    steady: Vec<Option<NodeId>>,
}

impl<'j> After<'j> {
    fn new(joint: &'j Joint, scan: &'j Scan) -> After<'j> {
        let steady = vec![None; joint.graph.nodes().len()];
        let graph = Graph::new("after");
        let (inputs, totals) = (HashMap::new(), HashMap::new());
        After { joint, scan, graph, requests: Vec::new(), inputs, totals, steady }
    }

    fn request(&mut self, request: Request, ty: TensorType) -> NodeId {
        if let Some(&node) = self.inputs.get(&request) {
            return node;
        }
        self.requests.push(request);
        let node = self.graph.input(format!("{request:?}"), ty);
        self.inputs.insert(request, node);
        node
    }

    fn site(&mut self, id: NodeId) {
        let site = self.graph.site_id(self.joint.graph.site(id));
        self.graph.set_site(site);
    }

    /// A node that is equal in every step.
    fn once(&mut self, id: NodeId) -> NodeId {
        let joint = self.joint;
        for leaf in joint.graph.ids().take(joint.primal) {
            let ty = joint.graph.ty(leaf).clone();
            let place = match *joint.op(leaf) {
                Op::Input { index, .. } if joint.steady[leaf.index()] => self.scan.carries.len() + index,
                Op::Storage { id, .. } if joint.steady[leaf.index()] => id.0 as usize,
                _ => continue,
            };
            self.steady[leaf.index()] = Some(self.request(Request::Operand(place), ty));
        }
        self.graph.graft(&joint.graph, [id], &mut self.steady);
        self.steady[id.index()].unwrap_or(id)
    }

    /// The values of a node in all steps, along a new first axis. Views are taken of the stack.
    fn stack(&mut self, id: NodeId) -> NodeId {
        let (joint, length) = (self.joint, Dim::fixed(self.scan.length));
        let stacked = |shape: &Shape| Shape(std::iter::once(length).chain(shape.iter().copied()).collect());
        if joint.steady[id.index()] {
            let once = self.once(id);
            let shape = stacked(&joint.graph.ty(id).shape);
            let axes: Vec<usize> = (1..shape.rank()).collect();
            return self.graph.broadcast(once, &axes, shape);
        }
        self.site(id);
        let lifted = match joint.op(id) {
            Op::Input { index, .. } if *index < self.scan.sequences => {
                let ty = self.scan.stacked(joint.graph.ty(id));
                return self.request(Request::Operand(self.scan.carries.len() + index), ty);
            }
            Op::Reshape(shape) => Some(Op::Reshape(stacked(shape))),
            Op::Permute(perm) => Some(Op::Permute(std::iter::once(0).chain(perm.iter().map(|a| a + 1)).collect())),
            Op::Broadcast { axes, shape } => {
                let axes = std::iter::once(0).chain(axes.iter().map(|a| a + 1)).collect();
                Some(Op::Broadcast { axes, shape: stacked(shape) })
            }
            _ => None,
        };
        if let Some(op) = lifted {
            let base = self.stack(joint.arg(id, 0));
            self.site(id);
            if let Ok(view) = self.graph.try_push(op, &[base]) {
                return view;
            }
        }
        let ty = self.scan.stacked(joint.graph.ty(id));
        self.request(Request::Stack(id), ty)
    }

    /// The sum of a node over all steps.
    fn total(&mut self, id: NodeId) -> NodeId {
        if let Some(&total) = self.totals.get(&id) {
            return total;
        }
        let total = self.sum(id);
        self.totals.insert(id, total);
        total
    }

    fn sum(&mut self, id: NodeId) -> NodeId {
        let joint = self.joint;
        let node = joint.graph.node(id);
        let steady = |i: usize| joint.steady[node.args[i].index()];
        if joint.steady[id.index()] {
            let once = self.once(id);
            self.site(id);
            return self.graph.mul_s(once, self.scan.length as f64);
        }
        match &node.op {
            // Linear in all its operands together.
            Op::Binary(BinaryFn::Add | BinaryFn::Sub)
            | Op::Unary(UnaryFn::Neg)
            | Op::Reshape(_)
            | Op::Permute(_)
            | Op::Broadcast { .. }
            | Op::Slice(_)
            | Op::Concat { .. }
            | Op::Fold { .. } => {
                let args: Vec<NodeId> = node.args.iter().map(|a| self.total(*a)).collect();
                self.site(id);
                self.graph.push(node.op.clone(), &args)
            }
            Op::Pad { value, .. } if value.0 == 0.0 => {
                let arg = self.total(node.args[0]);
                self.site(id);
                self.graph.push(node.op.clone(), &[arg])
            }
            // Linear in one operand, the other being the same in every step.
            Op::Binary(BinaryFn::Mul) | Op::Contract(_) if steady(0) || steady(1) => {
                let args = [0, 1].map(|i| if steady(i) { self.once(node.args[i]) } else { self.total(node.args[i]) });
                self.site(id);
                self.graph.push(node.op.clone(), &args)
            }
            Op::Binary(BinaryFn::Div) if steady(1) => {
                let args = [self.total(node.args[0]), self.once(node.args[1])];
                self.site(id);
                self.graph.push(node.op.clone(), &args)
            }
            // The steps are one more axis to sum over.
            Op::Contract(axes) => {
                let args = [self.stack(node.args[0]), self.stack(node.args[1])];
                let shifted = |pairs: &[(usize, usize)]| pairs.iter().map(|p| (p.0 + 1, p.1 + 1)).collect::<Vec<_>>();
                let sum = std::iter::once((0, 0)).chain(shifted(&axes.sum)).collect();
                self.site(id);
                self.graph.push(Op::Contract(ContractAxes { batch: shifted(&axes.batch), sum }), &args)
            }
            Op::Reduce { f: ReduceFn::Sum, axes } => {
                let stack = self.stack(node.args[0]);
                let axes: Vec<usize> = std::iter::once(0).chain(axes.iter().map(|a| a + 1)).collect();
                self.site(id);
                self.graph.sum(stack, &axes)
            }
            Op::ScatterAdd { axis: 0, .. } => {
                let args = [self.stack(node.args[0]), self.stack(node.args[1])];
                self.site(id);
                self.graph.push(node.op.clone(), &args)
            }
            _ => self.request(Request::Total(id), node.ty.clone()),
        }
    }
}

/// How forward values get to where they are needed.
struct Plan<'j> {
    joint: &'j Joint,
    scan: &'j Scan,
    /// What the reverse loop computes: gradients of carries, stacks, terms of totals.
    roots: Vec<NodeId>,
    /// Forward nodes that the forward loop puts out for what comes later.
    stored: BTreeSet<NodeId>,
}

/// The values in the graph around the loop.
struct Values {
    /// Of the requests, in their order.
    requested: Vec<NodeId>,
    /// The gradients of the initial values of carries.
    initial: Vec<(usize, NodeId)>,
}

impl<'j> Plan<'j> {
    fn new(joint: &'j Joint, scan: &'j Scan, requests: &[Request]) -> Plan<'j> {
        let mut roots: Vec<NodeId> = joint.carries.iter().map(|c| c.2).collect();
        roots.extend(requests.iter().filter_map(|r| match r {
            Request::Stack(id) | Request::Total(id) => Some(*id),
            Request::Operand(_) => None,
        }));
        let stored = residuals(joint, &roots);
        // A stack that the forward loop puts out is nothing that the reverse loop computes.
        let total = |id: &NodeId| requests.contains(&Request::Total(*id)) || joint.carries.iter().any(|c| c.2 == *id);
        roots.retain(|id| !stored.contains(id) || total(id));
        Plan { joint, scan, roots, stored }
    }

    /// The nodes that the reverse loop has, and those of the forward loop that it reads.
    fn needed(&self) -> Vec<bool> {
        let mut needed = vec![false; self.joint.graph.nodes().len()];
        self.roots.iter().for_each(|root| needed[root.index()] = true);
        for id in self.joint.graph.ids().rev() {
            if needed[id.index()] && !self.stored.contains(&id) {
                self.joint.graph.node(id).args.iter().for_each(|a| needed[a.index()] = true);
            }
        }
        needed
    }

    /// The forward loop with further outputs, and the stacks of what is stored.
    fn forward(&self, graph: &mut Graph, args: &[NodeId]) -> BTreeMap<NodeId, NodeId> {
        let (joint, scan) = (self.joint, self.scan);
        let mut body = scan.body.clone();
        let mut map: Vec<Option<NodeId>> =
            joint.graph.ids().map(|id| (id.index() < joint.primal).then_some(id)).collect();
        body.graft(&joint.graph, self.stored.iter().copied(), &mut map);
        let mut places = Vec::new();
        for &id in &self.stored {
            let Some(node) = map[id.index()] else { continue };
            let output = body.outputs.iter().position(|o| o.node == node).unwrap_or_else(|| {
                body.output(format!("output{}", body.outputs.len()), node);
                body.outputs.len() - 1
            });
            places.push((id, scan.carries.len() + output));
        }
        let longer = Arc::new(Scan::new(body, scan.length, scan.reverse, scan.carries.clone(), scan.sequences));
        let stack = |(id, result)| (id, graph.push(Op::Scan { scan: longer.clone(), result }, args));
        places.into_iter().map(stack).collect()
    }

    fn build(&self, graph: &mut Graph, args: &[NodeId], gradients: &[Option<NodeId>], requests: &[Request]) -> Values {
        let (joint, scan, split) = (self.joint, self.scan, self.scan.carries.len());
        let stacks = self.forward(graph, args);
        let needed = self.needed();
        // The operands, and what stands for them in the body.
        let mut body = graph.body();
        let mut map: Vec<Option<NodeId>> = vec![None; needed.len()];
        let mut carries: Vec<NodeId> = Vec::new();
        for &(i, input, _) in &joint.carries {
            let ty = scan.carries[i].clone();
            let zeros = || graph.splat_of(0.0, ty.clone());
            let initial = gradients[i].unwrap_or_else(zeros);
            map[input.index()] = Some(body.push(Op::Storage { id: StorageId(carries.len() as u32), ty }, &[]));
            carries.push(initial);
        }
        let totals: Vec<NodeId> =
            requests.iter().filter_map(|r| if let Request::Total(id) = r { Some(*id) } else { None }).collect();
        let mut accumulators = Vec::new();
        for &id in &totals {
            let ty = joint.graph.ty(id).clone();
            accumulators.push(body.push(Op::Storage { id: StorageId(carries.len() as u32), ty: ty.clone() }, &[]));
            carries.push(graph.splat_of(0.0, ty));
        }
        let mut sequences: Vec<(NodeId, NodeId)> = Vec::new();
        let of_outputs = joint.outputs.iter().filter_map(|&(j, id)| Some((id, gradients[split + j]?)));
        sequences.extend(of_outputs.filter(|(id, _)| needed[id.index()]));
        sequences.extend(stacks.iter().map(|(id, stack)| (*id, *stack)).filter(|(id, _)| needed[id.index()]));
        let mut invariants: Vec<(NodeId, NodeId)> = Vec::new();
        for id in joint.graph.ids().take(joint.primal).filter(|id| needed[id.index()]) {
            match *joint.op(id) {
                Op::Input { index, .. } if index < scan.sequences => sequences.push((id, args[split + index])),
                Op::Input { index, .. } => invariants.push((id, args[split + index])),
                Op::Storage { id: carry, .. } if joint.is_kept(id) => invariants.push((id, args[carry.0 as usize])),
                _ => {}
            }
        }
        for (i, (id, _)) in sequences.iter().chain(&invariants).enumerate() {
            let kind = if i < sequences.len() { "slice" } else { "invariant" };
            let site = body.site_id(joint.graph.site(*id));
            let before = body.set_site(site);
            map[id.index()] = Some(body.input(format!("{kind}{i}"), joint.graph.ty(*id).clone()));
            body.set_site(before);
        }
        // The step.
        body.graft(&joint.graph, self.roots.iter().copied(), &mut map);
        let value = |id: NodeId| map[id.index()].unwrap_or(id);
        for (i, &(_, _, before)) in joint.carries.iter().enumerate() {
            body.assign(StorageId(i as u32), value(before));
        }
        for (i, (&id, &sum)) in totals.iter().zip(&accumulators).enumerate() {
            let sum = body.add(sum, value(id));
            body.assign(StorageId((joint.carries.len() + i) as u32), sum);
        }
        let mut outputs: Vec<NodeId> = Vec::new();
        for request in requests {
            if let Request::Stack(id) = request
                && !self.stored.contains(id)
            {
                body.output(format!("output{}", outputs.len()), value(*id));
                outputs.push(*id);
            }
        }
        let types = carries.iter().map(|c| graph.ty(*c).clone()).collect();
        let backwards = Arc::new(Scan::new(body, scan.length, !scan.reverse, types, sequences.len()));
        let operands: Vec<NodeId> =
            carries.iter().copied().chain(sequences.iter().chain(&invariants).map(|o| o.1)).collect();
        let mut result = |result| graph.push(Op::Scan { scan: backwards.clone(), result }, &operands);
        let requested = requests.iter().map(|request| match request {
            Request::Operand(place) => args[*place],
            Request::Stack(id) => match stacks.get(id) {
                Some(stack) => *stack,
                None => result(carries.len() + outputs.iter().position(|o| o == id).unwrap_or(0)),
            },
            Request::Total(id) => result(joint.carries.len() + totals.iter().position(|t| t == id).unwrap_or(0)),
        });
        let requested = requested.collect();
        let initial = joint.carries.iter().enumerate().map(|(i, c)| (c.0, result(i))).collect();
        Values { requested, initial }
    }
}

/// The forward nodes to store, so that everything else that the roots need can be computed again without cost.
fn residuals(joint: &Joint, roots: &[NodeId]) -> BTreeSet<NodeId> {
    let mut late: BTreeSet<NodeId> = BTreeSet::new();
    loop {
        let graph = &joint.graph;
        let mut needed = vec![false; graph.nodes().len()];
        // Forward nodes that are read by what is computed once only, and the forward nodes that read others.
        let mut direct: BTreeSet<NodeId> = roots.iter().copied().filter(|id| joint.forward[id.index()]).collect();
        let mut users: HashMap<NodeId, Vec<NodeId>> = HashMap::new();
        roots.iter().for_each(|root| needed[root.index()] = true);
        let mut stored = BTreeSet::new();
        for id in graph.ids().rev().filter(|id| joint.forward.len() > id.index()) {
            if !needed[id.index()] {
                continue;
            }
            let forward = joint.forward[id.index()];
            if forward && !joint.is_free(id) && (joint.is_costly(id) || late.contains(&id)) {
                stored.insert(id);
                continue;
            }
            for &arg in &graph.node(id).args {
                needed[arg.index()] = true;
                if joint.forward[arg.index()] && !forward {
                    direct.insert(arg);
                } else {
                    users.entry(arg).or_default().push(id);
                }
            }
        }
        // One stored node whose users can be stored instead.
        let later = stored.iter().filter(|id| !direct.contains(id)).find_map(|id| {
            let users = users.get(id)?;
            let takes = |user: &NodeId| {
                let op = joint.op(*user);
                op.is_elementwise() || matches!(op, Op::Slice(_) | Op::Reshape(_) | Op::Permute(_))
            };
            let distinct: BTreeSet<NodeId> = users.iter().copied().collect();
            let bytes: usize = distinct.iter().filter(|u| !stored.contains(u)).map(|u| joint.bytes(*u)).sum();
            (distinct.iter().all(takes) && bytes <= joint.bytes(*id)).then_some(distinct)
        });
        match later {
            Some(users) => late.extend(users),
            None => return stored,
        }
    }
}
