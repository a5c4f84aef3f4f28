//! What build scripts made, linked as cargo links it: packages with models of one name, results without rows, and a model
//! that no script has built.

use std::fs;
use std::process::Command;

use bakelite::Data;

#[test]
fn two_packages_have_models_of_one_name() {
    let x = [1.0, 2.0, 3.0, 5.0];
    let mut sum = [0.0; 2];
    first_twin::twin::Model::open().unwrap().predict_batch(&x, &mut sum).unwrap();
    assert_eq!(sum, [3.0, 8.0]);
    let second = second_twin::twin::Model::open().unwrap();
    let predict = second.entries().iter().find(|entry| entry.name == "predict").unwrap();
    assert_eq!(predict.outputs.iter().map(|port| &*port.name).collect::<Vec<_>>(), ["largest", "mean", "negative"]);
}

#[test]
fn results_without_rows_have_types() {
    let mut model = second_twin::twin::Model::open().unwrap();
    let one = model.predict_one(&[-1.0, 2.0]).unwrap();
    assert_eq!((one.largest, one.mean, one.negative), (2.0, [-1.0, 2.0], [1.0, -2.0]));
    let x = [1.0, 2.0, 3.0, 6.0, -7.0, 0.0];
    let (mut mean, mut negative) = ([0.0; 2], [0.0; 4]);
    let numbers = model.predict_batch(&x[..4], &mut mean, &mut negative).unwrap();
    assert_eq!((numbers.largest, mean, negative), (6.0, [2.0, 4.0], [-1.0, -2.0, -3.0, -6.0]));
    // Once for each batch, the last of which is a partial one.
    let found = model.predict(&Data::inputs(&x), 2).unwrap();
    assert_eq!(found.get("largest"), Some(&[6.0f32, 0.0][..]));
    assert_eq!(found.get("mean"), Some(&[2.0f32, 4.0, -7.0, 0.0][..]));
    assert_eq!(found.get::<f32>("negative").unwrap().len(), 6);
}

/// The library of the runtime that this test is linked with, as cargo names it.
fn runtime() -> String {
    let arguments = ["build", "-p", "bakelite", "--offline", "--message-format=json"];
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let messages = String::from_utf8(output.stdout).unwrap();
    let artifacts = messages.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let mut libraries = artifacts.filter(|message| message["target"]["name"] == "bakelite");
    libraries.find_map(|message| message["filenames"][0].as_str().map(str::to_string)).unwrap()
}

#[test]
fn a_model_that_was_not_built_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("main.rs");
    fs::write(&main, "bakelite::include_model!(\"digits\");\nfn main() {}\n").unwrap();
    let library = runtime();
    let dependencies = format!("dependency={}/deps", library.rsplit_once('/').unwrap().0);
    let rustc = std::env::var("RUSTC").unwrap_or("rustc".to_string());
    let mut command = Command::new(rustc);
    command.args([
        "--edition=2024",
        "--emit=metadata",
        "--extern",
        &format!("bakelite={library}"),
        "-L",
        &dependencies,
    ]);
    let output = command.arg(&main).current_dir(folder.path()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let wanted = "error: the build script has built no model `digits`: describe it in build.rs with \
                  `Model::new(\"digits\")`, and return from `main` what its `build()` returns";
    assert!(!output.status.success() && stderr.contains(wanted), "{stderr}");
    // Nothing else is wrong.
    assert_eq!(stderr.lines().filter(|line| line.starts_with("error")).count(), 2, "{stderr}");
}
