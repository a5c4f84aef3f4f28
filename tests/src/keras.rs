//! The model of a fixture, read from Keras's own description, and Keras's paths of its weights.

use bakelite_compiler::import::KerasModel;
use bakelite_compiler::prelude::*;
use serde_json::json;

use crate::fixture::Case;

/// The model of a case, compiled for training where Keras trained it.
pub fn model(case: &Case) -> Result<Model, Diagnostics> {
    let described = KerasModel::parse(&case.model.to_string())?.max_batch(case.batch);
    match &case.compile {
        None => described.build(),
        Some(compile) => {
            let model = described.build_with(compile)?;
            let outputs = model.output_names();
            for (draw, output) in case.targets.iter().zip(&outputs) {
                let dtype = if draw.is_int() { I32 } else { F32 };
                model.target(output, draw.shape[1..].to_vec(), dtype);
            }
            let weighted = case.sample_weights.iter().map(|draw| draw.as_ref().map(|draw| draw.shape[1..].to_vec()));
            let by_class = (!case.class_weight.is_empty()).then(|| Some(Vec::new()));
            for (shape, output) in weighted.chain(by_class).zip(&outputs) {
                if let Some(shape) = shape {
                    model.sample_weight(output, shape);
                }
            }
            Ok(model)
        }
    }
}

/// Our name of a weight for Keras's path: every part of one appears in the other, in order, from the same layer to the
/// same weight. Keras names the cells of recurrent layers, for one, which are no layers here.
pub fn find<'n>(path: &str, names: &[&'n str]) -> Result<&'n str, String> {
    if let Some(name) = names.iter().find(|name| **name == path) {
        return Ok(name);
    }
    let within = |short: &str, long: &str| {
        let mut parts = long.split('/');
        short.split('/').all(|part| parts.any(|p| p == part))
    };
    let ends = |name: &str| {
        (name.split('/').next(), name.rsplit('/').next()) == (path.split('/').next(), path.rsplit('/').next())
    };
    let found: Vec<&&str> = names.iter().filter(|n| ends(n) && (within(n, path) || within(path, n))).collect();
    match found[..] {
        [name] => Ok(name),
        _ => Err(format!("no weight for Keras's `{path}` among {}", json!(names))),
    }
}
