//! Files that Keras wrote: predictions of what was saved, and the course of training from there, are Keras's. What is
//! written back holds the same, bit for bit.
//!
//! The fixtures are made by `tests/fixtures/make_keras_files.py`, one folder for each version of Keras. With
//! `BAKELITE_KERAS_OUT=DIR` every model is written there after its training, for `tests/check_keras_files.py` to open in
//! Keras.
#![cfg(feature = "keras")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use bakelite::{CellKind, DType, Input, Model as Opened, Output};
use bakelite_compiler::backend::cranelift::TargetCpu;
use bakelite_compiler::compile::{self, compile};
use bakelite_compiler::export::{save_keras, save_weights};
use bakelite_compiler::import::{KerasFile, Restored, load_weights};
use bakelite_compiler::jit::JitModel;
use bakelite_compiler::prelude::*;
use serde::Deserialize;

const TOLERANCE: f64 = 1e-4;

#[derive(Deserialize)]
struct Fixtures {
    rows: usize,
    cases: BTreeMap<String, Case>,
}

/// A case of the script.
#[derive(Deserialize)]
struct Case {
    inputs: Vec<String>,
    outputs: Vec<String>,
    files: Vec<String>,
    x: Vec<Vec<Vec<f32>>>,
    y: Vec<Vec<Vec<f32>>>,
    before: Vec<Vec<f32>>,
    #[serde(default)]
    losses: Vec<f32>,
    #[serde(default)]
    after: Vec<Vec<f32>>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/keras_files")
}

/// Every case of every version: the version's folder, the name, the case, the number of rows.
fn cases() -> Vec<(PathBuf, String, Case, usize)> {
    let mut all = Vec::new();
    for version in fs::read_dir(folder()).expect("the folder of fixtures") {
        let path = version.expect("a version").path();
        let text = fs::read_to_string(path.join("cases.json")).expect("cases.json");
        let Fixtures { rows, cases } = serde_json::from_str(&text).expect("cases");
        all.extend(cases.into_iter().map(|(name, case)| (path.clone(), name, case, rows)));
    }
    all
}

/// The bytes of a fixture. HDF5 files are in archives, to keep them small.
fn bytes(path: &Path) -> Vec<u8> {
    let packed = PathBuf::from(format!("{}.zip", path.display()));
    if path.exists() {
        return fs::read(path).expect("a fixture");
    }
    let archive = fs::read(&packed).unwrap_or_else(|e| panic!("{}: {e}", packed.display()));
    let mut archive = zip::ZipArchive::new(Cursor::new(archive)).expect("an archive");
    let mut bytes = Vec::new();
    archive.by_index(0).expect("a member").read_to_end(&mut bytes).expect("its bytes");
    bytes
}

/// Compiles a model for this machine.
fn open(model: &Model) -> Opened {
    let compiled = compile(model.lower().unwrap_or_else(|e| panic!("{e}")), &compile::Options::default()).unwrap();
    let mut opened = Opened::open(JitModel::new(&compiled, TargetCpu::Portable).unwrap()).unwrap();
    opened.set_threads(1).unwrap();
    opened.init(1).unwrap();
    opened
}

/// Calls an entry point with arguments by name.
fn call(model: &mut Opened, entry: &str, arguments: &BTreeMap<String, &[f32]>, rows: usize) -> Vec<Vec<f32>> {
    let id = model.entry(entry).unwrap();
    let ports = model.entries().iter().find(|e| e.name == entry).unwrap().clone();
    let ints: Vec<Vec<i32>> = ports
        .inputs
        .iter()
        .map(|port| match port.dtype {
            DType::I32 => arguments[&port.name].iter().map(|x| *x as i32).collect(),
            _ => Vec::new(),
        })
        .collect();
    let inputs: Vec<Input<'_>> = ports
        .inputs
        .iter()
        .zip(&ints)
        .map(|(port, ints)| match port.dtype {
            DType::I32 => Input::new(ints),
            _ => Input::new(arguments.get(&port.name).unwrap_or_else(|| panic!("no argument `{}`", port.name))),
        })
        .collect();
    let mut results: Vec<Vec<f32>> = ports.outputs.iter().map(|port| vec![0.0; port.len(rows)]).collect();
    let mut outputs: Vec<Output<'_>> = results.iter_mut().map(|r| Output::new(r)).collect();
    model.call(id, &inputs, &mut outputs, rows).unwrap();
    results
}

fn close(what: &str, got: &[f32], want: &[f32]) -> Result<(), String> {
    if got.len() != want.len() {
        return Err(format!("{what}: {} numbers, {} expected", got.len(), want.len()));
    }
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let (g, w) = (f64::from(*g), f64::from(*w));
        if (g - w).abs() > TOLERANCE * (1.0 + w.abs()) || g.is_nan() != w.is_nan() {
            return Err(format!("{what}: element {i} is {g}, Keras's is {w}"));
        }
    }
    Ok(())
}

