//! Named numbers: of one epoch, and of a whole training.

use std::fmt;
use std::ops::Index;

use crate::names::printable;

/// Values by name in a fixed order: `loss`, then the metrics, then the same of the validation data as `val_loss`, ...
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Logs {
    entries: Vec<(String, f64)>,
}

impl Logs {
    /// Appends a value, or replaces the one with this name.
    pub fn set(&mut self, name: &str, value: f64) {
        match self.entries.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => *old = value,
            None => self.entries.push((name.to_string(), value)),
        }
    }

    /// The value with this name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.entries.iter().find(|(n, _)| n == name).map(|(_, value)| *value)
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, f64)> {
        self.entries.iter().map(|(name, value)| (name.as_str(), *value))
    }
}

impl Index<&str> for Logs {
    type Output = f64;

    /// # Panics
    /// Without a value of this name; [`Logs::get`] does not.
    fn index(&self, name: &str) -> &f64 {
        match self.entries.iter().find(|(n, _)| n == name) {
            Some((_, value)) => value,
            None => panic!("no value `{name}`"),
        }
    }
}

/// `loss 0.0123  accuracy 0.9876`
impl fmt::Display for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, value)) in self.entries.iter().enumerate() {
            let separator = if i > 0 { "  " } else { "" };
            let digits =
                if value.abs() >= 1e-3 || *value == 0.0 { format!("{value:.4}") } else { format!("{value:.2e}") };
            write!(f, "{separator}{} {digits}", printable(name))?;
        }
        Ok(())
    }
}

/// What [`crate::Model::fit`] measured, epoch by epoch, under Keras's keys.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct History {
    epochs: Vec<usize>,
    series: Vec<(String, Vec<f64>)>,
    interrupted: bool,
}

impl History {
    /// That the training ended before its time.
    pub(super) fn interrupt(self) -> History {
        History { interrupted: true, ..self }
    }

    /// Whether [`crate::Fit::interrupt`] ended the training, in the epoch after the last one that is listed.
    pub fn interrupted(&self) -> bool {
        self.interrupted
    }

    pub(super) fn push(&mut self, epoch: usize, logs: &Logs) {
        self.epochs.push(epoch);
        for (name, value) in logs.iter() {
            match self.series.iter_mut().find(|(n, _)| n == name) {
                Some((_, values)) => values.push(value),
                None => self.series.push((name.to_string(), vec![value])),
            }
        }
    }

    /// The numbers of the epochs that ran, counted from 0.
    pub fn epochs(&self) -> &[usize] {
        &self.epochs
    }

    /// The names: `loss`, the metrics, `val_loss`, ...
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &str> {
        self.series.iter().map(|(name, _)| name.as_str())
    }

    /// One value for each epoch.
    pub fn get(&self, name: &str) -> Option<&[f64]> {
        self.series.iter().find(|(n, _)| n == name).map(|(_, values)| values.as_slice())
    }

    /// The value of the last epoch.
    pub fn last(&self, name: &str) -> Option<f64> {
        self.get(name)?.last().copied()
    }
}

impl Index<&str> for History {
    type Output = [f64];

    /// # Panics
    /// Without a series of this name; [`History::get`] does not.
    fn index(&self, name: &str) -> &[f64] {
        match self.get(name) {
            Some(values) => values,
            None => panic!("no series `{name}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_keep_their_order_and_print_short() {
        let mut logs = Logs::default();
        for (name, value) in [("loss", 1.0), ("accuracy", 0.98765), ("tiny", 1.25e-5), ("nan", f64::NAN), ("loss", 0.0)]
        {
            logs.set(name, value);
        }
        assert_eq!(logs.to_string(), "loss 0.0000  accuracy 0.9877  tiny 1.25e-5  nan NaN");
        assert_eq!((logs["accuracy"], logs.get("other")), (0.98765, None));
    }

    #[test]
    fn a_history_grows_by_epochs() {
        let mut history = History::default();
        for epoch in 3..5 {
            let mut logs = Logs::default();
            logs.set("loss", epoch as f64);
            history.push(epoch, &logs);
        }
        assert_eq!((history.epochs(), &history["loss"]), (&[3, 4][..], &[3.0, 4.0][..]));
        assert_eq!((history.last("loss"), history.last("accuracy")), (Some(4.0), None));
    }
}
