//! The model under construction.

use std::cell::{Ref, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use bakelite::names::nearest;

use super::call::CallCx;
use super::check;
use super::compile::{Compiled, Losses, Metrics, TargetDecl, Tracked};
use super::entry::{Entry, EntrySpec};
use super::graph::{Call, LayerGraph, MaskedType, Port, Role};
use super::layer::{AnyLayer, BuildCx, Core, IntoLayer, LayerDef, snake_case};
use super::lower::{self, Lowered};
use super::metric::IntoMetric;
use super::optimizer::{IntoOptimizer, Optimizer};
use super::output::{self, Output, Place};
use super::saved::Held;
use super::sequential::{self, Chain};
use super::store::RESERVED;
use super::tensor::{self, Tensor};
use crate::diag::{Code, Diagnostic, Diagnostics, Problem};
use crate::ir::{DType, Module, NodeId, Shape, SourceLine, TensorType};

/// What one model is made of. Everything that users do adds to it; mistakes are kept until someone asks.
#[derive(Debug)]
pub(crate) struct Net {
    pub graph: LayerGraph,
    pub core: Rc<Core>,
    pub source: SourceLine,
    pub max_batch: usize,
    pub compiled: Option<Compiled>,
    pub targets: Vec<TargetDecl>,
    /// Outputs whose samples have weights.
    pub weights: Vec<TargetDecl>,
    pub weighted_metrics: Metrics,
    pub tracked: Vec<Tracked>,
    pub entries: Vec<EntrySpec>,
    pub problems: Vec<Diagnostic>,
    /// Why there is no training, where a description asks for one that cannot be honoured.
    pub untrained: Vec<Diagnostic>,
    /// Whether a tensor or an entry point is missing because of a mistake: what depends on it is not judged then.
    pub lost: bool,
    /// Whether mistakes of this model have moved into a model that uses it.
    pub broken: bool,
    pub chain: Chain,
    /// Names of inputs and layers, with the line that took them.
    taken: HashMap<String, SourceLine>,
    layer_names: HashMap<u64, String>,
}

/// The largest batch of a model that does not say otherwise.
pub const DEFAULT_MAX_BATCH: usize = 128;
/// The largest batch that a model can ask for.
const MAX_BATCH: usize = 1 << 20;
/// Elements of the largest item of an input.
const MAX_ITEM: usize = 1 << 30;
impl Net {
    pub fn new(name: String, source: SourceLine) -> Net {
        let core = Core::new();
        *core.name.borrow_mut() = Some(name.clone());
        Net {
            graph: LayerGraph::new(name),
            core: Rc::new(core),
            source,
            max_batch: DEFAULT_MAX_BATCH,
            compiled: None,
            targets: Vec::new(),
            weights: Vec::new(),
            weighted_metrics: Metrics::new(),
            tracked: Vec::new(),
            entries: Vec::new(),
            problems: Vec::new(),
            untrained: Vec::new(),
            lost: false,
            broken: false,
            chain: Chain::default(),
            taken: HashMap::new(),
            layer_names: HashMap::new(),
        }
    }

    /// The layer's name in this model: its own, or the next free number of its kind.
    pub fn name_layer(&mut self, layer: &AnyLayer, source: &SourceLine) -> Result<String, Box<Diagnostic>> {
        if let Some(name) = self.layer_names.get(&layer.core.id) {
            return Ok(name.clone());
        }
        let explicit = layer.core.name.borrow().clone();
        let name = match explicit {
            Some(name) => {
                self.take_name("layer", &name, source)?;
                name
            }
            None => {
                let stem = snake_case(layer.def.kind());
                let numbered = (1..).map(|n| format!("{stem}_{n}"));
                let name = std::iter::once(stem.clone()).chain(numbered).find(|n| !self.taken.contains_key(n));
                let name = name.unwrap_or(stem);
                self.taken.insert(name.clone(), source.clone());
                name
            }
        };
        self.layer_names.insert(layer.core.id, name.clone());
        Ok(name)
    }

    /// Reserves a name for a layer or an input.
    fn take_name(&mut self, what: &str, name: &str, source: &SourceLine) -> Result<(), Box<Diagnostic>> {
        if let Err(problem) = check_name(what, name) {
            return Err(Box::new(Diagnostic::new(problem, name, Some(source.clone()))));
        }
        if let Some(first) = self.taken.get(name) {
            let problem = Problem::new(Code::Name, format!("the name `{name}` is used twice"))
                .help("give one of them another name; to share weights, apply one layer twice");
            let diagnostic = Diagnostic::new(problem, name, Some(source.clone()));
            return Err(Box::new(diagnostic.related("first used", Some(first.clone()))));
        }
        self.taken.insert(name.to_string(), source.clone());
        Ok(())
    }

    /// Records a mistake for which something is missing.
    pub fn report(&mut self, problem: Problem, path: impl Into<String>, source: SourceLine) {
        self.lose(Diagnostic::new(problem, path, Some(source)));
    }

    /// The same for a mistake that was made elsewhere.
    pub fn lose(&mut self, diagnostic: Diagnostic) {
        self.problems.push(diagnostic);
        self.lost = true;
    }

    /// Records a mistake that leaves every tensor in its place.
    pub fn object(&mut self, problem: Problem, path: impl Into<String>, source: SourceLine) {
        self.problems.push(Diagnostic::new(problem, path, Some(source)));
    }

    /// Whether an input or a layer has a name.
    pub fn is_taken(&self, name: &str) -> bool {
        self.taken.contains_key(name)
    }

    /// Whether every layer that was applied is there, in an order.
    pub fn is_whole(&self) -> bool {
        !self.lost && !self.broken && self.graph.order().is_ok()
    }

    /// What to say where no layer has a path: the name that was probably meant, or the first ones.
    pub fn layers_hint(&self, path: &str) -> String {
        const SHOWN: usize = 12;
        let layers = self.graph.layers();
        let names = || layers.iter().map(|(name, _)| *name);
        if let Some(near) = nearest(path, names()) {
            return format!("did you mean `{near}`?");
        }
        let more = layers.len().saturating_sub(SHOWN);
        let list = names().take(SHOWN).collect::<Vec<_>>().join(", ");
        match (layers.len(), more) {
            (0, _) => "there is no layer yet".to_string(),
            (_, 0) => format!("layers are {list}"),
            (_, more) => format!("layers are {list} and {more} more"),
        }
    }
}

/// Names are parts of paths: not empty, without separators and control characters. Storage under the name of an entry point
/// is its own, so that entry points cannot have the compiler's own names.
pub(crate) fn check_name(what: &str, name: &str) -> Result<(), Problem> {
    let article = if what.starts_with(['i', 'o', 'e']) { "an" } else { "a" };
    let fail = |why: &str| {
        let name = name.escape_debug();
        Err(Problem::new(Code::Name, format!("`{name}` cannot name {article} {what}: {why}")))
    };
    if name.trim().is_empty() {
        return fail("it is empty");
    }
    if name.contains(|c: char| c == '/' || c.is_control()) {
        return fail("`/` and control characters separate paths and lines");
    }
    if what == "entry point" && RESERVED.contains(&name) {
        return fail("the compiler keeps its own storage under this name");
    }
    Ok(())
}

/// The extents of an item: `[28, 28, 1]`, `784`, or `()` for a scalar.
pub trait IntoShape {
    fn into_shape(self) -> Vec<usize>;
}

impl IntoShape for () {
    fn into_shape(self) -> Vec<usize> {
        Vec::new()
    }
}

impl IntoShape for usize {
    fn into_shape(self) -> Vec<usize> {
        vec![self]
    }
}

impl IntoShape for &[usize] {
    fn into_shape(self) -> Vec<usize> {
        self.to_vec()
    }
}

impl IntoShape for Vec<usize> {
    fn into_shape(self) -> Vec<usize> {
        self
    }
}

impl<const N: usize> IntoShape for [usize; N] {
    fn into_shape(self) -> Vec<usize> {
        self.to_vec()
    }
}

/// The type of a batch of items, or what is wrong with the extents.
pub(crate) fn batch_type(what: &str, item: &[usize], dtype: DType) -> Result<TensorType, Problem> {
    let shape = Shape::fixed(item);
    if item.contains(&0) {
        return Err(Problem::shape(format!("{what} {shape} has an empty dimension"))
            .help("the batch axis is implicit: give the shape of one item, with extents of at least 1"));
    }
    match item.iter().try_fold(1usize, |n, &d| n.checked_mul(d)) {
        Some(n) if n <= MAX_ITEM => Ok(TensorType::new(dtype, Shape::batched(item))),
        _ => Err(Problem::new(Code::Size, format!("{what} {shape} has more than {MAX_ITEM} elements an item"))),
    }
}

/// A model: layers, and the entry points over them. Cheap to clone; clones are the same model.
///
/// The first axis of every tensor is the batch: a run-time value from 1 to [`Model::max_batch`], and never part of
/// the shapes that users write. Nothing here fails: mistakes are collected, and [`Model::lower`] returns them all.
#[derive(Clone)]
pub struct Model {
    pub(crate) net: Rc<RefCell<Net>>,
}

impl Model {
    /// An empty model. The name becomes part of symbols and module names, so it is an identifier.
    #[track_caller]
    pub fn new(name: impl Into<String>) -> Model {
        Model::at(name.into(), SourceLine::caller())
    }

    /// An empty model on behalf of a line.
    pub(crate) fn at(name: String, source: SourceLine) -> Model {
        Model { net: Rc::new(RefCell::new(Net::new(name, source))) }
    }

    /// An empty model that is the same layer as others with this identity.
    pub(crate) fn with_core(name: String, source: SourceLine, core: Rc<Core>) -> Model {
        Model { net: Rc::new(RefCell::new(Net { core, ..Net::new(name, source) })) }
    }

    pub fn name(&self) -> String {
        self.net.borrow().graph.name.clone()
    }

    /// Declares an input by the shape of one item.
    #[track_caller]
    pub fn input(&self, name: impl Into<String>, shape: impl IntoShape, dtype: DType) -> Tensor {
        self.input_at(&name.into(), &shape.into_shape(), dtype, SourceLine::caller())
    }

    /// Declares an input on behalf of a line.
    pub(crate) fn input_at(&self, name: &str, item: &[usize], dtype: DType, source: SourceLine) -> Tensor {
        match batch_type(&format!("input `{name}`"), item, dtype) {
            Ok(ty) => self.input_of_type(name, ty, source),
            Err(problem) => {
                self.net.borrow_mut().report(problem, name, source);
                Tensor { net: self.net.clone(), port: None }
            }
        }
    }

    /// Declares an input of a type that is known to be sound.
    pub(crate) fn input_of_type(&self, name: &str, ty: TensorType, source: SourceLine) -> Tensor {
        let mut net = self.net.borrow_mut();
        let port = match net.take_name("input", name, &source) {
            Ok(()) => {
                let call =
                    Call { role: Role::Input, name: name.to_string(), source, args: vec![], results: vec![ty.into()] };
                Some(Port { call: net.graph.add(call), output: 0 })
            }
            Err(diagnostic) => {
                net.lose(*diagnostic);
                None
            }
        };
        drop(net);
        Tensor { net: self.net.clone(), port }
    }

    /// Declares an input of text by the shape of one item: `()` for one text, `[4]` for four. The first layer over it is
    /// [`TextVectorization`](super::TextVectorization), [`StringLookup`](super::StringLookup) or
    /// [`Hashing`](super::Hashing). It is no part of the compiled code: the entry points take what it gives, numbers,
    /// under the name of the text, and the runtime has the layer (`Data::text`, `predict_one`, `Model::encode`).
    #[track_caller]
    pub fn input_text(&self, name: impl Into<String>, shape: impl IntoShape) -> Tensor {
        self.input_text_at(&name.into(), &shape.into_shape(), SourceLine::caller())
    }

    /// Declares an input of text on behalf of a line.
    pub(crate) fn input_text_at(&self, name: &str, item: &[usize], source: SourceLine) -> Tensor {
        let mut net = self.net.borrow_mut();
        let named = match batch_type(&format!("input `{name}`"), item, DType::U8) {
            Ok(ty) => net.take_name("input", name, &source).map(|()| ty),
            Err(problem) => Err(Box::new(Diagnostic::new(problem, name, Some(source.clone())))),
        };
        let port = match named {
            Ok(ty) => {
                let results = vec![ty.into()];
                let call = Call { role: Role::Text, name: name.to_string(), source, args: vec![], results };
                Some(Port { call: net.graph.add(call), output: 0 })
            }
            Err(diagnostic) => {
                net.lose(*diagnostic);
                None
            }
        };
        drop(net);
        Tensor { net: self.net.clone(), port }
    }

    /// Makes a tensor an output, named after the layer that produces it: `lstm`. Further results of one layer are
    /// numbered: `lstm_1`.
    #[track_caller]
    pub fn output(&self, x: &Tensor) -> &Model {
        let mut name = x.name().unwrap_or_default();
        {
            let net = self.net.borrow();
            let outputs = &net.graph.outputs;
            if !outputs.iter().any(|o| Some(o.port) == x.port) {
                name = output::free(&name, |name| outputs.iter().any(|o| o.name == name));
            }
        }
        self.add_output(name, x, SourceLine::caller())
    }

    /// Makes a tensor an output with a name of its own.
    #[track_caller]
    pub fn output_as(&self, name: impl Into<String>, x: &Tensor) -> &Model {
        self.add_output(name.into(), x, SourceLine::caller())
    }

    /// Makes a tensor an output on behalf of a line.
    pub(crate) fn add_output(&self, name: String, x: &Tensor, source: SourceLine) -> &Model {
        let place = Place::listed(name.clone(), self.net.borrow().graph.outputs.len());
        self.place_output(name, place, x, source)
    }

    /// Makes a tensor an output at a place of Keras's.
    pub(crate) fn place_output(&self, name: String, place: Place, x: &Tensor, source: SourceLine) -> &Model {
        if !tensor::adopt(&self.net, x, "an output", &source) {
            return self;
        }
        // A poisoned tensor has been reported where it was made.
        let Some(port) = x.port else { return self };
        let mut net = self.net.borrow_mut();
        if let Err(problem) = check_name("output", &name) {
            net.report(problem, name, source);
        } else if let Some(first) = net.graph.outputs.iter().find(|o| o.name == name) {
            let problem = Problem::new(Code::Name, format!("the output `{name}` is declared twice"))
                .help("name one of them: `m.output_as(\"other\", &x)`");
            let first = first.source.clone();
            net.lose(Diagnostic::new(problem, name, Some(source)).related("first declared", Some(first)));
        } else {
            net.graph.outputs.push(Output { name, port, place, axis: 0, source });
        }
        drop(net);
        self
    }

    /// Replaces all outputs by one tensor: what a sequential model does after every layer.
    pub(crate) fn set_output(&self, x: &Tensor, source: SourceLine) {
        self.net.borrow_mut().graph.outputs.clear();
        let name = x.name().unwrap_or_default();
        self.add_output(name, x, source);
    }

    /// The largest batch of a call, 128 unless set. Memory is planned for it; loops run to the batch of the call.
    #[track_caller]
    pub fn max_batch(&self, batch: usize) -> &Model {
        let mut net = self.net.borrow_mut();
        if !(1..=MAX_BATCH).contains(&batch) {
            let problem = Problem::value(format!("max_batch {batch}: must be between 1 and {MAX_BATCH}"));
            net.object(problem, "", SourceLine::caller());
        } else {
            net.max_batch = batch;
        }
        drop(net);
        self
    }

    /// Adds training: entry points `train_step` and `evaluate_step`.
    ///
    /// One loss serves every output; [`Losses`] and tuples give each its own. Metrics likewise; `()` is none.
    #[track_caller]
    pub fn compile(
        &self,
        optimizer: impl IntoOptimizer,
        losses: impl Into<Losses>,
        metrics: impl Into<Metrics>,
    ) -> &Model {
        self.compile_at(optimizer.into_optimizer(), losses.into(), metrics.into(), SourceLine::caller());
        self
    }

    /// [`Model::compile`] on behalf of a line.
    pub(crate) fn compile_at(
        &self,
        optimizer: Rc<dyn Optimizer>,
        losses: Losses,
        metrics: Metrics,
        source: SourceLine,
    ) {
        self.net.borrow_mut().compiled = Some(Compiled { optimizer, losses, metrics, source });
    }

    /// Declares the target of an output, where it is not what the loss expects by default: labels as `u8`, or with a
    /// trailing axis of 1.
    #[track_caller]
    pub fn target(&self, output: impl Into<String>, shape: impl IntoShape, dtype: DType) -> &Model {
        let (output, source) = (output.into(), SourceLine::caller());
        let mut net = self.net.borrow_mut();
        match batch_type(&format!("the target of `{output}`"), &shape.into_shape(), dtype) {
            Ok(ty) => net.targets.push(TargetDecl { output, ty, source }),
            Err(problem) => net.object(problem, output, source),
        }
        drop(net);
        self
    }

    /// Gives the samples of an output weights: one more argument of `train_step` and `evaluate_step`, named after the
    /// output, with the shape of one sample's weights: `()` for one number, `[steps]` for one for each step. They
    /// multiply the losses of the samples, and count in [`Model::weighted_metrics`].
    #[track_caller]
    pub fn sample_weight(&self, output: impl Into<String>, shape: impl IntoShape) -> &Model {
        let (output, source) = (output.into(), SourceLine::caller());
        let mut net = self.net.borrow_mut();
        match batch_type(&format!("the sample weights of `{output}`"), &shape.into_shape(), DType::F32) {
            Ok(ty) => net.weights.push(TargetDecl { output, ty, source }),
            Err(problem) => net.object(problem, output, source),
        }
        drop(net);
        self
    }

    /// Metrics that count samples by their weights, where [`Model::compile`]'s count all alike.
    pub fn weighted_metrics(&self, metrics: impl Into<Metrics>) -> &Model {
        self.net.borrow_mut().weighted_metrics = metrics.into();
        self
    }

    /// Adds the sum of a tensor to the loss of training and evaluation: a penalty on activations, the divergence of a
    /// variational autoencoder.
    #[track_caller]
    pub fn add_loss(&self, x: &Tensor) -> &Model {
        if let Some(port) = self.takes("a loss", x, &SourceLine::caller()) {
            self.net.borrow_mut().graph.losses.push(port);
        }
        self
    }

    /// Reports a metric of any tensor with the others: `m.track(&kl, Mean::new("kl"))`. The tensor is the metric's
    /// output and its target.
    #[track_caller]
    pub fn track(&self, x: &Tensor, metric: impl IntoMetric) -> &Model {
        let source = SourceLine::caller();
        if let Some(port) = self.takes("a metric", x, &source) {
            self.net.borrow_mut().tracked.push(Tracked { port, metric: metric.into_metric(), source });
        }
        self
    }

    /// The port of a tensor of floats of this model, unless there is none.
    fn takes(&self, user: &str, x: &Tensor, source: &SourceLine) -> Option<Port> {
        if !tensor::adopt(&self.net, x, user, source) {
            return None;
        }
        let port = x.port?;
        let mut net = self.net.borrow_mut();
        let ty = net.graph.ty(port).clone();
        if ty.dtype == DType::F32 {
            return Some(port);
        }
        let problem = Problem::new(Code::DType, format!("{user} is made of f32, this tensor is {ty}"));
        let diagnostic =
            net.explain(problem.help("convert it first: `x.cast(F32)`"), String::new(), source.clone(), &[port]);
        net.lose(diagnostic);
        None
    }

    /// Adds an entry point of one's own.
    #[track_caller]
    pub fn entry(&self, name: impl Into<String>) -> Entry {
        Entry::new(self, name.into(), SourceLine::caller())
    }

    /// Freezes every layer at or below a path such as `encoder` or `encoder/fc1`: training leaves its weights and
    /// statistics alone. The layers must have been added before.
    #[track_caller]
    pub fn freeze(&self, path: &str) -> &Model {
        let mut net = self.net.borrow_mut();
        // A layer that was refused has been reported already.
        let refused = !net.problems.is_empty() && net.taken.contains_key(path.split('/').next().unwrap_or(path));
        if !set_trainable(&net.graph, path, false) && !refused {
            let problem = Problem::new(Code::Unknown, format!("no layer `{path}` to freeze"))
                .help(format!("freeze it after it was applied; {}", net.layers_hint(path)));
            net.object(problem, path, SourceLine::caller());
        }
        drop(net);
        self
    }

    /// Whether training changes any weight of the model.
    pub fn trainable(&self, trainable: bool) -> &Model {
        self.net.borrow().core.trainable.set(trainable);
        self
    }

    /// Applies the model as a layer. Every application shares the weights.
    #[track_caller]
    pub fn apply(&self, x: &Tensor) -> Tensor {
        self.apply_many(&[x])
    }

    /// Applies the model to several tensors, in the order of its inputs, and gives its first output.
    #[track_caller]
    pub fn apply_many(&self, xs: &[&Tensor]) -> Tensor {
        self.call(xs).swap_remove(0)
    }

    /// Applies the model as a layer and gives all its outputs.
    #[track_caller]
    pub fn call(&self, xs: &[&Tensor]) -> Vec<Tensor> {
        tensor::apply(&self.into_layer(), xs)
    }

    /// The names of its layers, in the order of their first use.
    pub fn layer_names(&self) -> Vec<String> {
        self.net.borrow().graph.layers().iter().map(|(name, _)| name.to_string()).collect()
    }

    /// The classes of its layers, in the order of their first use.
    pub fn layer_classes(&self) -> Vec<&'static str> {
        self.net.borrow().graph.layers().iter().map(|(_, layer)| layer.def.kind()).collect()
    }

    /// The names of its inputs, in order.
    pub fn input_names(&self) -> Vec<String> {
        let net = self.net.borrow();
        net.graph.inputs.iter().map(|&i| net.graph.call(i).input_name().to_string()).collect()
    }

    /// The axis of each output that is the batch in the description that the model was read from. It leads in every
    /// output here.
    #[cfg(feature = "keras")]
    pub(crate) fn batch_axes(&self) -> Vec<usize> {
        self.net.borrow().graph.outputs.iter().map(|o| o.axis).collect()
    }

    /// The names of its outputs, in order.
    pub fn output_names(&self) -> Vec<String> {
        self.net.borrow().graph.outputs.iter().map(|o| o.name.clone()).collect()
    }

    /// The outputs that training asks for, each with the type of its target; nothing for a model without
    /// [`Model::compile`]. What is wrong with the model is left for [`Model::lower`].
    pub fn targets(&self) -> Vec<(String, TensorType)> {
        let objectives = check::check(&self.net.borrow(), &mut Vec::new());
        objectives.into_iter().map(|objective| (objective.name, objective.target)).collect()
    }

    /// The layer graph in Graphviz's language.
    pub fn to_dot(&self) -> String {
        self.net.borrow().graph.to_dot()
    }

    /// Everything that is wrong so far with layers and names.
    pub fn problems(&self) -> Ref<'_, [Diagnostic]> {
        Ref::map(self.net.borrow(), |net| net.problems.as_slice())
    }

    /// Why the model cannot be trained, where it was read from a description that asks for it; see
    /// [`KerasModel::build_to_run`](crate::import::KerasModel::build_to_run).
    pub fn untrained(&self) -> Ref<'_, [Diagnostic]> {
        Ref::map(self.net.borrow(), |net| net.untrained.as_slice())
    }

    /// Everything that keeps the model from being compiled.
    pub(crate) fn check_description(&self) -> Result<(), Diagnostics> {
        lower::checked(&self.net.borrow()).map(drop)
    }

    /// The model as tensor graphs over its storage: `init`, `predict`, with [`Model::compile`] also `train_step` and
    /// `evaluate_step`, and the entry points of [`Model::entry`]; or everything that is wrong with it.
    pub fn lower(&self) -> Result<Module, Diagnostics> {
        self.lowered().map(|lowered| lowered.module)
    }

    /// [`Model::lower`], with what is said about the model.
    pub(crate) fn lowered(&self) -> Result<Lowered, Diagnostics> {
        lower::lower(&self.net.borrow())
    }

    /// What is no mistake, and probably not meant: layers that no entry point uses, and trainable weights that no training
    /// step changes. [`Model::build`] shows them.
    ///
    /// # Errors
    /// Everything that is wrong with the model, as for [`Model::lower`].
    pub fn warnings(&self) -> Result<Vec<Diagnostic>, Diagnostics> {
        self.lowered().map(|lowered| lowered.warnings)
    }
}

