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
//! and a row in the [`registry`](super::registry). Reading adds what all classes share: unknown arguments and unusable
//! values are refused by name, and arguments that mean nothing here are passed over.
//!
//! Initializers, regularizers and constraints are enums, whose variants are the classes; see [`Family`].

mod activation;
mod arguments;
mod families;
mod family;
pub(crate) mod infinite;
mod lists;
mod shapes;

use std::borrow::Cow;
use std::cell::Cell;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde::de::value::MapDeserializer;
use serde_json::Value;

pub(crate) use activation::activation_names;
pub(crate) use arguments::Arguments;
pub(crate) use family::{Family, Row, keras_family};
pub(crate) use lists::optional_list;
pub(crate) use shapes::extents;

use crate::diag::{Code, Problem};
use crate::limit::Limit;

/// The arguments of a class: a JSON object.
pub type Config = serde_json::Map<String, Value>;

/// What Keras writes for an object: `{"module", "class_name", "config", "registered_name"}`.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Object<'v> {
    pub class: String,
    /// Borrowed from the description, which may be large.
    pub config: Cow<'v, Config>,
}

impl Object<'_> {
    /// Reads an object. A name stands for the class with its default arguments.
    pub fn parse(value: &Value) -> Result<Object<'_>, String> {
        match value {
            Value::String(name) => Ok(Object { class: name.clone(), config: Cow::default() }),
            Value::Object(object) => {
                let Some(class) = object.get("class_name").and_then(Value::as_str) else {
                    return Err(format!("{} is no serialised object: it has no `class_name`", excerpt(value)));
                };
                let config = match object.get("config") {
                    Some(Value::Object(config)) => Cow::Borrowed(config),
                    None | Some(Value::Null) => Cow::default(),
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

/// Characters of what messages quote.
const LONGEST: usize = 60;

/// A value as messages show it.
pub(crate) fn excerpt(value: &Value) -> String {
    let text = infinite::text(value);
    match text.char_indices().nth(LONGEST) {
        None => format!("`{text}`"),
        Some((end, _)) => format!("`{}...`", &text[..end]),
    }
}

/// Why a value cannot be read, in words of the description rather than of Rust.
pub(crate) fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let expected = text.strip_prefix("invalid ").and_then(|text| text.rsplit_once(", expected "));
    let expected = match expected.map(|(_, expected)| expected) {
        None => return text,
        Some("usize" | "u8" | "u32" | "u64") => "a whole number that is not negative",
        Some("isize" | "i32" | "i64") => "a whole number",
        Some("f32" | "f64") => "a number",
        Some("a boolean") => "true or false",
        Some("a sequence") => "a list",
        Some("a map") => "an object",
        Some(other) => other,
    };
    format!("expected {expected}")
}

/// Arguments that classes share or that say how Keras runs, with the only value that can be honoured; none for those
/// whose value does not matter. A class that has such an argument itself gets it.
const SHARED: &[(&str, Option<&str>)] = &[
    ("name", None),
    ("trainable", None),
    ("dtype", None),
    ("autocast", None),
    ("seed", None),
    ("activity_regularizer", None),
    ("build_config", None),
    ("build_input_shape", None),
    ("batch_input_shape", None),
    ("batch_shape", None),
    ("unroll", None),
    // Of Keras 2.
    ("time_major", Some("false")),
    ("decay", None),
    ("is_legacy_optimizer", None),
    ("jit_compile", None),
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
    // Of an optimizer around another one.
    ("use_ema", Some("false")),
    ("ema_momentum", None),
    ("dynamic", Some("true")),
];

/// Whether an argument that a class does not have can be passed over. Null says that something is not used.
fn passed_over(class: &str, key: &str, value: &Value) -> Result<(), Problem> {
    let shared = SHARED.iter().find(|(name, _)| *name == key);
    match shared {
        _ if value.is_null() => Ok(()),
        Some((_, None)) => Ok(()),
        Some((_, Some(only))) if serde_json::from_str::<Value>(only).is_ok_and(|only| only == *value) => Ok(()),
        Some((_, Some(only))) => {
            Err(Problem::value(format!("{class} with {key} {}: only `{only}` is supported", excerpt(value))))
        }
        None => {
            let key: String = key.chars().take(LONGEST).collect();
            Err(Problem::new(Code::Unknown, format!("{class} has no argument `{}`", key.escape_debug())))
        }
    }
}

/// A definition from its arguments, or what is wrong with them. Missing arguments take their defaults.
///
/// Every argument is looked at once, so that layers inside layers inside layers cost no more than their text.
pub(crate) fn read<D>(class: &str, config: &Config) -> Result<D, Vec<Problem>>
where
    D: Default + Serialize + DeserializeOwned,
{
    let own = match serde_json::to_value(D::default()) {
        Ok(Value::Object(own)) => own,
        _ => Config::new(),
    };
    let mut problems = Vec::new();
    for (key, value) in config.iter().filter(|(key, _)| !own.contains_key(*key)) {
        problems.extend(passed_over(class, key, value).err().map(|p| match own.is_empty() {
            true => p,
            false => p.help(format!("its arguments are {}", own.keys().cloned().collect::<Vec<_>>().join(", "))),
        }));
    }
    // Classes without arguments are unit structs, whose form is null.
    let def = match own.is_empty() {
        true => serde_json::from_value(Value::Null).map_err(|why| (None, why)),
        false => {
            // Defaults are given too: a flattened struct would not take those of the struct around it.
            let mut rest = own.iter().map(|(key, default)| (key, config.get(key).unwrap_or(default)));
            let current = Cell::new(None);
            let fields = std::iter::from_fn(|| {
                let field = rest.next();
                current.set(field);
                field.map(|(key, value)| (key.as_str(), value))
            });
            D::deserialize(MapDeserializer::new(fields)).map_err(|why: serde_json::Error| (current.get(), why))
        }
    };
    // A flattened struct takes its fields when all of them have been given.
    let def = def.map_err(|(field, why)| match field.or_else(|| at_fault::<D>(&own, config)) {
        Some((key, value)) => unusable(class, key, value, &why),
        None => Problem::value(format!("{class}: {}", reason(&why))),
    });
    match def {
        Ok(def) if problems.is_empty() => Ok(def),
        Ok(_) => Err(problems),
        Err(problem) => Err(problems.into_iter().chain([problem]).collect()),
    }
}

/// An argument whose value cannot be used. Arguments of classes are finite.
fn unusable(class: &str, key: &str, value: &Value, why: &serde_json::Error) -> Problem {
    let shown = excerpt(value);
    match infinite::within(value) {
        true => {
            Problem::value(format!("{class} with {key} {shown}: expected finite numbers")).limit(Limit::FiniteArguments)
        }
        false => Problem::value(format!("{class} with {key} {shown}: {}", reason(why))),
    }
}

/// The first argument that cannot be used with the defaults of all others.
fn at_fault<'c, D: DeserializeOwned>(defaults: &Config, config: &'c Config) -> Option<(&'c String, &'c Value)> {
    config.iter().filter(|(key, _)| defaults.contains_key(*key)).find(|(key, value)| {
        let mut form = defaults.clone();
        form.insert((*key).clone(), (*value).clone());
        serde_json::from_value::<D>(Value::Object(form)).is_err()
    })
}

/// Arguments that older versions of Keras do not have, and that are written only where they are set.
const NEWER: [&str; 4] = ["dtype", "lora_alpha", "lora_rank", "quantization_config"];

/// The arguments of a definition.
pub(crate) fn write<D: Serialize>(def: &D) -> Value {
    match serde_json::to_value(def) {
        Ok(Value::Null) | Err(_) => Value::Object(Config::new()),
        Ok(Value::Object(mut arguments)) => {
            arguments.retain(|key, value| !(value.is_null() && NEWER.contains(&key.as_str())));
            Value::Object(arguments)
        }
        Ok(value) => value,
    }
}

#[cfg(test)]
mod tests;
