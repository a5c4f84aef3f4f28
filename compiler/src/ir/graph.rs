//! The tensor graph of one entry point, and the module that holds a model's entry points and storage.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use super::dtype::DType;
use super::op::{Literal, Number, Op, StorageId, TOO_MANY, TypeError};
use super::range::ValueRange;
use super::scalar::{BinaryFn, Emit, UnaryFn, Val};
use super::shape::{Shape, TensorType};
use super::site::{Site, SiteId};

/// Index of a node in its graph.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct NodeId(pub u32);

impl NodeId {
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

/// One value: an operation, the nodes it reads, and its type.
#[derive(Clone, PartialEq, Debug)]
pub struct Node {
    pub op: Op,
    pub args: Vec<NodeId>,
    pub ty: TensorType,
}

/// A named argument of an entry point.
#[derive(Clone, PartialEq, Debug)]
pub struct InputDecl {
    pub name: String,
    pub ty: TensorType,
    /// What its elements may be, where not everything of the type: callers check it before the call.
    pub range: Option<ValueRange>,
    /// The function that makes it of text before the call, as the runtime reads it; null for an argument of numbers.
    pub text: Option<Arc<str>>,
}

impl InputDecl {
    /// An argument of any numbers.
    pub fn new(name: impl Into<String>, ty: TensorType) -> InputDecl {
        InputDecl { name: name.into(), ty, range: None, text: None }
    }
}

/// A named result of an entry point.
#[derive(Clone, PartialEq, Debug)]
pub struct OutputDecl {
    pub name: String,
    pub node: NodeId,
}

/// A storage cell's new value, written after everything has been read.
#[derive(Clone, PartialEq, Debug)]
pub struct Assign {
    pub target: StorageId,
    pub node: NodeId,
}

/// The tensor graph of one entry point. Nodes are hash-consed: adding an equal operation on equal operands yields
/// the node that is already there, and the first site stays.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub name: String,
    pub inputs: Vec<InputDecl>,
    pub outputs: Vec<OutputDecl>,
    pub assigns: Vec<Assign>,
    nodes: Vec<Node>,
    node_sites: Vec<SiteId>,
    sites: Vec<Site>,
    site_ids: HashMap<Site, SiteId>,
    interned: HashMap<(Op, Vec<NodeId>), NodeId>,
    cursor: SiteId,
    /// The most operations, while it is being built of a description.
    building: Option<usize>,
}

/// The most operations of the graph of an entry point.
pub const MAX_NODES: usize = 1 << 20;
/// The most operations of a layer, models and their layers included.
pub const MAX_LAYER_NODES: usize = 1 << 15;

impl Graph {
    /// An empty graph with one unnamed site.
    pub fn new(name: impl Into<String>) -> Graph {
        let mut graph = Graph { name: name.into(), ..Graph::default() };
        graph.cursor = graph.site_id(&Site::default());
        graph
    }

    /// Builds a graph of what a description asks for, in at most some operations, or says what does not fit and at which
    /// site: sizes and repetitions that nobody bounded end here, before they take the machine's memory. Meanwhile
    /// [`Graph::push`] unwinds with its error instead of panicking.
    pub fn built<T>(
        name: impl Into<String>,
        most: usize,
        build: impl FnOnce(&mut Graph) -> T,
    ) -> Result<(Graph, T), (TypeError, Site)> {
        let mut graph = Graph { building: Some(most), ..Graph::new(name) };
        match catch_unwind(AssertUnwindSafe(|| build(&mut graph))) {
            Ok(result) => {
                graph.building = None;
                Ok((graph, result))
            }
            Err(payload) => match payload.downcast::<TypeError>() {
                Ok(error) => Err((*error, graph.site_at(graph.cursor).clone())),
                Err(panic) => resume_unwind(panic),
            },
        }
    }

    /// An empty graph with the name, the inputs and the sites of another: what a pass rebuilds into.
    pub fn successor(of: &Graph) -> Graph {
        Graph {
            name: of.name.clone(),
            inputs: of.inputs.clone(),
            sites: of.sites.clone(),
            site_ids: of.site_ids.clone(),
            cursor: of.cursor,
            ..Graph::default()
        }
    }

    /// An empty graph for the body of a loop: it has the site where this graph is, and is as strict.
    pub(crate) fn body(&self) -> Graph {
        let mut body = Graph { building: self.building, ..Graph::new("body") };
        body.cursor = body.site_id(self.site_at(self.cursor));
        body
    }

    /// All nodes in order of definition; operands come first.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The nodes, to break in tests of what must notice.
    #[cfg(test)]
    pub(super) fn nodes_mut(&mut self) -> &mut [Node] {
        &mut self.nodes
    }

