//! A folder of models and data, and the command in it.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::LazyLock;

use bakelite::Values;
use bakelite_compiler::backend::cranelift::TargetCpu;
use bakelite_compiler::compile::compile;
use bakelite_compiler::export::save_keras;
use bakelite_compiler::jit::JitModel;
use bakelite_compiler::prelude::*;
use bakelite_compiler::tool::npz;
use tempfile::TempDir;

/// Rows of the data: no multiple of any batch here.
pub const ROWS: usize = 37;

/// A folder with `digits.keras` and `digits.bk`, `pair.keras` with two inputs and outputs, and data for them.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Folder {
        static MODELS: LazyLock<[(&str, Vec<u8>); 3]> = LazyLock::new(|| {
            let graph = digits().lower().unwrap().to_string().into_bytes();
            [("digits.keras", saved(&digits())), ("pair.keras", saved(&pair())), ("digits.bk", graph)]
        });
        let folder = Folder(tempfile::tempdir().unwrap());
        MODELS.iter().for_each(|(name, bytes)| fs::write(folder.path(name), bytes).unwrap());
        let images = numbers(ROWS * 36, 1);
        let labels: Vec<i32> = (0..ROWS as i32).map(|i| i * 7 % 4).collect();
        folder.arrays("digits.npz", &[("x", &[ROWS, 6, 6, 1], images.into()), ("y", &[ROWS], labels.into())]);
        let columns: [(&str, &[usize], Values<'static>); 4] = [
            ("x:left", &[ROWS, 3], numbers(3 * ROWS, 2).into()),
            ("x:right", &[ROWS, 5], numbers(5 * ROWS, 3).into()),
            ("y:sum", &[ROWS], numbers(ROWS, 4).into()),
            ("y:kind", &[ROWS, 2], numbers(2 * ROWS, 5).into()),
        ];
        folder.arrays("pair.npz", &columns);
        folder
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes arrays under a name.
    pub fn arrays(&self, name: &str, arrays: &[(&str, &[usize], Values<'static>)]) {
        let arrays: Vec<_> = arrays.iter().map(|(key, shape, values)| (*key, shape.to_vec(), values)).collect();
        npz::write(&self.path(name), &arrays).unwrap();
    }

    /// All floats of an array.
    pub fn floats(&self, name: &str, key: &str) -> (Vec<usize>, Vec<f32>) {
        let mut file = npz::Npz::open(self.path(name)).unwrap();
        let array = file.find(key).unwrap_or_else(|| panic!("no {key} in {name}")).clone();
        let values = file.values(&array, bakelite::DType::F32).unwrap();
        (array.shape().to_vec(), values.as_slice().unwrap().to_vec())
    }

    /// The command in this folder.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bakelite"));
        command.current_dir(self.0.path()).args(arguments);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Standard output of a command that must succeed.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Names of all files.
    pub fn files(&self) -> Vec<String> {
        let names = fs::read_dir(self.0.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }
}

/// The `.keras` file of a model.
pub fn saved(model: &Model) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.keras");
    let compiled = compile(model.lower().unwrap(), &Default::default()).unwrap();
    let mut run = bakelite::Model::open(JitModel::new(&compiled, TargetCpu::Portable).unwrap()).unwrap();
    run.init(5).unwrap();
    save_keras(&path, model, &run).unwrap_or_else(|d| panic!("{d}"));
    fs::read(path).unwrap()
}

/// A chain with statistics of its own.
pub fn digits() -> Model {
    let m = Sequential::new("digits").input("image", [6, 6, 1], F32);
    let m = m.add(Conv2D::new(4, 3).activation(Relu).name("conv")).add(BatchNormalization::new().name("norm"));
    let m = m.add(Flatten).add(Dense::new(4).name("digit"));
    m.compile(RMSprop::new(1e-2), SparseCategoricalCrossentropy::from_logits(), [Accuracy]);
    Model::clone(&m)
}

/// A graph with a shared layer, two inputs and two outputs.
pub fn pair() -> Model {
    let m = Model::new("pair");
    let (left, right) = (m.input("left", 3, F32), m.input("right", 5, F32));
    let both = Concatenate::new().name("both").apply_many(&[&left, &right]);
    let shared = Dense::new(8).activation(Tanh).name("shared");
    let x = Add.apply_many(&[&shared.apply(&both), &both]);
    let x = shared.apply(&x);
    m.output(&Dense::new(1).name("sum").apply(&x));
    m.output(&Dense::new(2).activation(Sigmoid).name("kind").apply(&x));
    let losses = Losses::new().output("sum", MeanSquaredError).weighted_output("kind", BinaryCrossentropy::new(), 0.5);
    m.compile(Adam::new(1e-2), losses, Metrics::new().output("sum", MeanAbsoluteError));
    m
}

/// Reproducible floats between -1 and 1.
pub fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_769) | 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}
