//! What layers are applied to: `[["layer", node, tensor, {arguments}], ...]` becomes positional and named arguments.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::operations;

/// What stands for a layer where a function takes a number.
const CONSTANT: &str = "_CONSTANT_VALUE";

/// The layers of one model.
struct Layers {
    all: HashSet<String>,
    /// Models with inputs of their own count their own description as application 0 wherever they are named. Today only
    /// graphs do, and only where a model names its outputs.
    graphs: HashSet<String>,
    chains: HashSet<String>,
}

/// Brings the applications of the layers of a model up to date, if this is one.
pub(super) fn bring_up_to_date(model: &mut Value) {
    let Some(layers) = model.pointer_mut("/config/layers").and_then(Value::as_array_mut) else { return };
    let class = |layer: &Value, name: &str| layer["class_name"] == name;
    let of = |wanted: &dyn Fn(&Value) -> bool| -> HashSet<String> {
        let found = layers.iter().filter(|layer| wanted(layer));
        found.filter_map(|layer| layer["name"].as_str().map(str::to_string)).collect()
    };
    let input = |layer: &Value| layer.pointer("/config/layers/0").is_some_and(|first| class(first, "InputLayer"));
    let names = Layers {
        all: of(&|_| true),
        graphs: of(&|layer| class(layer, "Functional") || class(layer, "Model")),
        chains: of(&|layer| class(layer, "Sequential") && input(layer)),
    };
    let mut older = false;
    for layer in layers {
        let Some(nodes) = layer.get_mut("inbound_nodes").and_then(Value::as_array_mut) else { continue };
        for node in nodes {
            if let Some(modern) = names.node(node) {
                *node = modern;
                older = true;
            }
        }
        operations::bring_up_to_date(layer);
    }
    if let (true, Some(outputs)) = (older, model.pointer_mut("/config/output_layers")) {
        names.outputs(outputs);
    }
}

impl Layers {
    /// One application; none where it has the present form or none at all.
    fn node(&self, node: &Value) -> Option<Value> {
        let list = node.as_array()?;
        let mut kwargs = None;
        let args = match self.is_tensor(node) {
            true => vec![self.positional(node, &mut kwargs)],
            false => match list.as_slice() {
                [one] => vec![self.positional(one, &mut kwargs)],
                // Layers that join tensors get them as one list.
                _ => vec![self.positional(node, &mut kwargs)],
            },
        };
        Some(json!({ "args": args, "kwargs": kwargs.unwrap_or_default() }))
    }

    /// `["layer", node, tensor]`, with the other arguments of the call behind it; or a number in its place.
    fn is_tensor(&self, value: &Value) -> bool {
        match value.as_array().map(Vec::as_slice) {
            Some([Value::String(name), node, _, ..]) => node.is_i64() && (self.all.contains(name) || name == CONSTANT),
            _ => false,
        }
    }

    /// Tensors in lists or objects of them. Every one of them carries the other arguments of the call.
    fn positional(&self, value: &Value, kwargs: &mut Option<Map<String, Value>>) -> Value {
        if self.is_tensor(value) {
            if let (None, Some(given)) = (&kwargs, value.get(3).and_then(Value::as_object)) {
                *kwargs = Some(given.iter().map(|(name, value)| (name.clone(), self.named(value))).collect());
            }
            return match value[0] == CONSTANT {
                true => value[2].clone(),
                false => self.tensor(value),
            };
        }
        match value {
            Value::Array(items) => items.iter().map(|item| self.positional(item, kwargs)).collect(),
            Value::Object(items) => items.values().map(|item| self.positional(item, kwargs)).collect(),
            other => other.clone(),
        }
    }

    /// An argument with a name: tensors, plain values, or lists of them.
    fn named(&self, value: &Value) -> Value {
        match value {
            tensor if self.is_tensor(tensor) => self.tensor(tensor),
            Value::Array(items) => items.iter().map(|item| self.named(item)).collect(),
            plain => plain.clone(),
        }
    }

    fn tensor(&self, value: &Value) -> Value {
        let name = value[0].as_str().unwrap_or_default();
        let mut history = vec![value[0].clone(), value[1].clone(), value[2].clone()];
        if self.graphs.contains(name) || self.chains.contains(name) {
            uncount(&mut history[1]);
        }
        json!({ "class_name": "__keras_tensor__", "config": { "keras_history": history } })
    }

    /// The tensors that a model gives.
    fn outputs(&self, value: &mut Value) {
        if self.is_tensor(value) {
            if value[0].as_str().is_some_and(|name| self.chains.contains(name)) {
                uncount(&mut value[1]);
            }
            return;
        }
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.outputs(item)),
            Value::Object(items) => items.values_mut().for_each(|item| self.outputs(item)),
            _ => {}
        }
    }
}

/// The number of an application without that of the description.
fn uncount(node: &mut Value) {
    if let Some(number) = node.as_u64() {
        *node = json!(number.saturating_sub(1));
    }
}