impl Case {
    /// The arguments of the batch with a number: inputs and targets.
    fn arguments(&self, batch: usize) -> BTreeMap<String, &[f32]> {
        let inputs = self.inputs.iter().cloned().zip(&self.x[batch]);
        let targets = self.outputs.iter().map(|name| format!("{name}_target")).zip(&self.y[batch]);
        inputs.chain(targets).map(|(name, values)| (name, values.as_slice())).collect()
    }

    fn predictions(&self, model: &mut Opened, rows: usize, what: &str, want: &[Vec<f32>]) -> Result<(), String> {
        let got = call(model, "predict", &self.arguments(0), rows);
        got.iter().zip(want).try_for_each(|(got, want)| close(what, got, want))
    }
}

/// Cells that a file of Keras holds.
fn kept(model: &Opened) -> Vec<(String, Vec<u8>)> {
    let mut cells = Vec::new();
    for param in model.params() {
        if param.name().starts_with("metrics/") || param.name().starts_with("random/") {
            continue;
        }
        let bytes = match param.dtype() {
            DType::U32 => param.to_vec::<u32>().unwrap().iter().flat_map(|x| x.to_le_bytes()).collect(),
            _ => param.to_vec::<f32>().unwrap().iter().flat_map(|x| x.to_bits().to_le_bytes()).collect(),
        };
        cells.push((param.name().to_string(), bytes));
    }
    cells
}

fn differences(a: &Opened, b: &Opened) -> Vec<String> {
    let (a, b) = (kept(a), kept(b));
    assert_eq!(a.len(), b.len());
    a.iter().zip(&b).filter(|(a, b)| a != b).map(|(a, _)| a.0.clone()).collect()
}

/// Restores a file, trains on, writes, and reads again.
fn check(path: &Path, name: &str, case: &Case, rows: usize, file: &str) -> Result<(), String> {
    let text = |e: Diagnostics| e.to_string();
    let read = bytes(&path.join(file));
    let whole = path.join(format!("{name}.keras"));
    let described = KerasFile::parse(
        if file.ends_with("weights.h5") { fs::read(&whole).unwrap() } else { read.clone() }.as_slice(),
    );
    let described = described.map_err(text)?;
    let model = described.model().max_batch(rows).build().map_err(text)?;
    let mut opened = open(&model);
    let restored: Restored = match file.ends_with("weights.h5") {
        true => {
            let alone = tempfile::NamedTempFile::new().unwrap();
            fs::write(alone.path(), &read).unwrap();
            load_weights(alone.path(), &model, &mut opened).map_err(text)?
        }
        false => described.restore(&model, &mut opened).map_err(text)?,
    };
    let trained = !case.losses.is_empty();
    if restored.optimizer != trained || !restored.left_out.is_empty() {
        return Err(format!("{restored:?}"));
    }
    case.predictions(&mut opened.fork().unwrap(), rows, "before", &case.before)?;
    for (batch, want) in case.losses.iter().enumerate() {
        let loss = call(&mut opened, "train_step", &case.arguments(batch), rows)[0][0];
        close(&format!("loss {batch}"), &[loss], &[*want])?;
    }
    if trained {
        case.predictions(&mut opened.fork().unwrap(), rows, "after", &case.after)?;
    }
    // What is written does not depend on the version that is read, nor on the format.
    let newest = path.file_name().is_some_and(|version| version.to_string_lossy().starts_with("3.15"));
    if !newest || !file.ends_with(".keras") {
        return Ok(());
    }
    // Both ways of writing, and the weights alone.
    let out = tempfile::tempdir().unwrap();
    let (again, anew) = (out.path().join("again.keras"), out.path().join("anew.keras"));
    described.save(&again, &model, &opened).map_err(text)?;
    let mut copy = open(&model);
    KerasFile::open(&again).map_err(text)?.restore(&model, &mut copy).map_err(text)?;
    // Files hold adapted kernels, and not what adapts them.
    let adapted = name == "adapted";
    let differs = |copy: &mut Opened, how: &str| match adapted {
        true => case.predictions(copy, rows, how, &case.after),
        false => match differences(&opened, copy) {
            different if different.is_empty() => Ok(()),
            different => Err(format!("{how}, these differ: {different:?}")),
        },
    };
    differs(&mut copy, "written and read again")?;
    let weights = out.path().join("alone.weights.h5");
    save_weights(&weights, &model, &opened).map_err(text)?;
    copy.init(2).unwrap();
    load_weights(&weights, &model, &mut copy).map_err(text)?;
    differs(&mut copy, "written alone and read again")?;
    // What Keras computes with operations and masks has no layers to be described by.
    if !["operations", "text"].contains(&name) {
        save_keras(&anew, &model, &opened).map_err(text)?;
        let file = KerasFile::open(&anew).map_err(text)?;
        let model = file.model().max_batch(rows).build().map_err(text)?;
        let mut copy = open(&model);
        file.restore(&model, &mut copy).map_err(text)?;
        if trained {
            case.predictions(&mut copy, rows, "described anew", &case.after)?;
        }
    }
    if let (Some(out), true) = (std::env::var_os("BAKELITE_KERAS_OUT"), file.ends_with(".keras")) {
        let out = Path::new(&out).join(path.file_name().unwrap());
        fs::create_dir_all(&out).unwrap();
        fs::copy(&again, out.join(format!("{name}.keras"))).unwrap();
        if anew.exists() {
            fs::copy(&anew, out.join(format!("{name}.anew.keras"))).unwrap();
        }
        fs::copy(&weights, out.join(format!("{name}.weights.h5"))).unwrap();
    }
    Ok(())
}

