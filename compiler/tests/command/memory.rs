//! Without the memory that a model takes, the command says so and ends as for any other mistake.
#![cfg(target_os = "linux")]

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use bakelite_compiler::prelude::*;

use crate::run::{Folder, numbers, saved};

/// The exit code and standard error of the command under a limit of its address space.
fn limited(folder: &Folder, megabytes: usize, line: &str) -> (i32, String) {
    let script = format!("ulimit -v {} && exec \"$0\" {line}", megabytes << 10);
    let output =
        Command::new("sh").args(["-c", &script, env!("CARGO_BIN_EXE_bakelite")]).current_dir(folder.path(".")).output();
    let output = output.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.signal(), None, "{line} with {megabytes} MB: {stderr}");
    (output.status.code().unwrap(), stderr)
}

/// A model of 12 million bytes with its file, and of 400 million without one.
#[test]
fn memory_that_is_not_there_is_a_mistake() {
    let folder = Folder::new();
    let m = Sequential::new("large").input("x", 3000, F32).add(Dense::new(1000).name("y"));
    m.compile(SGD::new(0.1).momentum(0.9), MeanSquaredError, ());
    std::fs::write(folder.path("large.keras"), saved(&m)).unwrap();
    let text = r#"{"class_name": "Sequential", "config": {"name": "huge", "layers": [
        {"class_name": "InputLayer", "config": {"batch_shape": [null, 10000], "dtype": "float32", "name": "x"}},
        {"class_name": "Dense", "config": {"name": "y", "units": 10000}}]}}"#;
    std::fs::write(folder.path("huge.json"), text).unwrap();
    let rows = |n: usize| numbers(2 * n, 1).into();
    folder.arrays("large.npz", &[("x", &[2, 3000], rows(3000)), ("y", &[2, 1000], rows(1000))]);
    folder.arrays("huge.npz", &[("x", &[2, 10000], rows(10000))]);
    let before = folder.files();

    for line in ["predict huge.json --input huge.npz --output y.npz", "compile huge.json -o lib", "bench huge.json"] {
        let (code, stderr) = limited(&folder, 300, line);
        assert!(code == 1 && stderr.contains("out of memory: 4"), "{line}: {code}, {stderr}");
    }
    let train = "train large.keras --data large.npz --output out.keras --epochs 1 --threads 1 --quiet";
    let mut codes = Vec::new();
    for megabytes in [64, 72, 80, 88, 96, 104, 112, 120, 136, 152, 600] {
        let (code, stderr) = limited(&folder, megabytes, train);
        let said = stderr.contains("out of memory") || stderr.contains("memory allocation failed");
        assert!(code == 0 || code == 1 && said, "{megabytes} MB: {code}, {stderr}");
        if code == 1 {
            let left: Vec<String> = folder.files().into_iter().filter(|f| f != "out.keras" && f != "lib").collect();
            assert_eq!(left, before, "{megabytes} MB");
        }
        codes.push(code);
    }
    assert!(codes[0] == 1 && codes.last() == Some(&0), "{codes:?}");
}
