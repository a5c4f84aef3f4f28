//! Loops with a body graph: carries, slices, stacked outputs, both directions, one loop in another.

use bakelite_compiler::ir::{DType, Graph, NodeId, Over, Stepped};

use crate::row::{Domain, Row, batched, floats, weight};

/// Steps of most rows.
const STEPS: usize = 5;

/// `[batch, steps, ...]` with the steps in front.
fn steps_first(g: &mut Graph, x: NodeId) -> NodeId {
    let rank = g.ty(x).shape.rank();
    let perm: Vec<usize> = [1, 0].into_iter().chain(2..rank).collect();
    g.permute(x, &perm)
}

/// A carry of zeros like the rows of a tensor `[steps, batch, ...]`.
fn zeros_like_slice(g: &mut Graph, xs: NodeId, units: usize) -> NodeId {
    let mut shape = g.ty(xs).shape.clone();
    shape.0.remove(0);
    shape.0.truncate(1);
    shape.0.push(bakelite_compiler::ir::Dim::fixed(units));
    let zero = g.scalar(DType::F32, 0.0);
    g.broadcast(zero, &[], shape)
}

/// `h = tanh(x_t + h U)`: the last state, and all of them.
fn simple(g: &mut Graph, x: NodeId, u: NodeId, reverse: bool) -> (NodeId, NodeId) {
    let units = g.ty(u).shape[0].scale;
    let xs = steps_first(g, x);
    let zero = zeros_like_slice(g, xs, units);
    let length = g.ty(xs).shape[0].scale;
    let over = Over { length, reverse, carries: &[zero], sequences: &[xs], invariants: &[u] };
    let looped = g.scan(over, |b, s| {
        let z = b.contract(s.carries[0], s.invariants[0], &[], &[(1, 0)]);
        let z = b.add(s.slices[0], z);
        let h = b.tanh(z);
        Stepped { carries: vec![h], outputs: vec![h] }
    });
    (looped.carries[0], looped.stacked[0])
}

/// An LSTM cell over input projections: the last state and all states.
fn lstm(g: &mut Graph, x: NodeId, u: NodeId) -> (NodeId, NodeId) {
    let units = g.ty(u).shape[0].scale;
    let xs = steps_first(g, x);
    let zero = zeros_like_slice(g, xs, units);
    let length = g.ty(xs).shape[0].scale;
    let over = Over { length, reverse: false, carries: &[zero, zero], sequences: &[xs], invariants: &[u] };
    let looped = g.scan(over, |b, s| {
        let z = b.contract(s.carries[0], s.invariants[0], &[], &[(1, 0)]);
        let z = b.add(s.slices[0], z);
        let gate = |b: &mut Graph, i: usize| b.slice_axis(z, 1, i * units, (i + 1) * units);
        let (i, f, c, o) = (gate(b, 0), gate(b, 1), gate(b, 2), gate(b, 3));
        let (i, f, c, o) = (b.sigmoid(i), b.sigmoid(f), b.tanh(c), b.sigmoid(o));
        let kept = b.mul(f, s.carries[1]);
        let new = b.mul(i, c);
        let c = b.add(kept, new);
        let t = b.tanh(c);
        let h = b.mul(o, t);
        Stepped { carries: vec![h, c], outputs: vec![h] }
    });
    (looped.carries[0], looped.stacked[0])
}

