//! Models of Keras that met what no other test walked, each with Keras's answers: predicted, trained, evaluated and
//! compiled through the command.
//!
//! A folder of `tests/fixtures/keras_cases` holds models, data and a `plan.json` of steps. Names of outputs that Keras
//! gives several times are told apart by their order.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bakelite::{DType, Values};
use bakelite_compiler::tool::npz::Npz;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
enum Step {
    /// Predicts `x`: Keras gives `y`, whose arrays are numbered.
    Predict { model: String, x: String, y: String, names: Vec<String>, batch: usize, tol: f64 },
    /// Trains on `data`: Keras has the history `want` and then predicts `py` for `px`.
    Train {
        model: String,
        data: String,
        px: String,
        py: String,
        names: Vec<String>,
        batch: usize,
        epochs: usize,
        tol: f64,
        want: Value,
    },
    /// Evaluates `data`: Keras gives `want`.
    Evaluate { model: String, data: String, batch: usize, tol: f64, want: Value },
    /// Compiles a library, in whose folder the commands `then` succeed.
    Compile { model: String, args: Vec<String>, then: Vec<String> },
}

/// The folder of one case, and one for what is written.
struct Case {
    folder: PathBuf,
    out: tempfile::TempDir,
}

impl Case {
    fn given(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_string()
    }

    fn written(&self, name: &str) -> String {
        self.out.path().join(name).to_str().unwrap().to_string()
    }

    /// Standard output of the command.
    fn bakelite(&self, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new(env!("CARGO_BIN_EXE_bakelite")).args(arguments).output().unwrap();
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout).unwrap()),
            false => Err(format!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr))),
        }
    }

    fn run(&self, step: &Step) -> Result<(), String> {
        let out = self.written("y.npz");
        match step {
            Step::Predict { model, x, y, names, batch, tol } => {
                let (model, x, batch) = (self.given(model), self.given(x), batch.to_string());
                self.bakelite(&["predict", &model, "--input", &x, "--output", &out, "--batch-size", &batch])?;
                outputs(&out, &self.given(y), names, *tol)
            }
            Step::Train { model, data, px, py, names, batch, epochs, tol, want } => {
                let (trained, history) = (self.written("o.keras"), self.written("h.json"));
                let (batch, epochs) = (batch.to_string(), epochs.to_string());
                let (model, data) = (self.given(model), self.given(data));
                let to = ["--output", &trained, "--history", &history, "--no-shuffle", "--quiet"];
                let by = ["train", &model, "--data", &data, "--epochs", &epochs, "--batch-size", &batch];
                self.bakelite(&[&by[..], &to[..]].concat())?;
                logs(&serde_json::from_slice(&fs::read(history).unwrap()).unwrap(), want, *tol)?;
                self.bakelite(&["predict", &trained, "--input", &self.given(px), "--output", &out])?;
                outputs(&out, &self.given(py), names, *tol)
            }
            Step::Evaluate { model, data, batch, tol, want } => {
                let (model, data, batch) = (self.given(model), self.given(data), batch.to_string());
                let told = self.bakelite(&["evaluate", &model, "--data", &data, "--batch-size", &batch])?;
                logs(&serde_json::from_str(&told).unwrap(), want, *tol)
            }
            Step::Compile { model, args, then } => {
                let (model, library) = (self.given(model), self.written("library"));
                let args: Vec<&str> = args.iter().map(String::as_str).collect();
                self.bakelite(&[&["compile", &model, "--output", &library][..], &args].concat())?;
                then.iter().try_for_each(|command| {
                    if command.contains("g++") && Command::new("g++").arg("--version").output().is_err() {
                        println!("skipped, there is no g++: {command}");
                        return Ok(());
                    }
                    let done = Command::new("sh").args(["-c", command]).current_dir(&library).output().unwrap();
                    match done.status.success() {
                        true => Ok(()),
                        false => Err(format!("{command}: {}", String::from_utf8_lossy(&done.stderr))),
                    }
                })
            }
        }
    }
}

/// The name, shape and numbers of an array.
type Named = (String, Vec<usize>, Vec<f64>);