/// Sets the flag of the layers at a path; false where there is none.
fn set_trainable(graph: &LayerGraph, path: &str, trainable: bool) -> bool {
    let (head, rest) = match path.split_once('/') {
        Some((head, rest)) => (head, Some(rest)),
        None => (path, None),
    };
    let mut found = false;
    for (_, layer) in graph.layers().into_iter().filter(|(name, _)| *name == head) {
        found |= set_trainable_in(layer, rest, trainable);
    }
    found
}

/// Sets the flag of a layer, or of what is at a path inside it: layers of a model, and what a wrapper wraps, by the
/// names that their weights have.
fn set_trainable_in(layer: &AnyLayer, path: Option<&str>, trainable: bool) -> bool {
    let Some(path) = path else {
        layer.set_trainable(trainable);
        return true;
    };
    if let Some(inner) = layer.def.submodel() {
        return set_trainable(&inner.graph, path, trainable);
    }
    let inside = layer.def.parts().into_iter().flat_map(|part| match part.held {
        Held::Half(inner, _) | Held::Layer(inner) => vec![(inner.own_name(), inner)],
        Held::Layers(list) => list,
        Held::Scope(..) | Held::Weight(..) => Vec::new(),
    });
    let below = |name: &str| match path.strip_prefix(name)? {
        "" => Some(None),
        rest => rest.strip_prefix('/').map(Some),
    };
    let mut found = false;
    for (name, inner) in inside {
        if let Some(rest) = below(&name) {
            found |= set_trainable_in(&inner, rest, trainable);
        }
    }
    found
}

