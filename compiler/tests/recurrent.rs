//! What recurrent layers do beyond the rows that every layer has.

mod common;

use bakelite_compiler::compile::compile;
use bakelite_compiler::diag::Problem;
use bakelite_compiler::inspect::asm;
use bakelite_compiler::ir::eval::Tensor as Value;
use bakelite_compiler::ir::{Graph, NodeId, Op};
use bakelite_compiler::pass::{PassOptions, optimize};
use bakelite_compiler::prelude::*;
use bakelite_compiler::schedule::program::Program;
use common::{Interpreted, Numbers, assert_close};

const STEPS: usize = 4;

/// A model of one recurrent layer over items `[4, 3]`.
fn model_of(layer: impl FnOnce(&Tensor) -> Tensor) -> Model {
    let m = Model::new("recurrent");
    let x = m.input("x", [STEPS, 3], F32);
    m.output_as("y", &layer(&x));
    m
}

fn halves(x: &Value) -> [Value; 2] {
    let half = x.shape[1] / 2;
    let rows: Vec<Vec<f64>> = x.to_numbers().chunks(x.shape[1] * x.shape[2]).map(|row| row.to_vec()).collect();
    [0, 1].map(|part| {
        let width = half * x.shape[2];
        let numbers: Vec<f64> = rows.iter().flat_map(|row| row[part * width..(part + 1) * width].to_vec()).collect();
        Value::from_numbers(x.dtype, &[x.shape[0], half, x.shape[2]], &numbers)
    })
}

#[test]
fn states_are_kept_between_calls() {
    let m = Model::new("stateful");
    let x = m.input("x", [STEPS / 2, 3], F32);
    m.output_as("y", &GRU::new(2).name("gru").stateful(true).state_rows(5).apply(&x));
    let whole = model_of(|x| GRU::new(2).name("gru").apply(x));
    let (mut kept, mut whole) = (Interpreted::new(&m, 3), Interpreted::new(&whole, 3));
    let mut numbers = Numbers::new(4);
    for name in ["gru/gru_cell/kernel", "gru/gru_cell/recurrent_kernel", "gru/gru_cell/bias"] {
        let values = numbers.tensor(&kept.cell(name).shape.clone(), -0.9, 0.9).to_numbers();
        kept.set(name, &values);
        whole.set(name, &values);
    }
    let x = numbers.tensor(&[2, STEPS, 3], -1.0, 1.0);
    let [first, second] = halves(&x);
    kept.call("predict", 2, &[first]);
    let got = kept.call("predict", 2, &[second]);
    let wanted = whole.call("predict", 2, &[x]);
    assert_close(&got[0].to_numbers(), &wanted[0].to_numbers(), 1e-12, "two calls are one");
    // The other rows are as they were; rows that are not kept have no value.
    let state = kept.cell("gru/rnn_state").to_numbers();
    assert!(state[..4].iter().all(|x| *x != 0.0) && state[4..].iter().all(|x| *x == 0.0));
    let many = kept.call("predict", 6, &[numbers.tensor(&[6, STEPS / 2, 3], -1.0, 1.0)])[0].to_numbers();
    assert!(many[..10].iter().all(|x| x.is_finite()) && many[10..].iter().all(|x| x.is_nan()));
}

/// Exponential smoothing: no weight, one state.
#[derive(Clone, Debug)]
struct Smooth;

impl LayerDef for Smooth {
    fn kind(&self) -> &'static str {
        "Smooth"
    }

    fn arity(&self) -> std::ops::RangeInclusive<usize> {
        2..=2
    }

    fn results(&self) -> usize {
        2
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        cx.weight(Weight::new("rate", [], Initializer::Constant(0.25)))
    }

    fn call(&self, cx: &mut CallCx<'_>, inputs: &[NodeId]) -> Vec<NodeId> {
        call_once(self, cx, inputs)
    }
}

impl CellDef for Smooth {
    fn states(&self, item: &[usize]) -> Vec<Vec<usize>> {
        vec![item.to_vec()]
    }

    fn step(&self, cx: &mut CallCx<'_>, x: NodeId, states: &[NodeId], _: &[NodeId]) -> (NodeId, Vec<NodeId>) {
        let rate = cx.weight("rate");
        let rate = cx.broadcast_like(rate, x);
        let gap = cx.sub(x, states[0]);
        let move_by = cx.mul(gap, rate);
        let next = cx.add(states[0], move_by);
        let shown = cx.mul_s(next, 2.0);
        (shown, vec![next])
    }
}

#[test]
fn a_cell_of_ones_own() {
    let model = model_of(|x| RNN::new(Smooth).return_sequences(true).apply(x));
    let mut run = Interpreted::new(&model, 1);
    let x = Value::splat(DType::F32, &[1, STEPS, 3], 1.0);
    let got = run.call("predict", 1, &[x])[0].to_numbers();
    let wanted: Vec<f64> = (1..=STEPS as i32).flat_map(|n| [2.0 * (1.0 - 0.75f64.powi(n)); 3]).collect();
    assert_close(&got, &wanted, 1e-12, "smoothed");
}

