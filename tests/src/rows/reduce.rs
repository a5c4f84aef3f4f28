//! Reductions of every type over every kind of axis.

use bakelite_compiler::ir::{DType, ReduceFn};

use crate::row::{Domain, Row, Tolerance, batched, floats, weight};

pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for f in ReduceFn::ALL {
        let word = f.name();
        for axes in [vec![0], vec![1], vec![2], vec![0, 2], vec![1, 2], vec![0, 1, 2]] {
            let name = format!("{word} over {axes:?}");
            rows.push(Row::new(name, vec![floats(&[11, 5])], move |g, x| g.reduce(f, x[0], &axes)));
        }
        rows.push(Row::new(format!("{word} over a long axis"), vec![floats(&[1003])], move |g, x| {
            g.reduce(f, x[0], &[1])
        }));
        rows.push(Row::new(format!("{word} over one element"), vec![floats(&[1])], move |g, x| {
            g.reduce(f, x[0], &[1])
        }));
        rows.push(
            Row::new(format!("{word} over nothing"), vec![floats(&[0])], move |g, x| g.reduce(f, x[0], &[1]))
                .without_differences(),
        );
        rows.push(
            Row::new(format!("{word} of weights"), vec![weight(&[7, 9])], move |g, x| g.reduce(f, x[0], &[0])).cells(1),
        );
        for dtype in [DType::I32, DType::U32, DType::U8, DType::Bool] {
            if dtype == DType::Bool && f == ReduceFn::Sum {
                continue;
            }
            let inputs = vec![(batched(dtype, &[19, 3]), Domain::all_of(dtype))];
            rows.push(
                Row::new(format!("{word} of {dtype}"), inputs, move |g, x| g.reduce(f, x[0], &[1]))
                    .tolerance(Tolerance::Exact),
            );
        }
        let few = vec![(batched(DType::F32, &[19]), Domain::OneOf(&[-1.0, 0.0, 2.0]))];
        rows.push(
            Row::new(format!("{word} with ties"), few, move |g, x| g.reduce(f, x[0], &[1])).without_differences(),
        );
        let odd = vec![(batched(DType::F32, &[3]), Domain::OneOf(&[1.0, 2.0, f64::NAN, f64::INFINITY]))];
        rows.push(
            Row::new(format!("{word} with nan and infinity"), odd, move |g, x| g.reduce(f, x[0], &[1]))
                .without_differences(),
        );
        rows.push(Row::new(format!("{word} between functions"), vec![floats(&[5, 7])], move |g, x| {
            let y = g.tanh(x[0]);
            let y = g.reduce(f, y, &[1]);
            let y = g.square(y);
            g.broadcast(y, &[0, 2], g.ty(x[0]).shape.clone())
        }));
    }
    rows
}
