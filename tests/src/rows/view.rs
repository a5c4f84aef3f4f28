//! Leaves, and everything that only rearranges.

use bakelite_compiler::ir::{DType, Dim, Literal, Number, Op, PadAxis, Shape, SliceAxis, TensorType, WindowAxis};

use crate::row::{Domain, Row, Tolerance, batched, fixed, floats, weight};

fn pad(low: usize, high: usize, interior: usize) -> PadAxis {
    PadAxis { low, high, interior }
}

fn whole(count: Dim) -> SliceAxis {
    SliceAxis { start: 0, step: 1, count }
}

fn part(start: usize, step: isize, count: usize) -> SliceAxis {
    SliceAxis { start, step, count: Dim::fixed(count) }
}

fn window(axis: usize, size: usize, stride: usize, dilation: usize) -> WindowAxis {
    WindowAxis { axis, size, stride, dilation }
}

pub fn rows() -> Vec<Row> {
    let mut rows = leaves();
    rows.extend(moves());
    rows.extend(edges());
    rows.extend(windows());
    // All of these move numbers without computing.
    rows.into_iter().map(|row| row.tolerance(Tolerance::Within(1e-6))).collect()
}

fn leaves() -> Vec<Row> {
    let mut rows = Vec::new();
    for dtype in [DType::F32, DType::I32, DType::U32, DType::U8] {
        for axis in [0, 1, 2] {
            let shape = Shape::batched(&[5, 3]);
            rows.push(Row::new(format!("iota {dtype} along {axis}"), vec![], move |g, _| {
                g.iota(axis, dtype, shape.clone())
            }));
        }
    }
    rows.push(Row::new("splat", vec![], |g, _| g.splat_of(-1.5, batched(DType::F32, &[3, 5]))));
    rows.push(Row::new("splat of booleans", vec![], |g, _| g.splat_of(1.0, batched(DType::Bool, &[3]))));
    for dtype in [DType::F32, DType::I32, DType::U32, DType::U8, DType::Bool] {
        let name = format!("dense constant {dtype}");
        rows.push(Row::new(name, vec![], move |g, _| {
            let numbers =
                (0..33).map(|i| if dtype == DType::Bool { (i % 3 == 0) as u8 as f64 } else { (i * 7 % 33) as f64 });
            g.dense(fixed(dtype, &[3, 11]), numbers)
        }));
    }
    rows.push(Row::new("dense constant with infinities and nan", vec![], |g, _| {
        g.dense(fixed(DType::F32, &[4]), [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e-40])
    }));
    rows.push(Row::new("size of the batch", vec![], |g, _| g.size(Dim { scale: 3, batch: true }, DType::F32)));
    rows.push(Row::new("size of the batch in a tensor", vec![floats(&[3])], |g, x| {
        let ty = g.ty(x[0]).clone();
        let size = g.push(Op::Const { value: Literal::Size(Dim::BATCH), ty }, &[]);
        g.div(x[0], size)
    }));
    rows.push(Row::new("storage", vec![weight(&[3, 5])], |g, x| g.mul_s(x[0], 2.0)).cells(1));
    rows.push(Row::new("an output that is an input", vec![floats(&[5])], |_, x| x[0]));
    rows.push(Row::new("an output that is a cell", vec![weight(&[5])], |_, x| x[0]).cells(1));
    rows
}

fn moves() -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, to) in [
        ("merges", Shape::batched(&[105])),
        ("splits", Shape::batched(&[3, 5, 7, 1])),
        ("regroups", Shape::batched(&[7, 15])),
        ("merges the batch", Shape(vec![Dim { scale: 15, batch: true }, Dim::fixed(7)])),
        ("merges everything", Shape(vec![Dim { scale: 105, batch: true }])),
        ("adds ones", Shape([&[Dim::ONE, Dim::BATCH, Dim::ONE], &Shape::fixed(&[15, 7]).0[..]].concat())),
    ] {
        rows.push(Row::new(format!("reshape {name}"), vec![floats(&[15, 7])], move |g, x| g.reshape(x[0], to.clone())));
    }
    rows.push(Row::new("reshape computed", vec![floats(&[4, 6])], |g, x| {
        let y = g.square(x[0]);
        let y = g.reshape(y, Shape::batched(&[3, 8]));
        g.neg(y)
    }));
    rows.push(Row::new("reshape to a scalar", vec![weight(&[1, 1])], |g, x| g.reshape(x[0], Shape::scalar())));
    for perm in [vec![0, 2, 1], vec![1, 0, 2], vec![2, 1, 0], vec![1, 2, 0], vec![2, 0, 1]] {
        let name = format!("permute {perm:?}");
        rows.push(Row::new(name, vec![floats(&[5, 7])], move |g, x| g.permute(x[0], &perm)));
    }
    rows.push(Row::new("permute and reshape", vec![floats(&[3, 5, 2])], |g, x| {
        let y = g.permute(x[0], &[0, 2, 3, 1]);
        g.reshape(y, Shape::batched(&[5, 6]))
    }));
    rows.push(Row::new("broadcast of a scalar", vec![weight(&[])], |g, x| {
        g.broadcast(x[0], &[], Shape::batched(&[3]))
    }));
    rows.push(Row::new("broadcast of a row", vec![weight(&[7])], |g, x| {
        g.broadcast(x[0], &[2], Shape::batched(&[3, 7]))
    }));
    rows.push(Row::new("broadcast of a column", vec![floats(&[])], |g, x| {
        g.broadcast(x[0], &[0], Shape::batched(&[3, 7]))
    }));
    rows.push(Row::new("broadcast stretches", vec![weight(&[5, 1, 3])], |g, x| {
        g.broadcast(x[0], &[1, 2, 3], Shape::batched(&[5, 4, 3]))
    }));
    rows.push(Row::new("broadcast stretches to the batch", vec![weight(&[1, 3])], |g, x| {
        g.broadcast(x[0], &[0, 1], Shape::batched(&[3]))
    }));
    rows.push(Row::new(
        "broadcast of integers",
        vec![(fixed(DType::I32, &[5]), Domain::Between(-9.0, 9.0))],
        |g, x| g.broadcast(x[0], &[1], Shape::batched(&[5])),
    ));
    rows
}