/// The output of a training step over the same input in all steps, `x = h = 1` kept as it is: what was dropped.
#[test]
fn all_steps_drop_the_same() {
    let m = Model::new("dropped");
    let x = m.input("x", [STEPS, 8], F32);
    let rnn = SimpleRNN::new(8).name("rnn").activation(Linear).use_bias(false).dropout(0.5).return_sequences(true);
    m.entry("train").output("y", &rnn.apply(&x)).training(true);
    let mut run = Interpreted::new(&m, 9);
    let one: Vec<f64> = (0..64).map(|i| (i % 9 == 0) as u8 as f64).collect();
    run.set("rnn/simple_rnn_cell/kernel", &one);
    run.set("rnn/simple_rnn_cell/recurrent_kernel", &[0.0; 64]);
    let ones = Value::splat(DType::F32, &[2, STEPS, 8], 1.0);
    let mut seen = Vec::new();
    for _ in 0..2 {
        let y = run.call("train", 2, std::slice::from_ref(&ones))[0].to_numbers();
        for row in y.chunks(STEPS * 8) {
            assert!(row.chunks(8).all(|step| step == &row[..8]), "{row:?}");
            assert!(row.iter().all(|x| *x == 0.0 || *x == 2.0));
        }
        seen.push(y);
    }
    assert_ne!(seen[0], seen[1], "another step drops others");
    assert!(seen[0].contains(&0.0) && seen[0].contains(&2.0));
}

/// Number of nodes, bodies included.
fn size(graph: &Graph) -> usize {
    let inner = |op: &Op| if let Op::Scan { scan, .. } = op { size(&scan.body) } else { 0 };
    graph.nodes().iter().map(|n| 1 + inner(&n.op)).sum()
}

/// Units of [`long`].
const UNITS: usize = 64;

fn long(steps: usize) -> bakelite_compiler::ir::Module {
    let m = Model::new("long");
    let x = m.input("x", [steps, 8], F32);
    m.output_as("y", &Dense::new(2).apply(&LSTM::new(UNITS).apply(&x)));
    m.compile(SGD::new(0.1), MeanSquaredError, ());
    m.lower().unwrap()
}

fn trained(steps: usize) -> bakelite_compiler::ir::Module {
    let mut module = long(steps);
    optimize(&mut module, &PassOptions { verify_after: true, ..PassOptions::default() }).unwrap();
    module
}

#[test]
fn graphs_do_not_grow_with_the_number_of_steps() {
    let (short, long) = (trained(5), trained(500));
    for (a, b) in short.entries.iter().zip(&long.entries) {
        // A sum over all steps may be taken in two parts where there are many.
        assert!(size(b) <= size(a) + 1, "{}: {} and {}", a.name, size(a), size(b));
    }
    let step = long.entry("train_step").unwrap();
    // Projection and its gradient, the weight gradient of the state, and three for the dense layer.
    let contractions = step.nodes().iter().filter(|n| matches!(n.op, Op::Contract(_))).count();
    assert_eq!(contractions, 6, "{step}");
    let loops: std::collections::HashSet<_> = step
        .nodes()
        .iter()
        .filter_map(|n| if let Op::Scan { scan, .. } = &n.op { Some(scan.clone()) } else { None })
        .collect();
    assert_eq!(loops.len(), 2, "{step}");
    for scan in loops {
        let inside = scan.body.nodes().iter().filter(|n| matches!(n.op, Op::Contract(_))).count();
        assert_eq!(inside, 1, "{step}");
    }
}

/// The size of a loop's code does not depend on its length, and so neither does the time to make it.
#[test]
fn programs_and_code_do_not_grow_with_the_number_of_steps() {
    let [short, long] = [5, 500].map(|steps| compile(long(steps), &Default::default()).unwrap());
    for (a, b) in short.programs.iter().zip(&long.programs) {
        let size = |p: &Program| p.kernels.iter().map(|k| k.stages.len() + k.exprs.len()).sum::<usize>();
        assert!(b.kernels.len() <= a.kernels.len() + 1, "{}", a.name);
        assert!(size(b) * 10 <= size(a) * 12, "{}: {} and {}", a.name, size(a), size(b));
    }
    let [few, many] = [&short, &long].map(|c| asm(c, None).unwrap().lines().count());
    assert!(many * 10 <= few * 12, "{few} lines of machine code for 5 steps, {many} for 500");
}

/// The projected input of a step, whose memory its gradient takes over; the four gates, and both states.
#[test]
fn the_arena_grows_by_what_the_gradient_needs() {
    let [short, long] = [5, 500].map(|steps| compile(long(steps), &Default::default()).unwrap());
    let [few, many] = [&short, &long].map(|c| c.program("train_step").unwrap());
    let step = (many.arena_bytes - few.arena_bytes) as f64 / 495.0;
    let kept = (many.max_batch * (4 + 4 + 2) * UNITS * size_of::<f32>()) as f64;
    assert!(step <= 1.02 * kept, "{step} bytes a step, {kept} are needed");
}
