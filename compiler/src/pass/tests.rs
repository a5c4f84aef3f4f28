//! Passes preserve meaning, keep graphs valid, and find nothing the second time.

mod loops;

use super::*;
use crate::grad::gradients;
use crate::ir::eval::{Evaluated, Tensor, Values, evaluate};
use crate::ir::parse::parse_module;
use crate::ir::random::{self, Rng, TOLERANCE};
use crate::ir::verify::verify_module;
use crate::ir::{DType, Dim, Number, PadAxis, Shape, SliceAxis, TensorType, WindowAxis};

fn options() -> PassOptions {
    PassOptions { verify_after: true, ..PassOptions::default() }
}

/// A random module, every other one with loops.
fn sample(seed: u64, operations: usize) -> Module {
    if seed.is_multiple_of(2) { random::module(seed, operations) } else { random::module_with_loops(seed, operations) }
}

/// Equal, or both NaN, or within the tolerance.
fn close(a: f64, b: f64) -> bool {
    a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= TOLERANCE * a.abs().max(1.0)
}

fn assert_close(before: &Tensor, after: &Tensor, what: &dyn Fn() -> String) {
    assert_eq!((before.dtype, &before.shape), (after.dtype, &after.shape), "{}", what());
    let exact = !before.dtype.is_float();
    for (a, b) in before.to_numbers().into_iter().zip(after.to_numbers()) {
        assert!(if exact { a == b } else { close(a, b) }, "{a} became {b}\n{}", what());
    }
}

fn assert_same(before: &Evaluated, after: &Evaluated, what: &dyn Fn() -> String) {
    assert_eq!(before.outputs.len(), after.outputs.len());
    for (a, b) in before.outputs.iter().zip(&after.outputs) {
        assert_close(a, b, what);
    }
    for (a, b) in before.assigns.iter().zip(&after.assigns) {
        assert_eq!(a.0, b.0);
        assert_close(&a.1, &b.1, what);
    }
}

/// Evaluates a random module before and after on ordinary numbers, then with NaN and infinities among them.
fn check_meaning(seed: u64, before: &Module, after: &Module) {
    for (batch, wild) in [(1, false), (3, false), (2, true)] {
        let mut rng = Rng::new(seed);
        let mut inputs = random::inputs(&mut rng, &before.entries[0], batch);
        let storage = random::storage(&mut rng, before);
        if wild {
            for tensor in &mut inputs {
                if let Values::Float(v) = &mut tensor.values {
                    let at = rng.below(v.len());
                    v[at] = rng.pick(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY]);
                }
            }
        }
        let run = |m: &Module| evaluate(&m.entries[0], batch, &inputs, &storage).unwrap();
        let what = || format!("seed {seed}, batch {batch}, wild {wild}\n{before}\n{after}");
        assert_same(&run(before), &run(after), &what);
    }
}

#[test]
fn every_pass_preserves_meaning_and_is_idempotent() {
    for seed in 0..200 {
        let before = sample(seed, 40);
        for name in names() {
            let mut after = before.clone();
            run_pass(name, &mut after, &options()).unwrap().unwrap_or_else(|bug| panic!("seed {seed}: {bug}"));
            check_meaning(seed, &before, &after);
            let text = after.to_string();
            let again = run_pass(name, &mut after, &options()).unwrap().unwrap();
            assert_eq!(again.rewrites, [], "seed {seed}, {name}\n{before}");
            assert_eq!(text, after.to_string(), "seed {seed}, {name}");
        }
    }
}

/// The seeds of this many random modules, unless the environment asks for another number of them or for later ones.
fn seeds(usual: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|n| n.parse::<u64>().unwrap());
    let first = number("BAKELITE_RANDOM_SEED").unwrap_or(0);
    first..first + number("BAKELITE_RANDOM_COUNT").unwrap_or(usual)
}

#[test]
fn the_pipeline_preserves_meaning_and_finishes() {
    let mut rules = std::collections::BTreeSet::new();
    for seed in seeds(400) {
        let before = sample(seed, 60);
        let mut after = before.clone();
        let report = optimize(&mut after, &options()).unwrap_or_else(|bug| panic!("seed {seed}: {bug}"));
        rules.extend(report.rewrites.iter().map(|r| r.rule));
        check_meaning(seed, &before, &after);
        let again = optimize(&mut after, &options()).unwrap();
        assert_eq!(again.rewrites, [], "seed {seed}\n{before}");
    }
    assert!(rules.len() > 25 || seeds(400).count() < 400, "{rules:?}");
}