pub fn rows() -> Vec<Row> {
    let mut rows = vec![
        Row::new("running sum", vec![floats(&[STEPS, 3])], |g, x| {
            let xs = steps_first(g, x[0]);
            let zero = zeros_like_slice(g, xs, 3);
            let over = Over { length: STEPS, carries: &[zero], sequences: &[xs], ..Over::default() };
            let looped = g.scan(over, |b, s| {
                let sum = b.add(s.carries[0], s.slices[0]);
                Stepped { carries: vec![sum], outputs: vec![sum] }
            });
            looped.stacked[0]
        }),
        Row::new("the last state alone", vec![floats(&[STEPS, 7]), weight(&[7, 7])], |g, x| {
            simple(g, x[0], x[1], false).0
        })
        .cells(1),
        Row::new("all states", vec![floats(&[STEPS, 7]), weight(&[7, 7])], |g, x| simple(g, x[0], x[1], false).1),
        Row::new("all states, the last step first", vec![floats(&[STEPS, 7]), weight(&[7, 7])], |g, x| {
            simple(g, x[0], x[1], true).1
        }),
        Row::new("the last state and all states", vec![floats(&[STEPS, 33]), weight(&[33, 33])], |g, x| {
            let (last, all) = simple(g, x[0], x[1], false);
            let sum = g.sum(all, &[0]);
            g.add(sum, last)
        }),
        Row::new("one step", vec![floats(&[1, 3]), weight(&[3, 3])], |g, x| simple(g, x[0], x[1], false).1),
        Row::new("a cell with gates", vec![floats(&[STEPS, 4 * 13]), weight(&[13, 4 * 13])], |g, x| {
            lstm(g, x[0], x[1]).1
        })
        .cells(1),
        Row::new(
            "the last state of a cell with gates",
            vec![floats(&[STEPS, 4 * 32]), weight(&[32, 4 * 32])],
            |g, x| lstm(g, x[0], x[1]).0,
        ),
        Row::new("one loop behind another", vec![floats(&[STEPS, 5]), weight(&[5, 5])], |g, x| {
            let (_, all) = simple(g, x[0], x[1], false);
            let all = steps_first(g, all);
            simple(g, all, x[1], true).1
        }),
        Row::new("a carry that begins with a tensor", vec![floats(&[STEPS, 3]), floats(&[3])], |g, x| {
            let xs = steps_first(g, x[0]);
            let over = Over { length: STEPS, carries: &[x[1]], sequences: &[xs], ..Over::default() };
            let looped = g.scan(over, |b, s| {
                let product = b.mul(s.carries[0], s.slices[0]);
                let next = b.tanh(product);
                Stepped { carries: vec![next], outputs: vec![product] }
            });
            let last = looped.carries[0];
            let sum = g.sum(looped.stacked[0], &[0]);
            g.add(sum, last)
        }),
        Row::new("carries that trade places", vec![floats(&[STEPS, 3]), floats(&[3]), floats(&[3])], |g, x| {
            let xs = steps_first(g, x[0]);
            let over = Over { length: STEPS, carries: &[x[1], x[2]], sequences: &[xs], ..Over::default() };
            let looped = g.scan(over, |b, s| {
                let a = b.sin(s.carries[1]);
                let a = b.mul(a, s.slices[0]);
                Stepped { carries: vec![a, s.carries[0]], outputs: vec![] }
            });
            let twice = g.mul_s(looped.carries[1], 2.0);
            g.add(looped.carries[0], twice)
        }),
        Row::new(
            "a step that is selected by a mask",
            vec![floats(&[STEPS, 3]), (batched(DType::Bool, &[STEPS]), Domain::all_of(DType::Bool)), weight(&[3, 3])],
            |g, x| {
                let (xs, masks) = (steps_first(g, x[0]), steps_first(g, x[1]));
                let zero = zeros_like_slice(g, xs, 3);
                let over = Over {
                    length: STEPS,
                    carries: &[zero],
                    sequences: &[xs, masks],
                    invariants: &[x[2]],
                    ..Over::default()
                };
                let looped = g.scan(over, |b, s| {
                    let z = b.contract(s.carries[0], s.invariants[0], &[], &[(1, 0)]);
                    let z = b.add(s.slices[0], z);
                    let h = b.tanh(z);
                    let mask = b.unreduce(s.slices[1], &[1], &b.ty(h).shape.clone());
                    let h = b.select(mask, h, s.carries[0]);
                    Stepped { carries: vec![h], outputs: vec![h] }
                });
                looped.stacked[0]
            },
        ),
        Row::new("a loop in a loop", vec![floats(&[4, 3, 5]), weight(&[5, 5])], |g, x| {
            let xs = g.permute(x[0], &[1, 2, 0, 3]);
            let zero = {
                let mut shape = g.ty(xs).shape.clone();
                shape.0.drain(..2);
                let zero = g.scalar(DType::F32, 0.0);
                g.broadcast(zero, &[], shape)
            };
            let over = Over { length: 4, carries: &[zero], sequences: &[xs], invariants: &[x[1]], ..Over::default() };
            let looped = g.scan(over, |b, s| {
                let inner = Over {
                    length: 3,
                    reverse: true,
                    carries: &[s.carries[0]],
                    sequences: &[s.slices[0]],
                    invariants: &[s.invariants[0]],
                };
                let inner = b.scan(inner, |b, s| {
                    let z = b.contract(s.carries[0], s.invariants[0], &[], &[(1, 0)]);
                    let z = b.add(s.slices[0], z);
                    let h = b.tanh(z);
                    Stepped { carries: vec![h], outputs: vec![h] }
                });
                let sum = b.sum(inner.stacked[0], &[0]);
                Stepped { carries: vec![inner.carries[0]], outputs: vec![sum] }
            });
            let last = looped.carries[0];
            let sum = g.sum(looped.stacked[0], &[0]);
            g.add(sum, last)
        }),
    ];
    // Whole numbers: hashing as a generator of random numbers does it.
    rows.push(Row::new("whole numbers", vec![(batched(DType::U32, &[STEPS]), Domain::all_of(DType::U32))], |g, x| {
        let xs = steps_first(g, x[0]);
        let mut shape = g.ty(xs).shape.clone();
        shape.0.remove(0);
        let one = g.scalar(DType::U32, 1.0);
        let one = g.broadcast(one, &[], shape);
        let over = Over { length: STEPS, carries: &[one], sequences: &[xs], ..Over::default() };
        let looped = g.scan(over, |b, s| {
            let product = b.mul(s.carries[0], s.slices[0]);
            let next = b.add_s(product, 7.0);
            Stepped { carries: vec![next], outputs: vec![next] }
        });
        looped.stacked[0]
    }));
    rows
}
