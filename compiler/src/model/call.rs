//! Running layers: what [`LayerDef::call`](super::layer::LayerDef::call) sees, and how a layer graph becomes nodes.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::graph::{Call, LayerGraph, MaskedType, Port, Role};
use super::layer::AnyLayer;
use super::random::{self, Key};
use super::regularizer::Regularizer;
use super::store::Store;
use crate::diag::{Code, Problem, count};
use crate::grad;
use crate::ir::{DType, Graph, NodeId, Shape, Site, SourceLine, StorageId, TensorType, TypeError};

/// One run of layers into a graph. Derefs to the [`Graph`], so that layers build with `cx.add(x, y)`.
pub struct CallCx<'a> {
    graph: &'a mut Graph,
    store: &'a mut Store,
    training: bool,
    frame: Frame,
    /// State that this run has already replaced.
    updated: HashMap<StorageId, NodeId>,
    updates: Vec<StorageId>,
    losses: Vec<NodeId>,
    /// Draws so far under each path.
    draws: HashMap<String, usize>,
}

/// A tensor with its mask: `bool`, of the tensor's leading axes, usually `[batch, steps]`. Where the mask is false,
/// layers that know masks leave the step out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Masked {
    pub node: NodeId,
    pub mask: Option<NodeId>,
}

impl From<NodeId> for Masked {
    fn from(node: NodeId) -> Masked {
        Masked { node, mask: None }
    }
}

/// The layer that is being called.
#[derive(Clone, Debug)]
struct Frame {
    path: String,
    kind: &'static str,
    layer: Option<u64>,
    trainable: bool,
    source: Option<SourceLine>,
    /// The seed of its draws, if it has one of its own.
    seed: Option<u64>,
    /// The masks of its inputs.
    masks: Vec<Option<NodeId>>,
    /// The masks that it gave its results itself.
    chosen: HashMap<usize, Option<NodeId>>,
}

impl Deref for CallCx<'_> {
    type Target = Graph;

    fn deref(&self) -> &Graph {
        self.graph
    }
}

impl DerefMut for CallCx<'_> {
    fn deref_mut(&mut self) -> &mut Graph {
        self.graph
    }
}

