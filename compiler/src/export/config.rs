//! The configuration of a model that was described in Rust.

use std::collections::{HashMap, HashSet};

use petgraph::graph::NodeIndex;
use serde_json::{Map, Value, json};

use super::compile::{Problems, compile_config};
use crate::diag::{Code, Diagnostics, Problem};
use crate::import::join;
use crate::ir::{DType, TensorType};
use crate::model::config;
use crate::model::graph::{Call, LayerGraph, Port, Role};
use crate::model::output::{Output, Step};
use crate::model::registry;
use crate::model::saved::Held;
use crate::model::{AnyLayer, CallForm, Model};

/// `config.json` of a model: its layers and how they are applied, and how it is trained.
pub(super) fn document(model: &Model, from: &bakelite::Model) -> Result<Value, Diagnostics> {
    let mut writer = Writer { problems: Problems { model, list: Vec::new() }, seen: HashSet::new() };
    let (graph, trainable) = {
        let net = model.net.borrow();
        (net.graph.clone(), net.core.trainable.get())
    };
    let rows = rows(model);
    let mut document = writer.model(&graph, &graph.name, trainable, "");
    writer.problems.finish()?;
    if let (Some(rows), Some(layers)) = (rows, document.pointer_mut("/config/layers").and_then(Value::as_array_mut)) {
        // States are kept for the rows of a batch, so that Keras must know it.
        layers.iter_mut().filter_map(|layer| layer.pointer_mut("/config/batch_shape/0")).for_each(|n| *n = json!(rows));
    }
    let compiled = model.net.borrow().compiled.clone();
    if let (Some(compiled), Some(document)) = (compiled, document.as_object_mut()) {
        document.insert("compile_config".into(), compile_config(model, &compiled, from)?);
    }
    Ok(document)
}

/// The batch that inputs have to be fixed to: stateful layers keep states for its rows.
fn rows(model: &Model) -> Option<usize> {
    let net = model.net.borrow();
    let stateful = |layer: &AnyLayer| layer.def.recurrent().is_some_and(|def| def.sequence().stateful);
    let any = net.graph.layers().iter().any(|(_, layer)| stateful(layer));
    any.then(|| net.graph.rows.unwrap_or(net.max_batch))
}

struct Writer<'m> {
    problems: Problems<'m>,
    /// Layers that are in some model already.
    seen: HashSet<u64>,
}