#[test]
fn rewrites_are_logged_and_limited() {
    let before = random::module(11, 60);
    let mut after = before.clone();
    let report = optimize(&mut after, &options()).unwrap();
    let total = report.rewrites.len();
    assert!(total > 2);
    assert_eq!(report.runs.iter().map(|r| r.rewrites).sum::<usize>(), total);
    assert!(report.times().iter().any(|t| t.0 == "simplify"));
    for limit in [0, 1, total - 1, total] {
        let mut part = before.clone();
        let report = optimize(&mut part, &PassOptions { stop_after: Some(limit), ..options() }).unwrap();
        assert_eq!(report.rewrites.len(), limit);
        check_meaning(11, &before, &part);
    }
}

/// The gradient of `sum(convolution * weights)` with respect to the input.
fn convolution_gradient(
    image: &[usize],
    windows: &[WindowAxis],
    pads: &[PadAxis],
    contract: impl Fn(&mut Graph, NodeId) -> NodeId,
) -> Module {
    let mut g = Graph::new("gradient");
    let x = g.input("x", TensorType::new(DType::F32, Shape::batched(image)));
    let axes = [&[PadAxis::default()], pads].concat();
    let padded = g.push(Op::Pad { axes, value: Number(0.0) }, &[x]);
    let windowed = g.push(Op::Window(windows.to_vec()), &[padded]);
    let y = contract(&mut g, windowed);
    let weights = g.input("weights", g.ty(y).clone());
    let product = g.mul(y, weights);
    let of = g.sum_all(product);
    let dx = gradients(&mut g, of, &[x]).unwrap()[0];
    g.output("dx", dx);
    Module { name: "conv".into(), max_batch: 4, entries: vec![g], ..Module::default() }
}

fn check_unfolded(what: &str, before: Module) {
    let mut after = before.clone();
    optimize(&mut after, &PassOptions { unfold_always: true, ..options() }).unwrap();
    verify_module(&after).unwrap();
    let folds = after.entries[0].nodes().iter().filter(|n| matches!(n.op, Op::Fold { .. })).count();
    assert_eq!(folds, 0, "{what}\n{after}");
    let mut rng = Rng::new(3);
    let inputs = random::inputs(&mut rng, &before.entries[0], 2);
    let run = |m: &Module| evaluate(&m.entries[0], 2, &inputs, &[]).unwrap();
    assert_same(&run(&before), &run(&after), &|| format!("{what}\n{before}\n{after}"));
}

fn dense_kernel(g: &mut Graph, windowed: NodeId, rank: usize) -> NodeId {
    let shape = g.ty(windowed).shape.clone();
    // [batch, positions.., c, elements..] with [elements.., c, 3]
    let elements: Vec<usize> = shape[rank + 2..].iter().map(|d| d.scale).collect();
    let dims = [&elements[..], &[shape[rank + 1].scale, 3]].concat();
    let kernel = g.input("kernel", TensorType::new(DType::F32, Shape::fixed(&dims)));
    let mut sum = vec![(rank + 1, rank)];
    sum.extend((0..rank).map(|i| (rank + 2 + i, i)));
    g.contract(windowed, kernel, &[], &sum)
}

#[test]
fn backward_data_is_a_convolution_in_one_dimension() {
    for extent in [5, 8, 9] {
        for size in [2, 3, 4] {
            for (stride, dilation) in [(1, 1), (2, 1), (3, 1), (1, 2), (2, 2), (4, 1)] {
                for (low, high) in [(0, 0), (1, 1), (0, 2), (2, 0), (3, 1)] {
                    let window = WindowAxis { axis: 1, size, stride, dilation };
                    if window.positions(extent + low + high) == 0 {
                        continue;
                    }
                    let what = format!("{extent} {window:?} {low} {high}");
                    let pads = [PadAxis { low, high, interior: 0 }, PadAxis::default()];
                    let module = convolution_gradient(&[extent, 2], &[window], &pads, |g, w| dense_kernel(g, w, 1));
                    check_unfolded(&what, module);
                }
            }
        }
    }
}