impl<'a> CallCx<'a> {
    pub(crate) fn new(graph: &'a mut Graph, store: &'a mut Store, training: bool) -> CallCx<'a> {
        let frame = Frame {
            path: String::new(),
            kind: "model",
            layer: None,
            trainable: true,
            source: None,
            seed: None,
            masks: Vec::new(),
            chosen: HashMap::new(),
        };
        CallCx {
            graph,
            store,
            training,
            frame,
            updated: HashMap::new(),
            updates: Vec::new(),
            losses: Vec::new(),
            draws: HashMap::new(),
        }
    }

    /// Whether the step trains: dropout drops, batch normalisation uses the batch. A layer that behaves differently
    /// while it is frozen asks [`CallCx::trainable`] too.
    pub fn training(&self) -> bool {
        self.training
    }

    /// Whether neither the layer nor a model around it is frozen.
    pub fn trainable(&self) -> bool {
        self.frame.trainable
    }

    /// The mask of an input, if it has one.
    pub fn mask(&self, input: usize) -> Option<NodeId> {
        self.frame.masks.get(input).copied().flatten()
    }

    /// Gives a result a mask, or none, whatever [`LayerDef::supports_masking`](super::layer::LayerDef) says.
    pub fn set_mask(&mut self, result: usize, mask: Option<NodeId>) {
        if let Some(ty) = mask.map(|mask| self.graph.ty(mask))
            && ty.dtype != DType::Bool
        {
            self.fault(format!("gives a result a mask of {ty}"))
        }
        self.frame.chosen.insert(result, mask);
    }

    /// A weight that the layer declared: its value now, which is the new one after [`CallCx::update`].
    pub fn weight(&mut self, name: &str) -> NodeId {
        match self.optional_weight(name) {
            Some(node) => node,
            None => self.fault(format!("reads a weight `{name}` that it did not declare")),
        }
    }

    /// A weight, if the layer declared it.
    pub fn optional_weight(&mut self, name: &str) -> Option<NodeId> {
        let id = self.store.find(self.frame.layer?, name)?;
        Some(match self.updated.get(&id) {
            Some(&node) => node,
            None => self.store.read(self.graph, id),
        })
    }

    /// Replaces state at the end of the call. Later reads in the same call see the new value.
    pub fn update(&mut self, name: &str, value: NodeId) {
        let Some(id) = self.frame.layer.and_then(|layer| self.store.find(layer, name)) else {
            self.fault(format!("updates `{name}`, which it did not declare"))
        };
        if self.updated.insert(id, value).is_none() {
            self.updates.push(id);
        }
    }

    /// Adds a scalar to the loss of training and evaluation.
    pub fn add_loss(&mut self, loss: NodeId) {
        self.losses.push(loss);
    }

    /// Adds the penalty of a layer's `activity_regularizer` on its result to the loss: the mean over the batch.
    pub fn penalize_activity(&mut self, regularizer: &Option<Regularizer>, result: NodeId) {
        let Some(penalty) = regularizer.as_ref().and_then(|r| r.penalty(self.graph, result)) else { return };
        let ty = self.graph.ty(result).clone();
        let penalty = match ty.shape.first() {
            Some(&rows) => {
                let rows = self.graph.size(rows, ty.dtype);
                self.graph.div(penalty, rows)
            }
            None => penalty,
        };
        self.add_loss(penalty);
    }

    /// Random bits for every element of a shape, different in every step and for every draw.
    pub fn random_bits(&mut self, shape: &Shape) -> NodeId {
        let key = self.random_key();
        random::bits(self.graph, key, shape).0
    }

    /// Numbers uniform in `[low, high)`.
    pub fn random_uniform(&mut self, shape: &Shape, low: f64, high: f64) -> NodeId {
        let key = self.random_key();
        random::uniform(self.graph, key, shape, low, high)
    }

    /// Normal numbers.
    pub fn random_normal(&mut self, shape: &Shape, mean: f64, stddev: f64) -> NodeId {
        let key = self.random_key();
        random::normal(self.graph, key, shape, mean, stddev)
    }

    /// Gives the layer's draws a seed of their own, so that they no longer depend on the model's.
    pub fn seed(&mut self, seed: Option<u64>) {
        self.frame.seed = seed;
    }

    /// A fresh key of the layer's own stream.
    fn random_key(&mut self) -> Key {
        let (seed, step) = self.store.random();
        let root = match self.frame.seed {
            Some(seed) => Key::from_number(self.graph, seed),
            None => {
                let seed = self.store.read(self.graph, seed);
                Key::from_seed(self.graph, seed)
            }
        };
        let step = self.store.read(self.graph, step);
        let count = self.draws.entry(self.frame.path.clone()).or_default();
        let name = format!("{}#{count}", self.frame.path);
        *count += 1;
        root.derive(self.graph, &name, Some(step))
    }

    /// Gradients of a scalar with respect to some nodes.
    pub fn gradients(&mut self, of: NodeId, wrt: &[NodeId]) -> Vec<NodeId> {
        match grad::gradients(self.graph, of, wrt) {
            Ok(nodes) => nodes,
            Err(error) => self.fault(error.to_string()),
        }
    }

    /// Calls a layer that belongs to this one; its weights get paths below this layer's.
    pub fn child(&mut self, name: &str, layer: &AnyLayer, inputs: &[NodeId]) -> Vec<NodeId> {
        let inputs: Vec<Masked> = inputs.iter().map(|&node| node.into()).collect();
        self.child_masked(name, layer, &inputs).into_iter().map(|result| result.node).collect()
    }

    /// [`CallCx::child`] of tensors with masks.
    pub fn child_masked(&mut self, name: &str, layer: &AnyLayer, inputs: &[Masked]) -> Vec<Masked> {
        let source = self.frame.source.clone();
        self.enter(name, source, layer, inputs)
    }

    /// A layer definition that contradicts itself: unwinds quietly while the builder tries the layer out.
    pub(crate) fn fault(&self, reason: String) -> ! {
        resume_unwind(Box::new(TypeError { op: self.frame.kind, reason }))
    }

    fn enter(&mut self, name: &str, source: Option<SourceLine>, layer: &AnyLayer, inputs: &[Masked]) -> Vec<Masked> {
        let path = match self.frame.path.as_str() {
            "" => name.to_string(),
            outer => format!("{outer}/{name}"),
        };
        let trainable = self.frame.trainable && layer.core.trainable.get();
        for weight in layer.weights() {
            self.store.weight(layer.core.id, &path, &source, trainable, &weight);
        }
        let site = Site { path: path.clone(), source: source.clone(), derived: Vec::new() };
        let site = self.graph.site_id(&site);
        let site = self.graph.set_site(site);
        let (nodes, masks): (Vec<NodeId>, Vec<Option<NodeId>>) = inputs.iter().map(|i| (i.node, i.mask)).unzip();
        let frame = Frame {
            path,
            kind: layer.def.kind(),
            layer: Some(layer.core.id),
            trainable,
            source,
            seed: None,
            masks,
            chosen: HashMap::new(),
        };
        let outer = std::mem::replace(&mut self.frame, frame);
        let results = layer.def.call(self, &nodes);
        let Frame { masks, chosen, .. } = std::mem::replace(&mut self.frame, outer);
        self.graph.set_site(site);
        let passes = layer.def.supports_masking();
        let passed = |i: usize| if passes { masks.get(i).copied().flatten() } else { None };
        let mask = |i: usize| chosen.get(&i).copied().unwrap_or_else(|| passed(i));
        results.into_iter().enumerate().map(|(i, node)| Masked { node, mask: mask(i) }).collect()
    }

    /// Runs the calls that some tensors need, given the nodes of the layer graph's inputs.
    pub(crate) fn run(&mut self, layers: &LayerGraph, inputs: &HashMap<Port, Masked>, wanted: &[Port]) -> Vec<Masked> {
        let mut values = inputs.clone();
        for index in layers.needed(wanted) {
            let Call { name, role, source, args, .. } = layers.call(index);
            let Role::Layer(layer) = role else { continue };
            let args: Vec<Masked> = args.iter().map(|port| values[port]).collect();
            let results = self.enter(name, Some(source.clone()), layer, &args);
            for (output, result) in results.into_iter().enumerate() {
                values.insert(Port { call: index, output }, result);
            }
        }
        wanted.iter().map(|port| values[port]).collect()
    }

    /// What the run leaves behind besides its results: penalties of layers, and state to assign.
    pub(crate) fn finish(self) -> Effects {
        let mut updates: Vec<(StorageId, NodeId)> = self.updates.iter().map(|id| (*id, self.updated[id])).collect();
        if !self.draws.is_empty() {
            let (_, step) = self.store.random();
            let site = self.graph.site_id(&self.store.cell(step).site);
            self.graph.set_site(site);
            let count = self.store.read(self.graph, step);
            let next = self.graph.add_s(count, 1.0);
            updates.push((step, next));
        }
        Effects { losses: self.losses, updates }
    }
}

