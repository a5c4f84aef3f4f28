//! The inputs of a model.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::{KerasModel, Reader, join};
use crate::diag::Problem;
use crate::ir::{DType, Shape, SourceLine, TensorType};
use crate::limit::Limit;
use crate::model::config::{Config, excerpt};
use crate::model::{Model, Narrow, Tensor};

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
        self.document.get("class_name").unwrap_or(&self.document).as_str().unwrap_or_default()
    }

    /// The arguments of the outermost model.
    fn config(&self) -> Option<&Config> {
        self.document.get("config")?.as_object()
    }

    /// The classes of the outermost layers by their names.
    pub fn layer_classes(&self) -> BTreeMap<String, String> {
        let layers = self
            .config()
            .and_then(|config| config.get("layers"))
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_string);
        let name = |layer: &Value| text(layer.get("name")).or_else(|| text(layer.pointer("/config/name")));
        layers.iter().filter_map(|layer| Some((name(layer)?, text(layer.get("class_name"))?))).collect()
    }

    /// The inputs of the outermost model in their order. What is malformed is left out here and explained by
    /// [`KerasModel::build`].
    pub fn inputs(&self) -> Vec<OpenInput> {
        let Some(config) = self.config() else { return Vec::new() };
        let layers = config.get("layers").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let input = |layer: &Value| {
            let config = layer.get("config")?;
            let shape = config.get("batch_shape").or_else(|| config.get("batch_input_shape"))?;
            let name = config.get("name").and_then(Value::as_str).unwrap_or("input");
            Some(OpenInput { name: name.to_string(), item: extents(shape)? })
        };
        let inputs = layers.iter().filter(|layer| layer.get("class_name").is_some_and(|class| class == "InputLayer"));
        let mut inputs: Vec<OpenInput> = inputs.filter_map(input).collect();
        if self.class() != "Sequential" {
            let mut order = Vec::new();
            config.get("input_layers").into_iter().for_each(|value| names(value, &mut order));
            let order: HashMap<&str, usize> = order.into_iter().rev().zip(0..).collect();
            inputs.retain(|input| order.contains_key(input.name.as_str()));
            inputs.sort_by_key(|input| Reverse(order.get(input.name.as_str()).copied()));
        } else if inputs.is_empty() {
            let built = config.get("build_input_shape").and_then(extents);
            inputs.extend(built.map(|item| OpenInput { name: "input".to_string(), item }));
        }
        inputs
    }
}

/// An input of a model: its name, the extents of an item, and the element type; none for text.
#[derive(Clone, Debug)]
pub(super) struct InputSpec {
    pub name: String,
    /// None for those that are left open.
    pub item: Vec<Option<usize>>,
    /// The batch, where it is fixed.
    pub rows: Option<usize>,
    pub dtype: Option<DType>,
    /// The narrow type that its elements have, if they have one.
    pub narrow: Option<Narrow>,
}

impl InputSpec {
    /// Declares the input with the extents of an item.
    pub fn declare(&self, model: &Model, item: &[usize], source: SourceLine) -> Tensor {
        let x = match self.dtype {
            Some(dtype) => model.input_at(&self.name, item, dtype, source),
            None => model.input_text_at(&self.name, item, source),
        };
        if let (Some(narrow), Some(port)) = (self.narrow, x.port) {
            model.net.borrow_mut().graph.set_narrow(port, narrow);
        }
        x
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
        let Some(shape) = config.get("batch_shape").or_else(|| config.get("batch_input_shape")) else {
            self.malformed(&path, "InputLayer without `batch_shape`");
            return None;
        };
        let Some(item) = extents(shape) else {
            self.malformed(&path, format!("the input `{name}` has the shape {}", excerpt(shape)));
            return None;
        };
        let rows = shape.get(0).and_then(Value::as_u64).and_then(|rows| usize::try_from(rows).ok());
        let named = config.get("dtype").and_then(Value::as_str);
        let narrow = named.and_then(Narrow::parse);
        let dtype = match (named, narrow) {
            (Some("string"), _) => None,
            (_, Some(narrow)) => Some(narrow.wide()),
            _ => Some(self.dtype(config.get("dtype"), &path)?),
        };
        Some(InputSpec { name, item, rows, dtype, narrow })
    }

    /// The extents of an item. Open ones are as the input is `given`, or bound by the user at the outermost model; or they
    /// are a mistake.
    pub(super) fn bound(&mut self, input: &InputSpec, given: Option<&TensorType>, path: &str) -> Option<Vec<usize>> {
        let InputSpec { name, item, .. } = input;
        let given = match given {
            Some(ty) => Shape(ty.shape.iter().skip(1).copied().collect()).as_fixed(),
            None => self.shapes.get(name).filter(|_| path.is_empty()).cloned(),
        };
        let path = join(path, name);
        if let Some(given) = given {
            let fits = |(given, declared): (&usize, &Option<usize>)| declared.is_none_or(|n| n == *given);
            if given.len() == item.len() && given.iter().zip(item).all(fits) {
                return Some(given);
            }
            let message = format!("the input `{name}` cannot have the shape {given:?}: {}", declared(item));
            let problem = Problem::shape(message);
            let problem = match path.contains('/') {
                true => problem,
                false => problem
                    .help(format!("give the shape of one item, without the batch, such as {:?}", like(item, &given))),
            };
            self.problem(&path, problem);
            return None;
        }
        if let Some(axis) = item.iter().position(Option::is_none) {
            let message = format!("the input `{name}` leaves the extent of axis {} open", axis + 1);
            let example: Vec<String> = like(item, &[]).iter().map(usize::to_string).collect();
            let help = format!(
                "give the shape of an item, such as `.shape({name:?}, [{}])`, or to the command `--shape {}={}`",
                example.join(", "),
                name.escape_debug(),
                example.join(",")
            );
            self.problem(&path, Problem::shape(message).help(help));
            return None;
        }
        item.iter().copied().collect()
    }
}

/// What the shapes of an input have in common, in words.
fn declared(item: &[Option<usize>]) -> String {
    let axes = |n: usize| format!("{n} {}", if n == 1 { "axis" } else { "axes" });
    let fixed: Vec<String> =
        item.iter().enumerate().filter_map(|(i, n)| n.map(|n| format!("axis {} has {n} elements", i + 1))).collect();
    match fixed.is_empty() {
        true => format!("an item has {}, of any extent", axes(item.len())),
        false => format!("an item has {}, of which {}", axes(item.len()), fixed.join(", ")),
    }
}

/// A shape that an input can have, with the extents that were `given` where they are open.
fn like(item: &[Option<usize>], given: &[usize]) -> Vec<usize> {
    let open = |i: usize| given.get(i).copied().filter(|_| given.len() == item.len()).unwrap_or(100);
    item.iter().enumerate().map(|(i, extent)| extent.unwrap_or_else(|| open(i))).collect()
}

/// The extents behind the batch, none for those that are open; nothing for what is no shape.
pub(super) fn extents(shape: &Value) -> Option<Vec<Option<usize>>> {
    let (_, item) = shape.as_array()?.split_first()?;
    let extent = |extent: &Value| match extent {
        Value::Null => Some(None),
        number => Some(Some(usize::try_from(number.as_u64()?).ok()?)),
    };
    item.iter().map(extent).collect()
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
