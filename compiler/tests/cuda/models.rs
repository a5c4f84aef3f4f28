//! Whole models: every entry point in one text, a run of training steps against the interpreter.

use bakelite_compiler::backend::cuda;
use bakelite_compiler::compile::{Options, compile};
use bakelite_compiler::ir::eval::Tensor;
use bakelite_compiler::ir::{DType, Graph, Storage, TensorType};
use bakelite_compiler::prelude::*;
use bakelite_compiler::schedule;

use super::calls::compare;
use super::common::Numbers;
use super::cuda_host::{HostModule, Order};

/// Inputs for an entry point: numbers in -1..1, labels below `classes`.
fn draw(numbers: &mut Numbers, entry: &Graph, batch: usize, classes: usize) -> Vec<Tensor> {
    let mut one = |ty: &TensorType| match ty.dtype {
        DType::F32 | DType::F64 => numbers.tensor(&ty.shape.at(batch), -1.0, 1.0),
        DType::I32 => numbers.labels(&ty.shape.at(batch), classes),
        DType::U32 | DType::U8 | DType::Bool => Tensor::splat(ty.dtype, &ty.shape.at(batch), 3.0),
    };
    entry.inputs.iter().map(|i| one(&i.ty)).collect()
}

/// Initialises, trains and predicts, with and without fusion, at changing batch sizes.
fn check(model: &Model, classes: usize) {
    for fuse in [true, false] {
        let module = model.lower().unwrap_or_else(|d| panic!("{d}"));
        let options = Options { schedule: schedule::Options { fuse }, ..Options::default() };
        let compiled = compile(module, &options).unwrap_or_else(|bug| panic!("{bug}"));
        let (module, layout) = (&compiled.module, &compiled.storage);
        let text = cuda::print(&compiled.programs.iter().collect::<Vec<_>>(), layout);
        let Some(host) = HostModule::build(&text) else { return };
        let mut numbers = Numbers::new(5);
        let zero = |c: &Storage| Tensor::splat(c.ty.dtype, &c.ty.shape.at(1), 0.0);
        let mut cells: Vec<Tensor> = module.storage.iter().map(zero).collect();
        let mut run = |name: &str, batch: usize, order: Order| {
            let entry = module.entry(name).unwrap_or_else(|| panic!("no entry point {name}"));
            let inputs = draw(&mut numbers, entry, batch, classes);
            cells = compare(&host, entry, batch, &inputs, &cells, layout, order);
        };
        run("init", 1, Order::Forwards);
        for step in 0..10 {
            let batch = [module.max_batch, 1, 7][step % 3];
            run("train_step", batch, Order::ALL[step % Order::ALL.len()]);
        }
        run("evaluate_step", 5, Order::Backwards);
        run("predict", 6, Order::Forwards);
    }
}

fn mlp() -> Model {
    let m = Model::new("mlp");
    m.max_batch(34);
    let x = m.input("x", [20], F32);
    let h = Dense::new(64).activation(Relu).apply(&x);
    let h = Dense::new(33).activation(Tanh).apply(&h);
    m.output(&Dense::new(10).apply(&h));
    m
}

#[test]
fn mlp_trains_with_rmsprop() {
    let m = mlp();
    m.compile(RMSprop::new(1e-3), SparseCategoricalCrossentropy::from_logits(), [Accuracy]);
    check(&m, 10);
}

/// The text of a model with all of its entry points.
#[cfg(feature = "cuda")]
pub fn trained_mlp_text() -> cuda::CudaModule {
    let m = mlp();
    m.compile(Adam::new(1e-3), SparseCategoricalCrossentropy::from_logits(), [Accuracy]);
    let module = m.lower().unwrap_or_else(|d| panic!("{d}"));
    let compiled = compile(module, &Options::default()).unwrap_or_else(|bug| panic!("{bug}"));
    cuda::print(&compiled.programs.iter().collect::<Vec<_>>(), &compiled.storage)
}

#[test]
fn mlp_trains_with_adam() {
    let m = mlp();
    m.compile(Adam::new(1e-3), SparseCategoricalCrossentropy::from_logits(), [Accuracy]);
    check(&m, 10);
}

pub fn mlp_with_momentum() -> Model {
    let m = mlp();
    m.compile(SGD::new(0.1).momentum(0.9).nesterov(true), SparseCategoricalCrossentropy::from_logits(), [Accuracy]);
    m
}

fn convnet() -> Model {
    let m = Model::new("conv");
    m.max_batch(9);
    let x = m.input("x", [11, 10, 2], F32);
    let h = Conv2D::new(4, 3).activation(Relu).apply(&x);
    let h = MaxPooling2D::new(2).apply(&h);
    let h = Conv2D::new(6, 3).padding(Same).strides(2).activation(Relu).apply(&h);
    let h = BatchNormalization::new().apply(&h);
    let h = Flatten.apply(&h);
    let h = Dropout::new(0.25).apply(&h);
    m.output(&Dense::new(10).apply(&h));
    m.compile(Adam::new(1e-3), SparseCategoricalCrossentropy::from_logits(), [Accuracy]);
    m
}

#[test]
fn mlp_trains_with_momentum() {
    check(&mlp_with_momentum(), 10);
}

#[test]
fn convnet_trains_with_adam() {
    check(&convnet(), 10);
}
