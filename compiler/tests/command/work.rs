//! Predicting, training and evaluating.

use std::fs;
use std::io::Read;
use std::path::Path;

use bakelite::Values;
use serde_json::Value;

use crate::run::{Folder, ROWS, numbers};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn history(folder: &Folder, name: &str) -> Value {
    json(&fs::read_to_string(folder.path(name)).unwrap())
}

#[test]
fn training_goes_through_a_file_and_on() {
    let folder = Folder::new();
    let train = |model: &str, epochs: &str, out: &str, more: &[&str]| {
        let arguments = ["train", model, "--data", "digits.npz", "--batch-size", "8", "--no-shuffle"];
        let arguments = [&arguments[..], &["--epochs", epochs, "--output", out, "--quiet"], more].concat();
        let output = folder.run(&arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout.is_empty() && output.stderr.is_empty());
    };
    train("digits.keras", "3", "three.keras", &["--history", "h.json", "--validation", "digits.npz", "--threads", "1"]);
    let h = history(&folder, "h.json");
    let keys: Vec<&str> = h.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["accuracy", "loss", "val_accuracy", "val_loss"]);
    let losses = |h: &Value| h["loss"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect::<Vec<_>>();
    assert_eq!(losses(&h).len(), 3);
    assert!(losses(&h)[2] < losses(&h)[0], "{h}");
    // One epoch and two more, through a file with the optimizer's state, are three epochs: to the bit.
    train("digits.keras", "1", "one.keras", &["--threads", "2"]);
    train("one.keras", "2", "one.keras", &["--history", "rest.json", "--threads", "2"]);
    assert_eq!(losses(&history(&folder, "rest.json")), losses(&h)[1..]);
    for (model, out) in [("three.keras", "a.npz"), ("one.keras", "b.npz")] {
        folder.ok(&["predict", model, "--input", "digits.npz", "--output", out, "--batch-size", "10"]);
    }
    let (shape, values) = folder.floats("a.npz", "digit");
    assert_eq!(shape, [ROWS, 4]);
    assert_eq!(values, folder.floats("b.npz", "digit").1);
    // The last epoch's validation is an evaluation of the file.
    let evaluated = json(&folder.ok(&["evaluate", "three.keras", "--data", "digits.npz", "--batch-size", "8"]));
    assert_eq!(evaluated["loss"], h["val_loss"][2]);
    assert_eq!(evaluated["accuracy"], h["val_accuracy"][2]);
}

#[test]
fn saved_graphs_take_weights_from_a_file_or_a_seed() {
    let folder = Folder::new();
    let train =
        ["train", "digits.bk", "--data", "digits.npz", "--no-shuffle", "--epochs", "2", "--output", "w.safetensors"];
    let output = folder.run(&[&train[..], &["--seed", "7"]].concat());
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && told.contains("without weights") && told.contains("epoch 2/2"), "{told}");
    let evaluate =
        |more: &[&str]| json(&folder.ok(&[&["evaluate", "digits.bk", "--data", "digits.npz", "-q"], more].concat()));
    let (trained, initial) = (evaluate(&["--weights", "w.safetensors"]), evaluate(&["--seed", "7"]));
    assert!(trained["loss"].as_f64() < initial["loss"].as_f64(), "{trained} {initial}");
    assert_ne!(initial, evaluate(&["--seed", "8"]));
}

#[test]
fn several_inputs_and_outputs() {
    let folder = Folder::new();
    folder.ok(&[
        "train",
        "pair.keras",
        "-d",
        "pair.npz",
        "-e",
        "2",
        "-o",
        "out.keras",
        "--history",
        "h.json",
        "--seed",
        "3",
    ]);
    let h = history(&folder, "h.json");
    let keys: Vec<&str> = h.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["kind_loss", "loss", "sum_loss", "sum_mean_absolute_error"]);
    let at = |key: &str| h[key][1].as_f64().unwrap();
    assert!((at("loss") - at("sum_loss") - 0.5 * at("kind_loss")).abs() < 1e-5, "{h}");
    folder.ok(&["predict", "out.keras", "--input", "pair.npz", "--output", "y.npz"]);
    assert_eq!(folder.floats("y.npz", "sum").0, [ROWS, 1]);
    assert_eq!(folder.floats("y.npz", "kind").0, [ROWS, 2]);
}

