//! What threads share with a call: its floating-point environment, its processors, and the limits of the system.
#![cfg(not(miri))]

mod common;

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bakelite::abi::{self, SHARES};
use bakelite::{Error, Model, Options, Subnormals};
use common::*;

/// The largest subnormal number and some others.
const SMALL: [f32; 6] = [1.1754942e-38, -1.1754942e-38, 1e-40, -1e-44, f32::MIN_POSITIVE, 1.0];

/// Half of every number, by as many threads as the model has.
fn halves(model: &mut Model) -> Vec<u32> {
    let x: Vec<f32> = SMALL.iter().copied().cycle().take(MAX_BATCH * INPUTS).collect();
    let mut y = vec![f32::NAN; x.len()];
    let entry = model.entry("halve").unwrap();
    model.call(entry, &[(&x).into()], &mut [(&mut y).into()], MAX_BATCH).unwrap();
    y.into_iter().map(f32::to_bits).collect()
}

#[test]
fn subnormal_numbers_are_zero_on_every_thread_unless_they_are_kept() {
    let expected = |half: fn(f32) -> f32| -> Vec<u32> {
        SMALL.iter().map(|x| half(*x).to_bits()).cycle().take(MAX_BATCH * INPUTS).collect()
    };
    let flushed = expected(|x| if (x * 0.5).is_normal() { x * 0.5 } else { 0.0f32.copysign(x) });
    let kept = expected(|x| x * 0.5);
    assert_ne!(flushed, kept);
    for threads in [1, 2, 3] {
        let options = Options::new().threads(threads).tune_threads(false);
        let mut model = Model::open_with(image(), options).unwrap();
        assert_eq!(model.subnormals(), Subnormals::Flush);
        assert_eq!(halves(&mut model), flushed, "{threads} threads");
        let mut model = Model::open_with(image(), options.subnormals(Subnormals::Keep)).unwrap();
        assert_eq!(halves(&mut model), kept, "{threads} threads");
        assert_eq!(model.fork().unwrap().subnormals(), Subnormals::Keep);
        assert_eq!(halves(&mut model.fork().unwrap()), kept, "{threads} threads of a fork");
    }
}

/// Whatever the program has set up, calls do the same, and leave it as it was.
#[test]
#[cfg(target_arch = "x86_64")]
fn the_callers_environment_neither_matters_nor_changes() {
    use std::arch::asm;
    let swap = |mut word: u32| {
        let mut before = 0u32;
        // SAFETY: stores the register and loads it with a word whose reserved bits are zero and whose exceptions are
        // masked; no arithmetic of the test lies between a change and its return.
        unsafe {
            asm!("stmxcsr [{}]", in(reg) &raw mut before);
            asm!("ldmxcsr [{}]", in(reg) &raw mut word);
        }
        before
    };
    const DEFAULT: u32 = 0x1f80;
    for subnormals in [Subnormals::Flush, Subnormals::Keep] {
        for threads in [1, 2] {
            let options = Options::new().threads(threads).tune_threads(false).subnormals(subnormals);
            let mut model = Model::open_with(image(), options).unwrap();
            let expected = halves(&mut model);
            // Rounding up and down, flushing, flags that are set.
            for word in [DEFAULT | 1 << 13, DEFAULT | 1 << 14, DEFAULT | 1 << 15, DEFAULT | 1 << 6, DEFAULT | 0x21] {
                let before = swap(word);
                let found = halves(&mut model);
                let after = swap(before);
                assert_eq!(found, expected, "{threads} threads at {word:#x}");
                assert_eq!(after, word, "{threads} threads");
            }
        }
    }
}

