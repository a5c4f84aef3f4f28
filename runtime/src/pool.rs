//! The threads of one model: persistent workers that run an entry point together with the calling thread.
//!
//! A call is handed to each worker that takes part in it by advancing the worker's own count of jobs, and is complete
//! when the last of them has counted itself done. Workers start when a call first needs them. All waiting, for jobs,
//! at barriers and for the end of a call, is that of [`Seat`]: it spins while that is short, then sleeps, so that
//! threads which wait for each other leave the processors to those who work.
//!
//! A pool belongs to the process that made it: after fork(2) the child has the memory but none of the threads, and
//! makes a pool of its own.
//!
//! Nothing here allocates once the workers run, and a model that runs on one thread never makes a pool.

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use crate::abi::{Call, EntryFn};
use crate::environment::{self, Subnormals};
use crate::error::Error;
use crate::forks;
use crate::seat::{Padded, Seat};

/// The most threads of a pool.
pub(crate) const MAX_THREADS: usize = 1024;

/// Number of threads that this process can run at once.
pub(crate) fn available_threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS)
}

/// What the workers run.
#[derive(Clone, Copy)]
struct Job {
    /// `None` ends them.
    work: Option<(EntryFn, *const Call)>,
    threads: usize,
    subnormals: Subnormals,
}

struct Shared {
    /// The barrier: its generation times [`GENERATION`], plus the number of threads that have arrived in it. One word,
    /// so that a round between two threads moves one cache line there and back.
    barrier: Padded<AtomicUsize>,
    /// Workers that have not finished the current job.
    busy: Padded<AtomicUsize>,
    /// Written only while every worker that may read it waits for a job.
    job: UnsafeCell<Job>,
    /// Of every thread, the caller's first.
    seats: Vec<Padded<Seat>>,
}

/// More than [`MAX_THREADS`].
const GENERATION: usize = 1 << 16;

// SAFETY: `job` is written by the owner of the pool before it hands it to a worker, and read by that worker before it
// counts itself done, for which the owner waits before it writes again; workers without the job do not read it.
unsafe impl Sync for Shared {}
// SAFETY: as above; the pointers in a job are used only while the call that published it lasts.
unsafe impl Send for Shared {}

impl Shared {
    /// Blocks until all threads of the call have called it. The last one to arrive starts the next generation.
    fn wait(&self, thread: usize) {
        // SAFETY: the caller takes part in the current job.
        let threads = unsafe { (*self.job.get()).threads };
        let before = self.barrier.0.fetch_add(1, Ordering::SeqCst);
        let generation = before / GENERATION;
        if before % GENERATION + 1 < threads {
            self.seats[thread].0.wait_at_barrier(|| self.barrier.0.load(Ordering::SeqCst) / GENERATION != generation);
            return;
        }
        // No thread arrives again before the generation changes, so the store loses nothing.
        self.barrier.0.store(generation.wrapping_add(1).wrapping_mul(GENERATION), Ordering::SeqCst);
        self.seats[..threads].iter().for_each(|seat| seat.0.wake());
    }

    fn work(&self, thread: usize) {
        let seat = &self.seats[thread].0;
        let mut seen = 0;
        loop {
            seat.wait_for_job(seen);
            seen += 1;
            // SAFETY: the owner handed out the job, which stays until this worker is done.
            let Job { work, threads, subnormals } = unsafe { *self.job.get() };
            let Some((code, call)) = work else { return };
            // SAFETY: `Pool::run` was promised a valid call, and all its threads run it with distinct indices.
            environment::with(subnormals, || unsafe { code(call, thread, threads) });
            if self.busy.0.fetch_sub(1, Ordering::SeqCst) == 1 {
                self.seats[0].0.wake();
            }
        }
    }
}