/// See [`CallCx::finish`].
pub(crate) struct Effects {
    pub losses: Vec<NodeId>,
    pub updates: Vec<(StorageId, NodeId)>,
}

/// Builds a layer for some inputs and tries it out on a scratch graph: the types of its results.
pub(crate) fn infer(layer: &AnyLayer, inputs: &[MaskedType]) -> Result<Vec<MaskedType>, Problem> {
    layer.build(inputs)?;
    let kind = layer.def.kind();
    let attempt = |training: bool| {
        let mut graph = Graph::probing("probe");
        let mut store = Store::default();
        let mut declare = |name: String, ty: &TensorType| graph.input(name, ty.clone());
        let nodes: Vec<Masked> = inputs
            .iter()
            .enumerate()
            .map(|(i, input)| Masked {
                node: declare(format!("x{i}"), &input.ty),
                mask: input.mask.as_ref().map(|ty| declare(format!("mask{i}"), ty)),
            })
            .collect();
        let mut cx = CallCx::new(&mut graph, &mut store, training);
        let results = cx.enter("probe", None, layer, &nodes);
        let ty = |node| graph.ty(node).clone();
        results.iter().map(|r| MaskedType { ty: ty(r.node), mask: r.mask.map(ty) }).collect::<Vec<_>>()
    };
    let quiet = |training| {
        catch_unwind(AssertUnwindSafe(|| attempt(training))).map_err(|payload| match payload.downcast::<TypeError>() {
            Ok(error) if error.reason.ends_with("too many elements") => {
                Problem::new(Code::Size, format!("{kind} makes a tensor that is too large: {}", error.reason))
            }
            Ok(error) => Problem::new(Code::Layer, format!("{kind} builds an invalid graph: {error}"))
                .help("its `build` must refuse inputs that its `call` cannot take"),
            Err(panic) => resume_unwind(panic),
        })
    };
    let (trained, predicted) = (quiet(true)?, quiet(false)?);
    match trained {
        t if t.len() != layer.def.results() => {
            let message = format!("{kind} announces {} and gives {}", count(layer.def.results(), "result"), t.len());
            Err(Problem::new(Code::Layer, message))
        }
        t if t != predicted => {
            Err(Problem::new(Code::Layer, format!("{kind} has other result types in training than in prediction")))
        }
        t => Ok(t),
    }
}
