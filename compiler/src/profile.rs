//! Where the time of a call goes, kernel by kernel.
//!
//! A model that was compiled with [`JitModel::profiled`](crate::jit::JitModel::profiled) calls a clock after every
//! kernel, on the thread that called the model. The clock itself takes some tens of nanoseconds each time.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use crate::backend::cranelift::entry::{BEGIN, FIRST_KERNEL, WAITING};

/// The times of one entry point.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Times {
    /// Of each kernel, over all calls. A kernel that threads share counts until the first thread has done its part.
    pub kernels: Vec<Duration>,
    /// In which the first thread waited for others.
    pub waiting: Duration,
}

struct Recording {
    since: Instant,
    times: Times,
}

thread_local! {
    static RECORDING: RefCell<Option<Recording>> = const { RefCell::new(None) };
}

/// What compiled code calls: the time since the last call belongs to a slot.
extern "C" fn tell(slot: u64) {
    RECORDING.with_borrow_mut(|recording| {
        let Some(Recording { since, times }) = recording else { return };
        let passed = since.elapsed();
        match slot {
            BEGIN => {}
            WAITING => times.waiting += passed,
            kernel => {
                let kernel = (kernel - FIRST_KERNEL) as usize;
                times.kernels.resize(times.kernels.len().max(kernel + 1), Duration::ZERO);
                times.kernels[kernel] += passed;
            }
        }
        *since = Instant::now();
    });
}

/// The address of the clock.
pub(crate) fn clock() -> usize {
    let clock: extern "C" fn(u64) = tell;
    clock as usize
}

/// Calls of one entry point of a profiled model, on this thread, and the times of its kernels.
pub fn record<T>(calls: impl FnOnce() -> T) -> (T, Times) {
    RECORDING.set(Some(Recording { since: Instant::now(), times: Times::default() }));
    let result = calls();
    let recording = RECORDING.take();
    (result, recording.map(|recording| recording.times).unwrap_or_default())
}
