//! Whole models in `.h5` files, as Keras 2 wrote them and Keras 3 still can.
//!
//! The description and the compile configuration are texts in attributes. They differ from those of a `.keras` file in
//! a few spellings, which are brought into today's form here; the reader of descriptions knows the rest.

use serde_json::{Map, Value, json};

use super::archive::MAX_CONFIG;
use super::file::json as parse;
use super::h5::Store;

/// The configuration in the form of `config.json`.
pub(super) fn document(store: &Store) -> Result<Value, String> {
    let Some(config) = store.text("", "model_config") else {
        return Err(match store.has("model_weights") || store.has("layers") {
            true => "the file holds weights and no model: load it into a model".into(),
            false => "the file holds no model: it has no attribute `model_config`".into(),
        });
    };
    let within = |text: &str, name: &str| match text.len() as u64 > MAX_CONFIG {
        true => Err(format!("the attribute `{name}` has more than {MAX_CONFIG} bytes")),
        false => parse(text).map_err(|why| format!("attribute `{name}`: {why}")),
    };
    let mut document = within(&config, "model_config")?;
    if let (Some(text), Some(document)) = (store.text("", "training_config"), document.as_object_mut()) {
        let training = within(&text, "training_config")?;
        if let Some(compile) = compile_config(&training) {
            document.insert("compile_config".into(), compile);
        }
    }
    Ok(document)
}

/// The compile configuration of a `.keras` file; none where the model was not compiled.
fn compile_config(training: &Value) -> Option<Value> {
    let training = training.as_object()?;
    let mut compile = Map::new();
    let optimizer = training.get("optimizer_config").or_else(|| training.get("optimizer"))?;
    compile.insert("optimizer".into(), optimizer.clone());
    for key in ["loss", "loss_weights", "metrics", "weighted_metrics"] {
        let value = training.get(key).cloned().unwrap_or(Value::Null);
        compile.insert(key.into(), plain(value));
    }
    Some(Value::Object(compile))
}

/// Keras 2 wrapped functions in classes that say their name.
fn plain(value: Value) -> Value {
    const WRAPPERS: [&str; 3] = ["MeanMetricWrapper", "LossFunctionWrapper", "SumOverBatchSizeMetricWrapper"];
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(plain).collect()),
        Value::Object(object) => {
            let class = object.get("class_name").and_then(Value::as_str).unwrap_or_default();
            let function = object.get("config").and_then(|config| config.get("fn")).cloned();
            match function {
                Some(function) if WRAPPERS.contains(&class) => {
                    let name = object.get("config").and_then(|config| config.get("name")).cloned();
                    match (function, name) {
                        (Value::String(function), Some(name)) => {
                            json!({ "class_name": function, "config": { "name": name } })
                        }
                        (function, _) => function,
                    }
                }
                _ => Value::Object(object.into_iter().map(|(key, value)| (key, plain(value))).collect()),
            }
        }
        // The reduction that Keras 2 chose by itself is the usual one.
        Value::String(text) if text == "auto" => json!("sum_over_batch_size"),
        other => other,
    }
}