/// A member of an archive among the fixtures of Keras, whose model has 5 numbers and gives 2.
fn fixture(archive: &str, member: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/keras_files/3.15.1");
    let mut archive = zip::ZipArchive::new(fs::File::open(folder.join(archive)).unwrap()).unwrap();
    let mut bytes = Vec::new();
    archive.by_name(member).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn other_formats_train_as_the_file_of_keras_does() {
    let folder = Folder::new();
    let arrays: [(&str, &[usize], Values<'static>); 2] =
        [("x", &[ROWS, 5], numbers(5 * ROWS, 6).into()), ("y", &[ROWS, 2], numbers(2 * ROWS, 7).into())];
    folder.arrays("d.npz", &arrays);
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/keras_files/3.15.1");
    fs::copy(fixtures.join("mlp.keras"), folder.path("mlp.keras")).unwrap();
    fs::write(folder.path("mlp.h5"), fixture("mlp.h5.zip", "mlp.h5")).unwrap();
    fs::write(folder.path("mlp.json"), fixture("mlp.keras", "config.json")).unwrap();
    fs::write(folder.path("mlp.weights.h5"), fixture("mlp.weights.h5.zip", "mlp.weights.h5")).unwrap();
    let trained = |model: &str, more: &[&str]| {
        let train = ["train", model, "-d", "d.npz", "-b", "8", "--no-shuffle", "--threads", "1", "-o", "out.keras"];
        let output = folder.run(&[&train[..], more].concat());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && !told.contains("note:"), "{model}: {told}");
        folder.ok(&["predict", "out.keras", "-i", "d.npz", "-o", "y.npy"]);
        folder.floats("y.npy", "").1
    };
    let wanted = trained("mlp.keras", &[]);
    assert_eq!(trained("mlp.h5", &[]), wanted);
    assert_eq!(trained("mlp.json", &["--weights", "mlp.weights.h5"]), wanted);
    // What was written before is read as any file of Keras.
    assert_ne!(trained("out.keras", &[]), wanted);
}

#[test]
fn what_cannot_be_written_is_not_trained() {
    let folder = Folder::new();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/keras_files/2.15.0");
    fs::copy(fixtures.join("older.keras"), folder.path("older.keras")).unwrap();
    let arrays: [(&str, &[usize], Values<'static>); 3] = [
        ("x:a", &[ROWS, 5, 3], numbers(15 * ROWS, 6).into()),
        ("x:b", &[ROWS, 3], numbers(3 * ROWS, 7).into()),
        ("y", &[ROWS, 1], numbers(ROWS, 8).into()),
    ];
    folder.arrays("d.npz", &arrays);
    let train = |output: &str| folder.run(&["train", "older.keras", "-d", "d.npz", "-b", "8", "-o", output]);
    let refused = train("out.keras");
    let told = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{told}");
    assert!(told.contains("Keras file can describe") && told.contains("OUT.safetensors"), "{told}");
    assert!(!told.contains("loss"), "{told}");
    assert!(!folder.path("out.keras").exists());
    assert!(train("out.safetensors").status.success());
}

#[test]
fn the_order_of_rows_follows_from_the_seed() {
    let folder = Folder::new();
    let trained = |seed: &str, threads: &str| {
        let files = ["train", "digits.keras", "-d", "digits.npz", "-o", "out.safetensors", "-b", "5", "-q"];
        folder.ok(&[&files[..], &["--seed", seed, "--threads", threads]].concat());
        fs::read(folder.path("out.safetensors")).unwrap()
    };
    let one = trained("1", "1");
    assert_eq!(one, trained("1", "2"));
    assert_ne!(one, trained("2", "1"));
}

#[test]
fn outputs_are_replaced_and_nothing_else_is_left() {
    let folder = Folder::new();
    let before = folder.files();
    for _ in 0..2 {
        folder.ok(&["train", "digits.keras", "-d", "digits.npz", "-o", "digits.keras", "-q"]);
        folder.ok(&["predict", "digits.keras", "-i", "digits.npz", "-o", "digits.npy"]);
    }
    let mut after = folder.files();
    after.retain(|name| name != "digits.npy");
    assert_eq!(after, before);
    assert_eq!(folder.floats("digits.npy", "").0, [ROWS, 4]);
}

/// The comparison with Keras itself, where the variable BAKELITE_PYTHON names a Python that has it; it takes minutes.
#[test]
fn models_go_through_the_command_and_back_to_keras() {
    let Some(python) = std::env::var_os("BAKELITE_PYTHON") else {
        eprintln!("skipped: BAKELITE_PYTHON names no Python with Keras");
        return;
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/peers/command.py");
    let status = std::process::Command::new(python).args([script, env!("CARGO_BIN_EXE_bakelite")]).status();
    assert!(status.unwrap().success());
}
