//! Predictions for the rows of a file.

use std::path::PathBuf;

use super::data;
use super::mistake::{runtime, wrong};
use super::npz::{self, Npz};
use super::progress::Progress;
use super::running::{Run, Running};
use super::source::{Described, Purpose, Shapes, Source};
use bakelite::Values;

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
    let extents = extents(&running, &source, columns.rows(), batch)?;
    let axes = match &described {
        Described::Layers(model) => model.batch_axes(),
        Described::Graph(_) => vec![0; extents.len()],
    };
    if npz::is_npy(&what.output) && extents.len() > 1 {
        let text = format!("an .npy file holds one array, the model has {} outputs", extents.len());
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
    let arrays: Vec<_> = predictions.iter().zip(extents).map(|((name, values), shape)| (name, shape, values)).collect();
    let moved = moved(&axes, &arrays);
    let mut there = Vec::new();
    for ((name, shape, values), moved) in arrays.iter().zip(&moved) {
        there.push(match moved {
            Some((shape, values)) => (*name, shape.clone(), values),
            None => (*name, shape.clone(), *values),
        });
    }
    let _stage = progress.stage("writing");
    npz::write(&what.output, &there)?;
    Ok(predictions.rows)
}

/// The shape of each output for a number of rows: the batch as it is in the results, and what has no rows once for each
/// batch, one behind the other.
fn extents(running: &Running, source: &Source, rows: usize, batch: usize) -> Result<Vec<Vec<usize>>, Diagnostics> {
    let Some(predict) = running.compiled.module.entry("predict") else {
        return Err(wrong(source.path(), "", "the model has no outputs to predict"));
    };
    let shape = |node| {
        let shape = &predict.ty(node).shape;
        let mut all: Vec<usize> = shape.iter().map(|d| if d.batch { d.scale * rows } else { d.scale }).collect();
        if !shape.iter().any(|d| d.batch) {
            match (all.first_mut(), rows.div_ceil(batch)) {
                (Some(first), batches) => *first *= batches,
                (None, 1) => {}
                (None, batches) => all.push(batches),
            }
        }
        all
    };
    Ok(predict.outputs.iter().map(|output| shape(output.node)).collect())
}

/// Predictions of outputs whose batch does not lead in the description, with the batch where it is there.
fn moved(axes: &[usize], arrays: &[(&str, Vec<usize>, &Values<'_>)]) -> Vec<Option<(Vec<usize>, Values<'static>)>> {
    let moved = |(axis, (_, shape, values)): (&usize, &(&str, Vec<usize>, &Values<'_>))| {
        let (rows, item) = shape.split_first().filter(|_| *axis > 0)?;
        let mut there = item.to_vec();
        there.insert(*axis, *rows);
        // What lies before the batch, and behind it.
        let (before, behind): (usize, usize) = (item[..*axis].iter().product(), item[*axis..].iter().product());
        let values = match values {
            Values::F32(v) => turned(v, *rows, before, behind).into(),
            Values::F64(v) => turned(v, *rows, before, behind).into(),
            Values::I32(v) => turned(v, *rows, before, behind).into(),
            Values::U32(v) => turned(v, *rows, before, behind).into(),
            Values::U8(v) => turned(v, *rows, before, behind).into(),
            Values::Bool(v) => turned(v, *rows, before, behind).into(),
        };
        Some((there, values))
    };
    axes.iter().zip(arrays).map(moved).collect()
}

/// `[rows, before, behind]` as `[before, rows, behind]`.
fn turned<T: Copy>(values: &[T], rows: usize, before: usize, behind: usize) -> Vec<T> {
    let place = |(b, row): (usize, usize)| (row * before + b) * behind;
    let places = (0..before).flat_map(|b| (0..rows).map(move |row| (b, row)));
    places.flat_map(|at| values[place(at)..][..behind].iter().copied()).collect()
}