/// Every array of a file.
fn arrays(path: &str) -> Result<Vec<Named>, String> {
    let mut file = Npz::open(path).map_err(|d| d.to_string())?;
    let mut arrays = Vec::new();
    for array in file.arrays().to_vec() {
        let Values::F64(values) = file.values(&array, DType::F64).unwrap() else { unreachable!("asked for f64") };
        arrays.push((array.name.clone(), array.shape().to_vec(), values.to_vec()));
    }
    Ok(arrays)
}

/// Compares predictions with those of Keras.
fn outputs(got: &str, want: &str, names: &[String], tol: f64) -> Result<(), String> {
    let (got, want) = (arrays(got)?, arrays(want)?);
    if got.len() != names.len() {
        return Err(format!("{} outputs, Keras has {names:?}", got.len()));
    }
    for (i, name) in names.iter().enumerate() {
        let same = names[..i].iter().filter(|n| *n == name).count();
        let mut alike = got.iter().filter(|(key, ..)| names.len() == 1 || key == name || is_counted(key, name));
        let (_, shape, numbers) = alike.nth(same).ok_or_else(|| format!("no output `{name}`"))?;
        let (_, want_shape, want_numbers) = want.iter().find(|w| w.0 == i.to_string()).unwrap();
        if shape != want_shape {
            return Err(format!("`{name}` is {shape:?}, Keras's {want_shape:?}"));
        }
        near(name, numbers, want_numbers, tol)?;
    }
    Ok(())
}

/// Whether a name is another one with a number: `lstm_2` of `lstm`.
fn is_counted(key: &str, name: &str) -> bool {
    key.strip_prefix(name).and_then(|rest| rest.strip_prefix('_')).is_some_and(|number| number.parse::<u32>().is_ok())
}

/// Compares logs: a number, or a list of them, of each key.
fn logs(got: &Value, want: &Value, tol: f64) -> Result<(), String> {
    let (got, want) = (got.as_object().unwrap(), want.as_object().unwrap());
    let keys = |map: &serde_json::Map<String, Value>| map.keys().cloned().collect::<std::collections::BTreeSet<_>>();
    if keys(got) != keys(want) {
        return Err(format!("keys {:?}, Keras's {:?}", keys(got), keys(want)));
    }
    let numbers = |value: &Value| -> Vec<f64> {
        let number = |v: &Value| v.as_f64().unwrap_or(f64::NAN);
        value.as_array().map_or_else(|| vec![number(value)], |list| list.iter().map(number).collect())
    };
    want.iter().try_for_each(|(key, want)| near(key, &numbers(&got[key]), &numbers(want), tol))
}

/// Whether numbers agree to `tol` of the largest one, and are not finite in the same places.
fn near(what: &str, got: &[f64], want: &[f64], tol: f64) -> Result<(), String> {
    let largest = want.iter().filter(|w| w.is_finite()).fold(1.0f64, |most, w| most.max(w.abs()));
    let agrees = |(g, w): (&f64, &f64)| match w.is_finite() {
        true => (g - w).abs() <= tol * largest,
        false => g == w || g.is_nan() && w.is_nan(),
    };
    match got.len() == want.len() && got.iter().zip(want).all(agrees) {
        true => Ok(()),
        false => Err(format!("`{what}` is {got:?}, Keras's {want:?}")),
    }
}

#[test]
fn cases_are_as_in_keras() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/keras_cases");
    let mut folders: Vec<PathBuf> = fs::read_dir(cases).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    let (mut steps, mut wrong) = (0, Vec::new());
    for folder in folders {
        let name = folder.file_name().unwrap().to_str().unwrap().to_string();
        let plan: Vec<Step> = serde_json::from_slice(&fs::read(folder.join("plan.json")).unwrap()).unwrap();
        let case = Case { folder, out: tempfile::tempdir().unwrap() };
        for step in &plan {
            steps += 1;
            wrong.extend(case.run(step).err().map(|why| format!("{name}: {why}")));
        }
    }
    assert!(wrong.is_empty() && steps >= 30, "{} of {steps} steps are wrong:\n{}", wrong.len(), wrong.join("\n"));
}
