//! Rolled loops: what [`Op::Scan`] repeats, and how one is built.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::graph::{Graph, NodeId};
use super::op::{Op, StorageId};
use super::shape::{Dim, Shape, TensorType};

/// A loop of a fixed number of steps over a body graph.
///
/// The operands of the operation are the initial values of the carries, then the sequences (each `[length, slice...]`),
/// then the invariants. Its results are the final values of the carries, then the outputs of the body, stacked:
/// `[length, output...]`.
///
/// Two loops are equal when they compute the same: names and sites of the body do not count.
#[derive(Clone, Debug)]
pub struct Scan {
    /// One step. Its inputs are one slice of each sequence, then the invariants. Its storage cells are the carries:
    /// `Op::Storage { id: StorageId(i) }` reads carry `i` as it was before the step, and an assignment gives its new
    /// value; a carry without one keeps its value. Its outputs are stacked. It has no other storage.
    pub body: Graph,
    /// The number of steps, at least one.
    pub length: usize,
    /// Whether step `i` reads and writes index `length - 1 - i`.
    pub reverse: bool,
    /// The types of the carries. They may depend on the batch, unlike a model's cells.
    pub carries: Vec<TensorType>,
    /// How many of the body's inputs are slices.
    pub sequences: usize,
    /// Of all that equality compares. The public fields are only read: a loop is shared by its nodes.
    hash: u64,
}

impl Scan {
    pub fn new(body: Graph, length: usize, reverse: bool, carries: Vec<TensorType>, sequences: usize) -> Scan {
        let mut scan = Scan { body, length, reverse, carries, sequences, hash: 0 };
        let mut hasher = DefaultHasher::new();
        (scan.length, scan.reverse, &scan.carries, scan.sequences).hash(&mut hasher);
        for node in scan.body.nodes() {
            (&node.op, &node.args).hash(&mut hasher);
        }
        for root in scan.body.roots() {
            root.hash(&mut hasher);
        }
        scan.hash = hasher.finish();
        scan
    }

    /// Number of operands.
    pub fn operands(&self) -> usize {
        self.carries.len() + self.body.inputs.len()
    }

    /// Number of results.
    pub fn results(&self) -> usize {
        self.carries.len() + self.body.outputs.len()
    }

    /// The types of the operands.
    pub fn operand_types(&self) -> impl Iterator<Item = TensorType> + '_ {
        let inputs = self.body.inputs.iter().enumerate();
        let inputs = inputs.map(|(i, d)| if i < self.sequences { self.stacked(&d.ty) } else { d.ty.clone() });
        self.carries.iter().cloned().chain(inputs)
    }

    /// The type of a result, if there are so many.
    pub fn result_type(&self, result: usize) -> Option<TensorType> {
        match self.carries.get(result) {
            Some(carry) => Some(carry.clone()),
            None => {
                let output = self.body.outputs.get(result - self.carries.len())?;
                Some(self.stacked(self.body.ty(output.node)))
            }
        }
    }

    /// The type of one slice for each step.
    pub fn stacked(&self, slice: &TensorType) -> TensorType {
        let dims = std::iter::once(Dim::fixed(self.length)).chain(slice.shape.iter().copied());
        TensorType::new(slice.dtype, Shape(dims.collect()))
    }

    /// The node of a carry's value after a step; `None` where it keeps its value.
    pub fn next(&self, carry: usize) -> Option<NodeId> {
        self.body.assigns.iter().find(|a| a.target.0 as usize == carry).map(|a| a.node)
    }

    /// What is wrong with the loop itself, apart from what its body's nodes say.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.length == 0 {
            return Err("a loop has at least one step".into());
        }
        if self.sequences > self.body.inputs.len() {
            return Err(format!("{} sequences for {} inputs of the body", self.sequences, self.body.inputs.len()));
        }
        if self.body.roots().any(|root| root.index() >= self.body.nodes().len()) {
            return Err("an output or a carry reads a node that does not exist".into());
        }
        for assign in &self.body.assigns {
            let value = self.body.ty(assign.node);
            match self.carries.get(assign.target.0 as usize) {
                Some(carry) if carry == value => {}
                Some(carry) => return Err(format!("carry {} is {carry}, its new value {value}", assign.target.0)),
                None => return Err(format!("there are {} carries", self.carries.len())),
            }
        }
        Ok(())
    }
}

impl PartialEq for Scan {
    fn eq(&self, other: &Scan) -> bool {
        let (a, b) = (&self.body, &other.body);
        self.hash == other.hash
            && (self.length, self.reverse, self.sequences) == (other.length, other.reverse, other.sequences)
            && self.carries == other.carries
            && a.inputs.iter().map(|i| &i.ty).eq(b.inputs.iter().map(|i| &i.ty))
            && a.outputs.iter().map(|o| o.node).eq(b.outputs.iter().map(|o| o.node))
            && a.assigns == b.assigns
            && a.nodes() == b.nodes()
    }
}

impl Eq for Scan {}

impl Hash for Scan {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.hash.hash(state);
    }
}

