//! Predictions for the rows of a file.

use std::path::PathBuf;

use super::data;
use super::mistake::{runtime, wrong};
use super::npz::{self, Npz};
use super::progress::Progress;
use super::running::{Run, Running};
use super::source::{Purpose, Shapes, Source};
use crate::diag::{Code, Diagnostics, Problem};

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
    npz::check_output(&what.output)?;
    let mut input = Npz::open(&what.input)?;
    let inputs = source.inputs();
    let columns = data::prediction(&input, &inputs)?;
    let mut shapes = what.shapes.clone();
    data::bind(&input, &inputs, &mut shapes);
    let batch = what.batch.min(columns.rows().max(1));
    let described = source.describe(&shapes, Some(batch), Purpose::Predict)?;
    let stage = progress.stage("compiling");
    let mut running = source.start(&described, &["predict"], &what.run)?;
    drop(stage);
    running.explain_weights(progress);
    let items = items(&running, &source)?;
    if npz::is_npy(&what.output) && items.len() > 1 {
        let text = format!("an .npy file holds one array, the model has {} outputs", items.len());
        let name = what.output.with_extension("npz");
        let problem = Problem::new(Code::File, text).help(format!("name it {}", name.display()));
        return Err(Diagnostics::in_file(problem, &what.output));
    }
    let data = {
        let _stage = progress.stage("reading");
        columns.read(&mut input, &running.compiled.module, "predict")?
    };
    let stage = progress.stage(format!("predicting {} rows", columns.rows()));
    let name = &running.compiled.module.name;
    let predictions = running.model.predict(&data, batch).map_err(|e| runtime(name, &what.input, &e))?;
    drop(stage);
    let shape = |item: Vec<usize>| std::iter::once(predictions.rows).chain(item).collect();
    let arrays: Vec<_> =
        predictions.iter().zip(items).map(|((name, values), item)| (name, shape(item), values)).collect();
    let _stage = progress.stage("writing");
    npz::write(&what.output, &arrays)?;
    Ok(predictions.rows)
}

/// The extents of an item of each output.
fn items(running: &Running, source: &Source) -> Result<Vec<Vec<usize>>, Diagnostics> {
    let Some(predict) = running.compiled.module.entry("predict") else {
        return Err(wrong(source.path(), "", "the model has no outputs to predict"));
    };
    let item = |node| predict.ty(node).shape.iter().skip(1).map(|d| d.scale).collect();
    Ok(predict.outputs.iter().map(|output| item(output.node)).collect())
}
