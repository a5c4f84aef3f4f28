//! Every row of the layer suite on machine code, at every level with one thread and with two, and some of them as CUDA
//! text on the host: forward, gradients with respect to inputs and, through a step of gradient descent, to weights.
//!
//! `BAKELITE_ALL_ROWS=1` runs all of them as CUDA text, which takes g++ minutes.

use bakelite_compiler::backend::cranelift::Products;
use bakelite_tests::host_cuda::HostCuda;
use bakelite_tests::jit::Jit;
use bakelite_tests::row::Case;
use bakelite_tests::runtime::{Pipeline, Runtime};
use bakelite_tests::suite::check_cases;

#[allow(dead_code)]
#[path = "../../compiler/tests/common/rows.rs"]
mod rows;

/// The largest batch of the rows, odd and no multiple of a vector.
const MAX_BATCH: usize = 13;
/// Of so many rows, one runs as CUDA text.
const CUDA_SHARE: usize = 6;

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    rows::for_each(|name, model, _, _, _| {
        model.max_batch(MAX_BATCH);
        let module = model.lower().unwrap_or_else(|e| panic!("{name}: {e}"));
        let name = format!("{name} ({})", cases.len());
        cases.push(Case::entry(name, module, "probe"));
    });
    cases
}

#[test]
fn machine_code_agrees() {
    let levels = Jit::levels().into_iter();
    let code = levels.map(|level| Jit { pipeline: Pipeline::Optimised, level, products: Products::Driver });
    let code: Vec<Box<dyn Runtime>> = code.map(|jit| Box::new(jit) as Box<dyn Runtime>).collect();
    check_cases(&cases(), &[1, 7, MAX_BATCH], &code);
}

#[test]
fn cuda_text_agrees() {
    let Some(host) = HostCuda::find(Pipeline::Optimised) else { return };
    let all = std::env::var_os("BAKELITE_ALL_ROWS").is_some();
    let share = if all { 1 } else { CUDA_SHARE };
    let some: Vec<Case> = cases().into_iter().step_by(share).collect();
    check_cases(&some, &[1, 7], &[Box::new(host)]);
}