impl Writer<'_> {
    fn wrong(&mut self, path: &str, call: &Call, why: String) {
        self.problems.add(path, &call.source, Problem::new(Code::Unknown, why));
    }

    /// A model as a serialised object.
    fn model(&mut self, graph: &LayerGraph, name: &str, trainable: bool, path: &str) -> Value {
        let (class, module) = match graph.class() {
            "Sequential" => ("Sequential", "keras"),
            class => (class, "keras.src.models.functional"),
        };
        let config = match class {
            "Sequential" => self.chain(graph, path),
            _ => self.functional(graph, path),
        };
        let mut config = config;
        config.insert("name".into(), json!(name));
        config.insert("trainable".into(), json!(trainable));
        let registered = if class == "Sequential" { Value::Null } else { json!(class) };
        json!({ "module": module, "class_name": class, "config": config, "registered_name": registered })
    }

    fn chain(&mut self, graph: &LayerGraph, path: &str) -> Map<String, Value> {
        let calls = graph.calls().map(|call| match &call.role {
            Role::Input | Role::Text => input(call),
            Role::Encoded(text) => self.layer(call, &text.layer, path),
            Role::Layer(layer) => self.layer(call, layer, path),
        });
        let layers: Vec<Value> = calls.collect();
        let shape = graph.inputs.first().map(|&index| shape(&graph.call(given(graph, index)).results[0].ty));
        let mut config = Map::new();
        config.insert("layers".into(), Value::Array(layers));
        config.insert("build_input_shape".into(), shape.unwrap_or_default());
        config
    }

    fn functional(&mut self, graph: &LayerGraph, path: &str) -> Map<String, Value> {
        // The number that Keras gives each application of a layer.
        let mut counts: HashMap<&str, usize> = HashMap::new();
        let mut numbers = Vec::new();
        for call in graph.calls() {
            let count = counts.entry(call.name.as_str()).or_default();
            numbers.push(*count);
            *count += 1;
        }
        let wanted: Vec<Port> = graph.outputs.iter().map(|o| o.port).collect();
        let needed: HashSet<_> = graph.needed(&wanted).into_iter().chain(graph.inputs.iter().copied()).collect();
        let history = |port: &Port| {
            let call = graph.call(port.call);
            json!([call.name, numbers[port.call.index()], port.output])
        };
        let mut layers: Vec<Value> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        for index in graph.order().unwrap_or_default().into_iter().filter(|index| needed.contains(index)) {
            let call = graph.call(index);
            let layer = match &call.role {
                Role::Input | Role::Text => {
                    let mut value = input(call);
                    value["name"] = json!(call.name);
                    value["inbound_nodes"] = json!([]);
                    layers.push(value);
                    continue;
                }
                Role::Encoded(text) => &text.layer,
                Role::Layer(layer) => layer,
            };
            let at = *places.entry(call.name.clone()).or_insert_with(|| {
                let mut value = self.layer(call, layer, path);
                value["name"] = json!(call.name);
                value["inbound_nodes"] = json!([]);
                layers.push(value);
                layers.len() - 1
            });
            let node = self.node(graph, call, layer, &history, path);
            if let Some(nodes) = layers[at]["inbound_nodes"].as_array_mut() {
                nodes.push(node);
            }
        }
        let ends = |list: Vec<Value>| match <[Value; 1]>::try_from(list) {
            Ok([one]) => one,
            Err(list) => Value::Array(list),
        };
        let inputs = graph.inputs.iter().map(|&call| history(&Port { call: given(graph, call), output: 0 })).collect();
        let outputs = graph.outputs.iter().map(|Output { port, place, .. }| {
            let mut end = history(port);
            // A model counts its own description as its first application.
            if let Role::Layer(layer) = &graph.call(port.call).role
                && layer.def.submodel().is_some_and(|model| model.graph.class() == "Functional")
            {
                end[1] = json!(end[1].as_u64().unwrap_or(0) + 1);
            }
            (&place.steps[..], end)
        });
        let outputs: Vec<(&[Step], Value)> = outputs.collect();
        let outputs = match &outputs[..] {
            [([Step::Index(_)], lone)] => lone.clone(),
            all => structure(all),
        };
        let mut config = Map::new();
        config.insert("layers".into(), Value::Array(layers));
        config.insert("input_layers".into(), ends(inputs));
        config.insert("output_layers".into(), outputs);
        config
    }

    /// One application of a layer.
    fn node(
        &mut self,
        graph: &LayerGraph,
        call: &Call,
        layer: &AnyLayer,
        history: &dyn Fn(&Port) -> Value,
        path: &str,
    ) -> Value {
        let tensor = |port: &Port| {
            let ty = graph.ty(*port);
            let config = json!({ "shape": shape(ty), "dtype": if graph.is_text(*port) { TEXT } else { dtype(ty.dtype) }, "keras_history": history(port) });
            json!({ "class_name": "__keras_tensor__", "config": config })
        };
        let tensors: Vec<Value> = call.args.iter().map(tensor).collect();
        let mut kwargs = layer.def.call_arguments();
        let args = match layer.def.call_form() {
            CallForm::Tensor => tensors,
            CallForm::List if layer.def.submodel().is_some() && tensors.len() == 1 => tensors,
            CallForm::List => vec![Value::Array(tensors)],
            CallForm::States => {
                let mut tensors = tensors.into_iter();
                let first = tensors.next().unwrap_or_default();
                let states: Vec<Value> = tensors.collect();
                if !states.is_empty() {
                    kwargs.insert("initial_state".into(), Value::Array(states));
                }
                vec![first]
            }
            CallForm::Attention => {
                let mut tensors = tensors;
                let last = call.args.last().map(|port| graph.ty(*port).dtype);
                if last == Some(DType::Bool) {
                    kwargs.insert("attention_mask".into(), tensors.pop().unwrap_or_default());
                }
                tensors
            }
        };
        if args.is_empty() {
            self.wrong(&join(path, &call.name), call, "it is applied to nothing".into());
        }
        json!({ "args": args, "kwargs": kwargs })
    }

    /// A layer as a serialised object.
    fn layer(&mut self, call: &Call, layer: &AnyLayer, path: &str) -> Value {
        let here = join(path, &call.name);
        if !self.seen.insert(layer.core.id) {
            self.wrong(&here, call, "layers that two models share cannot be described in a Keras file".into());
        }
        if let Some(model) = layer.def.submodel() {
            return self.model(&model.graph, &call.name, layer.is_trainable(), &here);
        }
        let Some((class, mut arguments)) = registry::write_layer(layer) else {
            self.wrong(&here, call, format!("{} is no layer that a Keras file can describe", layer.def.kind()));
            return Value::Null;
        };
        // A model inside a wrapper has no arguments of its own; it is described as models are.
        for part in layer.def.parts() {
            if let Held::Layer(inner) = &part.held
                && let Some(model) = inner.def.submodel()
            {
                let name = inner.name().unwrap_or_else(|| model.graph.name.clone());
                arguments[part.attribute] = self.model(&model.graph, &name, inner.is_trainable(), &here);
            }
        }
        arguments["name"] = json!(call.name);
        config::object(module(class), class, arguments)
    }
}

