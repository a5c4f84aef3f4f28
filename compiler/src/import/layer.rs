//! One layer.

use std::cell::Cell;
use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use super::model::is_model;
use super::{Reader, join};
use crate::diag::Problem;
use crate::ir::SourceLine;
use crate::limit::Limit;
use crate::model::AnyLayer;
use crate::model::config::{self, Config, Object};
use crate::model::quantization::{self, Quantization};
use crate::model::registry::{self, LAYERS};

/// The name of a layer in its description.
pub(super) fn name_of<'v>(value: &'v Value, object: &'v Object<'_>) -> &'v str {
    let name = value.get("name").or_else(|| object.config.get("name"));
    name.and_then(Value::as_str).unwrap_or_default()
}

impl Reader<'_> {
    /// A layer from its serialised object.
    pub(super) fn layer(&mut self, object: &Object<'_>, name: &str, path: &str) -> Option<AnyLayer> {
        let path = join(path, if name.is_empty() { &object.class } else { name });
        if is_model(&object.class) {
            return self.nested(object, name, &path);
        }
        if let Some((what, limit)) = left_out(&object.class, &object.config) {
            let message = format!("{} {what} is not supported", object.class);
            self.problem(&path, Problem::value(message).limit(limit));
            return None;
        }
        let penalty = object.config.get("activity_regularizer").cloned().unwrap_or_default();
        let penalty = serde_json::from_value(penalty).unwrap_or_else(|why| {
            self.problem(&path, Problem::value(format!("{} with activity_regularizer: {why}", object.class)));
            None
        });
        match registry::read(LAYERS, "layer", &object.class, &object.config) {
            Ok(def) => {
                let layer = AnyLayer::from_def(def);
                layer.set_name(name);
                layer.set_activity_regularizer(penalty);
                layer.set_trainable(object.config.get("trainable") != Some(&Value::Bool(false)));
                Some(layer)
            }
            Err(problems) => {
                problems.into_iter().for_each(|p| self.problem(&path, p));
                None
            }
        }
    }
}

/// What a layer's arguments ask for that is left out, in words.
fn left_out(class: &str, config: &Config) -> Option<(&'static str, Limit)> {
    let dtype = config.get("dtype")?;
    let policy = dtype.get("class_name").and_then(Value::as_str).unwrap_or_default();
    let name = quantization::policy(dtype);
    if name.ends_with("float16") {
        return Some(("with a policy of 16 bits", Limit::NarrowTypes));
    }
    let quantized = policy != "DTypePolicy" && policy.ends_with("DTypePolicy") && policy != "DTypePolicyMap";
    let named = name.contains("_from_");
    let left_out = (quantized || named) && !Quantization::reads(class, config);
    left_out.then_some(("with a quantized kernel", Limit::QuantizedLayers))
}

/// How deep layers nest as arguments of layers. Each level holds a copy of what is inside.
const MAX_WRAPPED: usize = 8;

thread_local! {
    static WRAPPED: Cell<usize> = const { Cell::new(0) };
}

/// A level of layers inside layers, while it is being read.
struct Level;

impl Level {
    fn enter() -> Option<Level> {
        WRAPPED.set(WRAPPED.get() + 1);
        let level = Level;
        (WRAPPED.get() <= MAX_WRAPPED).then_some(level)
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        WRAPPED.set(WRAPPED.get() - 1);
    }
}

/// Layers inside layers: a wrapper's argument is the serialised object of what it wraps.
impl<'de> Deserialize<'de> for AnyLayer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<AnyLayer, D::Error> {
        let level = Level::enter();
        let value = Value::deserialize(deserializer)?;
        if level.is_none() {
            return Err(D::Error::custom(format!("layers nest more than {MAX_WRAPPED} deep in layers")));
        }
        let object = Object::parse(&value).map_err(D::Error::custom)?;
        let source = SourceLine::file("layer");
        let mut reader = Reader { source, shapes: &BTreeMap::new(), problems: Vec::new() };
        let layer = reader.layer(&object, name_of(&value, &object), "");
        let messages: Vec<String> = reader.problems.into_iter().map(|p| p.message).collect();
        layer.ok_or_else(|| D::Error::custom(messages.join("; ")))
    }
}

impl Serialize for AnyLayer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some((class, mut arguments)) = registry::write_layer(self) else {
            return Err(S::Error::custom(format!("{} is no class of layers in Keras", self.definition().kind())));
        };
        if let Some(name) = self.name() {
            arguments["name"] = json!(name);
        }
        config::object("keras.layers", class, arguments).serialize(serializer)
    }
}
