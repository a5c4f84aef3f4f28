//! One entry point with scalar results, run over rows of data, and the means of what it reports.

use std::ops::Range;

use super::data::{Bound, Buffers, Data, Rows};
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
    ) -> Result<Step<'d>, Error> {
        let scalar_f32 = |port: &crate::Port| port.dtype == DType::F32 && !port.is_batched() && port.len(1) == 1;
        if let Some(port) = entry.outputs.iter().find(|port| !scalar_f32(port)) {
            return Err(model.form_error(&entry.name, format!("has output `{}` that is no f32 scalar", port.name)));
        }
        // The inputs of the model are those of its prediction; what follows are targets.
        let inputs = model.entries().iter().find(|e| e.name == super::PREDICT).map_or(1, |e| e.inputs.len());
        if inputs > entry.inputs.len() {
            return Err(model.form_error(&entry.name, "has fewer inputs than the prediction".into()));
        }
        let data = data.bind(entry, inputs)?;
        let buffers = data.buffers(gathered);
        let scores = vec![0.0; entry.outputs.len()];
        let sums = vec![0.0; entry.outputs.len()];
        Ok(Step { id, entry, data, buffers, scores, sums, seen: 0 })
    }

    /// Rows of the data.
    pub fn rows(&self) -> usize {
        self.data.rows
    }

    /// Begins new means.
    pub fn reset(&mut self) {
        self.sums.fill(0.0);
        self.seen = 0;
    }

    /// Runs one batch.
    pub fn run(&mut self, model: &mut Model, rows: Rows<'_>) -> Result<(), Error> {
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
        self.reset();
        batches(rows, batch).try_for_each(|rows| self.run(model, Rows::Range(rows)))
    }

    /// Writes the means by name.
    pub fn means(&self, prefix: &str, logs: &mut Logs) {
        for (port, sum) in self.entry.outputs.iter().zip(&self.sums) {
            logs.set(&format!("{prefix}{}", port.name), sum / self.seen as f64);
        }
    }
}

/// Cuts a range into pieces of `batch`; the last one may be shorter.
pub(super) fn batches(rows: Range<usize>, batch: usize) -> impl Iterator<Item = Range<usize>> {
    let end = rows.end;
    rows.step_by(batch).map(move |start| start..end.min(start + batch))
}
