//! Graphs of layers.
//!
//! Every layer lists its applications ("inbound nodes"). An application names the tensors that it takes by their
//! history: layer, number of the application, number of the result.
//!
//! Operations such as `x + y` are listed among the layers, and become layers ([`super::operations`]) where a layer or an
//! output needs them. Masks that layers make for each other are in the description as operations, too (`x != 0`), and
//! as arguments of calls. Here they travel by themselves; where one has not come with the tensor, the operation is made.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use serde_json::Value;

use super::layer::{Made, name_of};
use super::operations::{self, Argument, Operation};
use super::{InputSpec, Reader, join};
use crate::model::config::{Config, Object, excerpt};
use crate::model::registry::{self, LAYERS};
use crate::model::{AnyLayer, Model, Tensor, tensor};

/// Arguments of calls that are tensors, in the order in which layers take them after the positional ones.
const TENSOR_ARGUMENTS: &[&str] = &["value", "key", "initial_state", "attention_mask"];

/// Arguments of calls that are true or false, which layers take themselves here.
const FLAGS: &[&str] = &["use_causal_mask", "return_attention_scores"];

/// A tensor by its history.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct History {
    layer: String,
    node: usize,
    tensor: usize,
}

/// A layer and its applications.
struct Entry {
    name: String,
    /// None for inputs, and for layers that were refused.
    made: Option<Made>,
    /// Whether the layer is a functional model, whose outputs count its own description as application 0.
    functional: bool,
    /// An operation such as `x + y`: its description, and its module.
    operation: Option<(Object, String)>,
    calls: Vec<Arguments>,
    /// The results of each application, once it has been made.
    results: Vec<Option<Vec<Tensor>>>,
}

/// What a layer is applied to.
#[derive(Default)]
struct Arguments {
    tensors: Vec<History>,
    /// The mask of the first of them, where the call names it.
    mask: Option<History>,
    /// Flags of this call that are not false.
    flags: Vec<String>,
    /// The operation with the other arguments of this call, where it is one.
    operation: Option<Rc<Operation>>,
}

