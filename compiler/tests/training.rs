//! Models, losses, optimizers and entry points as whole programs, run by the reference interpreter.

mod common;

use bakelite_compiler::ir::eval::Tensor;
use bakelite_compiler::prelude::*;
use common::{Interpreted, Numbers, scalar};

fn two_layers() -> Sequential {
    Sequential::new("net").input("x", 5, F32).add(Dense::new(8).activation(Tanh)).add(Dense::new(3))
}

/// The loss of a few steps on one batch.
fn losses(model: &Model, inputs: &[Tensor], batch: usize, steps: usize) -> Vec<f64> {
    let mut run = Interpreted::new(model, 42);
    (0..steps).map(|_| scalar(&run.call("train_step", batch, inputs)[0])).collect()
}

#[test]
fn every_optimizer_learns_a_batch() {
    let mut numbers = Numbers::new(1);
    let inputs = [numbers.tensor(&[7, 5], -1.0, 1.0), numbers.labels(&[7], 3)];
    let optimizers: Vec<(&str, Box<dyn Fn(&Model)>)> = vec![(
        "sgd",
        Box::new(|m| drop(m.compile(SGD::new(0.1), SparseCategoricalCrossentropy::from_logits(), [Accuracy]))),
    )];
    for (name, compile) in optimizers {
        let model = two_layers();
        compile(&model);
        let l = losses(&model, &inputs, 7, 30);
        println!("{name} {l:?}");
        assert!(l[29] < 0.8 * l[0], "{name}: {l:?}");
    }
}
