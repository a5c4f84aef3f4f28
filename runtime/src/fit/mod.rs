//! The training loop around a compiled step, evaluation, and prediction over any number of rows.
//!
//! These entry points take part: `train_step` and `evaluate_step` (model inputs, targets, sample weights; results are
//! scalars, `loss` first, then one for each metric), `reset_metrics` before each pass over data, `finalize` after the last
//! epoch, and `predict` (model inputs; results are rows).
//!
//! Every mean of losses is over samples, so a partial last batch counts for the rows that it has. Fitting or evaluating no rows
//! is an error; the prediction of no rows is empty. NaN passes through: a loss that is NaN is reported as such.

mod callback;
mod data;
mod history;
mod lbfgs;
mod progress;
mod shuffle;
mod step;

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

pub use callback::{Callback, CallbackResult, Moment};
pub use data::{Data, Rows, Values};
pub use history::{History, Logs};
pub use lbfgs::{Lbfgs, Minimum};
pub use shuffle::shuffle;

use crate::dtype::Element;
use crate::error::Error;
use crate::model::Model;
use callback::Callbacks;
use data::{Chosen, Role};
use progress::{Progress, Show};
use step::{Step, batches};

const PREDICT: &str = "predict";
const TRAIN_STEP: &str = "train_step";
const EVALUATE_STEP: &str = "evaluate_step";
/// Replaces weights by their moving averages, where the optimizer keeps them.
const FINALIZE: &str = "finalize";
/// The batch of Keras.
const DEFAULT_BATCH: usize = 32;

/// How to fit: `Fit::epochs(20).batch(64).validation(&test).progress()`.
#[must_use]
pub struct Fit<'a> {
    epochs: usize,
    initial_epoch: usize,
    batch: Option<usize>,
    seed: Option<u64>,
    validation: Option<&'a Data<'a>>,
    validation_split: Option<f64>,
    show: Show,
    callbacks: Callbacks<'a>,
    class_weight: Option<Vec<(i32, f32)>>,
    interrupt: Option<&'a AtomicBool>,
}

