//! The threads of one model: persistent workers that run an entry point together with the calling thread.
//!
//! A call is published by advancing an epoch, and is complete when every worker has counted itself done. Workers wait
//! for the next epoch by spinning for some tens of microseconds, which covers the gap between two steps of a training
//! loop, and then sleep. Where there are more threads than processors they do not spin, but yield.
//!
//! Nothing here allocates after [`Pool::new`], and a model that runs on one thread never makes a pool.

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use crate::abi::{Call, EntryFn};
use crate::error::Error;

/// Spins before a waiting thread lets others run.
const SPINS: u32 = 2048;
/// The same where the threads of the pool outnumber the processors.
const SPINS_OVERSUBSCRIBED: u32 = 32;

/// Keeps a value on cache lines of its own (two, since processors fetch lines in pairs).
#[repr(align(128))]
struct Padded<T>(T);

/// Number of threads that this process can run at once.
pub(crate) fn available_threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS)
}

/// A barrier for a fixed number of threads. The last one to arrive starts the next generation.
///
/// Generation and count share one word, so that a round between two threads moves one cache line there and back.
pub(crate) struct Barrier {
    threads: usize,
    spins: u32,
    /// The generation times [`GENERATION`], plus the number of threads that have arrived in it.
    state: Padded<AtomicUsize>,
}

/// More than [`MAX_THREADS`].
const GENERATION: usize = 1 << 16;

/// The most threads of a pool.
pub(crate) const MAX_THREADS: usize = 1024;

impl Barrier {
    fn new(threads: usize, spins: u32) -> Barrier {
        Barrier { threads, spins, state: Padded(AtomicUsize::new(0)) }
    }

    /// Blocks until all threads have called it.
    fn wait(&self) {
        let before = self.state.0.fetch_add(1, Ordering::SeqCst);
        let generation = before / GENERATION;
        if before % GENERATION + 1 == self.threads {
            // No thread arrives again before the generation changes, so the store loses nothing.
            self.state.0.store(generation.wrapping_add(1).wrapping_mul(GENERATION), Ordering::Release);
        } else {
            spin_until(self.spins, || self.state.0.load(Ordering::Acquire) / GENERATION != generation);
        }
    }
}

/// The `wait` of a [`Call`] whose `barrier` is a [`Barrier`].
///
/// # Safety
/// `barrier` points to a live [`Barrier`].
unsafe extern "C" fn wait(barrier: *const c_void) {
    // SAFETY: the caller's contract.
    unsafe { &*barrier.cast::<Barrier>() }.wait();
}

/// The `wait` of a [`Call`] on one thread.
pub(crate) unsafe extern "C" fn wait_alone(_barrier: *const c_void) {}

/// Returns once the condition holds: spins, then yields the processor between looks.
fn spin_until(spins: u32, condition: impl Fn() -> bool) {
    for _ in 0..spins {
        if condition() {
            return;
        }
        std::hint::spin_loop();
    }
    while !condition() {
        thread::yield_now();
    }
}

/// What the workers run; `None` ends them.
#[derive(Clone, Copy)]
struct Job(Option<(EntryFn, *const Call)>);

struct Shared {
    barrier: Barrier,
    /// Advanced by one for each job.
    epoch: Padded<AtomicUsize>,
    /// Workers that have finished the current job.
    done: Padded<AtomicUsize>,
    /// Written only while every worker waits for the next epoch.
    job: UnsafeCell<Job>,
    /// Which workers are asleep, or about to be.
    asleep: Vec<Padded<AtomicBool>>,
}

// SAFETY: `job` is written by the owner of the pool before it advances `epoch`, and read by workers after they saw the
// advance and before they count themselves done, for which the owner waits before it writes again.
unsafe impl Sync for Shared {}
// SAFETY: as above; the pointers in a job are used only while the call that published it lasts.
unsafe impl Send for Shared {}

