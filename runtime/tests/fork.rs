//! A model in a process that was forked from the one that opened it. A test binary of its own: the child has none of the
//! other tests' threads.
#![cfg(all(unix, not(miri)))]

mod common;

use std::ffi::c_int;

use bakelite::Model;
use common::*;

unsafe extern "C" {
    fn fork() -> c_int;
    fn alarm(seconds: u32) -> u32;
    fn waitpid(process: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn _exit(status: c_int) -> !;
}

fn predict(model: &mut Model) -> Vec<f32> {
    let (x, mut y) = (samples(MAX_BATCH).0, vec![0.0f32; MAX_BATCH * OUTPUTS]);
    let entry = model.entry("predict").unwrap();
    model.call(entry, &[(&x).into()], &mut [(&mut y).into()], MAX_BATCH).unwrap();
    y
}

/// Runs something in a child, whose answer says whether all was well; a minute is enough.
fn in_a_child(run: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child ends without returning, and what it runs waits for no thread of the parent.
    match unsafe { fork() } {
        0 => {
            // SAFETY: nothing else in this process uses the alarm.
            unsafe { alarm(60) };
            let well = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_or(false);
            // SAFETY: ends the child.
            unsafe { _exit(if well { 0 } else { 1 }) }
        }
        child => {
            assert!(child > 0, "no child");
            let mut status = -1;
            // SAFETY: the child is this process's own, and the status a word.
            let ended = unsafe { waitpid(child, &mut status, 0) };
            ended == child && status == 0
        }
    }
}

#[test]
fn a_child_has_threads_of_its_own() {
    for threads in [2, 5] {
        let mut model = open_seeded(threads);
        let before_any = in_a_child(|| predict(&mut open_seeded(threads)).len() == MAX_BATCH * OUTPUTS);
        assert!(before_any, "a model that is opened in the child");
        let expected = predict(&mut model);
        assert!(in_a_child(|| (0..3).all(|_| predict(&mut model) == expected)), "{threads} threads: calls");
        assert!(in_a_child(|| in_a_child(|| predict(&mut model) == expected)), "{threads} threads: a grandchild");
        let mut other = open_seeded(threads);
        let same = predict(&mut other) == expected;
        assert!(in_a_child(move || {
            drop(other);
            same
        }));
        let changed = in_a_child(|| {
            model.set_threads(3).unwrap();
            let three = predict(&mut model);
            model.set_threads(1).unwrap();
            three == predict(&mut model)
        });
        assert!(changed, "{threads} threads: another number");
        // And the parent goes on with its own.
        assert_eq!(predict(&mut model).len(), MAX_BATCH * OUTPUTS);
    }
}
