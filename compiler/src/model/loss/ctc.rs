//! Connectionist temporal classification: sequences of labels against longer sequences of outputs, without alignment.

use serde::{Deserialize, Serialize};

use super::{Loss, floats};
use crate::diag::{Code, Problem};
use crate::ir::scan::{Over, Stepped};
use crate::ir::{DType, Dim, Graph, NodeId, Number, Op, PadAxis, Shape, TensorType, ValueRange};

/// The logarithm of a probability of nothing.
const NEVER: f64 = -1e5;

/// The negative logarithm of the probability of all alignments of the labels with the outputs. Outputs are logits
/// `[steps, classes]`, where class 0 is the blank; targets are integer labels, in which 0 is padding: as many labels count,
/// from the first one, as are not 0.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct CTC;

impl Loss for CTC {
    fn kind(&self) -> &'static str {
        "CTC"
    }

    fn target(&self, output: &TensorType) -> TensorType {
        TensorType::new(DType::I32, Shape(output.shape.iter().take(2).copied().collect()))
    }

    fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
        floats("CTC", output)?;
        let (t, y) = (&target.shape, &output.shape);
        if y.rank() != 3 || y[2].batch || y[1].batch || y[2].scale < 2 {
            let message = format!("CTC takes outputs of steps and at least 2 classes, this one is {output}");
            return Err(Problem::new(Code::Loss, message));
        }
        if !target.dtype.is_int() || t.rank() != 2 || t[0] != y[0] || t[1].batch {
            let message =
                format!("CTC takes a row of integer labels for each sample of {output}, the target is {target}");
            return Err(Problem::new(Code::Loss, message).help("declare it: `m.target(\"output\", [labels], I32)`"));
        }
        Ok(())
    }

    fn labels(&self, output: &TensorType) -> Option<ValueRange> {
        output.shape.last().map(|classes| ValueRange::indices(classes.scale))
    }

    fn values(&self, g: &mut Graph, target: NodeId, output: NodeId) -> NodeId {
        let shape = g.ty(output).shape.clone();
        let (batch, steps, classes) = (shape[0], shape[1].scale, shape[2]);
        let labels = g.cast(target, DType::I32);
        let count = g.ty(labels).shape[1].scale;
        let states = 2 * count + 1;
        let wide = Shape(vec![batch, states.into()]);
        // A path goes through blanks and labels in turn: blank, label, blank, ..., label, blank.
        let path = between_blanks(g, labels);
        let emissions = emissions(g, path, output, classes);
        let skips = skips(g, labels, path);
        let state = g.iota(1, DType::I32, wide.clone());
        let (possible, never) = (g.splat_of(0.0, float(&wide)), g.splat_of(NEVER, float(&wide)));
        let zero = g.lit_like(state, 0.0);
        let first = g.eq(state, zero);
        let start = g.select(first, possible, never);
        let over =
            Over { carries: &[start], sequences: &[emissions], invariants: &[skips], length: steps, reverse: false };
        let end = g.scan(over, |g, at| {
            let (alpha, emission, skips) = (at.carries[0], at.slices[0], at.invariants[0]);
            let (one, two) = (shift(g, alpha, 1), shift(g, alpha, 2));
            let never = g.lit_like(two, NEVER);
            let two = g.select(skips, two, never);
            let sum = log_sum(g, [alpha, one, two]);
            Stepped { carries: vec![g.add(sum, emission)], outputs: vec![] }
        });
        // Paths end in the last label or in the blank after it.
        let zero = g.lit_like(labels, 0.0);
        let given = g.ne(labels, zero);
        let given = g.cast(given, DType::I32);
        let length = g.sum(given, &[1]);
        let last = g.mul_s(length, 2.0);
        let last = g.unreduce(last, &[1], &wide);
        let before = g.add_s(last, -1.0);
        let (blank, label) = (g.eq(state, last), g.eq(state, before));
        let ends = g.or(blank, label);
        let alpha = end.carries[0];
        let never = g.lit_like(alpha, NEVER * 1e3);
        let ends = g.select(ends, alpha, never);
        let total = g.log_sum_exp(ends, 1);
        g.neg(total)
    }
}

fn float(shape: &Shape) -> TensorType {
    TensorType::new(DType::F32, shape.clone())
}

/// The logarithms of the probabilities of each state's class, `[steps, batch, states]`.
fn emissions(g: &mut Graph, path: NodeId, output: NodeId, classes: Dim) -> NodeId {
    let shape = g.ty(output).shape.clone();
    let all = g.log_sum_exp(output, 2);
    let all = g.unreduce(all, &[2], &shape);
    let logs = g.sub(output, all);
    let mut hot = g.ty(path).shape.clone();
    hot.0.push(classes);
    let (label, class) = (g.unreduce(path, &[2], &hot), g.iota(2, DType::I32, hot));
    let hit = g.eq(label, class);
    let hit = g.cast(hit, DType::F32);
    let chosen = g.contract(logs, hit, &[(0, 0)], &[(2, 2)]);
    g.permute(chosen, &[1, 0, 2])
}

/// What labels have at the states of a path, and 0 at the blanks.
fn between_blanks(g: &mut Graph, labels: NodeId) -> NodeId {
    let axes = vec![PadAxis::default(), PadAxis { low: 1, high: 1, interior: 1 }];
    g.push(Op::Pad { axes, value: Number(0.0) }, &[labels])
}

/// Where a path may leave out the blank before a label: after another label.
fn skips(g: &mut Graph, labels: NodeId, path: NodeId) -> NodeId {
    let ones = g.lit_like(labels, 1.0);
    let places = between_blanks(g, ones);
    let before = shift_by(g, path, 2, 0.0);
    let zero = g.lit_like(path, 0.0);
    let (label, other) = (g.ne(places, zero), g.ne(path, before));
    g.and(label, other)
}

/// Every state's value some states before; nothing where there is no such state.
fn shift(g: &mut Graph, x: NodeId, by: usize) -> NodeId {
    shift_by(g, x, by, NEVER)
}

fn shift_by(g: &mut Graph, x: NodeId, by: usize, fill: f64) -> NodeId {
    let states = g.ty(x).shape[1].scale;
    if by >= states {
        return g.lit_like(x, fill);
    }
    let kept = g.slice_axis(x, 1, 0, states - by);
    let axes = vec![PadAxis::default(), PadAxis { low: by, high: 0, interior: 0 }];
    g.push(Op::Pad { axes, value: Number(fill) }, &[kept])
}

/// `log(exp(a) + exp(b) + exp(c))`
fn log_sum(g: &mut Graph, [a, b, c]: [NodeId; 3]) -> NodeId {
    let top = g.max(a, b);
    let top = g.max(top, c);
    let top = g.stop_gradient(top);
    let terms = [a, b, c].map(|x| {
        let shifted = g.sub(x, top);
        g.exp(shifted)
    });
    let sum = g.add(terms[0], terms[1]);
    let sum = g.add(sum, terms[2]);
    let log = g.log(sum);
    g.add(log, top)
}
