//! The inputs of a model, before it is built.

use std::collections::BTreeMap;

use serde_json::Value;

use super::KerasModel;

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
