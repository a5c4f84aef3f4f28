//! What `guide/numerics.md` promises about NaN, infinities and kinks, by the interpreter and by compiled code.
#![cfg(feature = "cli")]

mod common;

use bakelite::{Data, Values};
use bakelite_compiler::backend::cranelift::TargetCpu;
use bakelite_compiler::compile::{self, compile};
use bakelite_compiler::import::KerasModel;
use bakelite_compiler::ir::eval::Tensor as Value;
use bakelite_compiler::jit::JitModel;
use bakelite_compiler::prelude::*;
use common::Interpreted;
use serde_json::{Value as Json, json};

const NAN: f32 = f32::NAN;
const INFINITY: f32 = f32::INFINITY;

fn same(a: f64, b: f64) -> bool {
    a == b || a.is_nan() && b.is_nan()
}

/// The predictions for rows of one input, which the interpreter and compiled code agree on.
fn predictions(m: &Model, x: &[f32]) -> Vec<Vec<f64>> {
    let compiled = compile(m.lower().unwrap_or_else(|e| panic!("{e}")), &compile::Options::default()).unwrap();
    let mut run = bakelite::Model::open(JitModel::new(&compiled, TargetCpu::Portable).unwrap()).unwrap();
    run.init(1).unwrap();
    let found = run.predict(&Data::inputs(x), None).unwrap();
    let numbers = |values: &Values<'_>| -> Vec<f64> {
        match values {
            Values::F32(v) => v.iter().map(|v| f64::from(*v)).collect(),
            Values::I32(v) => v.iter().map(|v| f64::from(*v)).collect(),
            other => panic!("{other:?}"),
        }
    };
    let found: Vec<Vec<f64>> = found.iter().map(|(_, values)| numbers(values)).collect();
    let interpreted = Interpreted::new(m, 1);
    let ty = &interpreted.entry("predict").inputs[0].ty;
    let rows = x.len() / ty.shape.count(1);
    let x: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
    let result = interpreted.peek("predict", rows, &[Value::from_numbers(F32, &ty.shape.at(rows), &x)]);
    for (i, (found, expected)) in found.iter().zip(&result.outputs).enumerate() {
        let expected = expected.to_numbers();
        let close = |(a, b): (&f64, &f64)| same(*a, *b) || (a - b).abs() < 1e-6 * b.abs();
        assert!(found.iter().zip(&expected).all(close), "output {i}: {found:?}, interpreted {expected:?}");
    }
    found
}

/// The gradient of the sum of a function's results at some points.
fn gradient(f: impl Fn(&Tensor) -> Tensor, points: &[f32]) -> Vec<f64> {
    let m = Model::new("m");
    let x = m.input("x", points.len(), F32);
    m.output_as("dx", &f(&x).sum_all().gradient(&x));
    predictions(&m, points).swap_remove(0)
}

#[track_caller]
fn check(what: &str, found: &[f64], expected: &[f32]) {
    let expected: Vec<f64> = expected.iter().map(|e| f64::from(*e)).collect();
    let equal = found.len() == expected.len() && found.iter().zip(&expected).all(|(a, b)| same(*a, *b));
    assert!(equal, "{what}: {found:?}, expected {expected:?}");
}

#[test]
fn gradients_at_kinks() {
    check("abs", &gradient(|x| x.abs(), &[-1.0, -0.0, 0.0, 2.0]), &[-1.0, 0.0, 0.0, 1.0]);
    check("relu", &gradient(|x| Relu.apply(x), &[-1.0, -0.0, 0.0, 2.0]), &[0.0, 0.0, 0.0, 1.0]);
    check("relu6", &gradient(|x| Relu6.apply(x), &[-1.0, 0.0, 6.0, 7.0]), &[0.0, 0.0, 1.0, 0.0]);
    check("clip", &gradient(|x| HardTanh.apply(x), &[-1.5, -1.0, 1.0, 1.5]), &[0.0, 1.0, 1.0, 0.0]);
    let sixth = 1.0 / 6.0;
    let hard_sigmoid = gradient(|x| HardSigmoid.apply(x), &[-3.5, -3.0, 3.0, 3.5]);
    check("hard_sigmoid", &hard_sigmoid, &[0.0, sixth, sixth, 0.0]);
    check("sqrt", &gradient(|x| x.sqrt(), &[0.0, 0.25]), &[INFINITY, 1.0]);
    let third = 1.0 / 3.0;
    check("max", &gradient(|x| x.max(&[-1]), &[2.0, 1.0, 2.0, 2.0]), &[third, 0.0, third, third]);
    check("min", &gradient(|x| x.min(&[-1]), &[-2.0, -2.0, 1.0]), &[0.5, 0.5, 0.0]);
    // Twice itself, and four times itself: 2 where the first operand has the gradient, 4 where the second has it.
    let two = |f: fn(&Tensor, &Tensor) -> Tensor| gradient(move |x| f(&(x + x), &(&(x + x) + &(x + x))), &[0.0]);
    check("maximum", &two(|a, b| a.maximum(b)), &[2.0]);
    check("minimum", &two(|a, b| a.minimum(b)), &[2.0]);
}

