//! Gradients of loops.

use super::*;
use crate::ir::{Looped, Over, Stepped};

/// `[steps, batch, features]`
fn steps(count: usize, features: usize) -> (Shape, (f64, f64)) {
    (Shape(vec![Dim::fixed(count), Dim::BATCH, Dim::fixed(features)]), (-1.0, 1.0))
}

fn scans(graph: &Graph) -> Vec<(&crate::ir::Scan, usize)> {
    let mut found: Vec<(&crate::ir::Scan, usize)> = Vec::new();
    for node in graph.nodes() {
        if let Op::Scan { scan, .. } = &node.op {
            match found.iter_mut().find(|f| f.0 == scan.as_ref()) {
                Some(found) => found.1 += 1,
                None => found.push((scan, 1)),
            }
        }
    }
    found
}

fn count(graph: &Graph, is: impl Fn(&Op) -> bool) -> usize {
    graph.nodes().iter().filter(|n| is(&n.op)).count()
}

fn contractions(graph: &Graph) -> usize {
    count(graph, |op| matches!(op, Op::Contract(_)))
}

/// `h = tanh(x_t + h U)`
fn simple(g: &mut Graph, x: NodeId, h: NodeId, u: NodeId, length: usize, reverse: bool) -> Looped {
    let over = Over { length, reverse, carries: &[h], sequences: &[x], invariants: &[u] };
    g.scan(over, |g, step| {
        let product = g.contract(step.carries[0], step.invariants[0], &[], &[(1, 0)]);
        let z = g.add(step.slices[0], product);
        let h = g.tanh(z);
        Stepped { carries: vec![h], outputs: vec![h] }
    })
}

#[test]
fn simple_cell() {
    let inputs = [steps(4, 3), batched(&[3]), fixed(&[3, 3])];
    for reverse in [false, true] {
        let all = check("all steps", &inputs, |g, x| simple(g, x[0], x[1], x[2], 4, reverse).stacked[0]);
        assert_eq!(scans(&all).len(), 2, "one loop each way\n{all}");
        assert_eq!(contractions(&all), 1, "one weight gradient over all steps\n{all}");
        for (scan, _) in scans(&all) {
            assert_eq!(contractions(&scan.body), 1, "{all}");
        }
        let last = check("last step", &inputs, |g, x| simple(g, x[0], x[1], x[2], 4, reverse).carries[0]);
        assert_eq!(scans(&last).len(), 2, "{last}");
    }
    check("both", &inputs, |g, x| {
        let looped = simple(g, x[0], x[1], x[2], 4, false);
        let all = g.sum(looped.stacked[0], &[0]);
        g.mul(all, looped.carries[0])
    });
    check("only the initial state", &[batched(&[3])], |g, x| {
        let ones = g.splat_of(0.3, TensorType::new(DType::F64, Shape(vec![Dim::fixed(4), Dim::BATCH, Dim::fixed(3)])));
        let u = g.splat_of(0.2, TensorType::new(DType::F64, Shape::fixed(&[3, 3])));
        simple(g, ones, x[0], u, 4, false).carries[0]
    });
}

/// An LSTM over projected inputs `[steps, batch, 4 units]`; gives all hidden states.
fn lstm(g: &mut Graph, x: NodeId, h: NodeId, c: NodeId, u: NodeId, b: NodeId) -> NodeId {
    let length = g.ty(x).shape[0].scale;
    let units = g.ty(h).shape[1].scale;
    let over = Over { length, carries: &[h, c], sequences: &[x], invariants: &[u, b], ..Over::default() };
    let looped = g.scan(over, |g, step| {
        let product = g.contract(step.carries[0], step.invariants[0], &[], &[(1, 0)]);
        let z = g.add(step.slices[0], product);
        let bias = g.broadcast_like(step.invariants[1], z);
        let z = g.add(z, bias);
        let gate = |g: &mut Graph, i: usize| g.slice_axis(z, 1, i * units, (i + 1) * units);
        let (i, f, n, o) = (gate(g, 0), gate(g, 1), gate(g, 2), gate(g, 3));
        let (i, f, n, o) = (g.sigmoid(i), g.sigmoid(f), g.tanh(n), g.sigmoid(o));
        let kept = g.mul(f, step.carries[1]);
        let new = g.mul(i, n);
        let c = g.add(kept, new);
        let shown = g.tanh(c);
        let h = g.mul(o, shown);
        Stepped { carries: vec![h, c], outputs: vec![h] }
    });
    looped.stacked[0]
}

#[test]
fn lstm_cell() {
    let inputs = [steps(5, 8), batched(&[2]), batched(&[2]), fixed(&[2, 8]), fixed(&[8])];
    let graph = check("lstm", &inputs, |g, x| lstm(g, x[0], x[1], x[2], x[3], x[4]));
    let found = scans(&graph);
    assert_eq!(found.len(), 2, "{graph}");
    assert_eq!(contractions(&graph), 1, "{graph}");
    let backwards = found.iter().find(|(scan, _)| scan.reverse).unwrap().0;
    assert_eq!(contractions(&backwards.body), 1, "{graph}");
    let functions = |op: &Op| matches!(op, Op::Unary(UnaryFn::Sigmoid));
    assert_eq!(count(&backwards.body, functions), 0, "activations are stored instead of their arguments\n{graph}");
}

