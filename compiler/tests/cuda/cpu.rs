//! The two backends side by side: the same model, the same data, each going on from its own state.

use bakelite::{Input, Model as Compiled, Output};
use bakelite_compiler::backend::cranelift::TargetCpu;
use bakelite_compiler::backend::cuda;
use bakelite_compiler::compile::{Options, compile};
use bakelite_compiler::ir::{DType, Graph, Storage};
use bakelite_compiler::jit::JitModel;
use bakelite_compiler::pass::PassOptions;
use bakelite_compiler::prelude::{
    Accuracy, Adam, Apply, Conv2D, Dense, Flatten, MaxPooling2D, Model, Relu, SparseCategoricalCrossentropy,
};

use super::common::Numbers;
use super::cuda_host::{HostModule, Order};
use super::{assert_close, decode, encode, models};

/// Differences of rounding grow from step to step.
const TOLERANCE: f64 = 1e-3;

/// The values of one input, in the type that the CPU backend takes them.
enum Values {
    F32(Vec<f32>),
    I32(Vec<i32>),
}

impl Values {
    fn draw(numbers: &mut Numbers, entry: &Graph, batch: usize, classes: usize) -> Vec<Values> {
        let one = |input: &bakelite_compiler::ir::graph::InputDecl| {
            let shape = input.ty.shape.at(batch);
            match input.ty.dtype {
                DType::F32 => Values::F32(numbers.tensor(&shape, -1.0, 1.0).to_f32()),
                DType::I32 => {
                    let labels = numbers.labels(&shape, classes).to_numbers();
                    Values::I32(labels.iter().map(|x| *x as i32).collect())
                }
                other => panic!("an input of type {other}"),
            }
        };
        entry.inputs.iter().map(one).collect()
    }

    fn input(&self) -> Input<'_> {
        match self {
            Values::F32(v) => Input::new(v),
            Values::I32(v) => Input::new(v),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Values::F32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Values::I32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        }
    }
}

/// A step on the CPU: its outputs, which are all `f32`.
fn cpu_step(model: &mut Compiled, entry: &Graph, batch: usize, inputs: &[Values]) -> Vec<Vec<f64>> {
    let shapes = entry.outputs.iter().map(|o| entry.ty(o.node).shape.count(batch));
    let mut outputs: Vec<Vec<f32>> = shapes.map(|n| vec![0.0; n]).collect();
    let mut room: Vec<Output<'_>> = outputs.iter_mut().map(|o| Output::new(o)).collect();
    let inputs: Vec<Input<'_>> = inputs.iter().map(Values::input).collect();
    let id = model.entry(&entry.name).unwrap();
    model.call(id, &inputs, &mut room, batch).unwrap();
    outputs.iter().map(|o| o.iter().map(|x| *x as f64).collect()).collect()
}

/// A cell's elements, whatever their type.
fn read(model: &Compiled, cell: &Storage) -> Vec<f64> {
    let param = model.param(&cell.name).unwrap();
    match cell.ty.dtype {
        DType::F32 => param.to_vec::<f32>().unwrap().iter().map(|x| *x as f64).collect(),
        DType::U32 => param.to_vec::<u32>().unwrap().iter().map(|x| *x as f64).collect(),
        other => panic!("a cell of type {other}"),
    }
}

/// Overwrites a cell.
fn write(model: &mut Compiled, cell: &Storage, values: &[f64]) {
    let done = match cell.ty.dtype {
        DType::F32 => model.set_param(&cell.name, &values.iter().map(|x| *x as f32).collect::<Vec<_>>()),
        DType::U32 => model.set_param(&cell.name, &values.iter().map(|x| *x as u32).collect::<Vec<_>>()),
        other => panic!("a cell of type {other}"),
    };
    done.unwrap();
}

/// Trains ten steps on both from the same cells, and compares every step's outputs, and all cells at the end.
fn check(model: &Model, classes: usize) {
    // Both keep weights row-major, so that cells can be compared as they are.
    let options = Options { passes: PassOptions { panels: false, ..PassOptions::default() }, ..Options::default() };
    let mut module = model.lower().unwrap_or_else(|d| panic!("{d}"));
    module.entries.retain(|e| e.name == "train_step");
    let compiled = compile(module, &options).unwrap_or_else(|bug| panic!("{bug}"));
    let text = cuda::print(&compiled.programs.iter().collect::<Vec<_>>(), &compiled.storage);
    let Some(host) = HostModule::build(&text) else { return };
    let image = JitModel::new(&compiled, TargetCpu::Portable).unwrap_or_else(|e| panic!("{e}"));
    let mut cpu = Compiled::open(image).unwrap();

    let mut numbers = Numbers::new(11);
    let mut storage = vec![0; text.storage_bytes];
    let cells = || compiled.module.storage.iter().zip(&compiled.storage.offsets);
    let range = |cell: &Storage, offset: usize| offset..offset + cell.ty.bytes(1);
    for (cell, &offset) in cells() {
        // Optimizer slots that hold squares must not be negative.
        let values: Vec<f64> = (0..cell.ty.shape.count(1)).map(|_| numbers.next(0.01, 0.3)).collect();
        write(&mut cpu, cell, &values);
        storage[range(cell, offset)].copy_from_slice(&encode(cell.ty.dtype, &values));
    }

    let entry = &compiled.module.entries[0];
    for step in 0..10 {
        let batch = [compiled.module.max_batch, 1, 7][step % 3];
        let inputs = Values::draw(&mut numbers, entry, batch, classes);
        let want = cpu_step(&mut cpu, entry, batch, &inputs);
        let bytes: Vec<Vec<u8>> = inputs.iter().map(Values::bytes).collect();
        let order = Order::ALL[step % Order::ALL.len()];
        let got = host.run("train_step", &bytes, &mut storage, batch, order).unwrap_or_else(|e| panic!("{e}"));
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            assert_close(&decode(DType::F32, got), want, TOLERANCE, &format!("output {i} of step {step}"));
        }
    }
    for (cell, &offset) in cells() {
        let got = decode(cell.ty.dtype, &storage[range(cell, offset)]);
        assert_close(&got, &read(&cpu, cell), TOLERANCE, &cell.name);
    }
}

#[test]
fn mlp_trains_like_the_cpu_backend() {
    check(&models::mlp_with_momentum(), 10);
}

#[test]
fn convnet_trains_like_the_cpu_backend() {
    let m = Model::new("conv");
    m.max_batch(9);
    let x = m.input("x", [11, 10, 2], DType::F32);
    let h = Conv2D::new(4, 3).activation(Relu).apply(&x);
    let h = MaxPooling2D::new(2).apply(&h);
    m.output(&Dense::new(10).apply(&Flatten.apply(&h)));
    m.compile(Adam::new(1e-3), SparseCategoricalCrossentropy::from_logits(), [Accuracy]);
    check(&m, 10);
}
