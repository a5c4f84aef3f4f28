//! Finite differences through the interpreter.

use super::*;
use crate::ir::eval::{Tensor, evaluate};
use crate::ir::random::Rng;
use crate::ir::scalar::Class;
use crate::ir::{BinaryFn, Module, UnaryFn, WindowAxis};
use crate::pass::{PassOptions, optimize};

mod loops;

const BATCH: usize = 3;
const DOMAIN: (f64, f64) = (-3.0, 3.0);

/// Checks the gradients of `sum(f(x...) * w)` for random `w` against central differences in a random direction, as
/// they are built and as the passes leave them. Gives back the latter.
fn check(name: &str, inputs: &[(Shape, (f64, f64))], f: impl Fn(&mut Graph, &[NodeId]) -> NodeId) -> Graph {
    let mut graph = Graph::new(name);
    let ty = |shape: &Shape| TensorType::new(DType::F64, shape.clone());
    let xs: Vec<NodeId> = inputs.iter().enumerate().map(|(i, (s, _))| graph.input(format!("x{i}"), ty(s))).collect();
    let y = f(&mut graph, &xs);
    let w = graph.input("w", graph.ty(y).clone());
    let product = graph.mul(y, w);
    let of = graph.sum_all(product);
    let grads = gradients(&mut graph, of, &xs).unwrap();
    graph.output("of", of);
    for (i, (&g, &x)) in grads.iter().zip(&xs).enumerate() {
        assert_eq!(graph.ty(g), graph.ty(x), "{name}");
        graph.output(format!("grad{i}"), g);
    }

    let mut rng = Rng::new(7);
    let mut draw = |shape: &Shape, domain| rng.floats(shape.count(BATCH), domain);
    let points: Vec<Vec<f64>> = inputs.iter().map(|(s, domain)| draw(s, *domain)).collect();
    let directions: Vec<Vec<f64>> = inputs.iter().map(|(s, _)| draw(s, (-1.0, 1.0))).collect();
    let weights = Tensor::f64(&graph.ty(y).shape.at(BATCH), &draw(&graph.ty(y).shape, (-1.0, 1.0)));
    let mut module = Module { name: name.into(), max_batch: BATCH, ..Module::default() };
    module.entries.push(graph.clone());
    let options = PassOptions { verify_after: true, ..PassOptions::default() };
    optimize(&mut module, &options).unwrap_or_else(|bug| panic!("{name}: {bug}"));
    let optimized = module.entries.remove(0);
    let run = |graph: &Graph, h: f64| {
        let moved = points.iter().zip(&directions).map(|(p, v)| p.iter().zip(v).map(|(p, v)| p + h * v).collect());
        let moved: Vec<Vec<f64>> = moved.collect();
        let tensors = moved.iter().zip(inputs).map(|(x, (s, _))| Tensor::f64(&s.at(BATCH), x));
        let tensors: Vec<Tensor> = tensors.chain([weights.clone()]).collect();
        evaluate(graph, BATCH, &tensors, &[]).unwrap().outputs
    };
    let h = 1e-6;
    let numeric = (run(&graph, h)[0].to_numbers()[0] - run(&graph, -h)[0].to_numbers()[0]) / (2.0 * h);
    for graph in [&graph, &optimized] {
        let exact: f64 = run(graph, 0.0)[1..]
            .iter()
            .zip(&directions)
            .map(|(g, v)| g.to_numbers().iter().zip(v).map(|(g, v)| g * v).sum::<f64>())
            .sum();
        let close = (numeric - exact).abs() <= 1e-6 * (1.0 + numeric.abs().max(exact.abs()));
        assert!(close, "{name}: {numeric} {exact}\n{graph}");
    }
    optimized
}

fn fixed(dims: &[usize]) -> (Shape, (f64, f64)) {
    (Shape::fixed(dims), DOMAIN)
}

fn batched(dims: &[usize]) -> (Shape, (f64, f64)) {
    (Shape::batched(dims), DOMAIN)
}

fn whole(count: usize) -> SliceAxis {
    SliceAxis { start: 0, step: 1, count: Dim::fixed(count) }
}

