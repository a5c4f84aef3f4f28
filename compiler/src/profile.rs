//! Where the time of a call goes, kernel by kernel.
//!
//! A model that was compiled with [`JitModel::profiled`](crate::jit::JitModel::profiled) calls a clock after every
//! kernel, on the thread that called the model. The clock itself takes some tens of nanoseconds each time.

use std::cell::RefCell;
use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::backend::cranelift::entry::{BEGIN, FIRST_KERNEL, WAITING};
use crate::report::EntryReport;
use crate::schedule::Verified;
use crate::schedule::program::Program;

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

/// What one kernel does and takes in one call.
#[derive(Clone, Debug, Serialize)]
pub struct KernelTime {
    pub name: String,
    /// What was fused into it.
    pub fused: Vec<String>,
    /// The mean over calls; all runs of a kernel in a loop together.
    pub microseconds: f64,
    pub flops: f64,
    pub bytes: f64,
}

/// The kernels of one entry point in the order in which they run.
#[derive(Clone, Debug, Serialize)]
pub struct Profile {
    pub entry: String,
    pub calls: usize,
    pub kernels: Vec<KernelTime>,
    /// In which the first thread waited for others: the mean over calls, in microseconds.
    pub waiting: f64,
}

impl Profile {
    /// What was recorded of a number of calls at the largest batch.
    pub fn new(program: &Verified<Program>, calls: usize, times: &Times) -> Profile {
        let mean = |time: Duration| time.as_secs_f64() * 1e6 / calls.max(1) as f64;
        let kernels = EntryReport::new(program).kernels.into_iter().enumerate().map(|(k, kernel)| KernelTime {
            name: kernel.name,
            fused: kernel.fused,
            microseconds: mean(times.kernels.get(k).copied().unwrap_or_default()),
            flops: kernel.flops,
            bytes: kernel.bytes,
        });
        Profile { entry: program.name.clone(), calls, kernels: kernels.collect(), waiting: mean(times.waiting) }
    }

    /// Of one call, waiting included.
    pub fn microseconds(&self) -> f64 {
        self.kernels.iter().map(|k| k.microseconds).sum::<f64>() + self.waiting
    }
}

/// A table, the slowest kernel first.
impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Profile { entry, calls, kernels, waiting } = self;
        let total = self.microseconds();
        let share = |us: f64| 100.0 * us / total.max(1e-9);
        writeln!(f, "{entry}: {total:.1} us a call in {} kernels, {calls} calls", kernels.len())?;
        writeln!(f, "  {:>10} {:>6} {:>9} {:>9}  kernel", "us", "%", "Gflop/s", "GB/s")?;
        let mut kernels: Vec<&KernelTime> = kernels.iter().collect();
        kernels.sort_by(|a, b| b.microseconds.total_cmp(&a.microseconds));
        for KernelTime { name, fused, microseconds: us, flops, bytes } in kernels {
            let rate = |work: f64| work / us.max(1e-3) / 1e3;
            let (percent, flops, bytes) = (share(*us), rate(*flops), rate(*bytes));
            writeln!(f, "  {us:>10.2} {percent:>6.1} {flops:>9.2} {bytes:>9.2}  {name}  {}", fused.join(" + "))?;
        }
        if *waiting > 0.0 {
            writeln!(f, "  {waiting:>10.2} {:>6.1} {:>19}  waiting for other threads", share(*waiting), "")?;
        }
        Ok(())
    }
}