impl Reader<'_> {
    /// Fills a model with a graph of layers.
    pub(super) fn functional(&mut self, model: &Model, config: &Config, path: &str) {
        let mut entries: Vec<Entry> = Vec::new();
        let mut index: HashMap<String, usize> = HashMap::new();
        let mut inputs: HashMap<String, InputSpec> = HashMap::new();
        for value in self.layers(config, path) {
            let object = match Object::parse(value) {
                Ok(object) => object,
                Err(why) => {
                    self.malformed(path, why);
                    continue;
                }
            };
            let name = name_of(value, &object).to_string();
            let here = join(path, &name);
            if index.insert(name.clone(), entries.len()).is_some() {
                self.malformed(&here, format!("two layers are called `{}`", name.escape_debug()));
            }
            let operation = operation(value, &object).map(|module| (object.clone(), module.to_string()));
            let mut entry =
                Entry { name, made: None, functional: false, operation, calls: Vec::new(), results: Vec::new() };
            if object.class == "InputLayer" {
                inputs.extend(self.input(&object.config, path).map(|input| (entry.name.clone(), input)));
                entry.results.push(None);
            } else if entry.operation.is_some() {
                entry.calls = operation_calls(value, &object);
            } else {
                entry.made = self.layer(&object, &entry.name, path);
                entry.functional = object.class != "Sequential" && super::layer::is_model(&object.class);
                entry.calls = self.calls(value, &here);
                entry.results.resize(entry.calls.len(), None);
            }
            entries.push(entry);
        }
        let input_layers = self.endpoints(config, "input_layers", path);
        let output_layers = self.endpoints(config, "output_layers", path);
        self.operations(&mut entries, &index, &output_layers, path);
        if !self.problems.is_empty() {
            return;
        }
        let listed = entries.iter().filter(|entry| entry.made.is_some()).map(|entry| entry.name.clone());
        model.net.borrow_mut().graph.listed = Some(listed.collect());
        // The model takes its inputs in the order in which it lists them.
        for history in &input_layers {
            let (Some(&at), Some(input)) = (index.get(&history.layer), inputs.remove(&history.layer)) else {
                self.malformed(path, format!("the input `{}` is no InputLayer", history.layer.escape_debug()));
                continue;
            };
            model.net.borrow_mut().graph.rows = input.rows;
            let x = input.declare(model, self.source.clone());
            entries[at].results[0] = Some(vec![x]);
        }
        self.apply(&mut entries, &index, path);
        for history in output_layers {
            let Some(entry) = index.get(&history.layer).map(|&at| &entries[at]) else {
                self.malformed(path, format!("the output `{}` is no layer", history.layer.escape_debug()));
                continue;
            };
            let node = if entry.functional { history.node.saturating_sub(1) } else { history.node };
            match entry.results.get(node).and_then(|r| r.as_ref()?.get(history.tensor)) {
                Some(x) => drop(model.add_output(entry.name.clone(), x, self.source.clone())),
                None if self.problems.is_empty() => {
                    self.malformed(path, format!("the output {history:?} does not exist"));
                }
                None => {}
            }
        }
    }

    /// Keeps the calls of those operations that layers and outputs need, and of those that make masks where they are
    /// all known; the others are left out.
    fn operations(&mut self, entries: &mut [Entry], index: &HashMap<String, usize>, outputs: &[History], path: &str) {
        let find = |history: &History| index.get(&history.layer).copied();
        let of = |entry: &Entry| entry.calls.iter().flat_map(|c| &c.tensors).filter_map(find).collect::<Vec<_>>();
        let known = |entry: &Entry| !entry.calls.is_empty() && entry.calls.iter().all(|call| call.operation.is_some());
        // Operations that are not known, and who builds on them.
        let operations = || entries.iter().enumerate().filter(|(_, entry)| entry.operation.is_some());
        let mut users: HashMap<usize, Vec<usize>> = HashMap::new();
        operations().for_each(|(at, entry)| of(entry).iter().for_each(|from| users.entry(*from).or_default().push(at)));
        let mut open: Vec<usize> = operations().filter(|(_, entry)| !known(entry)).map(|(at, _)| at).collect();
        let mut unknown = BTreeSet::new();
        while let Some(at) = open.pop() {
            if unknown.insert(at) {
                open.extend(users.remove(&at).unwrap_or_default());
            }
        }
        let layers = || entries.iter().filter(|entry| entry.operation.is_none());
        let masks = layers().flat_map(|entry| entry.calls.iter().filter_map(|call| find(call.mask.as_ref()?)));
        let masks = masks.filter(|at| !unknown.contains(at));
        let mut open: Vec<usize> = layers().flat_map(of).chain(outputs.iter().filter_map(find)).chain(masks).collect();
        let mut needed = BTreeSet::new();
        while let Some(at) = open.pop() {
            if entries[at].operation.is_some() && needed.insert(at) {
                open.extend(of(&entries[at]));
            }
        }
        for (at, entry) in entries.iter_mut().enumerate() {
            let Some((object, module)) = &entry.operation else { continue };
            if !needed.contains(&at) {
                entry.calls.clear();
            } else if !known(entry) {
                let class = object.class.escape_debug();
                self.malformed(&join(path, &entry.name), format!("the operation {class} of {module} is not supported"));
            }
            entry.results.resize(entry.calls.len(), None);
        }
    }

    /// Applies the layers, each application after those that it depends on.
    fn apply(&mut self, entries: &mut [Entry], index: &HashMap<String, usize>, path: &str) {
        // Whom to tell when an application is there, and how many each still waits for.
        let mut users: HashMap<(usize, usize), Vec<(usize, usize)>> = HashMap::new();
        let mut waits: HashMap<(usize, usize), usize> = HashMap::new();
        let mut ready: BTreeSet<(usize, usize)> = BTreeSet::new();
        for (at, entry) in entries.iter().enumerate() {
            for (node, arguments) in entry.calls.iter().enumerate() {
                let mut open = BTreeSet::new();
                let mask = arguments.mask.iter().filter(|mask| !left_out(entries, index, mask));
                for history in arguments.tensors.iter().chain(mask) {
                    match index.get(&history.layer) {
                        Some(&from) if history.node < entries[from].results.len() => {
                            let there = entries[from].results[history.node].is_some();
                            open.extend((!there).then_some((from, history.node)));
                        }
                        _ => {
                            let here = join(path, &entry.name);
                            self.malformed(&here, format!("the tensor {history:?} does not exist"));
                        }
                    }
                }
                for from in &open {
                    users.entry(*from).or_default().push((at, node));
                }
                match open.len() {
                    0 => drop(ready.insert((at, node))),
                    n => drop(waits.insert((at, node), n)),
                }
            }
        }
        if !self.problems.is_empty() {
            return;
        }
        while let Some((at, node)) = ready.pop_first() {
            let tensor = |h: &History| entries[index[&h.layer]].results[h.node].as_ref()?.get(h.tensor).cloned();
            let call = &entries[at].calls[node];
            let here = join(path, &entries[at].name);
            let arguments: Option<Vec<Tensor>> = call.tensors.iter().map(tensor).collect();
            let layer = match (&call.operation, &entries[at].made) {
                (Some(operation), _) => {
                    let layer = AnyLayer::from_def(operation.clone());
                    layer.set_name(if node == 0 { &entries[at].name } else { "" });
                    Some(layer)
                }
                (None, made) => made.as_ref().map(Made::layer),
            };
            let layer = layer.and_then(|layer| {
                let flagged = |layer: AnyLayer, flag: &String| {
                    let def = layer.def.called_with(flag, true)?;
                    Some(AnyLayer { def, ..layer })
                };
                call.flags.iter().try_fold(layer, flagged)
            });
            let (Some(mut arguments), Some(layer)) = (arguments, layer) else {
                self.malformed(
                    &here,
                    match call.flags.first() {
                        None => "is applied to a tensor that does not exist".to_string(),
                        Some(flag) => format!("is called with {flag}, which it does not take"),
                    },
                );
                continue;
            };
            match (&call.mask, arguments.first_mut()) {
                // Most masks have come with the tensor.
                (Some(mask), Some(first)) if is_operation(entries, index, mask) && first.is_masked() => {}
                // A poisoned tensor has been reported.
                (Some(mask), Some(first)) if left_out(entries, index, mask) && first.port.is_none() => {}
                (Some(mask), Some(_)) if left_out(entries, index, mask) => {
                    self.malformed(&here, "is called with a mask that is computed in a way that is not supported");
                }
                (Some(mask), Some(first)) => match tensor(mask) {
                    Some(mask) => *first = first.with_mask(&mask),
                    None => self.malformed(&here, "is called with a mask that does not exist"),
                },
                _ => {}
            }
            let arguments: Vec<&Tensor> = arguments.iter().collect();
            let results = tensor::apply_at(&layer, &arguments, self.source.clone());
            entries[at].results[node] = Some(results);
            for user in users.remove(&(at, node)).unwrap_or_default() {
                if let Some(count) = waits.get_mut(&user) {
                    *count -= 1;
                    if *count == 0 {
                        waits.remove(&user);
                        ready.insert(user);
                    }
                }
            }
        }
        if !waits.is_empty() && self.problems.is_empty() {
            let names: BTreeSet<&str> = waits.keys().map(|(at, _)| entries[*at].name.as_str()).collect();
            let names: Vec<&str> = names.into_iter().take(8).collect();
            self.malformed(path, format!("these layers wait for each other: {}", names.join(", ")));
        }
    }

    /// The tensors of every application of a layer.
    fn calls(&mut self, value: &Value, path: &str) -> Vec<Arguments> {
        let nodes = match value.get("inbound_nodes") {
            Some(Value::Array(nodes)) => nodes.as_slice(),
            _ => {
                self.malformed(path, "the layer does not say what it is applied to");
                &[]
            }
        };
        nodes.iter().map(|node| self.arguments(node, path)).collect()
    }

    /// The tensors of one application: the positional arguments, then those with names. `training` is passed over, as
    /// Keras does when it runs the model: a graph trains or predicts as a whole.
    fn arguments(&mut self, node: &Value, path: &str) -> Arguments {
        let mut arguments = Arguments::default();
        let (Some(args), Some(kwargs)) = (node.get("args"), node.get("kwargs").and_then(Value::as_object)) else {
            self.malformed(path, format!("{} is no call of a layer in the format of Keras 3", excerpt(node)));
            return arguments;
        };
        self.collect(args, path, &mut arguments.tensors);
        let others = kwargs.iter().filter(|(key, _)| *key != "mask" && !TENSOR_ARGUMENTS.contains(&key.as_str()));
        others.for_each(|(key, value)| self.call_argument(key, value, path, &mut arguments));
        for value in TENSOR_ARGUMENTS.iter().filter_map(|key| kwargs.get(*key)) {
            self.collect(value, path, &mut arguments.tensors);
        }
        if arguments.tensors.is_empty() && self.problems.is_empty() {
            self.malformed(path, "is applied to no tensor");
        }
        if let Some(value) = kwargs.get("mask") {
            let mut masks = Vec::new();
            self.collect(value, path, &mut masks);
            // Layers that join tensors get a list of masks, which travel with the tensors.
            arguments.mask = masks.pop().filter(|_| masks.is_empty());
        }
        arguments
    }

    /// An argument of a call that is no tensor.
    fn call_argument(&mut self, key: &str, value: &Value, path: &str, arguments: &mut Arguments) {
        if FLAGS.contains(&key) && value.is_boolean() {
            arguments.flags.extend((*value == Value::Bool(true)).then(|| key.to_string()));
        } else if !value.is_null() && key != "training" {
            self.malformed(path, format!("is called with {key} {}, which is not supported", excerpt(value)));
        }
    }

    /// The tensors in an argument, which may be a structure of them.
    fn collect(&mut self, value: &Value, path: &str, tensors: &mut Vec<History>) {
        match value {
            Value::Null => {}
            Value::Array(items) => items.iter().for_each(|item| self.collect(item, path, tensors)),
            Value::Object(o) if o.get("class_name").is_some_and(|c| c == "__keras_tensor__") => {
                let history = value.pointer("/config/keras_history").and_then(history);
                match history {
                    Some(history) => tensors.push(history),
                    None => self.malformed(path, format!("{} is a tensor without history", excerpt(value))),
                }
            }
            other => self.malformed(path, format!("is called with {}, which is no tensor", excerpt(other))),
        }
    }

    /// `input_layers` or `output_layers`: one tensor, or a list or object of them.
    fn endpoints(&mut self, config: &Config, key: &str, path: &str) -> Vec<History> {
        fn leaves<'v>(value: &'v Value, found: &mut Vec<&'v Value>) {
            match value {
                Value::Array(items) if items.first().is_none_or(|first| !first.is_string()) => {
                    items.iter().for_each(|item| leaves(item, found));
                }
                Value::Object(items) => items.values().for_each(|item| leaves(item, found)),
                leaf => found.push(leaf),
            }
        }
        let mut found = Vec::new();
        config.get(key).into_iter().for_each(|value| leaves(value, &mut found));
        let read: Option<Vec<History>> = found.into_iter().map(history).collect();
        match read {
            Some(list) if !list.is_empty() => list,
            _ => {
                let value = config.get(key).unwrap_or(&Value::Null);
                self.malformed(path, format!("`{key}` is {}, not a list of tensors", excerpt(value)));
                Vec::new()
            }
        }
    }
}

