//! How a thread of a pool waits: it spins for about as long as falling asleep and waking up would take, then sleeps.
//!
//! Where spinning was in vain lately, because the others work on for long or wait for a processor themselves, it spins
//! less: half as long each time, and in full again at every sixteenth wait, to find out whether it pays by now.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Keeps a value on cache lines of its own (two, since processors fetch lines in pairs).
#[repr(align(128))]
pub(crate) struct Padded<T>(pub T);

/// The longest spin.
const SPIN: Duration = Duration::from_micros(50);
/// The same where the threads of the pool outnumber the processors: only as long as a thread takes that runs already.
const SPIN_CROWDED: Duration = Duration::from_micros(2);
/// Looks at what is waited for between two looks at the clock.
const LOOKS: u32 = 16;

/// Waits in vain in a row, for one kind of waiting. Only the seat's own thread touches it.
#[derive(Default)]
struct Vain(AtomicUsize);

impl Vain {
    /// How long to spin next, of `spin` at most.
    fn patience(&self, spin: Duration) -> Duration {
        let count = self.0.load(Ordering::Relaxed);
        if count % 16 == 15 { spin } else { spin / (1 << count.min(6)) }
    }

    fn succeeded(&self) {
        let count = self.0.load(Ordering::Relaxed);
        if count > 0 {
            self.0.store(if count % 16 == 15 { 0 } else { count - 1 }, Ordering::Relaxed);
        }
    }

    fn failed(&self) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }
}

/// Where one thread of a pool waits for the others.
pub(crate) struct Seat {
    /// Jobs that the thread was given.
    jobs: AtomicUsize,
    /// Whether it sleeps, or is about to.
    asleep: AtomicBool,
    /// Whether whoever took back `asleep` has called it.
    called: Mutex<bool>,
    bell: Condvar,
    spin: Duration,
    at_barrier: Vain,
    for_job: Vain,
    for_end: Vain,
}

impl Seat {
    /// `crowded`: there are more threads than processors.
    pub fn new(crowded: bool) -> Seat {
        Seat {
            jobs: AtomicUsize::new(0),
            asleep: AtomicBool::new(false),
            called: Mutex::new(false),
            bell: Condvar::new(),
            spin: if crowded { SPIN_CROWDED } else { SPIN },
            at_barrier: Vain::default(),
            for_job: Vain::default(),
            for_end: Vain::default(),
        }
    }

    /// Blocks until a condition holds that other threads make true before they call [`Seat::wake`], all in sequentially
    /// consistent order.
    pub fn wait_at_barrier(&self, done: impl Fn() -> bool) {
        self.wait(&self.at_barrier, done);
    }

    /// The same at the end of a call.
    pub fn wait_for_end(&self, done: impl Fn() -> bool) {
        self.wait(&self.for_end, done);
    }

    /// Blocks until more jobs than `seen` were handed to this seat.
    pub fn wait_for_job(&self, seen: usize) {
        self.wait(&self.for_job, || self.jobs.load(Ordering::SeqCst) != seen);
    }

    /// Hands a job to the seat. One thread does so at a time.
    pub fn hand_job(&self) {
        self.jobs.store(self.jobs.load(Ordering::Relaxed) + 1, Ordering::SeqCst);
    }

    /// Wakes the seat's thread if it sleeps.
    #[inline]
    pub fn wake(&self) {
        if self.asleep.load(Ordering::SeqCst) {
            self.ring();
        }
    }

    #[cold]
    fn ring(&self) {
        if self.asleep.swap(false, Ordering::SeqCst) {
            *self.called.lock().unwrap_or_else(PoisonError::into_inner) = true;
            self.bell.notify_one();
        }
    }

    fn wait(&self, vain: &Vain, done: impl Fn() -> bool) {
        if done() {
            return;
        }
        let (start, patience) = (Instant::now(), vain.patience(self.spin));
        loop {
            for _ in 0..LOOKS {
                std::hint::spin_loop();
                if done() {
                    vain.succeeded();
                    return;
                }
            }
            if start.elapsed() >= patience {
                break;
            }
        }
        vain.failed();
        self.sleep(done);
    }

    /// Sleeps until the condition holds.
    #[cold]
    fn sleep(&self, done: impl Fn() -> bool) {
        // Someone may still ring for what has been waited for before: then this one looks and sleeps again.
        while !done() {
            // The flag is raised before the last look at the condition, and others make it true before they look at
            // the flag: at least one of the two sees the other.
            self.asleep.store(true, Ordering::SeqCst);
            if done() && self.asleep.swap(false, Ordering::SeqCst) {
                return;
            }
            let mut called = self.called.lock().unwrap_or_else(PoisonError::into_inner);
            while !*called {
                called = self.bell.wait(called).unwrap_or_else(PoisonError::into_inner);
            }
            *called = false;
        }
    }
}