/// A model as a layer: its layers when it was applied.
#[derive(Debug)]
pub struct SubModel {
    pub(crate) graph: LayerGraph,
    pub(crate) model: u64,
    pub(crate) net: Rc<RefCell<Net>>,
}

impl SubModel {
    /// Whether a model is this one or inside it.
    pub(crate) fn contains(&self, model: u64) -> bool {
        let inside = |(_, layer): &(&str, &AnyLayer)| layer.def.submodel().is_some_and(|m| m.contains(model));
        self.model == model || self.graph.layers().iter().any(inside)
    }
}

impl LayerDef for SubModel {
    fn kind(&self) -> &'static str {
        "Model"
    }

    fn arity(&self) -> std::ops::RangeInclusive<usize> {
        self.graph.inputs.len()..=self.graph.inputs.len()
    }

    fn results(&self) -> usize {
        self.graph.outputs.len().max(1)
    }

    fn submodel(&self) -> Option<&SubModel> {
        Some(self)
    }

    /// Keras converts what a model is applied to.
    fn operands(&self, given: &[TensorType]) -> Vec<DType> {
        let inputs = self.graph.inputs.iter().map(|&index| self.graph.call(index).results[0].ty.dtype);
        let given = given.iter().map(|ty| ty.dtype);
        let inputs: Vec<DType> = inputs.collect();
        given.enumerate().map(|(i, dtype)| inputs.get(i).copied().unwrap_or(dtype)).collect()
    }

    /// A chain that waited for its input gets it from its first use.
    fn settle(&self, given: &[MaskedType], _: &AnyLayer) -> Option<Rc<dyn LayerDef>> {
        let waits = !self.net.borrow().chain.waiting.is_empty();
        let [given] = given else { return None };
        let source = self.net.borrow().source.clone();
        waits.then(|| {
            sequential::start(&self.net, &given.ty, source);
            Model { net: self.net.clone() }.into_layer().def
        })
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        let name = &self.graph.name;
        if let Some(mistake) = self.net.borrow().problems.first() {
            let Diagnostic { code, message, help, limit, .. } = mistake.clone();
            return Err(Problem { code, message: format!("in the model `{name}`: {message}"), help, limit });
        }
        if self.graph.outputs.is_empty() {
            return Err(Problem::new(Code::Missing, format!("the model `{name}` has no output"))
                .help("declare one before applying the model: `m.output(&x)`"));
        }
        for (&index, given) in self.graph.inputs.iter().zip(cx.inputs()) {
            let input = self.graph.call(index);
            if let Role::Encoded(text) = &input.role {
                let message =
                    format!("the model `{name}` reads the text `{}`, which only an outermost model can", text.input);
                return Err(Problem::new(Code::Model, message).help(
                    "declare the text in the outer model, and let the inner one take what the layer makes of it",
                ));
            }
            if input.results[0].ty != *given {
                let (input, wanted) = (&input.name, &input.results[0].ty);
                return Err(Problem::shape(format!("input `{input}` of the model `{name}` is {wanted}, got {given}")));
            }
        }
        Ok(())
    }

    fn call(&self, cx: &mut CallCx<'_>, inputs: &[NodeId]) -> Vec<NodeId> {
        let ports = self.graph.inputs.iter().map(|&call| Port { call, output: 0 });
        let masked = inputs.iter().enumerate().map(|(i, &node)| cx.masked_input(i, node));
        let inputs = ports.zip(masked).collect();
        let outputs = self.graph.outputs.iter().map(|o| o.port);
        let wanted: Vec<Port> = outputs.chain(self.graph.losses.iter().copied()).collect();
        let mut results = cx.run(&self.graph, &inputs, &wanted);
        for loss in results.split_off(self.graph.outputs.len()) {
            let loss = cx.sum_all(loss.node);
            cx.add_loss(loss);
        }
        results.iter().enumerate().for_each(|(i, result)| cx.set_mask(i, result.mask));
        results.iter().enumerate().for_each(|(i, result)| cx.set_narrow(i, result.narrow));
        results.into_iter().map(|result| result.node).collect()
    }
}

impl IntoLayer for &Model {
    fn into_layer(self) -> AnyLayer {
        let net = self.net.borrow();
        let def = SubModel { graph: net.graph.clone(), model: net.core.id, net: self.net.clone() };
        AnyLayer { def: Rc::new(def), core: net.core.clone() }
    }
}

impl IntoLayer for Model {
    fn into_layer(self) -> AnyLayer {
        (&self).into_layer()
    }
}