#[test]
fn backward_data_is_a_convolution_in_two_dimensions() {
    let rows = WindowAxis { axis: 1, size: 3, stride: 2, dilation: 1 };
    let columns = WindowAxis { axis: 2, size: 2, stride: 1, dilation: 2 };
    let pads = [PadAxis { low: 1, high: 1, interior: 0 }, PadAxis { low: 0, high: 1, interior: 0 }, PadAxis::default()];
    check_unfolded("dense", convolution_gradient(&[7, 5, 2], &[rows, columns], &pads, |g, w| dense_kernel(g, w, 2)));
    // The kernel on the left, channels matched: [c, elements.., m] with [batch, positions.., c, elements..].
    check_unfolded(
        "depthwise, operands exchanged",
        convolution_gradient(&[7, 5, 2], &[rows, columns], &pads, |g, w| {
            let kernel = g.input("kernel", TensorType::new(DType::F32, Shape::fixed(&[2, 3, 2, 3])));
            g.contract(kernel, w, &[(0, 3)], &[(1, 4), (2, 5)])
        }),
    );
}

#[test]
fn folds_with_strides_stay_where_that_is_cheaper() {
    let window = WindowAxis { axis: 1, size: 17, stride: 16, dilation: 1 };
    let mut module =
        convolution_gradient(&[257, 64], &[window], &[PadAxis::default(); 2], |g, w| dense_kernel(g, w, 1));
    optimize(&mut module, &options()).unwrap();
    assert!(module.entries[0].nodes().iter().any(|n| matches!(n.op, Op::Fold { .. })));
}

#[test]
fn folding_rounds_to_f32() {
    let mut g = Graph::new("fold");
    let (tiny, one) = (g.scalar(DType::F32, 1e-9), g.scalar(DType::F32, 1.0));
    let sum = g.add(tiny, one);
    let tenth = g.scalar(DType::F32, 0.1);
    let wide = g.cast(tenth, DType::F64);
    let shape = Shape(vec![Dim::BATCH, Dim::fixed(3)]);
    let ones = g.splat_of(1.0, TensorType::new(DType::F32, shape));
    let count = g.sum_all(ones);
    g.output("sum", sum);
    g.output("wide", wide);
    g.output("count", count);
    let mut module = Module { name: "m".into(), max_batch: 4, entries: vec![g], ..Module::default() };
    optimize(&mut module, &options()).unwrap();
    let g = &module.entries[0];
    assert_eq!(g.splat(g.outputs[0].node), Some(1.0));
    assert_eq!(g.splat(g.outputs[1].node), Some(0.1f32 as f64));
    assert_eq!(evaluate(g, 4, &[], &[]).unwrap().outputs[2].to_numbers(), [12.0]);
    assert_eq!(g.nodes().len(), 3, "{module}");
}

#[test]
fn a_broken_graph_is_reported_with_its_pass() {
    let mut g = Graph::new("broken");
    let c = g.scalar(DType::U8, 300.0);
    g.output("c", c);
    let mut module = Module { name: "m".into(), max_batch: 1, entries: vec![g], ..Module::default() };
    let bug = optimize(&mut module, &options()).unwrap_err();
    assert!(bug.to_string().starts_with("compiler bug: pass `merge` broke a graph\nLiteral violated"), "{bug}");
    assert!(bug.dump.starts_with("entry \"broken\""));
}

#[test]
fn whole_slices_are_dropped() {
    let mut g = Graph::new("slice");
    let x = g.input("x", TensorType::new(DType::F32, Shape::fixed(&[4])));
    let axis = SliceAxis { start: 0, step: 1, count: Dim::fixed(4) };
    let same = g.push(Op::Slice(vec![axis]), &[x]);
    g.output("same", same);
    let mut module = Module { name: "m".into(), max_batch: 1, entries: vec![g], ..Module::default() };
    let report = optimize(&mut module, &options()).unwrap();
    assert_eq!(report.rewrites[0].rule, "whole_view");
    assert_eq!(module.entries[0].nodes().len(), 1);
}

#[test]
fn any_text_that_verifies_is_optimized() {
    let mut verified = 0;
    for seed in 0..400 {
        let mut rng = Rng::new(seed);
        let mut text: Vec<u8> = sample(seed, 15).to_string().into_bytes();
        let digits: Vec<usize> = (0..text.len()).filter(|&i| text[i].is_ascii_digit()).collect();
        let at = rng.pick(&digits);
        text[at] = b'0' + rng.below(10) as u8;
        let Ok(mut module) = parse_module(&String::from_utf8(text).unwrap()) else {
            continue;
        };
        if verify_module(&module).is_ok() {
            verified += 1;
            optimize(&mut module, &options()).unwrap_or_else(|bug| panic!("seed {seed}: {bug}"));
        }
    }
    assert!(verified > 50, "{verified}");
}
