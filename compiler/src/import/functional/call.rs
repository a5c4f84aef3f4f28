//! Applications of layers.

use std::rc::Rc;

use serde_json::Value;

use super::history::{History, is_tensor};
use crate::import::Reader;
use crate::import::model::is_model;
use crate::import::operations::Operation;
use crate::model::config::{Object, excerpt};

/// What a layer is applied to.
#[derive(Clone, Default, Debug)]
pub(super) struct Application {
    pub tensors: Vec<History>,
    /// The masks that the call is given, each with the number of the tensor that it is the mask of.
    pub masks: Vec<(usize, History)>,
    /// Flags of this call that are not false.
    pub flags: Vec<String>,
    /// The operation with the other arguments of this call, where it is one that is known.
    pub operation: Option<Rc<Operation>>,
}

/// Arguments of calls that are tensors, in the order in which layers take them after the positional ones.
const TENSOR_ARGUMENTS: &[&str] =
    &["inputs", "sequences", "sequence", "query", "value", "key", "initial_state", "attention_mask"];

/// Arguments of attention's calls that are masks, with the numbers of the tensors that they are the masks of.
const MASK_ARGUMENTS: &[(&str, usize)] = &[("value_mask", 1), ("key_mask", 2)];

/// Arguments of calls that are true or false, which layers take themselves here.
const FLAGS: &[&str] = &["use_causal_mask", "return_attention_scores"];

/// The names of the inputs of a model that lists them; none for other layers, and for models that take a dict.
pub(super) fn listed_inputs(object: &Object<'_>) -> Vec<String> {
    match object.config.get("input_layers").filter(|_| is_model(&object.class)) {
        Some(Value::Array(list)) if list.first().is_some_and(Value::is_string) => list[..1].iter().map(text).collect(),
        Some(Value::Array(list)) => list.iter().filter_map(|end| end.get(0)).map(text).collect(),
        _ => Vec::new(),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_string()
}

impl Reader<'_> {
    /// Every application of a layer; `inputs` are the names that a dict of tensors is sorted by.
    pub(super) fn calls(&mut self, value: &Value, inputs: Vec<String>, path: &str) -> Vec<Application> {
        let nodes = match value.get("inbound_nodes") {
            Some(Value::Array(nodes)) => nodes.as_slice(),
            _ => {
                self.malformed(path, "the layer does not say what it is applied to");
                &[]
            }
        };
        nodes.iter().map(|node| self.call(node, &inputs, path)).collect()
    }

    /// One application: the tensors among the positional arguments, then those with names.
    fn call(&mut self, node: &Value, inputs: &[String], path: &str) -> Application {
        let mut call = Application::default();
        let (Some(args), Some(kwargs)) = (node.get("args"), node.get("kwargs").and_then(Value::as_object)) else {
            self.malformed(path, format!("{} is no call of a layer in the format of Keras 3", excerpt(node)));
            return call;
        };
        match args.get(0).and_then(Value::as_object) {
            Some(dict) if inputs.iter().any(|name| dict.contains_key(name)) => {
                inputs.iter().filter_map(|name| dict.get(name)).for_each(|x| self.tensors(x, path, &mut call.tensors));
                let rest = args.as_array().and_then(|args| args.get(1..)).unwrap_or_default();
                rest.iter().for_each(|value| self.tensors(value, path, &mut call.tensors));
            }
            _ => self.tensors(args, path, &mut call.tensors),
        }
        let mask = |key: &str| key == "mask" || MASK_ARGUMENTS.iter().any(|(name, _)| *name == key);
        let others = kwargs.iter().filter(|(key, _)| !mask(key) && !TENSOR_ARGUMENTS.contains(&key.as_str()));
        others.for_each(|(key, value)| self.plain_argument(key, value, path, &mut call));
        for value in TENSOR_ARGUMENTS.iter().filter_map(|key| kwargs.get(*key)) {
            self.tensors(value, path, &mut call.tensors);
        }
        if let Some(value) = kwargs.get("mask") {
            self.masks(value, 0, path, &mut call);
        }
        for (key, of) in MASK_ARGUMENTS {
            match kwargs.get(*key).filter(|value| !value.is_null()) {
                Some(value) if *of < call.tensors.len() => self.masks(value, *of, path, &mut call),
                Some(_) => self.malformed(path, format!("is called with {key} and without the tensor that it masks")),
                None => {}
            }
        }
        if call.tensors.is_empty() && self.problems.is_empty() {
            self.malformed(path, "is applied to no tensor");
        }
        call
    }

    /// An argument of a call that is no tensor. `training` is passed over, as Keras does when it runs the model: a graph
    /// trains or predicts as a whole.
    fn plain_argument(&mut self, key: &str, value: &Value, path: &str, call: &mut Application) {
        if FLAGS.contains(&key) && value.is_boolean() {
            call.flags.extend((*value == Value::Bool(true)).then(|| key.to_string()));
        } else if !value.is_null() && key != "training" {
            self.malformed(path, format!("is called with {key} {}, which is not supported", excerpt(value)));
        }
    }

    /// The masks in an argument: one of a tensor, or a list with those of several, in which null stands for none.
    fn masks(&mut self, value: &Value, of: usize, path: &str, call: &mut Application) {
        let each: Vec<&Value> = match value {
            Value::Array(items) => items.iter().collect(),
            one => vec![one],
        };
        if each.iter().any(|mask| mask.is_null()) && !each.iter().all(|mask| mask.is_null()) {
            self.malformed(path, "is called with masks for some of its tensors only, which is not supported");
        }
        for (i, value) in each.into_iter().enumerate() {
            let mut found = Vec::new();
            self.tensors(value, path, &mut found);
            call.masks.extend(found.into_iter().map(|mask| (of + i, mask)));
        }
    }

    /// The tensors in an argument, which may be a structure of them.
    fn tensors(&mut self, value: &Value, path: &str, tensors: &mut Vec<History>) {
        match value {
            Value::Null => {}
            Value::Array(items) => items.iter().for_each(|item| self.tensors(item, path, tensors)),
            tensor if is_tensor(tensor) => match History::of_tensor(tensor) {
                Some(history) => tensors.push(history),
                None => self.malformed(path, format!("{} is a tensor without history", excerpt(tensor))),
            },
            // Keras flattens dicts by their keys.
            Value::Object(items) if !items.contains_key("class_name") => {
                let mut items: Vec<(&String, &Value)> = items.iter().collect();
                items.sort_by_key(|(key, _)| *key);
                items.into_iter().for_each(|(_, item)| self.tensors(item, path, tensors));
            }
            other => self.malformed(path, format!("is called with {}, which is no tensor", excerpt(other))),
        }
    }
}