#[test]
fn more_threads_than_processors_beside_busy_ones() {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        for threads in [2, 4, 16] {
            let mut model = open(threads);
            let entry = model.entry("phases").unwrap();
            for _ in 0..5 {
                let mut total = [0u32];
                model.call(entry, &[], &mut [(&mut total).into()], 1).unwrap();
                assert_eq!(total, [120]);
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn models_end_whether_their_threads_spin_or_sleep() {
    for pause in [0, 0, 0, 1, 20] {
        for threads in [2, 9] {
            let mut model = open(threads);
            let entry = model.entry("phases").unwrap();
            let mut total = [0u32];
            model.call(entry, &[], &mut [(&mut total).into()], 1).unwrap();
            std::thread::sleep(Duration::from_millis(pause));
        }
    }
}

#[test]
fn as_many_threads_as_pay() {
    const NEVER: usize = usize::MAX;
    let from = |known: &[usize]| {
        let mut from = [NEVER; SHARES];
        from[..known.len()].copy_from_slice(known);
        from
    };
    assert_eq!(abi::threads(&from(&[]), 1000, 64), 1);
    for (batch, most, expected) in [(7, 8, 1), (8, 1, 1), (8, 2, 2), (8, 3, 3), (8, 8, 2), (31, 4, 2), (32, 4, 4)] {
        assert_eq!(abi::threads(&from(&[8, 32]), batch, most), expected, "batch {batch}, {most} at most");
    }
    // Two are never worth it, but four are.
    assert_eq!([1, 2, 3, 4, 5, 8].map(|most| abi::threads(&from(&[NEVER, 4]), 4, most)), [1, 1, 1, 4, 5, 4]);
    assert_eq!(abi::threads(&[1; SHARES], 1, 1024), 256);
    // `predict` of the model is worth it from a batch of 8.
    let model = open(2);
    let predict = model.entries().iter().find(|entry| entry.name == "predict").unwrap();
    assert_eq!([1, 7, 8, 16].map(|batch| predict.threads(batch, 2)), [1, 1, 2, 2]);
}

/// Calls that are timed: their number of threads changes, and nothing else.
#[test]
fn tuning_changes_no_result() {
    let mut model = Model::open_with(image(), Options::new().threads(3)).unwrap();
    let first = halves(&mut model);
    for _ in 0..2000 {
        assert_eq!(halves(&mut model), first);
    }
    let mut fork = model.fork().unwrap();
    model.set_threads(2).unwrap();
    for _ in 0..500 {
        assert_eq!(halves(&mut model), first);
        assert_eq!(halves(&mut fork), first);
    }
}

/// Runs a test of this binary, by name, with an environment variable set, under a limit of its address space.
fn limited(test: &str, kilobytes: usize) -> bool {
    let program = std::env::current_exe().unwrap();
    let script = format!("ulimit -v {kilobytes} && exec \"$0\" --exact {test} --test-threads 1");
    let status = Command::new("sh").args(["-c", &script]).arg(program).env("BAKELITE_LIMITED", "1").status();
    status.unwrap().success()
}

/// A system that starts no more threads: an error that says what to do, and a model that goes on with fewer.
#[test]
#[cfg(target_os = "linux")]
fn threads_that_do_not_start_are_an_error() {
    if std::env::var_os("BAKELITE_LIMITED").is_none() {
        assert!(limited("threads_that_do_not_start_are_an_error", 400_000));
        return;
    }
    let mut model = open_seeded(1024);
    let (x, mut y) = (samples(MAX_BATCH).0, vec![0.0f32; MAX_BATCH * OUTPUTS]);
    let entry = model.entry("halve").unwrap();
    for _ in 0..2 {
        let mut y = vec![0.0f32; x.len()];
        let error = model.call(entry, &[(&x).into()], &mut [(&mut y).into()], MAX_BATCH).unwrap_err();
        assert!(matches!(error, Error::Threads(_)), "{error}");
        assert!(error.to_string().contains("Options::threads"), "{error}");
    }
    model.set_threads(2).unwrap();
    let entry = model.entry("predict").unwrap();
    model.call(entry, &[(&x).into()], &mut [(&mut y).into()], MAX_BATCH).unwrap();
    assert!(y.iter().any(|y| *y != 0.0));
}
