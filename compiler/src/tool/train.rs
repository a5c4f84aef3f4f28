//! Training on the rows of a file, as Keras's `fit` does it.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use bakelite::names::printable_json;
use bakelite::{Data, Fit, History};
use serde_json::Value;

use super::data::{self, Columns};
use super::file;
use super::interrupt::Interrupt;
use super::mistake::runtime;
use super::npz::Npz;
use super::progress::{Progress, say};
use super::running::{Run, Running};
use super::source::{Described, Purpose, Shapes, Source};
use crate::diag::Diagnostics;

/// The entry points that training and evaluation call; the names of outputs come from the prediction.
const ENTRIES: &[&str] = &["predict", "train_step", "evaluate_step", "reset_metrics", "finalize"];

/// What to train.
#[derive(Clone, Debug)]
pub struct Train {
    pub model: PathBuf,
    pub data: PathBuf,
    /// Evaluated after each epoch.
    pub validation: Option<PathBuf>,
    pub epochs: usize,
    pub batch: usize,
    /// Whether rows change their order before each epoch; it follows from the seed.
    pub shuffle: bool,
    /// Where the trained model goes: replaced in one step, after the last epoch.
    pub output: PathBuf,
    /// Where the history goes, as JSON: one list for each of Keras's keys.
    pub history: Option<PathBuf>,
    /// What may end the training early.
    pub interrupt: Interrupt,
    /// Whether a training that is ended early writes the model and the history as they are then.
    pub save_on_interrupt: bool,
    pub shapes: Shapes,
    pub run: Run,
}

/// Trains, writes the model and its history, and gives the history. That of a training that was interrupted says so.
pub fn train(what: &Train, progress: Progress) -> Result<History, Diagnostics> {
    let source = Source::open(&what.model)?;
    source.check_output(&what.output)?;
    what.history.as_deref().map_or(Ok(()), file::check_writable)?;
    let mut files = vec![Npz::open(&what.data)?];
    if let Some(validation) = &what.validation {
        files.push(Npz::open(validation)?);
    }
    let Steps { described, columns, mut running, batch } =
        Steps::new(&source, &files, what.batch, &what.shapes, &what.run, ENTRIES, progress)?;
    source.check_save(&what.output, &described, &running.model)?;
    progress.warn(&what.model, std::mem::take(&mut running.warnings));
    running.explain_weights(progress);
    running.explain_left_out(progress);
    let module = &running.compiled.module;
    let name = module.name.clone();
    let stage = progress.stage("reading");
    let train = columns[0].read(&mut files[0], module, "train_step")?;
    let validation: Option<Data<'_>> = match (files.get_mut(1), columns.get(1)) {
        (Some(file), Some(columns)) => Some(columns.read(file, module, "evaluate_step")?),
        _ => None,
    };
    drop((stage, files));
    what.interrupt.begin();
    let mut fit = Fit::epochs(what.epochs).batch(batch).interrupt(&what.interrupt.asked);
    fit = if what.shuffle { fit.shuffle(what.run.seed) } else { fit.no_shuffle() };
    if progress == Progress::Shown {
        fit = fit.progress_always();
    }
    if let Some(validation) = &validation {
        fit = fit.validation(validation);
    }
    let history = running.model.fit(&train, fit).map_err(|e| runtime(&name, &what.data, &e))?;
    if let Some(epoch) = history.get("loss").and_then(|losses| losses.iter().position(|loss| !loss.is_finite())) {
        progress.note(&format!(
            "the loss is not finite in epoch {}: look at the data, or lower the learning rate",
            epoch + 1
        ));
    }
    if history.interrupted() {
        let epoch = format!("interrupted in epoch {} of {}", history.epochs().len() + 1, what.epochs);
        let output = what.output.display();
        if !what.save_on_interrupt {
            say(&format!("{epoch}: {output} is as it was; with --save-on-interrupt it would have the state so far\n"));
            return Ok(history);
        }
        say(&format!("{epoch}: writing the state so far to {output}\n"));
    }
    source.save(&what.output, &described, &running.model)?;
    if let Some(path) = &what.history {
        write_history(path, &history)?;
    }
    Ok(history)
}

/// What to evaluate.
#[derive(Clone, Debug)]
pub struct Evaluate {
    pub model: PathBuf,
    pub data: PathBuf,
    pub batch: usize,
    pub shapes: Shapes,
    pub run: Run,
}

/// Loss and metrics under Keras's names, in Keras's order.
pub fn evaluate(what: &Evaluate, progress: Progress) -> Result<Vec<(String, f64)>, Diagnostics> {
    let source = Source::open(&what.model)?;
    let mut files = [Npz::open(&what.data)?];
    let entries = &["predict", "evaluate_step", "reset_metrics"];
    let Steps { columns, mut running, batch, .. } =
        Steps::new(&source, &files, what.batch, &what.shapes, &what.run, entries, progress)?;
    running.explain_weights(progress);
    let name = running.compiled.module.name.clone();
    let data = {
        let _stage = progress.stage("reading");
        columns[0].read(&mut files[0], &running.compiled.module, "evaluate_step")?
    };
    let _stage = progress.stage(format!("evaluating {} rows", columns[0].rows()));
    let logs = running.model.evaluate(&data, batch).map_err(|e| runtime(&name, &what.data, &e))?;
    let mut logs: Vec<(String, f64)> = logs.iter().map(|(name, value)| (name.to_string(), value)).collect();
    logs.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(logs)
}

/// A model whose steps fit some files of data.
struct Steps {
    described: Described,
    columns: Vec<Columns>,
    running: Running,
    /// Rows of a step: never more than there are.
    batch: usize,
}

impl Steps {
    fn new(
        source: &Source,
        files: &[Npz],
        batch: usize,
        shapes: &Shapes,
        run: &Run,
        entries: &[&str],
        progress: Progress,
    ) -> Result<Steps, Diagnostics> {
        let _stage = progress.stage("compiling");
        let inputs = source.inputs();
        files.iter().try_for_each(|file| data::check_inputs(file, &inputs))?;
        let mut shapes = shapes.clone();
        files.iter().for_each(|file| data::bind(file, &inputs, &mut shapes));
        let largest = files.iter().flat_map(|file| file.arrays()).filter_map(|array| array.shape().first()).max();
        let batch = batch.min(largest.copied().unwrap_or(1).max(1));
        let described = source.describe(&shapes, Some(batch), Purpose::Train)?;
        described.check_compiled(source.path())?;
        let outputs = described.targets();
        let columns: Vec<Columns> =
            files.iter().map(|file| data::training(file, &inputs, &outputs)).collect::<Result<_, _>>()?;
        columns[0].declare(&described, columns.get(1));
        let running = source.start(&described, entries, run)?;
        Ok(Steps { described, columns, running, batch })
    }
}

/// The numbers as JSON: `null` for those that JSON does not have.
pub fn json(values: &[(String, f64)]) -> Value {
    let values: BTreeMap<&str, f64> = values.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    serde_json::to_value(values).unwrap_or_default()
}

fn write_history(path: &Path, history: &History) -> Result<(), Diagnostics> {
    let series: BTreeMap<&str, &[f64]> = history.keys().map(|key| (key, &history[key])).collect();
    let text = serde_json::to_string_pretty(&series).unwrap_or_default();
    let text = printable_json(&text);
    file::replace(path, |file| writeln!(file, "{text}"))
}
