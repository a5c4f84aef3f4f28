//! What whole training steps promise: the interpreter's results at every level, the same bits for any number of
//! threads, from full and partial batches.

use bakelite::{Input, Model, Options, Output};
use bakelite_compiler::backend::cranelift::TargetCpu;
use bakelite_compiler::compile::{self, compile};
use bakelite_compiler::ir::Module;
use bakelite_compiler::ir::eval::{Tensor, evaluate};
use bakelite_compiler::ir::random::Rng;
use bakelite_compiler::jit::JitModel;
use bakelite_kernels::manifest::{Level, table};
use bakelite_tests::networks;

const STEPS: usize = 3;

/// The rows of one step: inputs of an entry point at a batch.
fn rows(module: &Module, entry: &str, batch: usize) -> Vec<Tensor> {
    let step = module.entry(entry).unwrap();
    let mut rng = Rng::new(batch as u64);
    let random = |decl: &bakelite_compiler::ir::graph::InputDecl, rng: &mut Rng| {
        let domain = if decl.ty.dtype.is_float() { (-1.0, 1.0) } else { (0.0, 9.9) };
        Tensor::from_numbers(decl.ty.dtype, &decl.ty.shape.at(batch), &rng.floats(decl.ty.shape.count(batch), domain))
    };
    step.inputs.iter().map(|i| random(i, &mut rng)).collect()
}

/// Results of the entry points in turn, at batches of several sizes, and every cell afterwards.
fn train(model: &mut Model, module: &Module, entries: &[&str], batches: &[usize]) -> (Vec<f64>, Vec<Vec<u32>>) {
    model.init(11).unwrap();
    let mut results = Vec::new();
    for (&batch, name) in batches.iter().flat_map(|b| entries.iter().map(move |e| (b, e))) {
        let entry = model.entry(name).unwrap();
        let tensors = rows(module, name, batch);
        let floats: Vec<Vec<f32>> = tensors.iter().map(|t| t.to_f32()).collect();
        let ints: Vec<Vec<i32>> = floats.iter().map(|v| v.iter().map(|x| *x as i32).collect()).collect();
        let inputs: Vec<Input> = tensors
            .iter()
            .zip(floats.iter().zip(&ints))
            .map(|(t, (f, i))| if t.dtype.is_float() { Input::new(f) } else { Input::new(i) })
            .collect();
        let mut values = vec![[0.0f32]; module.entry(name).unwrap().outputs.len()];
        let mut outputs: Vec<Output> = values.iter_mut().map(|r| Output::new(r)).collect();
        model.call(entry, &inputs, &mut outputs, batch).unwrap();
        results.extend(values.iter().map(|v| f64::from(v[0])));
    }
    let bits =
        |p: bakelite::Param| p.to_vec::<f32>().map(|v| v.iter().map(|x| x.to_bits()).collect()).unwrap_or_default();
    (results, model.params().map(bits).collect())
}

/// The interpreter's results for the same steps.
fn expected(module: &Module, entries: &[&str], batches: &[usize]) -> Vec<f64> {
    let zero = |c: &bakelite_compiler::ir::Storage| Tensor::splat(c.ty.dtype, &c.ty.shape.at(1), 0.0);
    let mut storage: Vec<Tensor> = module.storage.iter().map(zero).collect();
    let mut run = |entry: &str, batch: usize, inputs: &[Tensor]| -> Vec<f64> {
        let result = evaluate(module.entry(entry).unwrap(), batch, inputs, &storage).unwrap();
        for (id, value) in result.assigns {
            storage[id.0 as usize] = value;
        }
        result.outputs.iter().map(|o| o.to_numbers()[0]).collect()
    };
    run("init", 1, &[Tensor::u32(&[2], &[11, 0])]);
    let calls = batches.iter().flat_map(|b| entries.iter().map(move |e| (*b, *e)));
    calls.flat_map(|(batch, entry)| run(entry, batch, &rows(module, entry, batch))).collect()
}

fn check(module: Module, entries: &[&str]) {
    let max = module.max_batch;
    let batches: Vec<usize> = [max, 7, 1, max - 1].into_iter().cycle().take(STEPS + 1).collect();
    let expected = expected(&module, entries, &batches);
    let compiled = compile(module.clone(), &compile::Options::default()).unwrap_or_else(|e| panic!("{e}"));
    for level in Level::ALL.into_iter().filter(|l| table(*l).is_some()) {
        let mut reference: Option<Vec<Vec<u32>>> = None;
        for threads in 1..=3 {
            let code = JitModel::new(&compiled, TargetCpu::Level(level)).unwrap();
            let options = Options::new().threads(threads).tune_threads(false).level(level);
            let mut model = Model::open_with(code, options).unwrap();
            let (results, bits) = train(&mut model, &module, entries, &batches);
            for (got, want) in results.iter().zip(&expected) {
                let near = (got - want).abs() <= 2e-4 * want.abs().max(1.0);
                assert!(near, "{} at {level}: {results:?}, expected {expected:?}", module.name);
            }
            match &reference {
                None => reference = Some(bits),
                Some(first) => assert!(*first == bits, "{} at {level}: {threads} threads differ from one", module.name),
            }
        }
    }
}

#[test]
fn dense_net() {
    check(networks::mlp(33).lower().unwrap(), &["train_step"]);
}

#[test]
fn convnet() {
    check(networks::convnet(9).lower().unwrap(), &["train_step"]);
}

#[test]
fn every_first_layer() {
    check(networks::everything(9).lower().unwrap(), &["train_step"]);
}

#[test]
fn metrics_weights_and_options_of_optimizers() {
    check(networks::judged(9).lower().unwrap(), &["train_step", "evaluate_step", "finalize"]);
}

#[test]
fn a_variational_autoencoder() {
    check(networks::autoencoder(9).lower().unwrap(), &["train_step", "evaluate_step"]);
}

#[test]
fn adversaries() {
    check(networks::adversaries(9).lower().unwrap(), &["train_critic", "train_generator"]);
}

#[test]
fn labels_without_alignment() {
    check(networks::transcriber(9).lower().unwrap(), &["train_step", "evaluate_step"]);
}
