//! One entry point with scalar results, run over rows of data, and what it reports: losses are averaged over rows,
//! metrics are kept by the model itself, over all batches since `reset_metrics`.

use std::ops::Range;

use super::data::{Bound, Buffers, Chosen, ClassWeights, Data, Role};
use super::history::Logs;
use crate::dtype::{DType, Output};
use crate::error::Error;
use crate::model::{EntryId, Model};
use crate::signature::Entry;

/// `train_step` or `evaluate_step`, bound to data.
pub(super) struct Step<'d> {
    id: EntryId,
    entry: &'d Entry,
    data: Bound<'d>,
    buffers: Buffers,
    /// Results of the last batch.
    scores: Vec<f32>,
    /// Results of all batches since the last reset, each times its rows.
    sums: Vec<f64>,
    /// Which results are metrics.
    metrics: Vec<bool>,
    /// The entry point that begins new metrics, where there are any.
    reset: Option<EntryId>,
    /// Rows of those batches.
    pub seen: usize,
}

impl<'d> Step<'d> {
    /// Checks the form of the entry point and the data. Batches that are gathered have at most `gathered` rows.
    pub fn new(
        model: &Model,
        (id, entry): (EntryId, &'d Entry),
        data: &'d Data<'_>,
        gathered: usize,
        classes: Option<&ClassWeights>,
    ) -> Result<Step<'d>, Error> {
        let scalar_f32 = |port: &crate::Port| port.dtype == DType::F32 && !port.is_batched() && port.len(1) == 1;
        if let Some(port) = entry.outputs.iter().find(|port| !scalar_f32(port)) {
            return Err(model.form_error(&entry.name, format!("has output `{}` that is no f32 scalar", port.name)));
        }
        let predict = model.entries().iter().find(|e| e.name == super::PREDICT);
        let data = data.bind(entry, &Role::of(entry, predict), classes)?;
        let buffers = data.buffers(gathered);
        let scores = vec![0.0; entry.outputs.len()];
        let sums = vec![0.0; entry.outputs.len()];
        let metrics = entry.outputs.iter().map(|port| is_metric(model, &port.name)).collect();
        let reset = model.entry(RESET).ok();
        Ok(Step { id, entry, data, buffers, scores, sums, metrics, reset, seen: 0 })
    }

    /// Rows of the data.
    pub fn rows(&self) -> usize {
        self.data.rows
    }

    /// Begins new means and metrics.
    pub fn reset(&mut self, model: &mut Model) -> Result<(), Error> {
        self.sums.fill(0.0);
        self.seen = 0;
        match self.reset {
            Some(entry) => model.call(entry, &[], &mut [], 1),
            None => Ok(()),
        }
    }

    /// Runs one batch.
    pub fn run(&mut self, model: &mut Model, rows: Chosen<'_>) -> Result<(), Error> {
        let batch = rows.len();
        let inputs = self.data.inputs(rows, &mut self.buffers);
        model.call_each(self.id, inputs, self.scores.chunks_exact_mut(1).map(Output::new), batch)?;
        for (sum, score) in self.sums.iter_mut().zip(&self.scores) {
            *sum += f64::from(*score) * batch as f64;
        }
        self.seen += batch;
        Ok(())
    }

    /// New means over a range of rows, in batches of at most `batch`.
    pub fn run_all(&mut self, model: &mut Model, rows: Range<usize>, batch: usize) -> Result<(), Error> {
        self.reset(model)?;
        batches(rows, batch).try_for_each(|rows| self.run(model, Chosen::Range(rows)))
    }

    /// Writes the means and metrics by name.
    pub fn means(&self, prefix: &str, logs: &mut Logs) {
        for (i, port) in self.entry.outputs.iter().enumerate() {
            let value = if self.metrics[i] { f64::from(self.scores[i]) } else { self.sums[i] / self.seen as f64 };
            logs.set(&format!("{prefix}{}", port.name), value);
        }
    }
}

/// The entry point that begins new sums of all metrics.
const RESET: &str = "reset_metrics";

/// Whether a result is a metric: the model keeps its sums under `metrics/`. One of several results of a metric has its
/// name and a number.
fn is_metric(model: &Model, result: &str) -> bool {
    let kept = |name: &str| {
        let cells = &model.signature().cells;
        cells
            .iter()
            .any(|c| c.name.strip_prefix("metrics/").and_then(|c| c.rsplit_once('/')).is_some_and(|(n, _)| n == name))
    };
    let stem = result.trim_end_matches(|c: char| c.is_ascii_digit()).strip_suffix('_');
    kept(result) || stem.is_some_and(kept)
}

/// Cuts a range into pieces of `batch`; the last one may be shorter.
pub(super) fn batches(rows: Range<usize>, batch: usize) -> impl Iterator<Item = Range<usize>> {
    let end = rows.end;
    rows.step_by(batch).map(move |start| start..end.min(start + batch))
}
