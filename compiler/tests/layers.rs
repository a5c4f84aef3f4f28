//! One row a layer: it lowers, the graph verifies, and its gradients with respect to inputs and weights are those of
//! finite differences, in training and in prediction, at batch 1 and 7.

mod common;

use bakelite_compiler::ir::eval::Tensor as Value;
use bakelite_compiler::ir::{StorageKind, verify};
use bakelite_compiler::prelude::*;
use common::{Interpreted, Numbers, scalar};

type Build = fn(&[Tensor]) -> Tensor;

/// Name, shapes of the inputs' items, shape of the result's items, and the layer.
struct Row(&'static str, &'static [&'static [usize]], &'static [usize], Build);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    Row("dense", &[&[5]], &[3], |x| Dense::new(3).apply(&x[0])),
    Row("dense on sequences", &[&[3, 5]], &[3, 2], |x| Dense::new(2).activation(Tanh).apply(&x[0])),
    Row("dense without bias", &[&[5]], &[3], |x| Dense::new(3).use_bias(false).apply(&x[0])),
    Row("shared dense", &[&[5], &[5]], &[3], |x| {
        let d = Dense::new(3).activation(Sigmoid);
        d.apply(&x[0]) * d.apply(&x[1])
    }),
    Row("conv2d", &[&[5, 7, 3]], &[3, 5, 4], |x| Conv2D::new(4, 3).apply(&x[0])),
    Row("conv2d same", &[&[5, 7, 3]], &[5, 7, 2], |x| Conv2D::new(2, (2, 3)).padding(Same).apply(&x[0])),
    Row("conv2d strides", &[&[7, 6, 2]], &[3, 2, 3], |x| Conv2D::new(3, 3).strides((2, 3)).apply(&x[0])),
    Row("conv2d same strides", &[&[7, 5, 2]], &[4, 3, 3], |x| Conv2D::new(3, 3).strides(2).padding(Same).apply(&x[0])),
    Row("conv2d dilation", &[&[7, 7, 2]], &[3, 3, 2], |x| Conv2D::new(2, 3).dilation_rate(2).apply(&x[0])),
    Row("conv2d groups", &[&[4, 5, 6]], &[3, 4, 4], |x| Conv2D::new(4, 2).groups(2).apply(&x[0])),
    Row("max pooling", &[&[6, 7, 3]], &[3, 3, 3], |x| MaxPooling2D::new(2).apply(&x[0])),
    Row("max pooling same", &[&[5, 7, 2]], &[3, 4, 2], |x| MaxPooling2D::new(2).padding(Same).apply(&x[0])),
    Row("max pooling overlapping", &[&[7, 7, 2]], &[3, 3, 2], |x| MaxPooling2D::new(3).strides(2).apply(&x[0])),
    Row("average pooling", &[&[6, 7, 3]], &[3, 3, 3], |x| AveragePooling2D::new(2).apply(&x[0])),
    Row("average pooling same", &[&[5, 7, 2]], &[3, 4, 2], |x| AveragePooling2D::new(2).padding(Same).apply(&x[0])),
    Row("global average pooling", &[&[3, 5, 4]], &[4], |x| GlobalAveragePooling2D.apply(&x[0])),
    Row("global max pooling", &[&[3, 5, 4]], &[4], |x| GlobalMaxPooling2D.apply(&x[0])),
    Row("batch normalization", &[&[3, 5, 2]], &[3, 5, 2], |x| BatchNormalization::new().apply(&x[0])),
    Row("batch normalization axis", &[&[3, 5]], &[3, 5], |x| BatchNormalization::new().axis(1).scale(false).apply(&x[0])),
    Row("dropout", &[&[9]], &[9], |x| Dropout::new(0.4).apply(&x[0])),
    Row("dropout on images", &[&[3, 2, 5]], &[3, 2, 5], |x| Dropout::new(0.5).apply(&x[0])),
    Row("flatten", &[&[2, 3, 2]], &[12], |x| Flatten.apply(&x[0])),
    Row("flatten scalars", &[&[]], &[1], |x| Flatten.apply(&x[0])),
    Row("reshape", &[&[2, 6]], &[3, 4], |x| Reshape::new([3, -1]).apply(&x[0])),
    Row("rescaling", &[&[4]], &[4], |x| Rescaling::new(0.5).offset(-1.0).apply(&x[0])),
    Row("add", &[&[3, 4], &[3, 4], &[1, 4]], &[3, 4], |x| Add.apply_many(&[&x[0], &x[1], &x[2]])),
    Row("multiply", &[&[3], &[3]], &[3], |x| Multiply.apply_many(&[&x[0], &x[1]])),
    Row("average", &[&[3], &[3]], &[3], |x| Average.apply_many(&[&x[0], &x[1]])),
    Row("maximum", &[&[3], &[3]], &[3], |x| Maximum.apply_many(&[&x[0], &x[1]])),
    Row("minimum", &[&[3], &[3]], &[3], |x| Minimum.apply_many(&[&x[0], &x[1]])),
    Row("concatenate", &[&[2, 3], &[2, 1]], &[2, 4], |x| Concatenate::new().apply_many(&[&x[0], &x[1]])),
    Row("concatenate axis", &[&[2, 3], &[1, 3]], &[3, 3], |x| Concatenate::new().axis(1).apply_many(&[&x[0], &x[1]])),
    Row("expressions", &[&[4], &[4]], &[], |x| {
        let a = (&x[0] - &x[1]).square() / 2.0 + x[0].exp() * 0.1;
        let b = 1.0 / (&x[1] * &x[1] + 2.0).sqrt() - (&x[0] + 3.0).log();
        (a * b.sin()).sum(&[-1]) + x[0].slice(1, 1, 3).max(&[1]) + (-&x[0]).tanh().mean(&[1])
    }),
    Row("a model", &[&[4]], &[2], |x| {
        let inner = Sequential::new("inner").add(Dense::new(3).activation(Tanh)).add(Dense::new(2));
        inner.apply(&x[0]) + inner.apply(&(&x[0] * 0.5))
    }),
];