fn edges() -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, axes) in [
        ("middle", [part(2, 1, 3), part(0, 1, 7)]),
        ("steps", [part(1, 2, 4), part(0, 3, 3)]),
        ("reversed", [part(8, -1, 9), part(0, 1, 7)]),
        ("backwards in steps", [part(7, -3, 3), part(6, -2, 4)]),
        ("one element", [part(4, 1, 1), part(6, 5, 1)]),
        ("nothing", [part(4, 1, 0), part(0, 1, 7)]),
    ] {
        let name = format!("slice {name}");
        rows.push(Row::new(name, vec![floats(&[9, 7])], move |g, x| {
            let axes = [&[whole(Dim::BATCH)], &axes[..]].concat();
            g.push(Op::Slice(axes), x)
        }));
    }
    rows.push(Row::new("slice of a slice, computed", vec![floats(&[9])], |g, x| {
        let y = g.slice_axis(x[0], 1, 1, 8);
        let y = g.square(y);
        g.slice_axis(y, 1, 2, 5)
    }));
    for (name, value, axes) in [
        ("around", 0.0, [pad(1, 2, 0), pad(3, 0, 0)]),
        ("between", 0.0, [pad(0, 0, 2), pad(0, 0, 1)]),
        ("everywhere", -7.5, [pad(2, 1, 1), pad(0, 4, 2)]),
        ("with infinity", f64::NEG_INFINITY, [pad(1, 1, 0), pad(0, 0, 0)]),
    ] {
        let row = Row::new(format!("pad {name}"), vec![floats(&[5, 3])], move |g, x| {
            let axes = [&[PadAxis::default()], &axes[..]].concat();
            g.push(Op::Pad { axes, value: Number(value) }, x)
        });
        rows.push(if value.is_finite() { row } else { row.without_differences() });
    }
    rows.push(Row::new("pad of bytes", vec![(batched(DType::U8, &[5]), Domain::all_of(DType::U8))], |g, x| {
        g.push(Op::Pad { axes: vec![PadAxis::default(), pad(3, 2, 1)], value: Number(200.0) }, x)
    }));
    rows.push(Row::new("concat along the last axis", vec![floats(&[3]), floats(&[1]), floats(&[5])], |g, x| {
        g.concat(&[x[0], x[1], x[2], x[0]], 1)
    }));
    rows.push(Row::new("concat along a middle axis", vec![floats(&[3, 4]), floats(&[2, 4])], |g, x| g.concat(x, 1)));
    rows.push(Row::new("concat of computed", vec![floats(&[3]), floats(&[4])], |g, x| {
        let (a, b) = (g.exp(x[0]), g.square(x[1]));
        let y = g.concat(&[a, b], 1);
        g.neg(y)
    }));
    rows.push(Row::new("concat of weights", vec![weight(&[3, 2]), weight(&[4, 2])], |g, x| g.concat(x, 0)).cells(2));
    rows
}

fn windows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, axes) in [
        ("apart", vec![window(1, 3, 3, 1)]),
        ("overlapping", vec![window(1, 4, 1, 1)]),
        ("strided", vec![window(1, 3, 2, 1)]),
        ("dilated", vec![window(1, 3, 1, 3)]),
        ("strided and dilated", vec![window(1, 2, 3, 2)]),
        ("over two axes", vec![window(1, 3, 2, 1), window(2, 2, 1, 2)]),
        ("of one element", vec![window(2, 1, 1, 1)]),
        ("with gaps", vec![window(1, 2, 4, 1)]),
    ] {
        let inner = axes.clone();
        rows.push(Row::new(format!("windows {name}"), vec![floats(&[9, 5])], move |g, x| {
            g.push(Op::Window(inner.clone()), x)
        }));
        let shape = Shape::batched(&[9, 5]);
        let windows = Op::Window(axes.clone());
        let ty = windows.infer(&[&TensorType::new(DType::F32, shape.clone())]).expect("the windows fit");
        rows.push(Row::new(format!("fold {name}"), vec![(ty, Domain::COMMON)], move |g, x| {
            g.push(Op::Fold { axes: axes.clone(), shape: shape.clone() }, x)
        }));
    }
    rows.push(Row::new(
        "fold of integers",
        vec![(batched(DType::I32, &[4, 3]), Domain::all_of(DType::I32))],
        |g, x| g.push(Op::Fold { axes: vec![window(1, 3, 2, 1)], shape: Shape::batched(&[9]) }, x),
    ));
    rows
}
