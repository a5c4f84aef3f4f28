//! Predictions for the rows of a file.

use std::path::PathBuf;

use bakelite::Predictions;

use super::data::{self, Columns};
use super::npz::{self, Npz};
use super::progress::Progress;
use super::source::{Run, Running, Shapes, Source, runtime};
use super::{file, source};
use crate::diag::Diagnostics;

/// The batch of Keras.
pub const DEFAULT_BATCH: usize = 32;

/// What to predict.
#[derive(Clone, Debug)]
pub struct Predict {
    pub model: PathBuf,
    /// Arrays under the names of the inputs, or one lone array for a model with one input.
    pub input: PathBuf,
    /// Arrays under the names of the outputs; a lone `.npy` file can take that of a model with one output.
    pub output: PathBuf,
    pub batch: usize,
    pub shapes: Shapes,
    pub run: Run,
}

/// Predicts, and writes the output; gives the number of rows.
pub fn predict(what: &Predict, progress: Progress) -> Result<usize, Diagnostics> {
    let source = Source::open(&what.model)?;
    file::check_writable(&what.output)?;
    let mut input = Npz::open(&what.input)?;
    let inputs = source.inputs();
    let columns = data::prediction(&input, &inputs)?;
    let mut shapes = what.shapes.clone();
    data::bind(&input, &inputs, &mut shapes);
    let batch = what.batch.min(columns.rows().max(1));
    let described = source.describe(&shapes, Some(batch))?;
    let stage = progress.stage("compiling");
    let mut running = source.start(&described, &["predict"], &what.run)?;
    drop(stage);
    running.explain_weights(progress);
    let predictions = run(&mut running, &mut input, &columns, batch, progress, &source)?;
    let names: Vec<(String, Vec<usize>)> = outputs(&running, &source)?;
    let npy = npz::is_npy(&what.output);
    if npy && names.len() > 1 {
        let text = format!("an .npy file holds one array, the model has {} outputs: name it .npz", names.len());
        return Err(source::wrong(&what.output, "", text));
    }
    let columns = predictions.iter().zip(&names);
    let arrays: Vec<_> = columns
        .map(|((name, values), (_, item))| {
            let shape = std::iter::once(predictions.rows).chain(item.iter().copied()).collect();
            (name, shape, values)
        })
        .collect();
    let _stage = progress.stage("writing");
    npz::write(&what.output, &arrays)?;
    Ok(predictions.rows)
}

fn run(
    running: &mut Running,
    input: &mut Npz,
    columns: &Columns,
    batch: usize,
    progress: Progress,
    source: &Source,
) -> Result<Predictions, Diagnostics> {
    let data = {
        let _stage = progress.stage("reading");
        columns.read(input, &running.compiled.module, "predict")?
    };
    let _stage = progress.stage(format!("predicting {} rows", columns.rows()));
    let name = running.compiled.module.name.clone();
    running.model.predict(&data, batch).map_err(|e| runtime(&name, source.path(), &e))
}

/// The outputs with the extents of an item.
fn outputs(running: &Running, source: &Source) -> Result<Vec<(String, Vec<usize>)>, Diagnostics> {
    let Some(predict) = running.compiled.module.entry("predict") else {
        return Err(source::wrong(source.path(), "", "the model has no outputs to predict"));
    };
    let item = |node| predict.ty(node).shape.iter().skip(1).map(|d| d.scale).collect();
    Ok(predict.outputs.iter().map(|o| (o.name.clone(), item(o.node))).collect())
}
