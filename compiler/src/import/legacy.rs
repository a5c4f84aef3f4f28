//! Whole models in `.h5` files, as Keras 2 wrote them and Keras 3 still can.
//!
//! The description and the compile configuration are texts in attributes, which are put together here as in a `.keras`
//! file. Both versions of Keras spell them as Keras 2 did.

use serde_json::{Map, Value};

use super::archive::MAX_CONFIG;
use super::h5::Store;
use super::json::parse;
use super::older;

/// The configuration in the form of `config.json`.
pub(super) fn document(store: &Store) -> Result<Value, String> {
    let Some(config) = store.text("", "model_config")? else {
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
    if let (Some(text), Some(document)) = (store.text("", "training_config")?, document.as_object_mut()) {
        let training = within(&text, "training_config")?;
        if let Some(compile) = compile_config(&training) {
            document.insert("compile_config".into(), compile);
        }
    }
    older::bring_up_to_date(&mut document, store.text("", "keras_version")?.as_deref());
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
        compile.insert(key.into(), value);
    }
    Some(Value::Object(compile))
}