    /// The ids of all nodes, in order.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = NodeId> + use<> {
        (0..self.nodes.len() as u32).map(NodeId)
    }

    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    pub fn ty(&self, id: NodeId) -> &TensorType {
        &self.nodes[id.index()].ty
    }

    /// Where a node comes from.
    pub fn site(&self, id: NodeId) -> &Site {
        &self.sites[self.node_sites[id.index()].0 as usize]
    }

    /// The id of a node's site in this graph and its successors.
    pub fn site_of(&self, id: NodeId) -> SiteId {
        self.node_sites[id.index()]
    }

    /// The id of a site, added to the table if it is new.
    pub fn site_id(&mut self, site: &Site) -> SiteId {
        if let Some(&id) = self.site_ids.get(site) {
            return id;
        }
        let id = SiteId(self.sites.len() as u32);
        self.sites.push(site.clone());
        self.site_ids.insert(site.clone(), id);
        id
    }

    /// The site of an id.
    pub fn site_at(&self, id: SiteId) -> &Site {
        &self.sites[id.0 as usize]
    }

    /// Sets the site that new nodes get and returns the one before.
    pub fn set_site(&mut self, site: SiteId) -> SiteId {
        std::mem::replace(&mut self.cursor, site)
    }

    /// Marks the nodes from an index on as derived by a pass.
    pub(crate) fn derive_sites(&mut self, from: usize, by: &'static str) {
        for i in from..self.nodes.len() {
            let site = self.site_at(self.node_sites[i]).derive(by);
            self.node_sites[i] = self.site_id(&site);
        }
    }

    /// Declares an input and returns its node.
    pub fn input(&mut self, name: impl Into<String>, ty: TensorType) -> NodeId {
        let index = self.inputs.len();
        self.inputs.push(InputDecl::new(name, ty.clone()));
        self.push(Op::Input { index, ty }, &[])
    }

    /// Names a node as a result.
    pub fn output(&mut self, name: impl Into<String>, node: NodeId) {
        self.outputs.push(OutputDecl { name: name.into(), node });
    }

    /// Assigns a node to a storage cell at the end of the call.
    pub fn assign(&mut self, target: StorageId, node: NodeId) {
        self.assigns.push(Assign { target, node });
    }

    /// Adds an operation, or says why its operands do not fit.
    pub fn try_push(&mut self, op: Op, args: &[NodeId]) -> Result<NodeId, TypeError> {
        let types: Vec<&TensorType> = args.iter().map(|a| self.ty(*a)).collect();
        let ty = op.infer(&types)?;
        let key = (op, args.to_vec());
        if let Some(&id) = self.interned.get(&key) {
            return Ok(id);
        }
        if let Some(most) = self.building.filter(|most| self.nodes.len() >= *most) {
            let reason = format!("{TOO_MANY} operations, more than {most}");
            return Err(TypeError { op: key.0.name(), reason });
        }
        let id = NodeId(self.nodes.len() as u32);
        self.nodes.push(Node { op: key.0.clone(), args: key.1.clone(), ty });
        self.node_sites.push(self.cursor);
        self.interned.insert(key, id);
        Ok(id)
    }

    /// Adds an operation whose operands are known to fit.
    ///
    /// # Panics
    /// If they do not: that is a bug of the calling pass, never the user's mistake.
    #[track_caller]
    pub fn push(&mut self, op: Op, args: &[NodeId]) -> NodeId {
        match self.try_push(op, args) {
            Ok(id) => id,
            Err(error) if self.building.is_some() => resume_unwind(Box::new(error)),
            Err(error) => panic!("compiler bug in graph `{}` at {}: {error}", self.name, self.site_at(self.cursor)),
        }
    }

    /// Copies what some nodes of another graph need into this one, with their sites. `map` says what stands for a node
    /// of the other graph here: entries that are there already are taken as they are, the others are filled in.
    pub(crate) fn graft(&mut self, from: &Graph, roots: impl IntoIterator<Item = NodeId>, map: &mut [Option<NodeId>]) {
        let mut needed = vec![false; from.nodes.len()];
        roots.into_iter().for_each(|root| needed[root.index()] = true);
        for i in (0..needed.len()).rev().filter(|&i| map[i].is_none()) {
            if needed[i] {
                from.nodes[i].args.iter().for_each(|a| needed[a.index()] = true);
            }
        }
        let before = self.cursor;
        for id in from.ids().filter(|id| needed[id.index()]) {
            if map[id.index()].is_some() {
                continue;
            }
            let node = from.node(id);
            let args: Vec<NodeId> = node.args.iter().filter_map(|a| map[a.index()]).collect();
            self.cursor = self.site_id(from.site(id));
            map[id.index()] = Some(self.push(node.op.clone(), &args));
        }
        self.cursor = before;
    }

    /// How often each node is read by nodes, outputs and assignments.
    pub fn use_counts(&self) -> Vec<u32> {
        let mut counts = vec![0; self.nodes.len()];
        for arg in self.nodes.iter().flat_map(|n| &n.args) {
            counts[arg.index()] += 1;
        }
        for root in self.roots() {
            counts[root.index()] += 1;
        }
        counts
    }

    /// The nodes that outputs and assignments read.
    pub fn roots(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.outputs.iter().map(|o| o.node).chain(self.assigns.iter().map(|a| a.node))
    }

    /// Which nodes the roots need.
    pub fn live(&self) -> Vec<bool> {
        let mut live = vec![false; self.nodes.len()];
        for root in self.roots() {
            live[root.index()] = true;
        }
        for i in (0..self.nodes.len()).rev() {
            if live[i] {
                for arg in &self.nodes[i].args {
                    live[arg.index()] = true;
                }
            }
        }
        live
    }

    /// The splat number of a constant node.
    pub fn splat(&self, id: NodeId) -> Option<f64> {
        match &self.node(id).op {
            Op::Const { value: Literal::Splat(Number(x)), .. } => Some(*x),
            _ => None,
        }
    }
}

