//! Tensors by their history.

use std::fmt;

use serde_json::Value;

use crate::import::Reader;
use crate::model::config::{Config, excerpt};
use crate::model::output::Step;

/// A tensor as descriptions name it: `["layer", node, tensor]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct History {
    pub layer: String,
    /// The number of the application.
    pub node: usize,
    /// The number of its result.
    pub tensor: usize,
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}[{}][{}]`", self.layer.escape_debug(), self.node, self.tensor)
    }
}

impl History {
    pub fn parse(value: &Value) -> Option<History> {
        History::of_parts(value.as_array()?)
    }

    pub fn of_parts(parts: &[Value]) -> Option<History> {
        let [Value::String(layer), node, tensor] = parts else { return None };
        let number = |v: &Value| usize::try_from(v.as_u64()?).ok();
        Some(History { layer: layer.clone(), node: number(node)?, tensor: number(tensor)? })
    }

    /// The history of a serialised tensor of Keras 3, where it has one.
    pub fn of_tensor(value: &Value) -> Option<History> {
        value.pointer("/config/keras_history").and_then(History::parse)
    }
}

/// Whether a value is a serialised tensor of Keras 3.
pub(super) fn is_tensor(value: &Value) -> bool {
    value.get("class_name").is_some_and(|class| class == "__keras_tensor__")
}

/// A tensor that a model takes or gives, and where in the structure of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Endpoint {
    pub history: History,
    pub steps: Vec<Step>,
}

/// The leaves of `input_layers` or `output_layers` in the order in which Keras flattens them: dicts by their keys.
fn leaves<'v>(value: &'v Value, steps: &mut Vec<Step>, found: &mut Vec<(&'v Value, Vec<Step>)>) {
    let mut within = |step: Step, value: &'v Value| {
        steps.push(step);
        leaves(value, steps, found);
        steps.pop();
    };
    match value {
        Value::Array(items) if items.first().is_none_or(|first| !first.is_string()) => {
            items.iter().enumerate().for_each(|(i, item)| within(Step::Index(i), item));
        }
        Value::Object(items) => {
            let mut items: Vec<(&String, &Value)> = items.iter().collect();
            items.sort_by_key(|(key, _)| *key);
            items.into_iter().for_each(|(key, item)| within(Step::Key(key.clone()), item));
        }
        leaf => found.push((leaf, steps.clone())),
    }
}

impl Reader<'_> {
    /// `input_layers` or `output_layers`: one tensor, or a list or dict of them.
    pub(super) fn endpoints(&mut self, config: &Config, key: &str, path: &str) -> Vec<Endpoint> {
        let mut found = Vec::new();
        config.get(key).into_iter().for_each(|value| leaves(value, &mut Vec::new(), &mut found));
        let endpoint = |(leaf, steps)| Some(Endpoint { history: History::parse(leaf)?, steps });
        let read: Option<Vec<Endpoint>> = found.into_iter().map(endpoint).collect();
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
