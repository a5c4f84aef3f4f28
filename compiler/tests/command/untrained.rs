//! Models that were compiled with something unknown: everything but training works.

use std::fs;

use crate::run::{Folder, ROWS, numbers};

/// A chain with a loss of its author's own, and one without an optimizer.
const MODELS: [(&str, &str, &str); 2] = [
    (
        "own_loss.json",
        r#"{"optimizer": {"class_name": "SGD", "config": {}}, "loss": {"class_name": "MyLoss", "config": {}, "registered_name": "p>MyLoss"}}"#,
        "no loss class is called `MyLoss`",
    ),
    ("no_optimizer.json", r#"{"loss": "mse"}"#, "the compile configuration names no optimizer"),
];

#[test]
fn training_that_is_unknown_keeps_a_model_from_training_only() {
    let folder = Folder::new();
    folder.arrays("x.npz", &[("x", &[ROWS, 3], numbers(3 * ROWS, 1).into())]);
    let columns =
        [("x", &[ROWS, 3][..], numbers(3 * ROWS, 1).into()), ("y", &[ROWS, 2][..], numbers(2 * ROWS, 2).into())];
    folder.arrays("train.npz", &columns);
    for (name, compile, why) in MODELS {
        let layers = r#"[{"class_name": "InputLayer", "config": {"batch_shape": [null, 3], "dtype": "float32", "name": "x"}},
            {"class_name": "Dense", "config": {"units": 2, "name": "d"}}]"#;
        let model = format!(
            r#"{{"class_name": "Sequential", "config": {{"name": "m", "layers": {layers}}}, "compile_config": {compile}}}"#
        );
        fs::write(folder.path(name), model).unwrap();
        let summary = folder.ok(&["summary", name]);
        assert!(summary.contains("Trainable params: 8") && summary.contains(why), "{summary}");
        folder.ok(&["plot", name, "-o", "graph.dot"]);
        folder.ok(&["predict", name, "--input", "x.npz", "--output", "y.npz"]);
        assert_eq!(folder.floats("y.npz", "d").0, [ROWS, 2]);
        for arguments in [&["report", name][..], &["inspect", name, "--stage", "graph"]] {
            let output = folder.run(arguments);
            let note = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && note.contains(why), "{arguments:?}: {note}");
        }
        folder.ok(&["compile", name, "--output", "library", "--entry", "predict"]);
        for (arguments, help) in [
            (&["compile", name, "--output", "other"][..], "--entry predict"),
            (&["evaluate", name, "--data", "train.npz"], why),
            (&["train", name, "--data", "train.npz", "--epochs", "1", "--output", "o.safetensors"], why),
        ] {
            let output = folder.run(arguments);
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{arguments:?}");
            assert!(text.contains(why) && text.contains(help), "{arguments:?}: {text}");
        }
    }
}