#[test]
fn predictions_and_training_go_on_as_in_keras() {
    let only = std::env::var("BAKELITE_KERAS_ONLY").unwrap_or_default();
    let mut work = Vec::new();
    for (path, name, case, rows) in cases() {
        for file in case.files.clone().into_iter().filter(|file| path.join(file).to_string_lossy().contains(&only)) {
            work.push((path.clone(), name.clone(), file, rows));
        }
    }
    assert!(!work.is_empty());
    let (next, failures) = (Mutex::new(work.iter()), Mutex::new(Vec::new()));
    let run = || {
        let all: BTreeMap<(PathBuf, String), Case> = cases().into_iter().map(|(p, n, c, _)| ((p, n), c)).collect();
        loop {
            let Some((path, name, file, rows)) = next.lock().unwrap().next() else { break };
            if let Err(why) = check(path, name, &all[&(path.clone(), name.clone())], *rows, file) {
                failures.lock().unwrap().push(format!("{}: {why}", path.join(file).display()));
            }
        }
    };
    std::thread::scope(|scope| (0..2).for_each(|_| drop(scope.spawn(run))));
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {} files:\n{}", failures.len(), work.len(), failures.join("\n"));
}

#[test]
fn a_failed_write_leaves_the_old_file() {
    let (path, _, case, rows) = cases().into_iter().find(|(_, name, ..)| name == "sgd").expect("the case");
    let file = KerasFile::open(path.join(&case.files[0])).unwrap();
    let model = file.model().max_batch(rows).build().unwrap();
    let opened = open(&model);
    let out = tempfile::tempdir().unwrap();
    let target = out.path().join("model.keras");
    file.save(&target, &model, &opened).unwrap();
    let before = fs::read(&target).unwrap();
    // Another model's memory does not fit the description.
    let other = Sequential::new("other").input("x", 3, F32).add(Dense::new(1));
    let error = file.save(&target, &model, &open(&other)).unwrap_err().to_string();
    assert!(error.contains("fc/kernel"), "{error}");
    assert!(file.save(out.path().join("no/such/folder.keras"), &model, &opened).is_err());
    assert_eq!(fs::read(&target).unwrap(), before);
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 1);
}

#[test]
fn kinds_of_cells_are_what_files_hold() {
    let (path, _, case, rows) = cases().into_iter().find(|(_, name, ..)| name == "mlp").expect("the case");
    let file = KerasFile::open(path.join(&case.files[0])).unwrap();
    let model = file.model().max_batch(rows).build().unwrap();
    let opened = open(&model);
    let state: Vec<&str> = opened.params().filter(|p| p.cell().kind == CellKind::State).map(|p| p.name()).collect();
    assert_eq!(state, ["norm/moving_mean", "norm/moving_variance"]);
}

#[test]
fn weights_are_listed_as_in_keras() {
    let listed = |wanted: &str| {
        let (path, _, case, rows) = cases().into_iter().find(|(_, name, ..)| name == wanted).expect("the case");
        let file = KerasFile::open(path.join(&case.files[0])).unwrap();
        let model = file.model().max_batch(rows).build().unwrap();
        let all = model.weights_as_in_keras().unwrap();
        all.into_iter()
            .filter(|name| ["first", "apart", "conv"].contains(&name.split_once('/').unwrap().0))
            .collect::<Vec<_>>()
    };
    // What is trained comes first, and a kernel that is adapted counts as trained.
    let whole =
        ["first/bias", "first/kernel", "first/kernel_scale", "apart/bias", "apart/kernel", "apart/kernel_scale"];
    assert_eq!(listed("whole"), whole);
    assert_eq!(listed("adapted"), ["conv/kernel", "conv/bias", "conv/lora_kernel_a", "conv/lora_kernel_b"]);
}
