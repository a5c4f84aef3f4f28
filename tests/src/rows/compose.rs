//! Compositions that models are made of, and calls that change storage.

use bakelite_compiler::ir::{Op, ReduceFn, WindowAxis};

use crate::row::{Row, cell, floats, weight};

pub fn rows() -> Vec<Row> {
    let mut rows = vec![
        Row::new("softmax", vec![floats(&[11])], |g, x| g.softmax(x[0], 1)),
        Row::new("softmax along a middle axis", vec![floats(&[11, 3])], |g, x| g.softmax(x[0], 1)),
        Row::new("log_sum_exp", vec![floats(&[11])], |g, x| g.log_sum_exp(x[0], 1)),
        Row::new("argmax", vec![floats(&[11])], |g, x| g.argmax(x[0], 1)),
        Row::new("mean over the batch", vec![floats(&[5])], |g, x| g.mean(x[0], &[0])),
        Row::new("normalisation over the batch", vec![floats(&[5])], |g, x| {
            let mean = g.mean(x[0], &[0]);
            let mean = g.broadcast_like(mean, x[0]);
            let centered = g.sub(x[0], mean);
            let square = g.square(centered);
            let variance = g.mean(square, &[0]);
            let variance = g.add_s(variance, 0.1);
            let scale = g.rsqrt(variance);
            let scale = g.broadcast_like(scale, x[0]);
            g.mul(centered, scale)
        }),
        Row::new("normalisation over features", vec![floats(&[3, 17])], |g, x| {
            let shape = g.ty(x[0]).shape.clone();
            let mean = g.mean(x[0], &[2]);
            let mean = g.unreduce(mean, &[2], &shape);
            let centered = g.sub(x[0], mean);
            let square = g.square(centered);
            let variance = g.mean(square, &[2]);
            let variance = g.add_s(variance, 0.1);
            let scale = g.rsqrt(variance);
            let scale = g.unreduce(scale, &[2], &shape);
            g.mul(centered, scale)
        }),
        Row::new("a value used many times", vec![floats(&[9])], |g, x| {
            let t = g.tanh(x[0]);
            let s = g.sum(t, &[1]);
            let s = g.unreduce(s, &[1], &g.ty(t).shape.clone());
            let p = g.mul(t, s);
            g.add(p, t)
        }),
    ];
    for (name, f, size, stride) in [
        ("max pooling", ReduceFn::Max, 2, 2),
        ("overlapping max pooling", ReduceFn::Max, 3, 2),
        ("sum pooling", ReduceFn::Sum, 2, 2),
    ] {
        rows.push(Row::new(name, vec![floats(&[7, 6, 3])], move |g, x| {
            let axes = [1, 2].map(|axis| WindowAxis { axis, size, stride, dilation: 1 }).to_vec();
            let windows = g.push(Op::Window(axes), x);
            g.reduce(f, windows, &[4, 5])
        }));
    }
    rows.extend(assignments());
    rows
}

/// Cells are read as they were before the call, whatever is assigned.
fn assignments() -> Vec<Row> {
    vec![
        Row::new("counter", vec![weight(&[3])], |g, x| {
            let next = g.add_s(x[0], 1.0);
            g.assign(cell(0), next);
            x[0]
        })
        .cells(1),
        Row::new("moving average", vec![floats(&[5]), weight(&[5])], |g, x| {
            let mean = g.mean(x[0], &[0]);
            let (kept, fresh) = (g.mul_s(x[1], 0.9), g.mul_s(mean, 0.1));
            let next = g.add(kept, fresh);
            g.assign(cell(0), next);
            let old = g.broadcast_like(x[1], x[0]);
            g.sub(x[0], old)
        })
        .cells(1),
        Row::new("swapped cells", vec![weight(&[7]), weight(&[7])], |g, x| {
            g.assign(cell(0), x[1]);
            g.assign(cell(1), x[0]);
            g.sub(x[0], x[1])
        })
        .cells(2),
        Row::new("transposed in place", vec![weight(&[7, 7])], |g, x| {
            let t = g.permute(x[0], &[1, 0]);
            g.assign(cell(0), t);
            x[0]
        })
        .cells(1),
        Row::new("one value for two cells", vec![weight(&[5]), weight(&[5])], |g, x| {
            let sum = g.add(x[0], x[1]);
            g.assign(cell(0), sum);
            g.assign(cell(1), sum);
            sum
        })
        .cells(2),
        Row::new("weight update behind a contraction", vec![floats(&[9]), floats(&[64]), weight(&[9, 64])], |g, x| {
            let gradient = g.contract(x[0], x[1], &[], &[(0, 0)]);
            let step = g.mul_s(gradient, 0.01);
            let next = g.sub(x[2], step);
            g.assign(cell(0), next);
            g.contract(x[0], x[2], &[], &[(1, 0)])
        })
        .cells(1),
        Row::new("cell assigned from an input", vec![floats(&[4]), weight(&[4])], |g, x| {
            let sum = g.sum(x[0], &[0]);
            g.assign(cell(0), sum);
            x[1]
        })
        .cells(1),
    ]
}
