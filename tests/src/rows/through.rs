//! Addresses through merged axes: what reads by index reads a tensor whose axis was merged from two, over every view
//! that one of the two can have been. The address is then affine in the index, or not.

use bakelite_compiler::ir::{
    DType, Dim, Graph, NodeId, Number, Op, Over, PadAxis, Shape, SliceAxis, Stepped, TensorType, WindowAxis,
};

use crate::row::{Domain, Row, batched, floats};

type Step = (&'static str, fn(&mut Graph, NodeId) -> NodeId);

/// Views of `[batch, 2, 3, 4]`.
const VIEWS: [Step; 11] = [
    ("axes that lie together", |_, x| x),
    ("permuted axes", |g, x| g.permute(x, &[0, 2, 1, 3])),
    ("a far axis", |g, x| g.permute(x, &[0, 3, 1, 2])),
    ("an inner axis that repeats", |g, x| g.broadcast(x, &[0, 1, 3, 4], Shape::batched(&[2, 2, 3, 4]))),
    ("an outer axis that repeats", |g, x| g.broadcast(x, &[0, 2, 3, 4], Shape::batched(&[2, 2, 3, 4]))),
    ("a reversed outer axis", |g, x| sliced(g, x, [(1, -1, 2), (0, 1, 3)])),
    ("a reversed inner axis", |g, x| sliced(g, x, [(0, 1, 2), (2, -1, 3)])),
    ("a part of an axis", |g, x| sliced(g, x, [(0, 1, 2), (0, 2, 2)])),
    ("a padded axis", |g, x| {
        let axes =
            vec![PadAxis::default(), PadAxis::default(), PadAxis { low: 1, high: 0, interior: 1 }, PadAxis::default()];
        g.push(Op::Pad { axes, value: Number(0.5) }, &[x])
    }),
    ("joined tensors", |g, x| {
        let twice = g.mul_s(x, 2.0);
        g.concat(&[x, twice], 2)
    }),
    ("windows", |g, x| {
        let windows = g.push(Op::Window(vec![WindowAxis { axis: 2, size: 2, stride: 1, dilation: 1 }]), &[x]);
        g.permute(windows, &[0, 2, 4, 1, 3])
    }),
];

/// What reads `[batch, n, ...]` by an index along axis 1.
const READERS: [Step; 6] = [
    ("gathered", |g, x| {
        let n = g.ty(x).shape[1].scale;
        let at = (0..n + 2).map(|i| (i * 5 % (n + 1)) as f64 - 1.0);
        let at = g.dense(TensorType::new(DType::I32, Shape::fixed(&[n + 2])), at);
        g.push(Op::Gather { axis: 1, batch: 0 }, &[x, at])
    }),
    ("gathered twice", |g, x| {
        let at = g.iota(0, DType::I32, Shape::fixed(&[3]));
        let some = g.push(Op::Gather { axis: 1, batch: 0 }, &[x, at]);
        let at = g.dense(TensorType::new(DType::I32, Shape::fixed(&[2])), [2.0, 1.0]);
        g.push(Op::Gather { axis: 1, batch: 0 }, &[some, at])
    }),
    ("scattered", |g, x| {
        let mut shape = g.ty(x).shape.clone();
        let n = shape[1].scale;
        shape.0[1] = Dim::fixed(3);
        let at = (0..n).map(|i| (i * 2 % 5) as f64 - 1.0);
        let at = g.dense(TensorType::new(DType::I32, Shape::fixed(&[n])), at);
        g.push(Op::ScatterAdd { axis: 1, batch: 0, shape }, &[at, x])
    }),
    ("in windows", |g, x| g.push(Op::Window(vec![WindowAxis { axis: 1, size: 2, stride: 1, dilation: 2 }]), &[x])),
    ("step by step", |g, x| {
        let rank = g.ty(x).shape.rank();
        let perm: Vec<usize> = [1, 0].into_iter().chain(2..rank).collect();
        let steps = g.permute(x, &perm);
        let length = g.ty(steps).shape[0].scale;
        let over = Over { length, reverse: true, carries: &[], sequences: &[steps], invariants: &[] };
        let looped = g.scan(over, |b, s| Stepped { carries: vec![], outputs: vec![b.mul_s(s.slices[0], 3.0)] });
        looped.stacked[0]
    }),
    ("gathered in every step", |g, x| {
        let length = g.ty(x).shape[1].scale;
        let at = g.iota(0, DType::I32, Shape::fixed(&[length]));
        let over = Over { length, reverse: false, carries: &[], sequences: &[at], invariants: &[x] };
        let looped = g.scan(over, |b, s| {
            let row = b.push(Op::Gather { axis: 1, batch: 0 }, &[s.invariants[0], s.slices[0]]);
            Stepped { carries: vec![], outputs: vec![row] }
        });
        looped.stacked[0]
    }),
];

/// Start, step and count of the axes behind the batch; the last axis is whole.
fn sliced(g: &mut Graph, x: NodeId, axes: [(usize, isize, usize); 2]) -> NodeId {
    let whole = |count| SliceAxis { start: 0, step: 1, count };
    let shape = g.ty(x).shape.clone();
    let part = |(start, step, count)| SliceAxis { start, step, count: Dim::fixed(count) };
    g.push(Op::Slice(vec![whole(shape[0]), part(axes[0]), part(axes[1]), whole(shape[3])]), &[x])
}

/// Merges the two axes behind the batch.
fn merged(g: &mut Graph, x: NodeId) -> NodeId {
    let dims: Vec<usize> = g.ty(x).shape.iter().skip(1).map(|d| d.scale).collect();
    let merged: Vec<usize> = std::iter::once(dims[0] * dims[1]).chain(dims[2..].iter().copied()).collect();
    g.reshape(x, Shape::batched(&merged))
}

pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (view, make) in VIEWS {
        for (reader, read) in READERS {
            rows.push(Row::new(format!("{view}, merged, {reader}"), vec![floats(&[2, 3, 4])], move |g, x| {
                let view = make(g, x[0]);
                let whole = merged(g, view);
                read(g, whole)
            }));
        }
        // An index of its own for every row of the batch.
        let inputs = vec![floats(&[2, 3, 4]), (batched(DType::I32, &[3]), Domain::Between(-1.0, 9.0))];
        rows.push(Row::new(format!("{view}, merged, gathered in rows"), inputs, move |g, x| {
            let view = make(g, x[0]);
            let whole = merged(g, view);
            g.push(Op::Gather { axis: 1, batch: 1 }, &[whole, x[1]])
        }));
    }
    // Indices out of range are read at the edges and skipped by the gradient, as an operation of its own is tested to do.
    rows.into_iter().map(Row::without_differences).collect()
}
