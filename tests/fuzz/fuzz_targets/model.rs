//! A small model that files of weights are read into.

use bakelite_compiler::backend::cranelift::TargetCpu;
use bakelite_compiler::compile::{Options, compile};
use bakelite_compiler::import::load_weights;
use bakelite_compiler::jit::JitModel;
use bakelite_compiler::prelude::*;

thread_local! {
    static TARGET: std::cell::RefCell<(Model, bakelite::Model)> = std::cell::RefCell::new(target());
}

fn target() -> (Model, bakelite::Model) {
    let chain = Sequential::new("tiny").input("x", 3, F32).add(Dense::new(2).name("fc")).add(Dense::new(1).name("y"));
    chain.compile(Adam::new(0.01), MeanSquaredError, ());
    let model: Model = (*chain).clone();
    let compiled = compile(model.lower().expect("a model"), &Options::default()).expect("programs");
    let code = JitModel::new(&compiled, TargetCpu::Portable).expect("code");
    (model, bakelite::Model::open(code).expect("memory"))
}

/// Reads bytes as a file of weights.
pub fn load(bytes: &[u8]) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), bytes).expect("its bytes");
    TARGET.with_borrow_mut(|(model, opened)| drop(load_weights(file.path(), model, opened)));
}
