//! Running layers: what [`LayerDef::call`](super::layer::LayerDef::call) sees, and how a layer graph becomes nodes.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::panic::resume_unwind;

use super::graph::{Call, LayerGraph, MaskedType, Port, Role};
use super::layer::{AnyLayer, LayerDef};
use super::narrow::Narrow;
use super::random::{self, Key};
use super::regularizer::Regularizer;
use super::store::Store;
use crate::diag::{Code, Problem, count};
use crate::grad;
use crate::ir::graph::MAX_LAYER_NODES;
use crate::ir::{DType, Graph, NodeId, Shape, Site, SourceLine, StorageId, TensorType, TypeError};
use crate::limit::Limit;

mod steps;

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
    /// The number of the step, in the body of a loop.
    step: Option<NodeId>,
}

/// A tensor with its mask: `bool`, of the tensor's leading axes, usually `[batch, steps]`. Where the mask is false,
/// layers that know masks leave the step out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Masked {
    pub node: NodeId,
    pub mask: Option<NodeId>,
    /// Whether the call that takes the tensor was given the mask as an argument; otherwise it travels with the tensor.
    pub given: bool,
    /// The narrow type of Keras's that it has, if it has one.
    pub narrow: Option<Narrow>,
}

impl From<NodeId> for Masked {
    fn from(node: NodeId) -> Masked {
        Masked { node, mask: None, given: false, narrow: None }
    }
}

/// The layer that is being called.
#[derive(Clone, Debug)]
struct Frame {
    path: String,
    kind: &'static str,
    layer: Option<u64>,
    /// What the names of the layer's weights begin with here: see [`CallCx::scope`].
    prefix: String,
    trainable: bool,
    source: Option<SourceLine>,
    /// The seed of its draws, if it has one of its own.
    seed: Option<u64>,
    /// Its inputs.
    inputs: Vec<Masked>,
    /// The masks that it gave its results itself, and whether the next call is given them.
    chosen: HashMap<usize, (Option<NodeId>, bool)>,
    /// The narrow types of its results.
    narrow: HashMap<usize, Narrow>,
    /// See [`CallCx::use_up_masks`].
    uses_up: bool,
    /// The penalty on its results.
    penalty: Option<Regularizer>,
}

