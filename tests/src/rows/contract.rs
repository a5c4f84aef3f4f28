//! Contractions: sizes around those of microkernel tiles, every kind of axis, and what fuses around them.

use bakelite_compiler::ir::{Graph, NodeId, Number, Op, PadAxis, WindowAxis};

use crate::row::{Row, floats, weight};

/// `x w` over the last axis of `x`.
fn dense(g: &mut Graph, x: NodeId, w: NodeId) -> NodeId {
    let last = g.ty(x).shape.rank() - 1;
    g.contract(x, w, &[], &[(last, 0)])
}

pub fn rows() -> Vec<Row> {
    let mut rows = sizes();
    rows.extend(axes());
    rows.extend(fused());
    rows
}

fn sizes() -> Vec<Row> {
    let mut rows = Vec::new();
    for (k, n) in [(1, 1), (1, 7), (7, 1), (5, 3), (16, 32), (37, 23), (33, 65), (64, 96), (130, 31), (300, 10)] {
        let (x, w) = (floats(&[k]), weight(&[k, n]));
        rows.push(Row::new(format!("dense {k} to {n}"), vec![x, w], |g, x| dense(g, x[0], x[1])).cells(1));
    }
    rows.push(
        Row::new("dense on sequences", vec![floats(&[5, 9]), weight(&[9, 35])], |g, x| dense(g, x[0], x[1])).cells(1),
    );
    rows.push(
        Row::new("weights only", vec![weight(&[19, 33]), weight(&[33, 40])], |g, x| dense(g, x[0], x[1])).cells(2),
    );
    rows.push(Row::new("over the batch", vec![floats(&[11]), floats(&[35])], |g, x| {
        g.contract(x[0], x[1], &[], &[(0, 0)])
    }));
    rows
}

fn axes() -> Vec<Row> {
    vec![
        Row::new("right transposed", vec![floats(&[9]), weight(&[35, 9])], |g, x| {
            g.contract(x[0], x[1], &[], &[(1, 1)])
        })
        .cells(1),
        Row::new("left transposed", vec![weight(&[9, 19]), weight(&[9, 35])], |g, x| {
            g.contract(x[0], x[1], &[], &[(0, 0)])
        }),
        Row::new("attention scores", vec![floats(&[5, 3, 7]), floats(&[6, 3, 7])], |g, x| {
            g.contract(x[0], x[1], &[(0, 0), (2, 2)], &[(3, 3)])
        }),
        Row::new("attention mixing", vec![floats(&[3, 5, 6]), floats(&[6, 3, 7])], |g, x| {
            g.contract(x[0], x[1], &[(0, 0), (1, 2)], &[(3, 1)])
        }),
        Row::new("two sums, out of order", vec![floats(&[2, 3, 4, 5]), weight(&[5, 6, 2, 4])], |g, x| {
            g.contract(x[0], x[1], &[], &[(4, 0), (1, 2), (3, 3)])
        }),
        Row::new("batch axis not leading", vec![weight(&[4, 3, 2]), weight(&[2, 5, 3])], |g, x| {
            g.contract(x[0], x[1], &[(1, 2)], &[(2, 0)])
        }),
        Row::new("outer product", vec![weight(&[5]), weight(&[7])], |g, x| g.contract(x[0], x[1], &[], &[])),
        Row::new("inner product", vec![weight(&[103]), weight(&[103])], |g, x| g.contract(x[0], x[1], &[], &[(0, 0)])),
        Row::new("row by row", vec![floats(&[9]), floats(&[9])], |g, x| g.contract(x[0], x[1], &[(0, 0)], &[(1, 1)])),
        Row::new("matrix and vector", vec![floats(&[9]), weight(&[9])], |g, x| g.contract(x[0], x[1], &[], &[(1, 0)]))
            .cells(1),
        Row::new("nothing summed", vec![floats(&[3]), floats(&[3])], |g, x| {
            g.contract(x[0], x[1], &[(0, 0), (1, 1)], &[])
        }),
        Row::new("a sum over nothing", vec![floats(&[0]), weight(&[0, 3])], |g, x| dense(g, x[0], x[1]))
            .without_differences(),
        Row::new("with itself", vec![weight(&[11, 11])], |g, x| g.contract(x[0], x[0], &[], &[(1, 0)])),
        Row::new("gram matrix", vec![floats(&[7])], |g, x| g.contract(x[0], x[0], &[], &[(0, 0)])),
    ]
}