/// The calls of an operation. Those that cannot be read have none; they may belong to a mask.
fn operation_calls(value: &Value, object: &Object) -> Vec<Arguments> {
    let call = |node: &Value| {
        let mut tensors = Vec::new();
        let args = node.get("args").and_then(Value::as_array)?;
        let positional = args.iter().map(|value| argument(value, &mut tensors)).collect::<Option<Vec<_>>>()?;
        let kwargs = node.get("kwargs").and_then(Value::as_object)?.iter();
        let named = kwargs.map(|(name, value)| Some((name.clone(), argument(value, &mut tensors)?)));
        let named = named.collect::<Option<Vec<_>>>()?;
        let class = operations::find(&object.class).filter(|_| !tensors.is_empty());
        let count = tensors.len();
        let operation = class.map(|class| Operation::new(class, object.config.clone(), positional, named, count));
        Some(Arguments { tensors, operation, ..Arguments::default() })
    };
    let nodes = value.get("inbound_nodes").and_then(Value::as_array);
    nodes.into_iter().flatten().map(|node| call(node).unwrap_or_default()).collect()
}

/// An argument of an operation. The tensors in it join the list.
fn argument(value: &Value, tensors: &mut Vec<History>) -> Option<Argument> {
    Some(match value {
        Value::Array(items) => {
            Argument::List(items.iter().map(|item| argument(item, tensors)).collect::<Option<Vec<_>>>()?)
        }
        Value::Object(o) if o.get("class_name").is_some_and(|c| c == "__keras_tensor__") => {
            tensors.push(value.pointer("/config/keras_history").and_then(history)?);
            Argument::Tensor(tensors.len() - 1)
        }
        plain => Argument::Plain(plain.clone()),
    })
}