/// A value, and the way to its place through lists and dicts.
type Placed<'s> = (&'s [Step], Value);

/// Values at their places in lists and dicts.
fn structure(values: &[Placed<'_>]) -> Value {
    let mut parts: Vec<(&Step, Vec<Placed<'_>>)> = Vec::new();
    for (steps, value) in values {
        let Some((first, rest)) = steps.split_first() else { return value.clone() };
        match parts.iter_mut().find(|(step, _)| *step == first) {
            Some((_, part)) => part.push((rest, value.clone())),
            None => parts.push((first, vec![(rest, value.clone())])),
        }
    }
    let keys = parts.iter().all(|(step, _)| matches!(step, Step::Key(_)));
    if !keys {
        return parts.iter().map(|(_, part)| structure(part)).collect();
    }
    let named = parts.iter().map(|(step, part)| match step {
        Step::Key(key) => (key.clone(), structure(part)),
        Step::Index(index) => (index.to_string(), structure(part)),
    });
    Value::Object(named.collect())
}

fn input(call: &Call) -> Value {
    let ty = &call.results[0].ty;
    let dtype = if matches!(call.role, Role::Text) { TEXT } else { dtype(ty.dtype) };
    let arguments = json!({
        "batch_shape": shape(ty), "dtype": dtype, "sparse": false, "ragged": false, "name": call.name,
    });
    config::object("keras.layers", "InputLayer", arguments)
}

/// The element type of text.
const TEXT: &str = "string";

/// What the caller of a model gives for an input: the text that it is made of, if it is.
fn given(graph: &LayerGraph, input: NodeIndex) -> NodeIndex {
    let call = graph.call(input);
    match (&call.role, call.args.first()) {
        (Role::Encoded(_), Some(text)) => text.call,
        _ => input,
    }
}

/// Extents with the batch as null.
fn shape(ty: &TensorType) -> Value {
    ty.shape.iter().map(|d| if d.batch { Value::Null } else { json!(d.scale) }).collect()
}

fn dtype(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "float32",
        DType::F64 => "float64",
        DType::I32 => "int32",
        DType::U32 => "uint32",
        DType::U8 => "uint8",
        DType::Bool => "bool",
    }
}

/// Where Keras keeps a class of layers. One is in the module of an architecture.
fn module(class: &str) -> &'static str {
    match class {
        "LayerScale" => "keras.src.applications.convnext",
        _ => "keras.layers",
    }
}
