//! Tensors by their history.

use std::fmt;

use serde_json::Value;

use crate::import::Reader;
use crate::model::config::{Config, excerpt};

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

impl Reader<'_> {
    /// `input_layers` or `output_layers`: one tensor, or a list or object of them.
    pub(super) fn endpoints(&mut self, config: &Config, key: &str, path: &str) -> Vec<History> {
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
        let read: Option<Vec<History>> = found.into_iter().map(History::parse).collect();
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
