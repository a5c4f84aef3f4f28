//! The inputs of a model.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{KerasModel, Reader, join};
use crate::diag::Problem;
use crate::ir::{DType, SourceLine};
use crate::limit::Limit;
use crate::model::config::{Config, excerpt};
use crate::model::{Model, Tensor};

/// An input as its description has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenInput {
    pub name: String,
    /// The extents of an item; none for those that are left open.
    pub item: Vec<Option<usize>>,
}

impl KerasModel {
    /// Keras's class: `Sequential` or `Functional`.
    pub fn class(&self) -> &str {
        &self.object.class
    }

    /// The classes of the outermost layers by their names.
    pub fn layer_classes(&self) -> BTreeMap<String, String> {
        let layers = self.object.config.get("layers").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_string);
        let name = |layer: &Value| text(layer.get("name")).or_else(|| text(layer.pointer("/config/name")));
        layers.iter().filter_map(|layer| Some((name(layer)?, text(layer.get("class_name"))?))).collect()
    }

    /// The inputs of the outermost model in their order. What is malformed is left out here and explained by
    /// [`KerasModel::build`].
    pub fn inputs(&self) -> Vec<OpenInput> {
        let config = &self.object.config;
        let layers = config.get("layers").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let input = |layer: &Value| {
            let config = layer.get("config")?;
            let shape = config.get("batch_shape").or_else(|| config.get("batch_input_shape"))?;
            let name = config.get("name").and_then(Value::as_str).unwrap_or("input");
            Some(OpenInput { name: name.to_string(), item: extents(shape)? })
        };
        let inputs = layers.iter().filter(|layer| layer.get("class_name").is_some_and(|class| class == "InputLayer"));
        let mut inputs: Vec<OpenInput> = inputs.filter_map(input).collect();
        if self.object.class != "Sequential" {
            let mut order = Vec::new();
            config.get("input_layers").into_iter().for_each(|value| names(value, &mut order));
            inputs.retain(|input| order.contains(&input.name.as_str()));
            inputs.sort_by_key(|input| order.iter().position(|name| *name == input.name));
        } else if inputs.is_empty() {
            let built = config.get("build_input_shape").and_then(extents);
            inputs.extend(built.map(|item| OpenInput { name: "input".to_string(), item }));
        }
        inputs
    }
}

/// An input of a model: its name, the shape of an item, and the element type; none for text.
pub(super) struct InputSpec {
    pub name: String,
    pub item: Vec<usize>,
    /// The batch, where it is fixed.
    pub rows: Option<usize>,
    pub dtype: Option<DType>,
}

impl InputSpec {
    /// Declares the input.
    pub fn declare(&self, model: &Model, source: SourceLine) -> Tensor {
        match self.dtype {
            Some(dtype) => model.input_at(&self.name, &self.item, dtype, source),
            None => model.input_text_at(&self.name, &self.item, source),
        }
    }
}

impl Reader<'_> {
    /// The arguments of an `InputLayer`.
    pub(super) fn input(&mut self, config: &Config, path: &str) -> Option<InputSpec> {
        let name = match config.get("name").and_then(Value::as_str) {
            Some(name) => name.to_string(),
            None => "input".to_string(),
        };
        let path = join(path, &name);
        for flag in ["sparse", "ragged"] {
            if config.get(flag).is_some_and(|v| *v != Value::Bool(false) && !v.is_null()) {
                let message = format!("InputLayer with {flag} tensors: only dense ones exist");
                self.problem(&path, Problem::value(message).limit(Limit::SparseAndRagged));
                return None;
            }
        }
        let shape = config.get("batch_shape").or_else(|| config.get("batch_input_shape"));
        let Some(shape) = shape.and_then(Value::as_array) else {
            self.malformed(&path, "InputLayer without `batch_shape`");
            return None;
        };
        let item = self.item(&name, shape, &path)?;
        let rows = shape.first().and_then(Value::as_u64).and_then(|rows| usize::try_from(rows).ok());
        let dtype = match config.get("dtype").and_then(Value::as_str) {
            Some("string") => None,
            _ => Some(self.dtype(config.get("dtype"), &path)?),
        };
        Some(InputSpec { name, item, rows, dtype })
    }

    /// The extents of an item. Open ones are bound by the user, at the outermost model; or they are a mistake.
    pub(super) fn item(&mut self, input: &str, shape: &[Value], path: &str) -> Option<Vec<usize>> {
        let top = !path.contains('/');
        let bound = self.shapes.get(input).filter(|_| top).cloned();
        let given: Vec<Option<&Value>> = shape.iter().skip(1).map(|d| Some(d).filter(|d| !d.is_null())).collect();
        if let Some(bound) = bound {
            let fits =
                |(bound, given): (&usize, &Option<&Value>)| given.is_none_or(|g| g.as_u64() == Some(*bound as u64));
            if bound.len() == given.len() && bound.iter().zip(&given).all(fits) {
                return Some(bound);
            }
            let shape = Value::Array(shape.to_vec());
            let message =
                format!("the input `{input}` was given the shape {bound:?}, it is {} with the batch", excerpt(&shape));
            self.problem(path, Problem::shape(message));
            return None;
        }
        let mut item = Vec::new();
        for (axis, extent) in given.into_iter().enumerate() {
            match extent.map(|e| e.as_u64().and_then(|e| usize::try_from(e).ok())) {
                Some(Some(extent)) => item.push(extent),
                Some(None) => {
                    let shape = Value::Array(shape.to_vec());
                    self.malformed(path, format!("the input `{input}` has the shape {}", excerpt(&shape)));
                    return None;
                }
                None => {
                    let message = format!("the input `{input}` leaves the extent of axis {} open", axis + 1);
                    let fixed = |extent: &Value| extent.as_u64().map_or("100".to_string(), |n| n.to_string());
                    let item: Vec<String> = shape.iter().skip(1).map(fixed).collect();
                    let help = format!(
                        "give the shape of an item, such as `.shape({input:?}, [{}])`, or to the command `--shape {}={}`",
                        item.join(", "),
                        input.escape_debug(),
                        item.join(",")
                    );
                    self.problem(path, Problem::shape(message).help(help));
                    return None;
                }
            }
        }
        Some(item)
    }
}

/// The extents behind the batch.
fn extents(shape: &Value) -> Option<Vec<Option<usize>>> {
    let (_, item) = shape.as_array()?.split_first()?;
    Some(item.iter().map(|extent| extent.as_u64().and_then(|extent| usize::try_from(extent).ok())).collect())
}

/// The layers of tensors by their history, in lists or objects of them. The text that this was parsed from bounds how
/// deep they nest.
fn names<'v>(value: &'v Value, into: &mut Vec<&'v str>) {
    match value {
        Value::Array(list) => match list.first() {
            Some(Value::String(name)) => into.push(name),
            _ => list.iter().for_each(|value| names(value, into)),
        },
        Value::Object(object) => object.values().for_each(|value| names(value, into)),
        _ => {}
    }
}
