//! Applications in the format of Keras 2.

use std::collections::HashSet;

use serde_json::Value;

use super::Net;
use super::call::Application;
use super::history::History;
use crate::import::Reader;
use crate::model::config::excerpt;

impl Reader<'_> {
    /// An application as Keras 2 wrote it: `[["layer", node, tensor, {arguments}], ...]`.
    pub(super) fn older(&mut self, list: &[Value], path: &str) -> Application {
        let mut call = Application { older: true, ..Application::default() };
        // A lone tensor may stand without a list around it.
        let lone;
        let tensors = if list.first().is_some_and(Value::is_string) {
            lone = [Value::Array(list.to_vec())];
            &lone[..]
        } else {
            list
        };
        for tensor in tensors {
            let parts = tensor.as_array().map(Vec::as_slice).unwrap_or_default();
            match (History::of_parts(&parts[..parts.len().min(3)]), parts.get(3)) {
                (Some(history), None | Some(Value::Null)) => call.tensors.push(history),
                (Some(history), Some(Value::Object(arguments))) => {
                    call.tensors.push(history);
                    arguments.iter().for_each(|(key, value)| self.plain_argument(key, value, path, &mut call));
                }
                _ => self.malformed(path, format!("{} is no tensor with a history", excerpt(tensor))),
            }
        }
        call
    }
}

/// Counts the applications of functional models as Keras 3 does: for Keras 2, application 0 is their own description.
pub(super) fn renumber(net: &mut Net) {
    let functional: HashSet<String> =
        net.entries.iter().filter(|e| e.is_functional()).map(|e| e.name.clone()).collect();
    let calls = net.entries.iter_mut().flat_map(|entry| &mut entry.calls).filter(|call| call.older);
    for history in calls.flat_map(|call| &mut call.tensors).filter(|h| functional.contains(&h.layer)) {
        history.node = history.node.saturating_sub(1);
    }
}
