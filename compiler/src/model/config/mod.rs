//! Keras's serialised forms.
//!
//! The serde form of a definition - layer, loss, metric, optimizer, schedule - is the `get_config()` of the Keras class
//! of its name: the fields of the struct are the class's arguments, and [`Default`] holds their defaults. So a class is
//! readable and writable with
//!
//! ```text
//! #[derive(Serialize, Deserialize)]
//! #[serde(default)]
//! pub struct Dense { units: usize, activation: Activation, ... }
//! ```
//!
//! and a row in the [`registry`](super::registry). [`read`] adds what all classes share: unknown arguments and unusable
//! values are refused, all at once and by name, and arguments that mean nothing here are passed over.
//!
//! Initializers, regularizers and constraints are enums, whose variants are the classes; see [`Family`].

mod activation;
mod arguments;
mod families;
mod family;
mod lists;
mod shapes;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) use arguments::Arguments;
pub(crate) use family::{Family, Row, keras_family};
pub(crate) use lists::{List, optional_list};
pub(crate) use shapes::extents;

use crate::diag::{Code, Problem};

/// The arguments of a class: a JSON object.
pub type Config = serde_json::Map<String, Value>;

/// What Keras writes for an object: `{"module", "class_name", "config", "registered_name"}`.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Object {
    pub class: String,
    pub config: Config,
}

impl Object {
    /// Reads an object. A name stands for the class with its default arguments.
    pub fn parse(value: &Value) -> Result<Object, String> {
        match value {
            Value::String(name) => Ok(Object { class: name.clone(), config: Config::new() }),
            Value::Object(object) => {
                let Some(class) = object.get("class_name").and_then(Value::as_str) else {
                    return Err(format!("{} is no serialised object: it has no `class_name`", excerpt(value)));
                };
                let config = match object.get("config") {
                    Some(Value::Object(config)) => config.clone(),
                    None | Some(Value::Null) => Config::new(),
                    Some(other) => return Err(format!("the config of {class} is {}, not an object", excerpt(other))),
                };
                Ok(Object { class: class.to_string(), config })
            }
            other => Err(format!("{} is neither a name nor a serialised object", excerpt(other))),
        }
    }
}

/// The serialised form of an object of a class.
pub(crate) fn object(module: &str, class: &str, config: Value) -> Value {
    serde_json::json!({ "module": module, "class_name": class, "config": config, "registered_name": null })
}

/// A value as messages show it.
pub(crate) fn excerpt(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        None => format!("`{text}`"),
        Some((end, _)) => format!("`{}...`", &text[..end]),
    }
}

/// Arguments that classes share or that say how Keras runs, with the only value that can be honoured; none for those
/// whose value does not matter. A class that has such an argument itself gets it.
const SHARED: &[(&str, Option<&str>)] = &[
    ("name", None),
    ("trainable", None),
    ("dtype", None),
    ("autocast", None),
    ("seed", None),
    ("build_config", None),
    ("build_input_shape", None),
    ("batch_input_shape", None),
    ("batch_shape", None),
    ("unroll", None),
    ("use_cudnn", None),
    ("implementation", None),
    ("synchronized", None),
    ("renorm_momentum", None),
    ("data_format", Some("\"channels_last\"")),
    ("reduction", Some("\"sum_over_batch_size\"")),
    ("renorm", Some("false")),
    ("sparse", Some("false")),
    ("ragged", Some("false")),
    ("axis", Some("-1")),
];

/// Whether an argument that a class does not have can be passed over. Null says that something is not used.
fn passed_over(class: &str, key: &str, value: &Value) -> Result<(), Problem> {
    let shared = SHARED.iter().find(|(name, _)| *name == key);
    match shared {
        _ if value.is_null() => Ok(()),
        Some((_, None)) => Ok(()),
        Some((_, Some(only))) if value.to_string() == *only => Ok(()),
        Some((_, Some(only))) => {
            Err(Problem::value(format!("{class} with {key} {}: only `{only}` is supported", excerpt(value))))
        }
        None => Err(Problem::new(Code::Unknown, format!("{class} has no argument `{key}`"))),
    }
}

/// A definition from its arguments, or everything that is wrong with them. Missing arguments take their defaults.
pub(crate) fn read<D>(class: &str, config: &Config) -> Result<D, Vec<Problem>>
where
    D: Default + Serialize + DeserializeOwned,
{
    let own = match serde_json::to_value(D::default()) {
        Ok(Value::Object(own)) => own,
        _ => Config::new(),
    };
    let mut problems = Vec::new();
    let mut arguments = Config::new();
    for (key, value) in config {
        if !own.contains_key(key) {
            problems.extend(passed_over(class, key, value).err().map(|p| match own.is_empty() {
                true => p,
                false => p.help(format!("its arguments are {}", own.keys().cloned().collect::<Vec<_>>().join(", "))),
            }));
            continue;
        }
        // One argument at a time first, so that each is refused by its name.
        let alone = Value::Object(Config::from_iter([(key.clone(), value.clone())]));
        match serde_json::from_value::<D>(alone) {
            Ok(_) => drop(arguments.insert(key.clone(), value.clone())),
            Err(why) => problems.push(Problem::value(format!("{class} with {key} {}: {why}", excerpt(value)))),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    // Classes without arguments are unit structs, whose form is null.
    let form = if own.is_empty() { Value::Null } else { Value::Object(arguments) };
    serde_json::from_value(form).map_err(|why| vec![Problem::value(format!("{class}: {why}"))])
}

/// The arguments of a definition.
pub(crate) fn write<D: Serialize>(def: &D) -> Value {
    match serde_json::to_value(def) {
        Ok(Value::Null) | Err(_) => Value::Object(Config::new()),
        Ok(value) => value,
    }
}

#[cfg(test)]
mod tests;