/// A model of one layer, with an entry point that has a scalar, its gradients with respect to the inputs, and one
/// plain step of gradient descent with rate 1, which shows the gradients with respect to the weights.
fn model_of(inputs: &[&[usize]], training: bool, build: impl Fn(&[Tensor]) -> Tensor) -> (Model, Option<Vec<usize>>) {
    let m = Model::new("row");
    let x: Vec<Tensor> = inputs.iter().enumerate().map(|(i, s)| m.input(format!("x{i}"), s.to_vec(), F32)).collect();
    let y = build(&x);
    m.output_as("y", &y);
    let loss = (&y * &y).mean_all() + (y.sin() * 0.3).mean_all();
    let wrt: Vec<&Tensor> = x.iter().collect();
    let mut entry = m.entry("probe").output("loss", &loss).training(training);
    for (i, g) in loss.gradients(&wrt).iter().enumerate() {
        entry = entry.output(format!("dx{i}"), g);
    }
    let names: Vec<String> = m.layer_names();
    let weighted = m.lower().map(|l| l.storage.iter().any(|c| c.kind == StorageKind::Param)).unwrap_or(false);
    if weighted {
        let names: Vec<&str> = names.iter().map(|n| n.as_str()).collect();
        entry.minimize(&loss, &names, SGD::new(1.0));
    }
    (m, y.item_shape())
}

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
    let check = |name: &str, inputs: &[&[usize]], result: &[usize], build: &dyn Fn(&[Tensor]) -> Tensor| {
        for training in [true, false] {
            let (model, shape) = model_of(inputs, training, build);
            let module = model.lower().unwrap_or_else(|e| panic!("{name}: {e}"));
            verify::verify_module(&module).unwrap_or_else(|e| panic!("{name}: {e:?}"));
            assert_eq!(shape.as_deref(), Some(result), "{name}");
            for batch in [1, 7] {
                check_gradients(name, &model, inputs, batch);
            }
        }
    };
    for Row(name, inputs, result, build) in ROWS {
        check(name, inputs, result, build);
    }
    for f in Activation::ALL {
        check(&format!("{f:?}"), &[&[6]], &[6], &|x| f.apply(&x[0]));
    }
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