/// What a call of a layer gives.
struct Called {
    results: Vec<Masked>,
    /// Whether its inputs have no masks any more.
    uses_up: bool,
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
            prefix: String::new(),
            trainable: true,
            source: None,
            seed: None,
            inputs: Vec::new(),
            chosen: HashMap::new(),
            narrow: HashMap::new(),
            uses_up: false,
            penalty: None,
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
            step: None,
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
        self.frame.inputs.get(input)?.mask
    }

    /// The mask of an input, if this call was given it as an argument ([`Tensor::with_mask`]); none that only travels with
    /// the tensor.
    ///
    /// [`Tensor::with_mask`]: super::tensor::Tensor::with_mask
    pub fn given_mask(&self, input: usize) -> Option<NodeId> {
        self.frame.inputs.get(input).filter(|input| input.given)?.mask
    }

    /// An input with its mask, as a call inside the layer takes it.
    pub(crate) fn masked_input(&self, input: usize, node: NodeId) -> Masked {
        Masked { node, mask: self.mask(input), given: false, narrow: self.narrow(input) }
    }

    /// The narrow type of an input, if it has one.
    pub(crate) fn narrow(&self, input: usize) -> Option<Narrow> {
        self.frame.inputs.get(input)?.narrow
    }

    /// Gives a result a narrow type, whose elements it has.
    pub(crate) fn set_narrow(&mut self, result: usize, narrow: Option<Narrow>) {
        if let Some(narrow) = narrow {
            self.frame.narrow.insert(result, narrow);
        }
    }

    /// Gives a result a mask, or none, whatever [`LayerDef::supports_masking`](super::layer::LayerDef) says.
    pub fn set_mask(&mut self, result: usize, mask: Option<NodeId>) {
        if let Some(ty) = mask.map(|mask| self.graph.ty(mask))
            && ty.dtype != DType::Bool
        {
            self.fault(format!("gives a result a mask of {ty}"))
        }
        self.frame.chosen.insert(result, (mask, false));
    }

    /// Gives a result a mask that counts as an argument of the calls that take the result.
    pub(crate) fn give_mask(&mut self, result: usize, mask: NodeId) {
        self.frame.chosen.insert(result, (Some(mask), true));
    }

    /// Takes the masks of the inputs from them, so that layers that are called with the same tensors later see none.
    pub fn use_up_masks(&mut self) {
        self.frame.uses_up = true;
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
        let id = self.cell(name)?;
        Some(match self.updated.get(&id) {
            Some(&node) => node,
            None => self.store.read(self.graph, id),
        })
    }

    /// A tensor plus a weight over its last axes, if the layer declared one with this name.
    pub fn add_bias(&mut self, x: NodeId, name: &str) -> NodeId {
        match self.optional_weight(name) {
            Some(bias) => {
                let bias = self.broadcast_like(bias, x);
                self.add(x, bias)
            }
            None => x,
        }
    }

    /// The cell of a weight that the layer declared.
    fn cell(&self, name: &str) -> Option<StorageId> {
        self.store.find(self.frame.layer?, &format!("{}{name}", self.frame.prefix))
    }

    /// Replaces state at the end of the call. Later reads in the same call see the new value.
    pub fn update(&mut self, name: &str, value: NodeId) {
        let Some(id) = self.cell(name) else { self.fault(format!("updates `{name}`, which it did not declare")) };
        if self.updated.insert(id, value).is_none() {
            self.updates.push(id);
        }
    }

    /// Adds a scalar to the loss of training and evaluation.
    pub fn add_loss(&mut self, loss: NodeId) {
        self.losses.push(loss);
    }

    /// The layer's `activity_regularizer`, which is applied to its results.
    pub fn activity_regularizer(&self) -> Option<Regularizer> {
        self.frame.penalty
    }

    /// The layer's `activity_regularizer`, which is then no longer applied to its results.
    pub fn take_activity_regularizer(&mut self) -> Option<Regularizer> {
        self.frame.penalty.take()
    }

    /// Adds a penalty on a tensor to the loss: the mean over the batch.
    pub fn penalize_activity(&mut self, regularizer: Option<Regularizer>, result: NodeId) {
        let fits = |r: &Regularizer| r.check(&self.graph.ty(result).shape).is_ok();
        let Some(penalty) = regularizer.filter(fits).and_then(|r| r.penalty(self.graph, result)) else { return };
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
        let key = root.derive(self.graph, &name, Some(step));
        match self.step {
            Some(number) => key.derive(self.graph, "step", Some(number)),
            None => key,
        }
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
        self.enter(name, source, layer, inputs).results
    }

    /// [`CallCx::child_masked`] without the penalty on the layer's own results.
    pub(crate) fn child_unpenalized(&mut self, name: &str, layer: &AnyLayer, input: Masked) -> NodeId {
        let frame = self.frame_of(name, self.frame.source.clone(), layer);
        self.called(Frame { penalty: None, ..frame }, &*layer.def, &[input]).results[0].node
    }

    /// Runs something while a weight of a layer below has another value, which is not kept.
    pub(crate) fn with_weight<R>(
        &mut self,
        name: &str,
        layer: &AnyLayer,
        weight: &str,
        value: NodeId,
        run: impl FnOnce(&mut Self) -> R,
    ) -> R {
        let Some(id) = self.within(name, layer, |cx| cx.cell(weight)) else {
            self.fault(format!("replaces a weight `{weight}`, which its layer did not declare"))
        };
        let before = self.updated.insert(id, value);
        let result = run(self);
        match before {
            Some(node) => self.updated.insert(id, node),
            None => self.updated.remove(&id),
        };
        result
    }

    /// A layer definition that contradicts itself: unwinds quietly while the builder tries the layer out.
    pub(crate) fn fault(&self, reason: String) -> ! {
        resume_unwind(Box::new(TypeError { op: self.frame.kind, reason }))
    }

    fn enter(&mut self, name: &str, source: Option<SourceLine>, layer: &AnyLayer, inputs: &[Masked]) -> Called {
        let frame = self.frame_of(name, source, layer);
        self.called(frame, &*layer.def, inputs)
    }

    /// The frame of a layer below the one that is being called, with its weights in the store.
    fn frame_of(&mut self, name: &str, source: Option<SourceLine>, layer: &AnyLayer) -> Frame {
        let path = self.below(name);
        let trainable = self.frame.trainable && layer.core.trainable.get();
        let frozen = layer.frozen();
        for weight in layer.weights() {
            let trainable = trainable && !frozen.iter().any(|part| weight.name.starts_with(part));
            self.store.weight(layer.core.id, &path, &source, trainable, &weight);
        }
        let penalty = layer.activity_regularizer();
        let (kind, layer, prefix) = (layer.def.kind(), Some(layer.core.id), String::new());
        Frame {
            path,
            kind,
            layer,
            prefix,
            trainable,
            source,
            seed: None,
            inputs: Vec::new(),
            chosen: HashMap::new(),
            narrow: HashMap::new(),
            uses_up: false,
            penalty,
        }
    }

    /// The frame of a part of the layer that is being called.
    fn frame_of_part(&self, name: &str, kind: &'static str) -> Frame {
        let (path, prefix) = (self.below(name), format!("{}{name}/", self.frame.prefix));
        let (inputs, chosen, narrow) = (Vec::new(), HashMap::new(), HashMap::new());
        Frame { path, kind, prefix, inputs, chosen, narrow, uses_up: false, penalty: None, ..self.frame.clone() }
    }

    fn below(&self, name: &str) -> String {
        match self.frame.path.as_str() {
            "" => name.to_string(),
            outer => format!("{outer}/{name}"),
        }
    }

    /// Runs something as another layer, and gives back that layer's frame.
    fn inside<R>(&mut self, frame: Frame, run: impl FnOnce(&mut Self) -> R) -> (R, Frame) {
        let site = Site { path: frame.path.clone(), source: frame.source.clone(), derived: Vec::new() };
        let site = self.graph.site_id(&site);
        let site = self.graph.set_site(site);
        let outer = std::mem::replace(&mut self.frame, frame);
        let result = run(self);
        let frame = std::mem::replace(&mut self.frame, outer);
        self.graph.set_site(site);
        (result, frame)
    }

    /// Something that the layer does as a part of itself with a name, such as the cell of a recurrent layer: weights
    /// are those that were declared in [`BuildCx::scope`](super::layer::BuildCx::scope) of that name.
    pub(crate) fn scope<R>(&mut self, name: &str, run: impl FnOnce(&mut Self) -> R) -> R {
        let frame = self.frame_of_part(name, self.frame.kind);
        self.inside(frame, run).0
    }

    /// Calls a layer whose weights are a part of this one's, which begins with its name.
    pub(crate) fn half(&mut self, half: &AnyLayer, inputs: &[Masked]) -> Vec<Masked> {
        let frame = self.frame_of_part(&half.own_name(), half.def.kind());
        let trainable = frame.trainable && half.is_trainable();
        self.called(Frame { trainable, ..frame }, &*half.def, inputs).results
    }

    /// Something that is done as another layer, whose weights get paths below this layer's.
    pub(crate) fn within<R>(&mut self, name: &str, layer: &AnyLayer, run: impl FnOnce(&mut Self) -> R) -> R {
        let frame = self.frame_of(name, self.frame.source.clone(), layer);
        self.inside(frame, run).0
    }

    fn called(&mut self, frame: Frame, def: &dyn LayerDef, inputs: &[Masked]) -> Called {
        let nodes: Vec<NodeId> = inputs.iter().map(|input| input.node).collect();
        let (results, frame) = self.inside(Frame { inputs: inputs.to_vec(), ..frame }, |cx| {
            let types: Vec<TensorType> = nodes.iter().map(|&node| cx.graph.ty(node).clone()).collect();
            let operands = nodes.iter().zip(def.operands(&types));
            let nodes: Vec<NodeId> = operands.map(|(&node, dtype)| cx.graph.cast(node, dtype)).collect();
            let results = def.call(cx, &nodes);
            let penalty = cx.take_activity_regularizer();
            results.iter().for_each(|&result| cx.penalize_activity(penalty, result));
            results
        });
        let Frame { inputs, chosen, narrow, uses_up, .. } = frame;
        let passes = def.supports_masking();
        let passed = |i: usize| if passes { inputs.get(i).and_then(|input| input.mask) } else { None };
        // What comes back as it was is the same tensor, with the same mask.
        let kept = |node: NodeId| inputs.iter().find(|input| input.node == node).and_then(|input| input.mask);
        let masked = |(i, node)| {
            let (mask, given) = chosen.get(&i).copied().unwrap_or_else(|| (passed(i).or_else(|| kept(node)), false));
            Masked { node, mask, given, narrow: narrow.get(&i).copied() }
        };
        let results = results.into_iter().enumerate().map(masked).collect();
        Called { results, uses_up }
    }

    /// Runs the calls that some tensors need, given the nodes of the layer graph's inputs.
    pub(crate) fn run(&mut self, layers: &LayerGraph, inputs: &HashMap<Port, Masked>, wanted: &[Port]) -> Vec<Masked> {
        let mut values = inputs.clone();
        for (port, value) in &mut values {
            if let Some(narrow) = layers.masked_type(*port).narrow.filter(|narrow| value.narrow != Some(*narrow)) {
                value.node = narrow.cast(self.graph, value.node);
                value.narrow = Some(narrow);
            }
        }
        for index in layers.needed(wanted) {
            let Call { name, role, source, args, .. } = layers.call(index);
            let Role::Layer(layer) = role else { continue };
            let tensors: Vec<Masked> = args.iter().map(|port| values[port]).collect();
            let called = self.enter(name, Some(source.clone()), layer, &tensors);
            if called.uses_up {
                for port in args.iter().flat_map(|port| layers.unmasked(*port)) {
                    values.insert(port, values[&port].node.into());
                }
            }
            for (output, result) in called.results.into_iter().enumerate() {
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

/// What is known of a call before the model is lowered.
#[derive(PartialEq)]
pub(crate) struct Inferred {
    pub results: Vec<MaskedType>,
    /// Whether its inputs have no masks any more.
    pub uses_up: bool,
}

/// Builds a layer for some inputs and tries it out on a scratch graph.
pub(crate) fn infer(layer: &AnyLayer, inputs: &[MaskedType]) -> Result<Inferred, Problem> {
    layer.build(inputs)?;
    let kind = layer.def.kind();
    let attempt = |graph: &mut Graph, training: bool| {
        let mut store = Store::default();
        let mut declare = |name: String, ty: &TensorType| graph.input(name, ty.clone());
        let nodes: Vec<Masked> = inputs
            .iter()
            .enumerate()
            .map(|(i, input)| Masked {
                node: declare(format!("x{i}"), &input.ty),
                mask: input.mask.as_ref().map(|ty| declare(format!("mask{i}"), ty)),
                given: input.given,
                narrow: input.narrow,
            })
            .collect();
        let mut cx = CallCx::new(graph, &mut store, training);
        let Called { results, uses_up } = cx.enter("probe", None, layer, &nodes);
        let ty = |node| graph.ty(node).clone();
        let masked = |r: &Masked| MaskedType { ty: ty(r.node), mask: r.mask.map(ty), given: r.given, narrow: r.narrow };
        let results = results.iter().map(masked).collect();
        Inferred { results, uses_up }
    };
    let quiet = |training| match Graph::built("probe", MAX_LAYER_NODES, |graph| attempt(graph, training)) {
        Ok((_, inferred)) => Ok(inferred),
        Err((error, _)) if error.is_size() => {
            let message = format!("{kind} is larger than anything can be: {}", error.reason);
            Err(Problem::new(Code::Size, message).limit(Limit::Sizes))
        }
        Err((error, _)) => Err(Problem::new(Code::Layer, format!("{kind} builds an invalid graph: {error}"))
            .help("its `build` must refuse inputs that its `call` cannot take")),
    };
    let (trained, predicted) = (quiet(true)?, quiet(false)?);
    let narrow = inputs.iter().find_map(|input| input.narrow.filter(|narrow| !narrow.is_float()));
    let wide =
        |result: &MaskedType| result.narrow.is_none() && !result.ty.dtype.is_float() && result.ty.dtype != DType::Bool;
    if let Some(narrow) = narrow
        && layer.def.submodel().is_none()
        && !layer.def.computes_narrow()
        && trained.results.iter().any(wide)
    {
        let message = format!("{kind} of {}, in which it does not compute", narrow.name());
        return Err(Problem::new(Code::DType, message).limit(Limit::NarrowTypes));
    }
    if let Some(penalty) = layer.activity_regularizer() {
        trained.results.iter().try_for_each(|result| penalty.check(&result.ty.shape))?;
    }
    match trained {
        t if t.results.len() != layer.def.results() => {
            let message =
                format!("{kind} announces {} and gives {}", count(layer.def.results(), "result"), t.results.len());
            Err(Problem::new(Code::Layer, message))
        }
        t if t != predicted => {
            Err(Problem::new(Code::Layer, format!("{kind} has other result types in training than in prediction")))
        }
        t => Ok(t),
    }
}