#[test]
fn masked_steps_keep_their_state() {
    let inputs = [steps(4, 3), batched(&[3]), fixed(&[3, 3])];
    check("mask", &inputs, |g, x| {
        let bits = [1.0, 0.0, 1.0, 1.0];
        let mask = g.dense(TensorType::new(DType::Bool, Shape::fixed(&[4])), bits);
        let over = Over { length: 4, carries: &[x[1]], sequences: &[x[0], mask], invariants: &[x[2]], reverse: false };
        let looped = g.scan(over, |g, step| {
            let product = g.contract(step.carries[0], step.invariants[0], &[], &[(1, 0)]);
            let z = g.add(step.slices[0], product);
            let h = g.tanh(z);
            let mask = g.broadcast_like(step.slices[1], h);
            let h = g.select(mask, h, step.carries[0]);
            Stepped { carries: vec![h], outputs: vec![h] }
        });
        looped.stacked[0]
    });
}

#[test]
fn integers_run_along() {
    check("rows by index, and a counter", &[fixed(&[5, 3]), batched(&[3])], |g, x| {
        let rows =
            g.dense(TensorType::new(DType::I32, Shape::fixed(&[4, 2])), [0.0, 4.0, 1.0, 1.0, 4.0, 0.0, 2.0, 2.0]);
        let zero = g.scalar(DType::I32, 0.0);
        let over = Over { length: 4, carries: &[x[1], zero], sequences: &[rows], invariants: &[x[0]], reverse: true };
        let looped = g.scan(over, |g, step| {
            let picked = g.push(Op::Gather { axis: 0, batch: 0 }, &[step.invariants[0], step.slices[0]]);
            let both = g.sum(picked, &[0]);
            let both = g.broadcast_like(both, step.carries[0]);
            let next = g.mul(step.carries[0], both);
            let factor = g.cast(step.carries[1], DType::F64);
            let factor = g.broadcast_like(factor, next);
            let scaled = g.mul(next, factor);
            let one = g.scalar(DType::I32, 1.0);
            let count = g.add(step.carries[1], one);
            Stepped { carries: vec![next, count], outputs: vec![scaled, step.carries[0]] }
        });
        let both = g.add(looped.stacked[0], looped.stacked[1]);
        let count = g.cast(looped.carries[1], DType::F64);
        let count = g.broadcast_like(count, both);
        g.mul(both, count)
    });
}

#[test]
fn loops_in_loops() {
    let inputs = [
        (Shape(vec![Dim::fixed(3), Dim::fixed(4), Dim::BATCH, Dim::fixed(2)]), (-1.0, 1.0)),
        batched(&[2]),
        fixed(&[2, 2]),
    ];
    let graph = check("nested", &inputs, |g, x| {
        let over = Over { length: 3, carries: &[x[1]], sequences: &[x[0]], invariants: &[x[2]], reverse: false };
        let looped = g.scan(over, |g, step| {
            let inner = simple(g, step.slices[0], step.carries[0], step.invariants[0], 4, true);
            let all = g.sum(inner.stacked[0], &[0]);
            let out = g.mul(all, step.carries[0]);
            Stepped { carries: vec![inner.carries[0]], outputs: vec![out] }
        });
        looped.stacked[0]
    });
    let found = scans(&graph);
    assert_eq!(found.len(), 2, "{graph}");
    assert!(found.iter().all(|(scan, _)| scans(&scan.body).len() == 1), "inner loops run once\n{graph}");
    assert_eq!(contractions(&graph), 1, "the weight gradient is one contraction over both loops\n{graph}");
}

#[test]
fn parts_without_use() {
    let inputs = [steps(3, 2), batched(&[2]), batched(&[2]), fixed(&[2])];
    check("second carry and output unused", &inputs, |g, x| {
        let over = Over { length: 3, carries: &[x[1], x[2]], sequences: &[x[0]], invariants: &[x[3]], reverse: false };
        let looped = g.scan(over, |g, step| {
            let scale = g.broadcast_like(step.invariants[0], step.slices[0]);
            let a = g.mul(step.carries[0], scale);
            let a = g.add(a, step.slices[0]);
            let b = g.mul(step.carries[1], step.carries[0]);
            Stepped { carries: vec![a, b], outputs: vec![b, a] }
        });
        looped.stacked[1]
    });
    check("a carry that only passes through", &inputs, |g, x| {
        let over = Over { length: 3, carries: &[x[1], x[2]], sequences: &[x[0]], invariants: &[x[3]], reverse: false };
        let looped = g.scan(over, |g, step| {
            let a = g.mul(step.carries[0], step.carries[1]);
            Stepped { carries: vec![a, step.carries[1]], outputs: vec![step.slices[0]] }
        });
        let once = g.mul(looped.carries[0], looped.carries[1]);
        let all = g.sum(looped.stacked[0], &[0]);
        g.add(once, all)
    });
    check("sums that no contraction takes in", &inputs, |g, x| {
        let over = Over { length: 3, carries: &[x[1]], sequences: &[x[0]], invariants: &[x[3]], reverse: false };
        let looped = g.scan(over, |g, step| {
            let scale = g.exp(step.invariants[0]);
            let scale = g.broadcast_like(scale, step.slices[0]);
            let square = g.square(step.carries[0]);
            let a = g.mul(square, scale);
            let a = g.sub(a, step.slices[0]);
            Stepped { carries: vec![a], outputs: vec![] }
        });
        looped.carries[0]
    });
}

#[test]
fn second_derivatives() {
    check("of a simple cell", &[steps(3, 2), batched(&[2]), fixed(&[2, 2])], |g, x| {
        let all = simple(g, x[0], x[1], x[2], 3, false).stacked[0];
        let square = g.square(all);
        let of = g.sum_all(square);
        gradients(g, of, &[x[2]]).unwrap()[0]
    });
}
