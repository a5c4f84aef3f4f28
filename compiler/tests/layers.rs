//! Every layer of `common/rows.rs`: it lowers, the graph verifies, its gradients with respect to inputs and weights are
//! those of finite differences, in training and in prediction, at batch 1 and 7, and its programs compute its graph.

mod common;

use bakelite_compiler::compile::{Options, compile};
use bakelite_compiler::ir::eval::{Tensor as Value, evaluate};
use bakelite_compiler::ir::{TensorType, verify};
use bakelite_compiler::prelude::*;
use bakelite_compiler::schedule;
use common::rows::for_each;
use common::{Interpreted, Numbers, assert_close, scalar};

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// Compares the derivative along a random direction of all inputs and weights.
fn check_gradients(name: &str, model: &Model, inputs: &[&[usize]], batch: usize) {
    let mut run = Interpreted::new(model, 5);
    let mut numbers = Numbers::new(batch as u64 + 10);
    let params: Vec<usize> = (0..run.storage.len()).filter(|&i| run.module.storage[i].trainable).collect();
    for &i in &params {
        run.storage[i] = numbers.tensor(&run.storage[i].shape.clone(), -0.8, 0.8);
    }
    let shape = |s: &[usize]| [&[batch], s].concat();
    let x: Vec<Value> = inputs.iter().map(|s| numbers.tensor(&shape(s), -1.5, 1.5)).collect();
    let result = run.peek("probe", batch, &x);
    let mut slope = 0.0;
    let mut directions = Vec::new();
    for i in 0..x.len() {
        let direction = numbers.tensor(&x[i].shape, -1.0, 1.0);
        slope += dot(&result.outputs[i + 1].to_numbers(), &direction.to_numbers());
        directions.push(direction);
    }
    for &i in &params {
        let direction = numbers.tensor(&run.storage[i].shape.clone(), -1.0, 1.0);
        let new = result.assigns.iter().find(|(id, _)| id.0 as usize == i).map(|(_, v)| v.to_numbers());
        let old = run.storage[i].to_numbers();
        let new = new.unwrap_or_else(|| panic!("{name}: no update of {}", run.module.storage[i].name));
        let gradient: Vec<f64> = old.iter().zip(&new).map(|(o, n)| o - n).collect();
        slope += dot(&gradient, &direction.to_numbers());
        directions.push(direction);
    }
    let moved = |value: &Value, direction: &Value, h: f64| {
        let v: Vec<f64> = value.to_numbers().iter().zip(direction.to_numbers()).map(|(v, d)| v + h * d).collect();
        Value::from_numbers(value.dtype, &value.shape, &v)
    };
    let mut at = |h: f64| {
        let xs: Vec<Value> = x.iter().zip(&directions).map(|(x, d)| moved(x, d, h)).collect();
        let kept = run.storage.clone();
        for (&i, d) in params.iter().zip(&directions[x.len()..]) {
            run.storage[i] = moved(&kept[i], d, h);
        }
        let loss = scalar(&run.peek("probe", batch, &xs).outputs[0]);
        run.storage = kept;
        loss
    };
    let h = 1e-6;
    let measured = (at(h) - at(-h)) / (2.0 * h);
    let error = (slope - measured).abs() / (1.0 + measured.abs());
    assert!(error < 1e-6, "{name}, batch {batch}: gradient {slope}, measured {measured}");
}

#[test]
fn every_layer_has_the_gradient_of_finite_differences() {
    for_each(check_layer);
}

fn check_layer(name: &str, model: &Model, inputs: &[&[usize]], shape: Option<Vec<usize>>, result: &[usize]) {
    let module = model.lower().unwrap_or_else(|e| panic!("{name}: {e}"));
    verify::verify_module(&module).unwrap_or_else(|e| panic!("{name}: {e:?}"));
    assert_eq!(shape.as_deref(), Some(result), "{name}");
    for batch in [1, 7] {
        check_gradients(name, model, inputs, batch);
    }
}

/// The programs of every entry point, run by their interpreter, against the graphs.
#[test]
fn every_layer_passes_through_the_schedule() {
    for_each(|name, model, _, _, _| {
        model.max_batch(7);
        let module = model.lower().unwrap_or_else(|e| panic!("{name}: {e}"));
        let compiled = compile(module, &Options::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
        for (entry, program) in compiled.module.entries.iter().zip(&compiled.programs) {
            for batch in [1, 3, 7] {
                let mut numbers = Numbers::new(batch as u64);
                let mut draw = |ty: &TensorType| match ty.dtype.is_float() {
                    true => numbers.tensor(&ty.shape.at(batch), 0.1, 1.0),
                    false => {
                        let labels = numbers.labels(&ty.shape.at(batch), 9).to_numbers();
                        Value::from_numbers(ty.dtype, &ty.shape.at(batch), &labels)
                    }
                };
                let inputs: Vec<Value> = entry.inputs.iter().map(|i| draw(&i.ty)).collect();
                let mut cells: Vec<Value> = compiled.module.storage.iter().map(|c| draw(&c.ty)).collect();
                let expected = evaluate(entry, batch, &inputs, &cells).unwrap_or_else(|e| panic!("{name}: {e}"));
                let (outputs, after) = schedule::eval::run(program, batch, &inputs, &cells);
                for (id, value) in expected.assigns {
                    cells[id.0 as usize] = value;
                }
                for (got, want) in outputs.iter().zip(&expected.outputs).chain(after.iter().zip(&cells)) {
                    let what = format!("{name}, {} at batch {batch}", entry.name);
                    assert_close(&got.to_numbers(), &want.to_numbers(), 1e-9, &what);
                }
            }
        }
    });
}

#[test]
fn automatic_names_count_each_kind() {
    let m = Model::new("names");
    let x = m.input("x", 4, F32);
    let y = Dense::new(4).apply(&Dense::new(4).name("dense_1").apply(&Dense::new(4).apply(&x)));
    let z = Relu.apply(&y);
    m.output(&(z.clone() + Relu.apply(&y)));
    assert_eq!(m.layer_names(), ["dense", "dense_1", "dense_2", "activation", "activation_1", "add"]);
}

#[test]
fn max_pooling_trains_the_first_of_equal_elements_and_keeps_nan() {
    let m = Model::new("ties");
    let x = m.input("x", [3, 3, 1], F32);
    let y = MaxPooling2D::new(2).strides(1).apply(&x);
    m.output_as("y", &y);
    let dx = y.sum_all().gradients(&[&x]);
    m.entry("probe").output("y", &y).output("dx", &dx[0]).training(true);
    let run = Interpreted::new(&m, 1);
    let image = |pixels: [f64; 9]| Value::from_numbers(F32, &[1, 3, 3, 1], &pixels);
    let result = run.peek("probe", 1, &[image([1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 2.0, 2.0, 2.0])]);
    assert_eq!(result.outputs[0].to_numbers(), [1.0, 1.0, 2.0, 2.0]);
    assert_eq!(result.outputs[1].to_numbers(), [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0]);
    let result = run.peek("probe", 1, &[image([1.0, f64::NAN, 0.0, 1.0, 1.0, 0.0, 2.0, 2.0, 2.0])]);
    let y = result.outputs[0].to_numbers();
    assert!(y[0].is_nan() && y[1].is_nan() && y[2..] == [2.0, 2.0]);
}
