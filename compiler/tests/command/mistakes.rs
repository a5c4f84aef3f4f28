//! What users read when something does not fit: `mistakes.txt`, which `BAKELITE_BLESS=1` writes anew.

use std::fmt::Write;
use std::fs;

use bakelite_compiler::prelude::*;

use crate::run::{Folder, ROWS, numbers, pair, saved};

#[test]
fn mistakes_are_explained() {
    let folder = Folder::new();
    let images = || numbers(ROWS * 36, 1).into();
    let labels = || (0..ROWS as i32).map(|i| i % 4).collect::<Vec<i32>>().into();
    folder.arrays("wide.npz", &[("image", &[ROWS, 9, 4, 1], images())]);
    folder.arrays("rowless.npz", &[("image", &[6, 6, 1], numbers(36, 1).into())]);
    folder.arrays("narrow.npz", &[("image", &[ROWS, 6, 5, 1], numbers(ROWS * 30, 1).into())]);
    folder.arrays("strange.npz", &[("image", &[ROWS, 6, 6, 1], images()), ("label", &[ROWS], labels())]);
    folder.arrays("uneven.npz", &[("x", &[ROWS, 6, 6, 1], images()), ("y", &[3], vec![0, 1, 2].into())]);
    folder.arrays("half.npz", &[("x", &[ROWS, 6, 6, 1], images()), ("y", &[ROWS], numbers(ROWS, 2).into())]);
    folder.arrays("onehot.npz", &[("x", &[ROWS, 6, 6, 1], images()), ("y", &[ROWS, 4], numbers(ROWS * 4, 2).into())]);
    folder
        .arrays("empty.npz", &[("x", &[0, 6, 6, 1], Vec::<f32>::new().into()), ("y", &[0], Vec::<i32>::new().into())]);
    folder.arrays("nothing.npz", &[]);
    fs::write(folder.path("text.npz"), "no archive").unwrap();
    fs::write(folder.path("text.keras"), "no archive").unwrap();
    fs::write(folder.path("broken.keras"), &fs::read(folder.path("digits.keras")).unwrap()[..900]).unwrap();
    fs::write(folder.path("open.json"), OPEN).unwrap();
    let broken = "module \"broken\" {max_batch: 8}\n\nstorage @0 \"a/kernel\" : f33[2] param\n";
    fs::write(folder.path("broken.bk"), broken).unwrap();
    let train = |data| vec!["train", "digits.keras", "--data", data, "--output", "out.keras"];
    let predict = |input| vec!["predict", "digits.keras", "--input", input, "--output", "y.npz"];
    let cases = [
        vec!["summary", "missing.keras"],
        vec!["summary", "text.keras"],
        vec!["summary", "broken.keras"],
        vec!["summary", "broken.bk"],
        vec!["summary", "open.json"],
        vec!["summary", "open.json", "--shape", "word=3"],
        vec!["summary", "open.json", "--shape", "words=3,4"],
        vec!["summary", "digits.bk", "--shape", "image=5,5,1"],
        vec!["summary", "digits.keras", "--shape", "image"],
        vec!["plot", "digits.keras", "-o", "graph.png"],
        predict("missing.npz"),
        predict("text.npz"),
        predict("nothing.npz"),
        predict("wide.npz"),
        predict("rowless.npz"),
        predict("narrow.npz"),
        predict("strange.npz"),
        vec!["predict", "pair.keras", "--input", "digits.npz", "--output", "y.npz"],
        vec!["predict", "pair.keras", "--input", "pair.npz", "--output", "y.npy"],
        vec!["predict", "digits.keras", "--input", "digits.npz", "--output", "none/y.npz"],
        train("pair.npz"),
        train("uneven.npz"),
        train("half.npz"),
        train("onehot.npz"),
        train("empty.npz"),
        vec!["train", "open.json", "--data", "digits.npz", "--shape", "words=36", "--output", "out.keras"],
        vec!["train", "digits.keras", "--data", "digits.npz", "--output", "out.h5"],
        vec!["train", "digits.bk", "--data", "digits.npz", "--output", "out.keras"],
        vec!["train", "digits.keras", "--data", "digits.npz", "--output", "none/out.keras"],
        vec!["train", "digits.keras", "--data", "digits.npz", "--output", "out.keras", "--batch-size", "0"],
        vec!["evaluate", "digits.bk", "--data", "digits.npz", "--weights", "digits.npz"],
        vec!["inspect", "digits.keras", "--stage", "graph", "--entry", "dream"],
        vec!["inspect", "digits.keras", "--stage", "asm", "--level", "mmx"],
        vec!["compile", "digits.keras", "-o", "lib", "--target-cpu", "i386"],
        vec!["man", "woman"],
    ];
    let before = folder.files();
    let mut told = String::new();
    for arguments in &cases {
        let output = folder.run(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        let _ = writeln!(
            told,
            "$ bakelite {}\n{}\n[{}]\n",
            arguments.join(" "),
            stderr.trim_end(),
            output.status.code().unwrap()
        );
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
    assert_eq!(folder.files(), before, "a failed command leaves no files");
    snapshot("mistakes.txt", &told);
}

fn snapshot(file: &str, told: &str) {
    let path = format!("{}/tests/command/{file}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("BAKELITE_BLESS").is_some() {
        fs::write(&path, told).unwrap();
    }
    let wanted = fs::read_to_string(&path).unwrap_or_default();
    assert!(told == wanted, "`BAKELITE_BLESS=1` writes {path}; now it is\n{told}");
}

/// What is probably not meant is said, ends nothing, and is not said to those who want to hear of errors alone.
#[test]
fn what_is_probably_not_meant_is_said() {
    let folder = Folder::new();
    fs::write(folder.path("spare.json"), SPARE).unwrap();
    let one_loss = pair();
    one_loss.compile(SGD::new(1e-2), Losses::new().output("sum", MeanSquaredError), ());
    fs::write(folder.path("half.keras"), saved(&one_loss)).unwrap();
    let columns = ["left", "right"].into_iter().zip([3, 5]);
    let mut data: Vec<_> =
        columns.map(|(name, n)| (format!("x:{name}"), vec![ROWS, n], numbers(ROWS * n, 3).into())).collect();
    data.push(("y:sum".into(), vec![ROWS], numbers(ROWS, 4).into()));
    let data: Vec<_> =
        data.iter().map(|(name, shape, v): &(String, _, _)| (&**name, &shape[..], Clone::clone(v))).collect();
    folder.arrays("half.npz", &data);
    let train = "train half.keras --data half.npz --output out.safetensors --epochs 1 --threads 1";
    let mut told = String::new();
    for line in ["summary spare.json", "summary half.keras", "compile half.keras -o lib", train] {
        let arguments: Vec<&str> = line.split(' ').collect();
        let output = folder.run(&arguments);
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        let stderr = String::from_utf8(output.stderr).unwrap();
        // Behind the warnings, a training shows how far it is.
        let warnings = stderr.split("epoch ").next().unwrap();
        let _ = writeln!(told, "$ bakelite {line}\n{}\n", warnings.trim_end());
        let quiet = folder.run(&[&arguments[..], &["--quiet"]].concat());
        assert!(
            quiet.status.success() && quiet.stderr.is_empty(),
            "{line}: {}",
            String::from_utf8_lossy(&quiet.stderr)
        );
    }
    snapshot("warnings.txt", &told);
}

const OPEN: &str = r#"{"class_name": "Sequential", "config": {"name": "open", "layers": [
    {"class_name": "InputLayer", "config": {"batch_shape": [null, null], "dtype": "int32", "name": "words"}},
    {"class_name": "Embedding", "config": {"name": "embedding", "input_dim": 9, "output_dim": 3}}
]}}"#;

/// A layer that no output depends on.
const SPARE: &str = r#"{"class_name": "Functional", "config": {"name": "spare", "layers": [
    {"class_name": "InputLayer", "name": "x", "config": {"batch_shape": [null, 3], "dtype": "float32", "name": "x"}, "inbound_nodes": []},
    {"class_name": "Dense", "name": "used", "config": {"name": "used", "units": 2}, "inbound_nodes": [{"args": [
        {"class_name": "__keras_tensor__", "config": {"shape": [null, 3], "dtype": "float32", "keras_history": ["x", 0, 0]}}], "kwargs": {}}]},
    {"class_name": "Dense", "name": "left_over", "config": {"name": "left_over", "units": 4}, "inbound_nodes": [{"args": [
        {"class_name": "__keras_tensor__", "config": {"shape": [null, 3], "dtype": "float32", "keras_history": ["x", 0, 0]}}], "kwargs": {}}]}
], "input_layers": [["x", 0, 0]], "output_layers": [["used", 0, 0]]}}"#;
