//! Random modules through the whole pipeline.

use crate::compile::{Options, compile};
use crate::ir::eval::evaluate;
use crate::ir::random::{self, Rng, TOLERANCE};
use crate::ir::{Module, TensorType};
use crate::schedule::verify;

use super::run::{Case, Runner, levels};

fn check(seed: u64) {
    let module = random::module(seed, 8 + seed as usize % 30);
    if !callable(&module) {
        return;
    }
    let compiled = compile(module, &Options::default()).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    let entry = &compiled.module.entries[0];
    let mut program = compiled.programs[0].clone().into_inner();
    // Threads share whatever they can, so that barriers are tested.
    for kernel in &mut program.kernels {
        kernel.parallel = kernel.outer.first().copied();
    }
    let program = verify::verify(program).unwrap_or_else(|_| panic!("seed {seed}"));
    let cells: Vec<TensorType> = compiled.module.storage.iter().map(|c| c.ty.clone()).collect();
    let cases: Vec<Case> = [1, random::MAX_BATCH]
        .into_iter()
        .map(|batch| {
            let mut rng = Rng::new(seed ^ batch as u64);
            let inputs = random::inputs(&mut rng, entry, batch);
            let storage = random::storage(&mut rng, &compiled.module);
            let result = evaluate(entry, batch, &inputs, &storage).unwrap();
            let mut after = storage.clone();
            for (id, value) in result.assigns {
                after[id.0 as usize] = value;
            }
            Case { batch, inputs, storage, expected: result.outputs.into_iter().chain(after).collect() }
        })
        .collect();
    for level in levels() {
        let mut runner = Runner::new(&program, &cells, level);
        for case in &cases {
            runner.check(&program, case, 2, TOLERANCE, &format!("seed {seed}"));
        }
    }
}

/// Whether the batch leads in every argument and result, as entry points want it.
fn callable(module: &Module) -> bool {
    let leads = |ty: &TensorType| ty.shape.iter().skip(1).all(|d| !d.batch);
    module
        .entries
        .iter()
        .all(|e| e.inputs.iter().all(|i| leads(&i.ty)) && e.outputs.iter().all(|o| leads(e.ty(o.node))))
}

#[test]
fn random_modules_agree_with_the_interpreter() {
    for seed in 0..60 {
        check(seed);
    }
}