#[test]
fn scalar_rows() {
    let differentiable = |takes: Class, gives: DType| takes.accepts(DType::F64) && gives.is_float();
    for f in UnaryFn::ALL.iter().filter(|f| differentiable(f.row().takes, f.row().gives.dtype(DType::F64))) {
        if *f != UnaryFn::StopGradient {
            check(f.row().name, &[(Shape::batched(&[5]), f.row().domain)], |g, x| g.push(Op::Unary(*f), &[x[0]]));
        }
    }
    for f in BinaryFn::ALL.iter().filter(|f| differentiable(f.row().takes, f.row().gives.dtype(DType::F64))) {
        if *f == BinaryFn::GradientOf {
            continue;
        }
        let [a, b] = f.row().domain;
        let inputs = [(Shape::batched(&[5]), a), (Shape::batched(&[5]), b)];
        check(f.row().name, &inputs, |g, x| g.push(Op::Binary(*f), &[x[0], x[1]]));
    }
}

#[test]
fn select_and_cast() {
    check("select", &[batched(&[4]), batched(&[4])], |g, x| {
        let c = g.gt(x[0], x[1]);
        let s = g.square(x[1]);
        g.select(c, x[0], s)
    });
    check("cast", &[batched(&[4])], |g, x| {
        let narrow = g.cast(x[0], DType::F32);
        let square = g.square(narrow);
        g.cast(square, DType::F64)
    });
    check("cast through integers", &[batched(&[4])], |g, x| {
        let int = g.cast(x[0], DType::I32);
        let back = g.cast(int, DType::F64);
        g.mul(back, x[0])
    });
}

#[test]
fn reductions() {
    for f in ReduceFn::ALL {
        for axes in [vec![0], vec![1], vec![0, 2], vec![0, 1, 2]] {
            check(f.name(), &[batched(&[4, 2])], |g, x| g.reduce(f, x[0], &axes));
        }
    }
}

#[test]
fn ties_share_the_gradient() {
    let mut g = Graph::new("ties");
    let x = g.dense(TensorType::new(DType::F32, Shape::fixed(&[4])), [1.0, 2.0, 2.0, 0.0]);
    let top = g.reduce(ReduceFn::Max, x, &[0]);
    let d = gradients(&mut g, top, &[x]).unwrap()[0];
    g.output("d", d);
    assert_eq!(evaluate(&g, 1, &[], &[]).unwrap().outputs[0].to_numbers(), [0.0, 0.5, 0.5, 0.0]);
}

#[test]
fn contractions() {
    check("dense", &[batched(&[4]), fixed(&[4, 5])], |g, x| g.contract(x[0], x[1], &[], &[(1, 0)]));
    check("attention", &[batched(&[4, 2, 5]), batched(&[3, 2, 5])], |g, x| {
        g.contract(x[0], x[1], &[(0, 0), (2, 2)], &[(3, 3)])
    });
    check("summed over several, out of order", &[batched(&[2, 3, 4, 5]), fixed(&[5, 6, 2, 4])], |g, x| {
        g.contract(x[0], x[1], &[], &[(4, 0), (1, 2), (3, 3)])
    });
    check("batch not leading", &[fixed(&[4, 3, 2]), fixed(&[2, 5, 3])], |g, x| {
        g.contract(x[0], x[1], &[(1, 2)], &[(2, 0)])
    });
    check("outer product", &[fixed(&[4]), fixed(&[3])], |g, x| g.contract(x[0], x[1], &[], &[]));
    check("over the batch", &[batched(&[4]), batched(&[3])], |g, x| g.contract(x[0], x[1], &[], &[(0, 0)]));
    check("with itself", &[fixed(&[4, 4])], |g, x| g.contract(x[0], x[0], &[], &[(1, 0)]));
}

#[test]
fn views() {
    check("reshape", &[batched(&[4, 6])], |g, x| g.reshape(x[0], Shape::batched(&[2, 12])));
    check("permute", &[batched(&[4, 6])], |g, x| g.permute(x[0], &[2, 0, 1]));
    check("broadcast", &[fixed(&[4, 1])], |g, x| {
        let shape = Shape([&[Dim::BATCH], &Shape::fixed(&[4, 2, 5]).0[..]].concat());
        g.broadcast(x[0], &[1, 3], shape)
    });
    check("broadcast over the batch", &[fixed(&[1, 4])], |g, x| g.broadcast(x[0], &[0, 1], Shape::batched(&[4])));
    for (start, step, count) in [(1, 2, 3), (6, -2, 3), (0, 1, 7), (6, -1, 7), (3, 5, 1), (3, -5, 1), (2, 1, 0)] {
        let rows = SliceAxis { start, step, count: Dim::fixed(count) };
        let axes = vec![rows, whole(2)];
        check("slice", &[fixed(&[7, 2])], |g, x| g.push(Op::Slice(axes.clone()), &[x[0]]));
    }
    let pads = [PadAxis { low: 1, high: 2, interior: 2 }, PadAxis { low: 0, high: 1, interior: 0 }];
    check("pad", &[fixed(&[3, 2])], |g, x| g.push(Op::Pad { axes: pads.to_vec(), value: Number(7.0) }, &[x[0]]));
    check("concat", &[batched(&[3]), batched(&[1]), batched(&[2])], |g, x| g.concat(&[x[0], x[1], x[2], x[0]], 1));
}