impl<'a> Fit<'a> {
    /// Runs up to this number of epochs, in batches of 32 rows (or as many as the model takes), shuffled with seed 0.
    pub fn epochs(epochs: usize) -> Fit<'a> {
        Fit {
            epochs,
            initial_epoch: 0,
            batch: None,
            seed: Some(0),
            validation: None,
            validation_split: None,
            show: Show::Never,
            callbacks: Callbacks(Vec::new()),
            class_weight: None,
            interrupt: None,
        }
    }

    /// How much the samples of each class count in training: `[(0, 1.0), (1, 5.0)]`; classes that are not named count
    /// once. For models with one target, described with `sample_weight`.
    pub fn class_weight(mut self, weights: impl Into<Vec<(i32, f32)>>) -> Fit<'a> {
        self.class_weight = Some(weights.into());
        self
    }

    /// The epoch to begin with, counted from 0: takes up a training where it was left.
    pub fn initial_epoch(mut self, epoch: usize) -> Fit<'a> {
        self.initial_epoch = epoch;
        self
    }

    /// Rows of a step, at most the model's `max_batch`. The last batch of an epoch may have fewer.
    pub fn batch(mut self, rows: usize) -> Fit<'a> {
        self.batch = Some(rows);
        self
    }

    /// Shuffles the rows before each epoch. The same seed gives the same order on every machine.
    pub fn shuffle(mut self, seed: u64) -> Fit<'a> {
        self.seed = Some(seed);
        self
    }

    /// Keeps the rows in their order.
    pub fn no_shuffle(mut self) -> Fit<'a> {
        self.seed = None;
        self
    }

    /// Evaluates this data after each epoch.
    pub fn validation(mut self, data: &'a Data<'a>) -> Fit<'a> {
        self.validation = Some(data);
        self
    }

    /// Keeps this fraction of the rows, the last ones before any shuffling, for evaluation after each epoch.
    /// [`Fit::validation`] goes before it.
    pub fn validation_split(mut self, fraction: f64) -> Fit<'a> {
        self.validation_split = Some(fraction);
        self
    }

    /// Shows a progress bar where standard error is a terminal.
    pub fn progress(mut self) -> Fit<'a> {
        self.show = Show::OnTerminal;
        self
    }

    /// Shows progress also where standard error is no terminal: one line an epoch.
    pub fn progress_always(mut self) -> Fit<'a> {
        self.show = Show::Always;
        self
    }

    /// Ends the training after the step, of training or of validation, in which this becomes true: for handlers of
    /// signals, and for other threads. The history has the epochs that were completed, and says that it was
    /// [interrupted](History::interrupted); the model is as the last step left it. `on_train_end` and the optimizer's
    /// last averages are left out, so that the training can be taken up again.
    pub fn interrupt(mut self, flag: &'a AtomicBool) -> Fit<'a> {
        self.interrupt = Some(flag);
        self
    }

    /// Adds a callback; they run in the order in which they were added.
    pub fn callback(mut self, callback: &'a mut dyn Callback) -> Fit<'a> {
        self.callbacks.0.push(callback);
        self
    }
}

/// What a call adds to an output: so many elements for each row, or for the batch as a whole.
enum Part {
    Rows(usize),
    Batch(usize),
}

/// What a model predicts for the rows of some data: one column for each output. An output without rows, such as a mean
/// over the batch, has its elements once for each batch.
#[derive(Clone, Debug)]
pub struct Predictions {
    /// Number of rows.
    pub rows: usize,
    outputs: Vec<(String, Values<'static>)>,
}

impl Predictions {
    /// The rows of the output with this name, one after the other; `None` for another name or element type.
    pub fn get<T: Element>(&self, name: &str) -> Option<&[T]> {
        self.outputs.iter().find(|(n, _)| n == name)?.1.as_slice()
    }

    /// The rows of the first output, `None` if they are of another type.
    pub fn first<T: Element>(&self) -> Option<&[T]> {
        self.outputs.first()?.1.as_slice()
    }

    /// Names and columns in the model's order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Values<'static>)> {
        self.outputs.iter().map(|(name, values)| (name.as_str(), values))
    }
}

impl Model {
    /// Trains on the rows of `data`. Everything is checked before the first step.
    pub fn fit(&mut self, data: &Data<'_>, fit: Fit<'_>) -> Result<History, Error> {
        let Fit { epochs, initial_epoch, batch, seed, validation, validation_split, show, interrupt, .. } = fit;
        let Fit { mut callbacks, class_weight, .. } = fit;
        let interrupted = || interrupt.is_some_and(|flag| flag.load(Ordering::Relaxed));
        let program = self.program();
        let encoded = data.encoded(self)?;
        let data = encoded.as_ref().unwrap_or(data);
        let held = validation.map(|data| data.encoded(self)).transpose()?.flatten();
        let validation = held.as_ref().or(validation);
        let batch = self.checked_batch(TRAIN_STEP, batch)?;
        let gathered = if seed.is_some() { batch } else { 0 };
        let mut train = Step::new(self, program.entry(TRAIN_STEP)?, data, gathered, class_weight.as_deref())?;
        let (rows, held_out) = match (validation, validation_split) {
            (None, Some(fraction)) => split(train.rows(), fraction)?,
            _ => (train.rows(), 0..0),
        };
        let mut validate = None;
        if validation.is_some() || validation_split.is_some() {
            let step = Step::new(self, program.entry(EVALUATE_STEP)?, validation.unwrap_or(data), 0, None)?;
            let rows = if validation.is_some() { 0..step.rows() } else { held_out };
            some_rows("validation", rows.len())?;
            validate = Some((step, rows));
        }
        some_rows("training", rows)?;

        let mut order: Vec<usize> = Vec::new();
        let bytes = rows.saturating_mul(size_of::<usize>());
        order.try_reserve_exact(rows).map_err(|_| Error::OutOfMemory { purpose: "order of the rows", bytes })?;
        order.extend(0..rows);
        let mut history = History::default();
        let mut progress = Progress::new(show, epochs, rows);
        let mut logs = Logs::default();
        let mut stop = false;
        let steps = rows.div_ceil(batch);
        macro_rules! hook {
            ($hook:ident, $epoch:expr, $batch:expr) => {
                if !callbacks.0.is_empty() {
                    let (model, logs, stop) = (&mut *self, &logs, &mut stop);
                    let mut at = Moment { model, epoch: $epoch, epochs, batch: $batch, batches: steps, logs, stop };
                    callbacks.each(&mut at, |callback, at| callback.$hook(at))?;
                }
            };
        }

        hook!(on_train_begin, initial_epoch, 0);
        for epoch in initial_epoch..epochs {
            if stop {
                break;
            }
            if let Some(seed) = seed {
                order.iter_mut().enumerate().for_each(|(i, row)| *row = i);
                shuffle::shuffle_epoch(&mut order, seed, epoch);
            }
            logs = Logs::default();
            hook!(on_epoch_begin, epoch, 0);
            progress.begin_epoch(epoch);
            train.reset(self)?;
            for (i, chunk) in order.chunks(batch).enumerate() {
                hook!(on_train_batch_begin, epoch, i);
                let rows = match seed {
                    Some(_) => Chosen::Listed(chunk),
                    None => Chosen::Range(chunk[0]..chunk[0] + chunk.len()),
                };
                train.run(self, rows)?;
                if !callbacks.0.is_empty() {
                    train.means("", &mut logs);
                }
                hook!(on_train_batch_end, epoch, i);
                if interrupted() {
                    return Ok(history.interrupt());
                }
                progress.batch(train.seen, || {
                    let mut logs = Logs::default();
                    train.means("", &mut logs);
                    logs
                });
                if stop {
                    break;
                }
            }
            train.means("", &mut logs);
            if let Some((step, rows)) = &mut validate {
                step.reset(self)?;
                for rows in batches(rows.clone(), batch) {
                    step.run(self, Chosen::Range(rows))?;
                    if interrupted() {
                        return Ok(history.interrupt());
                    }
                }
                step.means("val_", &mut logs);
            }
            progress.end_epoch(epoch, train.seen, &logs);
            history.push(epoch, &logs);
            hook!(on_epoch_end, epoch, steps - 1);
        }
        if let Ok(finalize) = self.entry(FINALIZE) {
            self.call(finalize, &[], &mut [], 1)?;
        }
        hook!(on_train_end, epochs.saturating_sub(1), steps - 1);
        Ok(history)
    }

    /// Loss and metrics over the rows of `data`, in batches of at most `batch` rows (`None`: as [`Fit::epochs`] says).
    pub fn evaluate(&mut self, data: &Data<'_>, batch: impl Into<Option<usize>>) -> Result<Logs, Error> {
        let program = self.program();
        let encoded = data.encoded(self)?;
        let data = encoded.as_ref().unwrap_or(data);
        let batch = self.checked_batch(EVALUATE_STEP, batch.into())?;
        let mut step = Step::new(self, program.entry(EVALUATE_STEP)?, data, 0, None)?;
        some_rows("evaluation", step.rows())?;
        step.run_all(self, 0..step.rows(), batch)?;
        let mut logs = Logs::default();
        step.means("", &mut logs);
        Ok(logs)
    }

    /// The predictions for all rows of `data`, in batches of at most `batch` rows (`None`: as [`Fit::epochs`] says).
    /// Targets in the data are left unused.
    pub fn predict(&mut self, data: &Data<'_>, batch: impl Into<Option<usize>>) -> Result<Predictions, Error> {
        let program = self.program();
        let encoded = data.encoded(self)?;
        let data = encoded.as_ref().unwrap_or(data);
        let batch = self.checked_batch(PREDICT, batch.into())?;
        let (id, entry) = program.entry(PREDICT)?;
        let bound = data.bind(entry, &vec![Role::Input; entry.inputs.len()], None)?;
        let mut outputs = entry
            .outputs
            .iter()
            .map(|port| match port.row_len() {
                Some(row_len) => {
                    let count = row_len.saturating_mul(bound.rows);
                    Ok((Part::Rows(row_len), Values::try_zeros(port.dtype, count, "predictions")?))
                }
                None if !port.is_batched() => {
                    let len = port.len(0);
                    let count = len.saturating_mul(bound.rows.div_ceil(batch));
                    Ok((Part::Batch(len), Values::try_zeros(port.dtype, count, "predictions")?))
                }
                None => Err(self.form_error(PREDICT, format!("has output `{}` whose rows do not lead", port.name))),
            })
            .collect::<Result<Vec<_>, Error>>()?;
        let mut buffers = bound.buffers(0);
        for rows in batches(0..bound.rows, batch) {
            let inputs = bound.inputs(Chosen::Range(rows.clone()), &mut buffers);
            let results = outputs.iter_mut().map(|(part, values)| match part {
                Part::Rows(len) => values.slice_mut(rows.start * *len..rows.end * *len),
                Part::Batch(len) => values.slice_mut(rows.start / batch * *len..(rows.start / batch + 1) * *len),
            });
            self.call_each(id, inputs, results, rows.len())?;
        }
        let names = entry.outputs.iter().map(|port| port.name.clone());
        Ok(Predictions { rows: bound.rows, outputs: names.zip(outputs.into_iter().map(|(_, v)| v)).collect() })
    }

    /// The batch to use, from 1 to the model's maximum.
    fn checked_batch(&self, entry: &str, batch: Option<usize>) -> Result<usize, Error> {
        let max = self.max_batch();
        match batch {
            None => Ok(DEFAULT_BATCH.min(max)),
            Some(found) if found == 0 || found > max => Err(Error::Batch { entry: entry.to_string(), found, max }),
            Some(batch) => Ok(batch),
        }
    }

    fn form_error(&self, entry: &str, what: String) -> Error {
        Error::EntryForm { model: self.name().to_string(), entry: entry.to_string(), what }
    }
}

/// Rows to train on, and the rows that a validation split holds out: the last ones, as in Keras.
fn split(rows: usize, fraction: f64) -> Result<(usize, Range<usize>), Error> {
    if !(fraction > 0.0 && fraction < 1.0) {
        return Err(Error::Data { what: format!("a validation split of {fraction}, it lies between 0 and 1") });
    }
    let training = (rows as f64 * (1.0 - fraction)).floor() as usize;
    Ok((training, training..rows))
}

fn some_rows(what: &str, rows: usize) -> Result<(), Error> {
    if rows == 0 { Err(Error::Data { what: format!("the {what} data has no rows") }) } else { Ok(()) }
}
