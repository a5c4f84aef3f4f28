//! Memory that the system does not give is an error: tests that run themselves under a limit of their address space.
#![cfg(target_os = "linux")]

mod common;

use std::process::Command;

use bakelite::{Error, Model, Options};
use common::*;

const MEGABYTE: usize = 1 << 20;

/// Whether this is the process with the limit, where a test begins; otherwise runs it there, to its end.
fn limited(test: &str, megabytes: usize) -> bool {
    if std::env::var_os("BAKELITE_LIMITED").is_some() {
        return true;
    }
    let script = format!("ulimit -v {} && exec \"$0\" --exact {test} --test-threads 1 --nocapture", megabytes << 10);
    let program = std::env::current_exe().unwrap();
    let output = Command::new("sh").args(["-c", &script]).arg(program).env("BAKELITE_LIMITED", "1").output().unwrap();
    let told = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "{:?}: {}", output.status, told.concat());
    false
}

/// The purpose and the bytes of memory that was refused.
#[track_caller]
fn refused<T>(result: Result<T, Error>) -> (&'static str, usize) {
    match result.map(drop).unwrap_err() {
        error @ Error::OutOfMemory { purpose, bytes } => {
            assert_eq!(error.to_string(), format!("out of memory: {bytes} bytes for the {purpose}"));
            (purpose, bytes)
        }
        error => panic!("{error}"),
    }
}

#[test]
fn a_model_that_is_too_large_is_an_error() {
    if !limited("a_model_that_is_too_large_is_an_error", 1024) {
        return;
    }
    let large: [fn(&mut bakelite::abi::Descriptor) -> &mut usize; 3] =
        [|d| &mut d.storage_bytes, |d| &mut d.arena_bytes, |d| &mut d.scratch_bytes];
    for field in large {
        for bytes in [2048 * MEGABYTE, 1 << 46, isize::MAX as usize - 4095] {
            let mut descriptor = descriptor();
            *field(&mut descriptor) = bytes;
            let (purpose, found) = refused(Model::open_with(linked(descriptor), Options::new().threads(1)));
            assert!(found >= bytes, "{purpose}: {found} of {bytes}");
        }
    }
    // Its copy does not fit beside a model, which goes on.
    let mut descriptor = descriptor();
    descriptor.storage_bytes = 600 * MEGABYTE;
    let mut model = Model::open_with(linked(descriptor), Options::new().threads(1)).unwrap();
    model.init(1).unwrap();
    assert_eq!(refused(model.fork()).1, 600 * MEGABYTE);
    let (x, mut y) = (samples(1).0, [0.0f32; OUTPUTS]);
    model.predict_into(1, &[(&x).into()], &mut [(&mut y).into()]).unwrap();
    open_seeded(1);
}

#[test]
#[cfg(feature = "fit")]
fn predictions_that_are_too_large_are_an_error() {
    if !limited("predictions_that_are_too_large_are_an_error", 1024) {
        return;
    }
    let mut model = open_seeded(1);
    // The rows fit, the predictions for them do not.
    let rows = 50 << 20;
    let x = vec![0.0f32; rows * INPUTS];
    let data = bakelite::Data::inputs(&x);
    assert_eq!(refused(model.predict(&data, None)), ("predictions", rows * OUTPUTS * 4));
    let (x, _) = samples(4);
    model.predict(&bakelite::Data::inputs(&x), None).unwrap();
}