#[test]
fn windows() {
    let axes = vec![
        WindowAxis { axis: 1, size: 3, stride: 2, dilation: 1 },
        WindowAxis { axis: 2, size: 2, stride: 1, dilation: 3 },
    ];
    check("window", &[batched(&[8, 5, 2])], |g, x| g.push(Op::Window(axes.clone()), &[x[0]]));
    check("fold", &[batched(&[3, 2, 2, 3, 2])], |g, x| {
        g.push(Op::Fold { axes: axes.clone(), shape: Shape::batched(&[8, 5, 2]) }, &[x[0]])
    });
    check("convolution", &[batched(&[8, 5, 2]), fixed(&[3, 2, 2, 4])], |g, x| {
        let window = g.push(Op::Window(axes.clone()), &[x[0]]);
        g.contract(window, x[1], &[], &[(3, 2), (4, 0), (5, 1)])
    });
}

#[test]
fn indexing() {
    let indices = |g: &mut Graph, values: &[f64]| {
        g.dense(TensorType::new(DType::I32, Shape::fixed(&[2, 2])), values.iter().copied())
    };
    check("gather", &[batched(&[5, 2])], |g, x| {
        let i = indices(g, &[4.0, 0.0, 4.0, 1.0]);
        g.push(Op::Gather { axis: 1, batch: 0 }, &[x[0], i])
    });
    check("scatter_add, one index out of range on each side", &[batched(&[2, 2, 3])], |g, x| {
        let i = indices(g, &[1.0, -1.0, 5.0, 1.0]);
        g.push(Op::ScatterAdd { axis: 1, batch: 0, shape: Shape::batched(&[5, 3]) }, &[i, x[0]])
    });
}

#[test]
fn compositions() {
    check("softmax", &[batched(&[4])], |g, x| g.softmax(x[0], 1));
    check("log_sum_exp", &[batched(&[4])], |g, x| g.log_sum_exp(x[0], 1));
    check("mean over the batch", &[batched(&[4])], |g, x| g.mean(x[0], &[0]));
    check("second derivative", &[batched(&[4])], |g, x| {
        let t = g.tanh(x[0]);
        let q = g.mul(t, x[0]);
        let of = g.sum_all(q);
        gradients(g, of, &[x[0]]).unwrap()[0]
    });
}

#[test]
fn stops_where_told_and_gives_zero_elsewhere() {
    let mut g = Graph::new("stop");
    let x = g.input("x", TensorType::scalar(DType::F32));
    let other = g.input("other", TensorType::scalar(DType::F32));
    let fixed = g.stop_gradient(x);
    let y = g.mul(x, fixed);
    let d = gradients(&mut g, y, &[x, other]).unwrap();
    g.output("dx", d[0]);
    g.output("dother", d[1]);
    let three = Tensor::f32(&[], &[3.0]);
    let out = evaluate(&g, 1, &[three.clone(), three], &[]).unwrap().outputs;
    assert_eq!((out[0].to_numbers()[0], out[1].to_numbers()[0]), (3.0, 0.0));
    assert_eq!(g.site(d[1]).derived, ["grad"]);
}

#[test]
fn refuses_what_has_no_gradient() {
    let mut g = Graph::new("bad");
    let x = g.input("x", TensorType::new(DType::F32, Shape::fixed(&[2])));
    let i = g.input("i", TensorType::scalar(DType::I32));
    let s = g.sum_all(x);
    assert!(matches!(gradients(&mut g, x, &[x]), Err(GradError::NotScalar { .. })));
    assert!(matches!(gradients(&mut g, s, &[i]), Err(GradError::NotFloat { .. })));
}