/// The `wait` of a [`Call`] whose `barrier` is a [`Shared`].
///
/// # Safety
/// `barrier` points to a live [`Shared`], in whose current job `thread` takes part.
unsafe extern "C" fn wait(barrier: *const c_void, thread: usize) {
    // SAFETY: the caller's contract.
    unsafe { &*barrier.cast::<Shared>() }.wait(thread);
}

/// The `wait` of a [`Call`] on one thread.
pub(crate) unsafe extern "C" fn wait_alone(_barrier: *const c_void, _thread: usize) {}

/// Threads that run calls together, of which the caller of [`Pool::run`] is the first.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    /// Those that have started.
    workers: Vec<JoinHandle<()>>,
    /// The process that they are of.
    process: forks::Process,
}

impl Pool {
    /// A pool for calls of at most so many threads, two at least. Workers start when they are needed.
    pub fn new(most: usize) -> Result<Pool, Error> {
        debug_assert!((2..=MAX_THREADS).contains(&most));
        let crowded = most > available_threads();
        let shared = Shared {
            barrier: Padded(AtomicUsize::new(0)),
            busy: Padded(AtomicUsize::new(0)),
            job: UnsafeCell::new(Job { work: None, threads: 0, subnormals: Subnormals::Flush }),
            seats: (0..most).map(|_| Padded(Seat::new(crowded))).collect(),
        };
        let process = forks::Process::current().map_err(Error::Threads)?;
        Ok(Pool { shared: Arc::new(shared), workers: Vec::with_capacity(most - 1), process })
    }

    /// Whether its threads run in this process, not in the one that this process was forked from.
    pub fn is_alive(&self) -> bool {
        self.process.is_current()
    }

    /// The barrier that a call on this pool waits at.
    pub fn barrier(&self) -> (unsafe extern "C" fn(*const c_void, usize), *const c_void) {
        (wait, Arc::as_ptr(&self.shared).cast())
    }

    /// Starts the workers for calls of so many threads that have not started yet. What fails changes nothing.
    pub fn start(&mut self, threads: usize) -> Result<(), Error> {
        for thread in self.workers.len() + 1..threads {
            let shared = self.shared.clone();
            let worker = thread::Builder::new()
                .name(format!("bakelite-{thread}"))
                .spawn(move || shared.work(thread))
                .map_err(Error::Threads)?;
            self.workers.push(worker);
        }
        Ok(())
    }

    /// Runs an entry point on so many threads, which have started, and returns when all have finished.
    ///
    /// # Safety
    /// `call` is valid for `code` on this number of threads, with this pool's barrier.
    pub unsafe fn run(&mut self, threads: usize, code: EntryFn, call: &Call, subnormals: Subnormals) {
        let shared = &*self.shared;
        self.hand_out(Job { work: Some((code, call)), threads, subnormals });
        // SAFETY: the caller's contract; index 0 is this thread's.
        environment::with(subnormals, || unsafe { code(call, 0, threads) });
        shared.seats[0].0.wait_for_end(|| shared.busy.0.load(Ordering::SeqCst) == 0);
    }

    /// Hands a job to its workers, all of which wait for one.
    fn hand_out(&self, job: Job) {
        let shared = &*self.shared;
        let workers = &shared.seats[1..job.threads];
        shared.busy.0.store(workers.len(), Ordering::Relaxed);
        // SAFETY: every worker waits for a job, so none reads this one.
        unsafe { *shared.job.get() = job };
        workers.iter().for_each(|seat| seat.0.hand_job());
        workers.iter().for_each(|seat| seat.0.wake());
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let workers = mem::take(&mut self.workers);
        if !self.is_alive() {
            // They are threads of another process: there is none to end, and none whose handle may be touched.
            workers.into_iter().for_each(mem::forget);
            return;
        }
        self.hand_out(Job { work: None, threads: workers.len() + 1, subnormals: Subnormals::Flush });
        for worker in workers {
            // A worker that panicked has nothing left to clean up.
            let _ = worker.join();
        }
    }
}