impl Shared {
    /// Blocks worker `index` until the epoch differs from `seen`.
    fn await_job(&self, index: usize, seen: usize) {
        for _ in 0..self.barrier.spins {
            if self.epoch.0.load(Ordering::Acquire) != seen {
                return;
            }
            std::hint::spin_loop();
        }
        let asleep = &self.asleep[index - 1].0;
        // The flag is raised before the last look at the epoch, and the owner advances the epoch before it looks at
        // the flag: in the single order of these four accesses at least one of the two sees the other.
        asleep.store(true, Ordering::SeqCst);
        while self.epoch.0.load(Ordering::SeqCst) == seen {
            thread::park();
        }
        asleep.store(false, Ordering::Relaxed);
    }

    fn work(&self, index: usize) {
        let mut seen = 0;
        loop {
            self.await_job(index, seen);
            seen = seen.wrapping_add(1);
            // SAFETY: the epoch advanced, so the job is written and stays until this worker is done.
            let Job(Some((code, call))) = (unsafe { *self.job.get() }) else { return };
            // SAFETY: `Pool::run` was promised a valid call, and all its threads run it with distinct indices.
            unsafe { code(call, index, self.barrier.threads) };
            self.done.0.fetch_add(1, Ordering::Release);
        }
    }
}

/// A fixed number of threads, of which the caller of [`Pool::run`] is the first.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts `threads - 1` workers; there are at least two threads.
    pub fn new(threads: usize) -> Result<Pool, Error> {
        debug_assert!(threads > 1);
        let spins = if threads > available_threads() { SPINS_OVERSUBSCRIBED } else { SPINS };
        let shared = Arc::new(Shared {
            barrier: Barrier::new(threads, spins),
            epoch: Padded(AtomicUsize::new(0)),
            done: Padded(AtomicUsize::new(0)),
            job: UnsafeCell::new(Job(None)),
            asleep: (1..threads).map(|_| Padded(AtomicBool::new(false))).collect(),
        });
        let mut pool = Pool { shared, workers: Vec::with_capacity(threads - 1) };
        for index in 1..threads {
            let shared = pool.shared.clone();
            let worker = thread::Builder::new()
                .name(format!("bakelite-{index}"))
                .spawn(move || shared.work(index))
                .map_err(Error::Threads)?;
            pool.workers.push(worker);
        }
        Ok(pool)
    }

    /// The barrier that a call on this pool waits at.
    pub fn barrier(&self) -> (unsafe extern "C" fn(*const c_void), *const c_void) {
        (wait, (&raw const self.shared.barrier).cast())
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.shared.barrier.threads
    }

    /// Runs an entry point on all threads and returns when all have finished.
    ///
    /// # Safety
    /// `call` is valid for `code` on this number of threads, with this pool's barrier.
    pub unsafe fn run(&mut self, code: EntryFn, call: &Call) {
        self.shared.done.0.store(0, Ordering::Relaxed);
        self.publish(Job(Some((code, call))));
        // SAFETY: the caller's contract; index 0 is this thread's.
        unsafe { code(call, 0, self.threads()) };
        let workers = self.workers.len();
        spin_until(self.shared.barrier.spins, || self.shared.done.0.load(Ordering::Acquire) == workers);
    }

    /// Hands a job to the workers, all of which wait for one.
    fn publish(&mut self, job: Job) {
        // SAFETY: every worker waits for the next epoch, so none reads the job.
        unsafe { *self.shared.job.get() = job };
        self.shared.epoch.0.fetch_add(1, Ordering::SeqCst);
        for (worker, asleep) in self.workers.iter().zip(&self.shared.asleep) {
            if asleep.0.load(Ordering::SeqCst) {
                worker.thread().unpark();
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.publish(Job(None));
        for worker in self.workers.drain(..) {
            // A worker that panicked has nothing left to clean up.
            let _ = worker.join();
        }
    }
}
