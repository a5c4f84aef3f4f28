//! Gathers and scatters, with indices in and out of range.

use bakelite_compiler::ir::{DType, Op, Shape};

use crate::row::{Domain, Row, batched, fixed, floats, weight};

pub fn rows() -> Vec<Row> {
    let indices = |dims: &[usize], low: f64, high: f64| (batched(DType::I32, dims), Domain::Between(low, high));
    let mut rows = vec![
        Row::new("gather of table rows", vec![indices(&[4], 0.0, 8.0), weight(&[9, 5])], |g, x| {
            g.push(Op::Gather { axis: 0, batch: 0 }, &[x[1], x[0]])
        })
        .cells(1),
        Row::new(
            "gather along a later axis",
            vec![(fixed(DType::I32, &[3]), Domain::Between(0.0, 6.0)), floats(&[5, 7])],
            |g, x| g.push(Op::Gather { axis: 2, batch: 0 }, &[x[1], x[0]]),
        ),
        Row::new(
            "gather by bytes",
            vec![(batched(DType::U8, &[3]), Domain::Between(0.0, 8.0)), weight(&[9, 2])],
            |g, x| g.push(Op::Gather { axis: 0, batch: 0 }, &[x[1], x[0]]),
        ),
        Row::new("gather of computed rows", vec![indices(&[], 0.0, 8.0), weight(&[9, 5])], |g, x| {
            let table = g.exp(x[1]);
            let picked = g.push(Op::Gather { axis: 0, batch: 0 }, &[table, x[0]]);
            g.neg(picked)
        }),
        Row::new("scatter_add of rows", vec![indices(&[3], 0.0, 8.0), floats(&[3, 5])], |g, x| {
            g.push(Op::ScatterAdd { axis: 0, batch: 0, shape: Shape::fixed(&[9, 5]) }, &[x[0], x[1]])
        }),
        Row::new(
            "scatter_add along a later axis",
            vec![(fixed(DType::I32, &[3]), Domain::Between(0.0, 4.0)), floats(&[2, 3])],
            |g, x| g.push(Op::ScatterAdd { axis: 2, batch: 0, shape: Shape::batched(&[2, 5]) }, &[x[0], x[1]]),
        ),
        Row::new(
            "scatter_add of integers",
            vec![indices(&[3], 0.0, 4.0), (batched(DType::I32, &[3]), Domain::all_of(DType::I32))],
            |g, x| g.push(Op::ScatterAdd { axis: 0, batch: 0, shape: Shape::fixed(&[5]) }, &[x[0], x[1]]),
        ),
        Row::new("gather of each item", vec![indices(&[4], 0.0, 6.0), floats(&[7, 3])], |g, x| {
            g.push(Op::Gather { axis: 1, batch: 1 }, &[x[1], x[0]])
        }),
        Row::new(
            "gather of each item along a later axis",
            vec![indices(&[2, 2], 0.0, 4.0), floats(&[2, 3, 5])],
            |g, x| g.push(Op::Gather { axis: 3, batch: 2 }, &[x[1], x[0]]),
        ),
        Row::new("scatter_add of each item", vec![indices(&[3], -1.0, 5.0), floats(&[3, 2])], |g, x| {
            g.push(Op::ScatterAdd { axis: 1, batch: 1, shape: Shape::batched(&[5, 2]) }, &[x[0], x[1]])
        }),
    ];
    for (name, low, high) in [("a little", -2.0, 10.0), ("far", -2147483648.0, 2147483647.0)] {
        // A clamped gather passes no gradient on, so differences see a slope that the gradient has not.
        let inputs = vec![indices(&[4], low, high), weight(&[9, 5])];
        let row = Row::new(format!("gather {name} out of range"), inputs, |g, x| {
            g.push(Op::Gather { axis: 0, batch: 0 }, &[x[1], x[0]])
        });
        rows.push(row.without_differences());
        let inputs = vec![indices(&[3], low, high), floats(&[3, 5])];
        rows.push(Row::new(format!("scatter_add {name} out of range"), inputs, |g, x| {
            g.push(Op::ScatterAdd { axis: 0, batch: 0, shape: Shape::fixed(&[9, 5]) }, &[x[0], x[1]])
        }));
    }
    rows
}