/// Whether a tensor is the result of an operation.
fn is_operation(entries: &[Entry], index: &HashMap<String, usize>, history: &History) -> bool {
    index.get(&history.layer).is_some_and(|&at| entries[at].operation.is_some())
}

/// Whether a tensor is the result of an operation that is not made.
fn left_out(entries: &[Entry], index: &HashMap<String, usize>, history: &History) -> bool {
    index.get(&history.layer).is_some_and(|&at| entries[at].operation.is_some() && entries[at].calls.is_empty())
}

/// `["layer", node, tensor]`
fn history(value: &Value) -> Option<History> {
    let [Value::String(layer), node, tensor] = value.as_array()?.as_slice() else { return None };
    let number = |v: &Value| usize::try_from(v.as_u64()?).ok();
    Some(History { layer: layer.clone(), node: number(node)?, tensor: number(tensor)? })
}

/// The module of an operation such as `x + y`, which is no layer. Older files name none: what has the name of an
/// operation and of no layer is one there.
fn operation<'v>(value: &'v Value, object: &Object) -> Option<&'v str> {
    match value.get("module").and_then(Value::as_str) {
        Some(module) => Some(module).filter(|module| module.starts_with("keras.src.ops")),
        None => {
            let layer = registry::find(LAYERS, &object.class).is_some() || super::layer::is_model(&object.class);
            let operation = !layer && object.class != "InputLayer" && operations::find(&object.class).is_some();
            operation.then_some("keras.ops")
        }
    }
}