/// Gradients of scalar functions are written into the graph through this.
impl Emit for Graph {
    fn dtype(&self, x: Val) -> DType {
        self.ty(NodeId(x.0)).dtype
    }

    fn lit(&mut self, like: Val, value: f64) -> Val {
        let ty = self.ty(NodeId(like.0)).clone();
        Val(self.push(Op::Const { value: Literal::Splat(Number(value)), ty }, &[]).0)
    }

    fn unary(&mut self, f: UnaryFn, x: Val) -> Val {
        Val(self.push(Op::Unary(f), &[NodeId(x.0)]).0)
    }

    fn binary(&mut self, f: BinaryFn, x: Val, y: Val) -> Val {
        Val(self.push(Op::Binary(f), &[NodeId(x.0), NodeId(y.0)]).0)
    }

    fn select(&mut self, c: Val, a: Val, b: Val) -> Val {
        Val(self.push(Op::Select, &[NodeId(c.0), NodeId(a.0), NodeId(b.0)]).0)
    }

    fn cast(&mut self, x: Val, to: DType) -> Val {
        Val(self.push(Op::Cast(to), &[NodeId(x.0)]).0)
    }
}

/// What a storage cell is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum StorageKind {
    /// A weight of the model: saved, counted, trained unless frozen.
    Param,
    /// State of the model that belongs to its predictions (moving statistics).
    State,
    /// State of training only: optimizer slots, step counter, seeds, learning rate.
    Training,
}

impl StorageKind {
    /// The word of the text form.
    pub const fn name(self) -> &'static str {
        match self {
            StorageKind::Param => "param",
            StorageKind::State => "state",
            StorageKind::Training => "training",
        }
    }
}

/// A named storage cell of a model. Its type is constant: storage never depends on the batch.
#[derive(Clone, PartialEq, Debug)]
pub struct Storage {
    /// The path, such as `conv_1/kernel` or `optimizer/conv_1/kernel/velocity`. Unique in the module.
    pub name: String,
    pub ty: TensorType,
    pub kind: StorageKind,
    /// Whether `compile`'s optimizer updates it.
    pub trainable: bool,
    /// The value of every element when a model is opened; `None` for a cell that has none before it is initialised,
    /// loaded or set.
    pub first: Option<Number>,
    pub site: Site,
}

/// A model: storage and the entry points over it.
#[derive(Clone, Debug, Default)]
pub struct Module {
    pub name: String,
    /// The largest batch that a call may have.
    pub max_batch: usize,
    pub storage: Vec<Storage>,
    pub entries: Vec<Graph>,
    /// The logical shapes of cells that are kept as column panels: see [`crate::pass::panels`].
    pub panels: BTreeMap<StorageId, Shape>,
}

impl Graph {
    /// The cells whose values before a call matter to a result or to a new value, in order.
    pub fn reads(&self) -> BTreeSet<StorageId> {
        let live = self.live();
        let cell = |id: NodeId| match self.node(id).op {
            Op::Storage { id, .. } => Some(id),
            _ => None,
        };
        self.ids().filter(|id| live[id.index()]).filter_map(cell).collect()
    }

    /// The cells that a call gives new values, in order.
    pub fn writes(&self) -> BTreeSet<StorageId> {
        self.assigns.iter().map(|assign| assign.target).collect()
    }
}

impl Module {
    /// Adds a storage cell.
    pub fn add_storage(&mut self, cell: Storage) -> StorageId {
        self.storage.push(cell);
        StorageId(self.storage.len() as u32 - 1)
    }

    pub fn cell(&self, id: StorageId) -> &Storage {
        &self.storage[id.0 as usize]
    }

    /// The entry point with a name.
    pub fn entry(&self, name: &str) -> Option<&Graph> {
        self.entries.iter().find(|e| e.name == name)
    }
}
