//! Vocabularies that Keras keeps beside the configuration: a layer that has learnt its vocabulary writes it to a member
//! of the archive, a token a line. They move into the arguments of their layers, where Keras writes those it is given.

use std::collections::HashMap;

use serde_json::{Value, json as value};

use super::archive::{Archive, MAX_CONFIG};
use super::h5::Store;
use super::json;
use crate::model::snake_case;

/// Fills in the vocabularies of a description.
pub(super) fn fill(document: &mut Value, archive: &mut Archive<'_>, store: &Store) -> Result<(), String> {
    model(document, "layers", archive, store)
}

/// Those of the layers of a model. `folder` is where the archive has what belongs to them; layers have the names of
/// their classes there, numbered.
fn model(object: &mut Value, folder: &str, archive: &mut Archive<'_>, store: &Store) -> Result<(), String> {
    let Some(Value::Array(layers)) = object.pointer_mut("/config/layers") else { return Ok(()) };
    let mut counts: HashMap<String, usize> = HashMap::new();
    for layer in layers {
        let Some(class) = layer.get("class_name").and_then(Value::as_str).map(str::to_string) else { continue };
        let count = counts.entry(class.clone()).or_default();
        let number = if *count == 0 { String::new() } else { format!("_{count}") };
        *count += 1;
        let place = format!("{folder}/{}{number}", snake_case(&class));
        match class.as_str() {
            "TextVectorization" | "StringLookup" | "IntegerLookup" => lookup(layer, &class, &place, archive, store)?,
            _ => model(layer, &format!("{place}/layers"), archive, store)?,
        }
    }
    Ok(())
}

/// That of one layer.
fn lookup(layer: &mut Value, class: &str, place: &str, archive: &mut Archive<'_>, store: &Store) -> Result<(), String> {
    let Some(Value::Object(config)) = layer.get_mut("config") else { return Ok(()) };
    if config.get("vocabulary").is_some_and(|vocabulary| !vocabulary.is_null()) {
        return Ok(());
    }
    let member = format!("assets/{place}/vocabulary.txt");
    let Some(bytes) = archive.member(&member, MAX_CONFIG)? else { return Ok(()) };
    let text = String::from_utf8(bytes).map_err(|_| format!("the member `{member}` is no UTF-8"))?;
    let (lines, length) = (1 + text.bytes().filter(|byte| *byte == b'\n').count(), text.len());
    if json::list_bytes(lines, length) > json::budget(length) {
        return Err(format!("the member `{member}` has {lines} tokens in {length} bytes, which is too many"));
    }
    let mut tokens: Vec<Value> = Vec::with_capacity(lines);
    for line in text.trim_end_matches(['\n', '\r']).lines() {
        tokens.push(match class {
            "IntegerLookup" => {
                value!(line.parse::<i64>().map_err(|_| format!("the member `{member}` has `{}`", line.escape_debug()))?)
            }
            _ => value!(line),
        });
    }
    let weights = format!("{place}/vars/idf_weights");
    let shape = store.shape(&weights).ok().filter(|shape| shape.len() == 1);
    if let (Some(shape), Some(true)) = (shape, config.get("output_mode").map(|mode| mode == "tf_idf")) {
        let mut weights = store.read(&weights, &shape)?.floats();
        // Those of columns that no token has are zeros.
        weights.truncate(tokens.len());
        config.insert("idf_weights".to_string(), value!(weights));
    }
    if !tokens.is_empty() {
        config.insert("vocabulary".to_string(), Value::Array(tokens));
    }
    Ok(())
}
