//! The model that files of weights are read into: that of the fixtures called `mlp`.

use bakelite_compiler::backend::cranelift::TargetCpu;
use bakelite_compiler::compile::{Options, compile};
use bakelite_compiler::import::{KerasFile, load_weights};
use bakelite_compiler::jit::JitModel;
use bakelite_compiler::prelude::*;

thread_local! {
    static TARGET: std::cell::RefCell<(Model, bakelite::Model)> = std::cell::RefCell::new(target());
}

fn target() -> (Model, bakelite::Model) {
    let file = KerasFile::parse(include_bytes!("../../fixtures/keras_files/3.15.1/mlp.keras")).expect("a file");
    let model = file.model().max_batch(4).build().expect("a model");
    let compiled = compile(model.lower().expect("graphs"), &Options::default()).expect("programs");
    let code = JitModel::new(&compiled, TargetCpu::Portable).expect("code");
    (model, bakelite::Model::open(code).expect("memory"))
}

/// Reads bytes as a file of weights.
pub fn load(bytes: &[u8]) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), bytes).expect("its bytes");
    TARGET.with_borrow_mut(|(model, opened)| drop(load_weights(file.path(), model, opened)));
}
