//! Every row of the layer suite on machine code, at every level with one thread and with two, and as CUDA text on the
//! host: forward, gradients with respect to inputs and, through a step of gradient descent, to weights.

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
/// The batches that rows run with.
const BATCHES: [usize; 3] = [1, 7, MAX_BATCH];

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
    check_cases(&cases(), &BATCHES, &code);
}

#[test]
fn cuda_text_agrees() {
    let Some(host) = HostCuda::find(Pipeline::Optimised) else { return };
    check_cases(&cases(), &BATCHES, &[Box::new(host)]);
}