fn fused() -> Vec<Row> {
    vec![
        Row::new("dense with bias and relu", vec![floats(&[19]), weight(&[19, 35]), weight(&[35])], |g, x| {
            let z = dense(g, x[0], x[1]);
            let b = g.broadcast_like(x[2], z);
            let z = g.add(z, b);
            g.relu(z)
        })
        .cells(2),
        Row::new("dense with bias and tanh, doubled", vec![floats(&[6]), weight(&[6, 64]), weight(&[64])], |g, x| {
            let z = dense(g, x[0], x[1]);
            let b = g.broadcast_like(x[2], z);
            let z = g.add(z, b);
            let t = g.tanh(z);
            g.add(t, z)
        })
        .cells(2),
        Row::new("function before a contraction", vec![floats(&[19]), weight(&[19, 35])], |g, x| {
            let e = g.exp(x[0]);
            dense(g, e, x[1])
        })
        .cells(1),
        Row::new("functions before both operands", vec![floats(&[9]), weight(&[9, 33])], |g, x| {
            let (a, b) = (g.square(x[0]), g.tanh(x[1]));
            dense(g, a, b)
        })
        .cells(1),
        Row::new("two dense layers", vec![floats(&[9]), weight(&[9, 33]), weight(&[33, 5])], |g, x| {
            let h = dense(g, x[0], x[1]);
            let h = g.relu(h);
            dense(g, h, x[2])
        })
        .cells(2),
        Row::new("contraction and residual", vec![floats(&[17]), weight(&[17, 17])], |g, x| {
            let z = dense(g, x[0], x[1]);
            g.add(z, x[0])
        })
        .cells(1),
        Row::new("softmax of a contraction", vec![floats(&[9]), weight(&[9, 11])], |g, x| {
            let z = dense(g, x[0], x[1]);
            g.softmax(z, 1)
        })
        .cells(1),
        convolution("convolution", [9, 8, 3, 5], [3, 3], 1, 1, 0),
        convolution("convolution with one channel", [9, 7, 1, 33], [3, 3], 1, 1, 0),
        convolution("convolution with strides", [9, 8, 2, 4], [3, 2], 2, 1, 0),
        convolution("convolution with dilation", [9, 8, 2, 4], [2, 3], 1, 2, 0),
        convolution("convolution with padding", [5, 6, 3, 4], [3, 3], 1, 1, 1),
        convolution("convolution with padding and strides", [7, 6, 2, 32], [3, 3], 2, 1, 1),
        convolution("pointwise convolution", [5, 4, 7, 6], [1, 1], 1, 1, 0),
    ]
}

/// Two-dimensional convolution of `[rows, columns, channels]`, with relu, as the layer builds it.
fn convolution(
    name: &str,
    [height, width, channels, filters]: [usize; 4],
    [rows, columns]: [usize; 2],
    stride: usize,
    dilation: usize,
    padding: usize,
) -> Row {
    let inputs = vec![floats(&[height, width, channels]), weight(&[rows, columns, channels, filters])];
    Row::new(name, inputs, move |g, x| {
        let around = PadAxis { low: padding, high: padding, interior: 0 };
        let axes = vec![PadAxis::default(), around, around, PadAxis::default()];
        let padded = match padding {
            0 => x[0],
            _ => g.push(Op::Pad { axes, value: Number(0.0) }, &[x[0]]),
        };
        let axis = |axis, size| WindowAxis { axis, size, stride, dilation };
        let windows = g.push(Op::Window(vec![axis(1, rows), axis(2, columns)]), &[padded]);
        let z = g.contract(windows, x[1], &[], &[(4, 0), (5, 1), (3, 2)]);
        g.relu(z)
    })
    .cells(1)
}