/// What a loop under construction reads: nodes of the graph around it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Over<'a> {
    pub length: usize,
    pub reverse: bool,
    /// Initial values of the carries.
    pub carries: &'a [NodeId],
    /// Tensors whose first axis is the step.
    pub sequences: &'a [NodeId],
    /// What every step reads whole.
    pub invariants: &'a [NodeId],
}

/// What one step reads: nodes of the body.
#[derive(Clone, Debug)]
pub struct Step {
    pub carries: Vec<NodeId>,
    pub slices: Vec<NodeId>,
    pub invariants: Vec<NodeId>,
}

/// What one step gives: nodes of the body.
#[derive(Clone, Debug, Default)]
pub struct Stepped {
    /// The carries' new values, one for each.
    pub carries: Vec<NodeId>,
    /// What is stacked.
    pub outputs: Vec<NodeId>,
}

/// The results of a loop: nodes of the graph around it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Looped {
    /// The carries after the last step.
    pub carries: Vec<NodeId>,
    /// The outputs of all steps.
    pub stacked: Vec<NodeId>,
}

impl Graph {
    /// Adds a loop. `step` builds the body; what it needs from this graph comes in as an invariant.
    ///
    /// # Panics
    /// As [`Graph::push`], where operands do not fit, and where `step` gives another number of carries than it got.
    #[track_caller]
    pub fn scan(&mut self, over: Over, step: impl FnOnce(&mut Graph, &Step) -> Stepped) -> Looped {
        let mut body = self.body();
        let mut carries = Vec::new();
        for (i, &carry) in over.carries.iter().enumerate() {
            let ty = self.ty(carry).clone();
            carries.push(body.push(Op::Storage { id: StorageId(i as u32), ty }, &[]));
        }
        let mut input = |kind: &str, i: usize, ty: TensorType| body.input(format!("{kind}{i}"), ty);
        let slice = |ty: &TensorType| TensorType::new(ty.dtype, Shape(ty.shape.get(1..).unwrap_or_default().to_vec()));
        let slices = over.sequences.iter().enumerate().map(|(i, x)| input("slice", i, slice(self.ty(*x)))).collect();
        let invariants = over.invariants.iter().enumerate();
        let invariants = invariants.map(|(i, x)| input("invariant", i, self.ty(*x).clone())).collect();
        let reads = Step { carries, slices, invariants };
        let gives = step(&mut body, &reads);
        assert_eq!(gives.carries.len(), reads.carries.len(), "a step gives as many carries as it takes");
        for (i, (&before, &after)) in reads.carries.iter().zip(&gives.carries).enumerate() {
            if before != after {
                body.assign(StorageId(i as u32), after);
            }
        }
        for (i, &output) in gives.outputs.iter().enumerate() {
            body.output(format!("output{i}"), output);
        }
        let types = over.carries.iter().map(|c| self.ty(*c).clone()).collect();
        let scan = Scan::new(body, over.length, over.reverse, types, over.sequences.len());
        let args = [over.carries, over.sequences, over.invariants].concat();
        self.looped(Arc::new(scan), &args)
    }

    /// Adds all results of a loop.
    #[track_caller]
    pub fn looped(&mut self, scan: Arc<Scan>, args: &[NodeId]) -> Looped {
        let split = scan.carries.len();
        let mut results = Vec::with_capacity(scan.results());
        for result in 0..scan.results() {
            results.push(self.push(Op::Scan { scan: scan.clone(), result }, args));
        }
        let stacked = results.split_off(split);
        Looped { carries: results, stacked }
    }
}

/// A loop of a graph.
#[derive(Debug)]
pub struct Loop<'g> {
    pub scan: &'g Arc<Scan>,
    pub args: &'g [NodeId],
    /// The nodes that are results of it, in order; the first one stands for the loop.
    pub results: Vec<NodeId>,
}

/// The loops of a graph. Nodes with equal loops over the same operands are results of one loop.
#[derive(Debug)]
pub struct Loops<'g> {
    /// In the order of their first results.
    pub list: Vec<Loop<'g>>,
    of: HashMap<NodeId, usize>,
}

impl Loops<'_> {
    /// The place in the list of the loop that a node is a result of.
    pub fn of(&self, node: NodeId) -> Option<usize> {
        self.of.get(&node).copied()
    }

    /// Whether a node is a result of a loop that an earlier one stands for.
    pub fn is_further(&self, node: NodeId) -> bool {
        self.of(node).is_some_and(|at| self.list[at].results[0] != node)
    }
}

impl Graph {
    /// The loops that some nodes are results of.
    pub fn loops(&self, nodes: impl IntoIterator<Item = NodeId>) -> Loops<'_> {
        let mut found = Loops { list: Vec::new(), of: HashMap::new() };
        let mut places: HashMap<(&Scan, &[NodeId]), usize> = HashMap::new();
        for id in nodes {
            let node = self.node(id);
            let Op::Scan { scan, .. } = &node.op else { continue };
            let at = *places.entry((scan.as_ref(), &node.args)).or_insert(found.list.len());
            match found.list.get_mut(at) {
                Some(known) => known.results.push(id),
                None => found.list.push(Loop { scan, args: &node.args, results: vec![id] }),
            }
            found.of.insert(id, at);
        }
        found
    }
}
