//! Being told to stop: how a signal reaches long work.
//!
//! Signals themselves belong to the program. Its handler ends the process while [`Interrupt::at_once`] is set, and
//! otherwise sets both flags: the work then ends at its next step, and a second signal ends the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Two flags between a handler of signals and the work.
#[derive(Clone, Debug)]
pub struct Interrupt {
    /// Whether a signal ends the process where it is.
    pub at_once: Arc<AtomicBool>,
    /// Whether the work was told to stop.
    pub asked: Arc<AtomicBool>,
}

impl Default for Interrupt {
    fn default() -> Interrupt {
        Interrupt { at_once: Arc::new(AtomicBool::new(true)), asked: Arc::default() }
    }
}

impl Interrupt {
    /// From here on the work looks at [`Interrupt::asked`].
    pub fn begin(&self) {
        self.at_once.store(false, Ordering::SeqCst);
    }
}