#[test]
fn a_nan_goes_on() {
    // More elements than a vector has, and not a multiple of them.
    const N: usize = 37;
    let m = Model::new("m");
    let x = m.input("x", N, F32);
    m.output_as("softmax", &Softmax::new().apply(&x)).output_as("max", &x.max(&[-1])).output_as("min", &x.min(&[-1]));
    m.output_as("relu", &Relu.apply(&x)).output_as("clip", &HardTanh.apply(&x));
    m.output_as("larger", &x.maximum(&x.square())).output_as("smaller", &x.square().minimum(&x));
    m.output_as("sum", &x.sum(&[-1]));
    for at in [0, 5, 16, 31, N - 1] {
        // A row without, too: it stays as it is.
        let mut rows: Vec<f32> = (0..2 * N).map(|i| (i % 7) as f32 - 3.0).collect();
        rows[at] = NAN;
        let found = predictions(&m, &rows);
        for (i, values) in found.iter().enumerate() {
            let (with, without) = values.split_at(values.len() / 2);
            assert!(without.iter().all(|v| v.is_finite()), "output {i}: {without:?}");
            match (i, with.len()) {
                // Every element of a softmax has the sum of all in it.
                (0, _) | (_, 1) => assert!(with.iter().all(|v| v.is_nan()), "output {i}: {with:?}"),
                _ => assert!(with.iter().enumerate().all(|(j, v)| v.is_nan() == (j == at)), "output {i}: {with:?}"),
            }
        }
    }
    let m = Model::new("m");
    m.output(&Softmax::new().apply(&m.input("x", 3, F32)));
    let low = -INFINITY;
    let rows = [low, 0.0, low, low, low, low, INFINITY, 0.0, 1.0];
    check("softmax", &predictions(&m, &rows)[0], &[0.0, 1.0, 0.0, NAN, NAN, NAN, NAN, NAN, NAN]);
}

#[test]
fn sorted_numbers_have_nan_at_the_end() {
    let m = Model::new("m");
    let x = m.input("x", 7, F32);
    let [values, places] = x.top_k(4);
    m.output_as("sorted", &x.sort(-1)).output_as("order", &x.argsort(-1));
    m.output_as("largest", &values).output_as("places", &places);
    let found = predictions(&m, &[1.0, NAN, 0.0, INFINITY, -0.0, -INFINITY, NAN]);
    check("sort", &found[0], &[-INFINITY, 0.0, -0.0, 1.0, INFINITY, NAN, NAN]);
    let negative: Vec<bool> = found[0].iter().map(|x| x.is_sign_negative()).collect();
    assert_eq!(negative[..3], [true, false, true], "equal numbers keep their order: {:?}", found[0]);
    check("argsort", &found[1], &[5.0, 2.0, 4.0, 0.0, 3.0, 1.0, 6.0]);
    check("top_k", &found[2], &[NAN, NAN, INFINITY, 1.0]);
    check("places of top_k", &found[3], &[1.0, 6.0, 3.0, 0.0]);
    let found = predictions(&m, &[-0.0, 0.0, -1.0, -0.0, 0.0, -2.0, -3.0]);
    check("places of zeros", &found[3], &[1.0, 4.0, 0.0, 3.0]);
}

/// A model of operations of `keras.ops` on one input of a row of numbers.
fn operations(width: usize, list: &[(&str, &str, Json)]) -> Model {
    let tensor = |name: &str| json!({"class_name": "__keras_tensor__", "config": {"keras_history": [name, 0, 0], "dtype": "float32"}});
    let mut layers = vec![json!({"module": "keras.layers", "class_name": "InputLayer", "name": "x",
        "config": {"batch_shape": [null, width], "dtype": "float32", "name": "x"}, "inbound_nodes": []})];
    for (module, class, config) in list {
        layers.push(json!({"module": format!("keras.src.ops.{module}"), "class_name": class, "name": class,
            "config": {"name": class}, "inbound_nodes": [{"args": [tensor("x")], "kwargs": config}]}));
    }
    let outputs: Vec<Json> = list.iter().map(|(_, class, _)| json!([class, 0, 0])).collect();
    let config = json!({"name": "m", "layers": layers, "input_layers": [["x", 0, 0]], "output_layers": outputs});
    let text = json!({"module": "keras", "class_name": "Functional", "config": config}).to_string();
    KerasModel::parse(&text).and_then(|model| model.build()).unwrap_or_else(|d| panic!("{d}"))
}

#[test]
fn the_first_nan_is_the_largest_and_the_smallest() {
    let axis = json!({"axis": -1});
    let list = [("numpy", "Argmax", axis.clone()), ("numpy", "Argmin", axis.clone()), ("math", "Logsumexp", axis)];
    let m = operations(5, &list);
    let low = -INFINITY;
    let rows = [
        [1.0, NAN, 3.0, NAN, -1.0],
        [NAN, INFINITY, 3.0, low, -1.0],
        [1.0, INFINITY, low, INFINITY, low],
        [low, low, low, low, low],
        [2.0, 2.0, -0.0, 0.0, 0.0],
    ];
    let found = predictions(&m, rows.as_flattened());
    check("argmax", &found[0], &[1.0, 0.0, 1.0, 0.0, 0.0]);
    check("argmin", &found[1], &[1.0, 0.0, 2.0, 0.0, 2.0]);
    check("logsumexp", &found[2][..4], &[NAN, NAN, INFINITY, low]);
}
