//! `bakelite check`: models that agree, on generated and on given rows, and files that reproduce a case.

use std::fs;

use bakelite_compiler::check::Reproduction;

use crate::run::Folder;

#[test]
fn every_entry_point_agrees_on_generated_and_on_given_rows() {
    let folder = Folder::new();
    let generated = folder.ok(&["check", "digits.keras", "--quiet"]);
    for entry in ["predict", "train_step", "evaluate_step"] {
        assert!(generated.contains(&format!("{entry}: batches 1, 3, 7, 8; threads 1, 2, 5: agrees")), "{generated}");
    }
    let given =
        folder.ok(&["check", "digits.keras", "--data", "digits.npz", "--batch-size", "5", "--threads", "2", "-q"]);
    assert!(given.contains("train_step: batches 1, 3, 5; threads 1, 2: agrees"), "{given}");
    folder.ok(&["check", "pair.keras", "--data", "pair.npz", "-q"]);
    let graph = folder.ok(&["check", "digits.bk", "--seed", "4", "-q"]);
    assert!(graph.contains("predict: ") && !graph.contains("differs"), "{graph}");
}

/// The square of a batch of two rows, and the values for it.
const CASE: &str = "module \"m\" {max_batch: 4}

entry \"step\" {
  input \"x\" : f32[batch, 2]
  %0 = input {index: 0} : f32[batch, 2]
  %1 = square(%0) : f32[batch, 2]
  output \"y\" = %1
}
check {batch: 2, threads: 1}
input [2, 2]: 1 -2 0.5 3
";

#[test]
fn a_reproducing_file_is_checked_again_and_is_a_graph_to_others() {
    let folder = Folder::new();
    fs::write(folder.path("case.bk"), CASE).unwrap();
    assert!(Reproduction::is(CASE));
    let text = folder.ok(&["check", "case.bk", "-q"]);
    assert!(text.contains("step: batches 2; threads 1: agrees"), "{text}");
    assert!(folder.ok(&["inspect", "case.bk", "--stage", "graph", "-q"]).contains("square"));
    fs::write(folder.path("short.bk"), CASE.replace("0.5 3", "0.5")).unwrap();
    let output = folder.run(&["check", "short.bk", "-q"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("the line for a value of f32[batch, 2] is wrong"), "{text}");
}
