//! The model of a fixture, read from Keras's own description, and its names of Keras's weights.

use std::collections::BTreeMap;

use bakelite_compiler::import::KerasModel;
use bakelite_compiler::prelude::*;

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

/// The names that the model has for the weights of a case, by Keras's paths: both list them in one order.
pub fn names<'c>(case: &'c Case, model: &Model) -> Result<BTreeMap<&'c str, String>, String> {
    let names = model.weights_as_in_keras().map_err(|e| e.to_string())?;
    let paths = case.weights.iter().map(|(path, _)| path.as_str());
    if paths.len() != names.len() {
        let keras: Vec<&str> = paths.collect();
        return Err(format!("Keras has the weights {keras:?}, the model has {names:?}"));
    }
    let last = |path: &str| path.rsplit('/').next().map(str::to_string);
    match paths.clone().zip(&names).find(|(path, name)| last(path) != last(name)) {
        Some((path, name)) => Err(format!("Keras's `{path}` is in the place of `{name}`")),
        None => Ok(paths.zip(names).collect()),
    }
}
