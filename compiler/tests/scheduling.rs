//! Whole models from the model language through the schedule, compared with the interpreter of graphs.

use bakelite_compiler::compile::{Options, compile};
use bakelite_compiler::ir::eval::{Tensor, evaluate};
use bakelite_compiler::ir::parse::parse_module;
use bakelite_compiler::ir::random::Rng;
use bakelite_compiler::ir::{Module, TensorType};
use bakelite_compiler::prelude::*;
use bakelite_compiler::schedule;

fn mlp() -> Module {
    let m = Model::new("mlp");
    m.max_batch(9);
    let x = m.input("x", [9], F32);
    let h = Dense::new(64).activation(Relu).apply(&x);
    m.output(&Dense::new(10).apply(&h));
    m.compile(RMSprop::new(1e-3), SparseCategoricalCrossentropy::from_logits(), [Accuracy]);
    m.lower().unwrap_or_else(|d| panic!("{d}"))
}

fn conv() -> Module {
    let m = Model::new("conv");
    m.max_batch(9);
    let x = m.input("x", [13, 13, 1], F32);
    let h = Conv2D::new(4, 3).activation(Relu).apply(&x);
    let h = MaxPooling2D::new(2).apply(&h);
    let h = Conv2D::new(6, 3).padding(Same).activation(Relu).apply(&h);
    let h = BatchNormalization::new().apply(&h);
    let h = Flatten.apply(&h);
    let h = Dropout::new(0.25).apply(&h);
    m.output(&Dense::new(10).apply(&h));
    m.compile(Adam::new(1e-3), SparseCategoricalCrossentropy::from_logits(), [Accuracy]);
    m.lower().unwrap_or_else(|d| panic!("{d}"))
}

fn check(module: Module) {
    let compiled = compile(module, &Options::default()).unwrap_or_else(|e| panic!("{e}"));
    println!("{}", compiled.report());
    let module = &compiled.module;
    for (entry, program) in module.entries.iter().zip(&compiled.programs) {
        for batch in [1, module.max_batch] {
            let mut rng = Rng::new(batch as u64);
            let mut random = |ty: &TensorType| {
                let count = ty.shape.count(batch);
                let domain = if ty.dtype.is_float() { (0.1, 1.0) } else { (0.0, 9.9) };
                Tensor::from_numbers(ty.dtype, &ty.shape.at(batch), &rng.floats(count, domain))
            };
            let inputs: Vec<Tensor> = entry.inputs.iter().map(|i| random(&i.ty)).collect();
            let storage: Vec<Tensor> = module.storage.iter().map(|c| random(&c.ty)).collect();
            let expected = evaluate(entry, batch, &inputs, &storage).unwrap();
            let (outputs, after) = schedule::eval::run(program, batch, &inputs, &storage);
            let mut cells = storage;
            for (id, value) in expected.assigns {
                cells[id.0 as usize] = value;
            }
            for (got, want) in outputs.iter().zip(&expected.outputs).chain(after.iter().zip(&cells)) {
                for (g, w) in got.to_numbers().iter().zip(want.to_numbers()) {
                    let near = (g - w).abs() <= 1e-9 * w.abs().max(1.0) || g.is_nan() && w.is_nan();
                    assert!(near, "{} {}: {g} is not {w}", entry.name, batch);
                }
            }
        }
    }
}

#[test]
fn mlp_schedules() {
    check(mlp());
}

#[test]
fn conv_schedules() {
    check(conv());
}

/// Windows that have as many elements as the contraction they read, some of them twice: no loop over them computes it.
#[test]
fn a_contraction_that_windows_and_something_else_read_is_stored() {
    let text = r#"module "windows" {max_batch: 4}

entry "predict" {
  input "x" : f32[batch, 6, 6]
  input "w" : f32[6, 6, 4]
  %0 = input {index: 0} : f32[batch, 6, 6]
  %1 = input {index: 1} : f32[6, 6, 4]
  %2 = contract(%0, %1) {batch: [[1, 1]], sum: [[2, 0]]} : f32[6, batch, 4]
  %3 = window(%2) {axis: [0, 2], size: [2, 3], stride: [1, 2], dilation: [2, 1]} : f32[4, batch, 1, 2, 3]
  %4 = permute(%3) {perm: [1, 0, 2, 3, 4]} : f32[batch, 4, 1, 2, 3]
  %5 = reduce_max(%3) {axes: [1, 2, 3]} : f32[4, 3]
  output "windows" = %4
  output "largest" = %5
}
"#;
    check(parse_module(text).unwrap_or_else(|e| panic!("{e}")));
}
