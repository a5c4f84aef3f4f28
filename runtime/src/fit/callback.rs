//! Hooks into the training loop.

use super::history::Logs;
use crate::error::Error;
use crate::model::Model;

/// What a hook may return: any error, which ends the training.
pub type CallbackResult = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Keras's hooks. Each does nothing unless it is overridden.
///
/// Hooks may read and change the model: set the learning rate, save weights, predict.
pub trait Callback {
    fn on_train_begin(&mut self, _at: &mut Moment<'_>) -> CallbackResult {
        Ok(())
    }

    fn on_epoch_begin(&mut self, _at: &mut Moment<'_>) -> CallbackResult {
        Ok(())
    }

    fn on_train_batch_begin(&mut self, _at: &mut Moment<'_>) -> CallbackResult {
        Ok(())
    }

    /// `logs` has the means of the epoch so far.
    fn on_train_batch_end(&mut self, _at: &mut Moment<'_>) -> CallbackResult {
        Ok(())
    }

    /// `logs` has the means of the epoch, and those of the validation data.
    fn on_epoch_end(&mut self, _at: &mut Moment<'_>) -> CallbackResult {
        Ok(())
    }

    fn on_train_end(&mut self, _at: &mut Moment<'_>) -> CallbackResult {
        Ok(())
    }
}

/// A moment of the training, as a hook sees it.
pub struct Moment<'a> {
    pub model: &'a mut Model,
    /// Counted from 0, out of `epochs`.
    pub epoch: usize,
    pub epochs: usize,
    /// Counted from 0, out of `batches`.
    pub batch: usize,
    pub batches: usize,
    pub logs: &'a Logs,
    pub(super) stop: &'a mut bool,
}

impl Moment<'_> {
    /// Ends the training after this batch (in a batch hook) or this epoch (in an epoch hook).
    pub fn stop_training(&mut self) {
        *self.stop = true;
    }
}

/// The callbacks of one training.
pub(super) struct Callbacks<'a>(pub Vec<&'a mut dyn Callback>);

impl Callbacks<'_> {
    /// Calls one hook of every callback in their order.
    pub fn each(
        &mut self,
        at: &mut Moment<'_>,
        hook: fn(&mut dyn Callback, &mut Moment<'_>) -> CallbackResult,
    ) -> Result<(), Error> {
        self.0.iter_mut().try_for_each(|callback| hook(*callback, at)).map_err(Error::Callback)
    }
}
