//! Models, losses, optimizers and entry points as whole programs, run by the reference interpreter.

mod common;

use std::slice::from_ref;

use bakelite_compiler::ir::eval::Tensor as Value;
use bakelite_compiler::ir::{StorageKind, verify};
use bakelite_compiler::prelude::*;
use common::{Interpreted, Numbers, assert_close, scalar};

/// The losses of a few steps on one batch.
fn losses(run: &mut Interpreted, inputs: &[Value], batch: usize, steps: usize) -> Vec<f64> {
    (0..steps).map(|_| scalar(&run.call("train_step", batch, inputs)[0])).collect()
}

#[test]
fn every_optimizer_learns_a_batch() {
    let optimizers: Vec<Box<dyn Optimizer>> = vec![
        Box::new(SGD::new(0.1)),
        Box::new(SGD::new(0.05).momentum(0.9)),
        Box::new(SGD::new(0.05).momentum(0.9).nesterov(true)),
        Box::new(RMSprop::new(0.01)),
        Box::new(RMSprop::new(0.01).momentum(0.5).centered(true)),
        Box::new(Adam::new(0.01)),
        Box::new(Adam::new(0.01).amsgrad(true)),
    ];
    let mut numbers = Numbers::new(1);
    let inputs = [numbers.tensor(&[7, 5], -1.0, 1.0), numbers.labels(&[7], 3)];
    for optimizer in optimizers {
        let name = format!("{optimizer:?}");
        let m = Sequential::new("net").input("x", 5, F32).add(Dense::new(8).activation(Tanh)).add(Dense::new(3));
        m.compile(optimizer, SparseCategoricalCrossentropy::from_logits(), [Accuracy]);
        let mut run = Interpreted::new(&m, 42);
        verify::verify_module(&run.module).unwrap();
        let l = losses(&mut run, &inputs, 7, 40);
        assert!(l[39] < 0.8 * l[0], "{name}: {l:?}");
        assert_eq!(scalar(run.cell("optimizer/iterations")), 40.0);
    }
}

#[test]
fn steps_report_what_keras_reports() {
    let m = Sequential::new("net").input("x", 3, F32);
    let m = m.add(Dense::new(2).name("y").kernel_regularizer(L2(0.1)).bias_regularizer(L1(0.5)));
    m.compile(SGD::new(0.5), MeanSquaredError, (MeanAbsoluteError, Accuracy));
    let mut run = Interpreted::new(&m, 1);
    let names = |entry: &str| run.entry(entry).outputs.iter().map(|o| o.name.clone()).collect::<Vec<_>>();
    assert_eq!(names("train_step"), ["loss", "mean_absolute_error", "accuracy"]);
    assert_eq!(names("evaluate_step"), ["loss", "mean_absolute_error", "accuracy"]);
    assert_eq!(names("predict"), ["y"]);
    let inputs: Vec<String> = run.entry("train_step").inputs.iter().map(|i| format!("{}: {}", i.name, i.ty)).collect();
    assert_eq!(inputs, ["x: f32[batch, 3]", "y_target: f32[batch, 2]"]);
    run.set("y/kernel", &[1.0, -1.0, 0.5, 0.0, 0.0, 2.0]);
    run.set("y/bias", &[0.5, -0.25]);
    let x = Value::f32(&[2, 3], &[1.0, 2.0, 3.0, 0.0, 1.0, -1.0]);
    let t = Value::f32(&[2, 2], &[2.0, 5.0, 0.0, -2.0]);
    // Predictions are [2.5, 4.75] and [1.0, -2.25]: errors 0.5, -0.25, 1.0, -0.25.
    let penalty = 0.1 * (1.0 + 1.0 + 0.25 + 4.0) + 0.5 * 0.75;
    let expected = [(0.25 + 0.0625 + 1.0 + 0.0625) / 4.0 + penalty, 0.5, 0.5 + 0.5];
    let got: Vec<f64> = run.peek("evaluate_step", 2, &[x.clone(), t.clone()]).outputs.iter().map(scalar).collect();
    assert_close(&got[..2], &expected[..2], 1e-12, "evaluate");
    let step: Vec<f64> = run.call("train_step", 2, &[x, t]).iter().map(scalar).collect();
    assert_close(&step, &got, 1e-12, "both report the loss before the update");
    // The bias moves by half of the mean gradient, 2 * error / 4 summed over rows, plus the penalty's sign.
    let bias = [0.5 - 0.5 * (2.0 * 1.5 / 4.0 + 0.5), -0.25 - 0.5 * (-2.0 * 0.5 / 4.0 - 0.5)];
    assert_close(&run.cell("y/bias").to_numbers(), &bias, 1e-12, "bias");
}

#[test]
fn several_inputs_and_outputs_have_losses_of_their_own() {
    let m = Model::new("net");
    let (a, b) = (m.input("a", 3, F32), m.input("b", (2, 2).0, F32));
    let x = Concatenate::new().apply_many(&[&Dense::new(4).apply(&a), &b]);
    let price = Dense::new(1).name("price").apply(&x);
    let kind = Dense::new(3).name("kind").apply(&x);
    m.output(&price).output(&kind);
    let metrics = Metrics::new().output("kind", Accuracy).output("price", MeanAbsoluteError);
    m.compile(SGD::new(0.1), (MeanSquaredError, SparseCategoricalCrossentropy::from_logits()), metrics);
    let run = Interpreted::new(&m, 1);
    let mut numbers = Numbers::new(3);
    let inputs = [
        numbers.tensor(&[5, 3], -1.0, 1.0),
        numbers.tensor(&[5, 2], -1.0, 1.0),
        numbers.tensor(&[5, 1], -1.0, 1.0),
        numbers.labels(&[5], 3),
    ];
    let step = run.entry("train_step");
    let names: Vec<&str> = step.inputs.iter().map(|i| i.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "price_target", "kind_target"]);
    let names: Vec<&str> = step.outputs.iter().map(|o| o.name.as_str()).collect();
    assert_eq!(names, ["loss", "price_loss", "kind_loss", "price_mean_absolute_error", "kind_accuracy"]);
    let out: Vec<f64> = run.peek("train_step", 5, &inputs).outputs.iter().map(scalar).collect();
    assert_close(&out[..1], &[out[1] + out[2]], 1e-12, "total");
    let weighted = Losses::new().weighted_output("price", MeanSquaredError, 0.25);
    m.compile(SGD::new(0.1), weighted.output("kind", SparseCategoricalCrossentropy::from_logits()), ());
    let run = Interpreted::new(&m, 1);
    let out: Vec<f64> = run.peek("train_step", 5, &inputs).outputs.iter().map(scalar).collect();
    assert_close(&out[..1], &[0.25 * out[1] + out[2]], 1e-12, "weighted total");
}

#[test]
fn losses_are_those_of_their_definitions() {
    /// The loss that `evaluate_step` reports for outputs given as they are.
    fn loss(loss: impl Into<Losses>, target: Value, output: Value) -> f64 {
        let m = Model::new("loss");
        let x = m.input("x", output.shape[1..].to_vec(), F32);
        // A weight that changes nothing, so that there is something to train.
        let unit = Dense::new(*output.shape.last().unwrap()).kernel_initializer(Zeros).use_bias(false).apply(&x);
        m.output_as("y", &(&x + &unit));
        m.target("y", target.shape[1..].to_vec(), target.dtype);
        m.compile(SGD::new(1.0), loss, ());
        let batch = output.shape[0];
        scalar(&Interpreted::new(&m, 1).peek("evaluate_step", batch, &[output, target]).outputs[0])
    }
    let close = |got: f64, expected: f64| assert_close(&[got], &[expected], 1e-9, "loss");
    let f = |shape: &[usize], v: &[f32]| Value::f32(shape, v);
    close(loss(MeanSquaredError, f(&[2, 2], &[0., 1., 0., 0.]), f(&[2, 2], &[1., 1., 1., 0.])), 0.5);
    close(loss(MeanAbsoluteError, f(&[2, 1], &[1., 3.]), f(&[2, 1], &[0.5, 5.])), 1.25);
    close(loss(MeanSquaredError, f(&[2], &[1., 3.]), f(&[2, 1], &[0.5, 5.])), 2.125);
    let p = f(&[2, 1], &[0.25, 0.5]);
    let expected = -(0.25f64.ln() + 0.5f64.ln()) / 2.0;
    close(loss(BinaryCrossentropy::new(), f(&[2, 1], &[1., 0.]), p), expected);
    let extreme = f(&[1, 2], &[100., -100.]);
    close(loss(BinaryCrossentropy::from_logits(), f(&[1, 2], &[0., 1.]), extreme.clone()), 100.0);
    close(loss(BinaryCrossentropy::from_logits(), f(&[1, 2], &[1., 0.]), extreme), 0.0);
    let logits = f(&[2, 3], &[1., 2., 3., 0., 0., 0.]);
    let total = (1f64.exp() + 2f64.exp() + 3f64.exp()).ln();
    let expected = (total - 2.0 + 3f64.ln()) / 2.0;
    let hot = f(&[2, 3], &[0., 1., 0., 0., 0., 1.]);
    close(loss(CategoricalCrossentropy::from_logits(), hot.clone(), logits.clone()), expected);
    for labels in [Value::i32(&[2], &[1, 2]), Value::i32(&[2, 1], &[1, 2]), Value::u8(&[2], &[1, 2])] {
        close(loss(SparseCategoricalCrossentropy::from_logits(), labels, logits.clone()), expected);
    }
    let unknown = Value::i32(&[2], &[1, 7]);
    close(loss(SparseCategoricalCrossentropy::from_logits(), unknown, logits), (total - 2.0) / 2.0);
    let p = f(&[2, 3], &[0.5, 0.25, 0.25, 0.0, 0.0, 1.0]);
    let expected = (-(0.25f64.ln()) - (1.0f64 - 1e-7).ln()) / 2.0;
    close(loss(CategoricalCrossentropy::new(), hot, p.clone()), expected);
    close(loss(SparseCategoricalCrossentropy::new(), Value::i32(&[2], &[1, 2]), p), expected);
    let huge = f(&[1, 2], &[1000., -1000.]);
    close(loss(SparseCategoricalCrossentropy::from_logits(), Value::i32(&[1], &[1]), huge), 2000.0);
}

/// Sequences with repeated labels, shorter ones, and an empty one.
#[test]
fn the_gradient_of_ctc_is_that_of_its_value() {
    let m = Sequential::new("net").input("x", [7, 2], F32).add(Dense::new(4).name("y").use_bias(false));
    m.compile(SGD::new(1.0), CTC, ());
    m.target("y", [3], I32);
    let mut numbers = Numbers::new(5);
    let kernel: Vec<f64> = (0..8).map(|_| numbers.next(-1.0, 1.0)).collect();
    let labels = Value::from_numbers(I32, &[4, 3], &[1.0, 1.0, 2.0, 3.0, 2.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    let inputs = [numbers.tensor(&[4, 7, 2], -2.0, 2.0), labels];
    let mut run = Interpreted::new(&m, 1);
    let mut loss_at = |kernel: &[f64]| {
        run.set("y/kernel", kernel);
        scalar(&run.peek("train_step", 4, &inputs).outputs[0])
    };
    let h = 1e-3;
    let slopes: Vec<f64> = (0..8)
        .map(|i| {
            let mut moved = |h: f64| {
                let mut kernel = kernel.clone();
                kernel[i] += h;
                loss_at(&kernel)
            };
            (moved(h) - moved(-h)) / (2.0 * h)
        })
        .collect();
    run.set("y/kernel", &kernel);
    run.call("train_step", 4, &inputs);
    let after = run.cell("y/kernel").to_numbers();
    let gradient: Vec<f64> = kernel.iter().zip(&after).map(|(before, after)| before - after).collect();
    assert!(slopes.iter().any(|s| s.abs() > 0.05), "{slopes:?}");
    assert_close(&gradient, &slopes, 1e-3, "gradient and difference quotient");
}

#[test]
fn accuracy_looks_at_the_shapes() {
    fn accuracy(target: Value, output: Value) -> f64 {
        let m = Model::new("accuracy");
        let x = m.input("x", output.shape[1..].to_vec(), F32);
        let unit = Dense::new(*output.shape.last().unwrap()).kernel_initializer(Zeros).use_bias(false).apply(&x);
        m.output_as("y", &(&x + &unit));
        m.target("y", target.shape[1..].to_vec(), target.dtype);
        m.compile(SGD::new(1.0), Losses::new(), Metrics::new().output("y", Accuracy));
        let problem = m.lower().unwrap_err().to_string();
        assert!(problem.contains("no output has a loss"), "{problem}");
        let sparse = target.dtype != F32;
        if sparse {
            m.compile(SGD::new(1.0), SparseCategoricalCrossentropy::from_logits(), [Accuracy]);
        } else {
            m.compile(SGD::new(1.0), MeanSquaredError, [Accuracy]);
        }
        let batch = output.shape[0];
        scalar(&Interpreted::new(&m, 1).peek("evaluate_step", batch, &[output, target]).outputs[1])
    }
    let binary = accuracy(Value::f32(&[4, 1], &[1., 0., 1., 0.]), Value::f32(&[4, 1], &[0.9, 0.5, 0.4, 0.6]));
    assert_eq!(binary, 0.5);
    let scores = Value::f32(&[3, 3], &[0.1, 0.7, 0.2, 5., 5., 1., 0., -1., 2.]);
    assert_close(&[accuracy(Value::i32(&[3], &[1, 0, 0]), scores.clone())], &[2.0 / 3.0], 1e-12, "sparse");
    assert_close(
        &[accuracy(Value::i32(&[3, 1], &[1, 1, 2]), scores.clone())],
        &[2.0 / 3.0],
        1e-12,
        "ties go to the first",
    );
    let hot = Value::f32(&[3, 3], &[0., 1., 0., 1., 0., 0., 0., 0., 1.]);
    assert_eq!(accuracy(hot, scores), 1.0);
}

#[test]
fn initializers_have_their_distributions() {
    let (rows, columns) = (300, 200);
    let fan_in = 300.0;
    let limit = |scale: f64, fan: f64| (3.0 * scale / fan).sqrt();
    let normal = |scale: f64, fan: f64| (scale / fan).sqrt();
    // (initializer, mean, standard deviation, largest magnitude around the mean)
    let cases = [
        (Zeros, 0.0, 0.0, 0.0),
        (Ones, 1.0, 0.0, 0.0),
        (Constant(0.3), 0.3, 0.0, 0.0),
        (RandomUniform { minval: -1.0, maxval: 3.0 }, 1.0, 4.0 / 12f64.sqrt(), 2.0),
        (RandomNormal { mean: 2.0, stddev: 0.5 }, 2.0, 0.5, f64::INFINITY),
        (TruncatedNormal { mean: -1.0, stddev: 0.5 }, -1.0, 0.5 * 0.8796, 1.0),
        (GlorotUniform, 0.0, normal(1.0, 250.0), limit(1.0, 250.0)),
        (GlorotNormal, 0.0, normal(1.0, 250.0), 2.0 * normal(1.0, 250.0) / 0.8796),
        (HeUniform, 0.0, normal(2.0, fan_in), limit(2.0, fan_in)),
        (HeNormal, 0.0, normal(2.0, fan_in), 2.0 * normal(2.0, fan_in) / 0.8796),
        (LecunUniform, 0.0, normal(1.0, fan_in), limit(1.0, fan_in)),
        (LecunNormal, 0.0, normal(1.0, fan_in), 2.0 * normal(1.0, fan_in) / 0.8796),
    ];
    for (initializer, mean, stddev, largest) in cases {
        let m = Sequential::new("m").input("x", rows, F32).add(Dense::new(columns).kernel_initializer(initializer));
        let run = Interpreted::new(&m, 9);
        let w = run.cell("dense/kernel").to_numbers();
        let n = w.len() as f64;
        let average = w.iter().sum::<f64>() / n;
        let spread = (w.iter().map(|x| (x - average).powi(2)).sum::<f64>() / n).sqrt();
        let reach = w.iter().map(|x| (x - mean).abs()).fold(0.0, f64::max);
        assert!((average - mean).abs() <= 5.0 * stddev / n.sqrt() + 1e-9, "{initializer:?}: mean {average}");
        assert!(
            (spread - stddev).abs() <= 0.015 * stddev + 1e-9,
            "{initializer:?}: stddev {spread}, expected {stddev}"
        );
        let bounded = reach <= largest * 1.0001 + 1e-9;
        let full = largest.is_infinite() || reach >= largest * 0.99;
        assert!(bounded && full, "{initializer:?}: reach {reach} of {largest}");
    }
}

#[test]
fn draws_depend_on_seed_path_and_step_only() {
    let net = |extra: bool| {
        let m = Sequential::new("m").input("x", 4, F32);
        let m = if extra { m.add(Dense::new(4).name("extra")) } else { m };
        m.add(Dense::new(4).name("a")).add(Dense::new(4).name("b")).add(Dropout::new(0.5))
    };
    let kernel = |m: &Model, seed: u32, name: &str| Interpreted::new(m, seed).cell(name).to_numbers();
    let m = net(false);
    assert_eq!(kernel(&m, 1, "a/kernel"), kernel(&m, 1, "a/kernel"));
    assert_ne!(kernel(&m, 1, "a/kernel"), kernel(&m, 2, "a/kernel"));
    assert_ne!(kernel(&m, 1, "a/kernel"), kernel(&m, 1, "b/kernel"));
    assert_eq!(kernel(&m, 1, "b/kernel"), kernel(&net(true), 1, "b/kernel"));
}

#[test]
fn dropout_drops_its_rate_anew_in_every_step() {
    let rate = 0.3;
    let m = Model::new("m");
    let x = m.input("x", 1000, F32);
    let y = Dropout::new(rate).apply(&x);
    let (twin, none) = (Dropout::new(rate).apply(&x), Dropout::new(0.0).apply(&x));
    let all = Dropout::new(1.0).apply(&x);
    m.output(&y);
    m.entry("drop").training(true).output("y", &y).output("twin", &twin).output("none", &none).output("all", &all);
    let mut run = Interpreted::new(&m, 3);
    let ones = Value::splat(F32, &[5, 1000], 1.0);
    assert_eq!(run.call("predict", 5, from_ref(&ones))[0], ones);
    let first = run.call("drop", 5, from_ref(&ones));
    let second = run.call("drop", 5, from_ref(&ones));
    let kept = |t: &Value| t.to_numbers().iter().filter(|x| **x != 0.0).count() as f64 / 5000.0;
    for t in [&first[0], &first[1], &second[0]] {
        assert!((kept(t) - (1.0 - rate)).abs() < 0.03, "{}", kept(t));
        assert!(t.to_numbers().iter().all(|&x| x == 0.0 || (x - 1.0 / (1.0 - rate)).abs() < 1e-12));
    }
    assert_ne!(first[0], second[0], "another step");
    assert_ne!(first[0], first[1], "another layer");
    assert_ne!(first[0].to_numbers()[..1000], first[0].to_numbers()[1000..2000], "another row");
    assert_eq!(first[2], ones);
    assert_eq!(first[3], Value::splat(F32, &[5, 1000], 0.0));
    let row = run.peek("drop", 1, &[Value::splat(F32, &[1, 1000], 1.0)]).outputs;
    let rows = run.peek("drop", 5, &[ones]).outputs;
    assert_eq!(row[0].to_numbers(), rows[0].to_numbers()[..1000], "the batch does not matter");
}

#[test]
fn batch_normalization_tracks_its_batches_unless_frozen() {
    let net = |trainable: bool| {
        let bn = BatchNormalization::new().momentum(0.75).trainable(trainable);
        let m = Sequential::new("m").input("x", 2, F32).add(bn).add(Dense::new(1));
        m.compile(SGD::new(0.0), MeanSquaredError, ());
        Interpreted::new(&m, 1)
    };
    let inputs = [Value::f32(&[3, 2], &[1., 10., 2., 10., 6., 10.]), Value::f32(&[3, 1], &[0.; 3])];
    let mut run = net(true);
    run.call("train_step", 3, &inputs);
    let (mean, variance) = ("batch_normalization/moving_mean", "batch_normalization/moving_variance");
    assert_close(&run.cell(mean).to_numbers(), &[0.75, 2.5], 1e-12, "mean");
    assert_close(&run.cell(variance).to_numbers(), &[0.75 + 0.25 * 14.0 / 3.0, 0.75], 1e-12, "variance");
    assert_eq!(run.module.storage[run.index(mean)].kind, StorageKind::State);
    run.call("evaluate_step", 3, &inputs);
    assert_close(&run.cell(mean).to_numbers(), &[0.75, 2.5], 1e-12, "evaluation leaves it alone");
    let mut frozen = net(false);
    frozen.call("train_step", 3, &inputs);
    assert_eq!(frozen.cell(mean).to_numbers(), [0.0, 0.0]);
    assert!(!frozen.module.storage[frozen.index("batch_normalization/gamma")].trainable);
}

#[test]
fn convolution_and_pooling_match_plain_loops() {
    let m = Model::new("m");
    let x = m.input("x", [4, 5, 2], F32);
    let y = Conv2D::new(3, (3, 2)).strides((2, 1)).padding(Same).name("conv").apply(&x);
    let z = MaxPooling2D::new(2).strides(1).padding(Same).apply(&y);
    m.output(&y).output(&z);
    let mut run = Interpreted::new(&m, 1);
    let mut numbers = Numbers::new(4);
    let image = numbers.tensor(&[1, 4, 5, 2], -1.0, 1.0);
    let kernel = numbers.tensor(&[3, 2, 2, 3], -1.0, 1.0).to_numbers();
    run.set("conv/kernel", &kernel);
    run.set("conv/bias", &[0.1, 0.2, 0.3]);
    let out = run.call("predict", 1, from_ref(&image));
    let image = image.to_numbers();
    // Rows: 2 positions of span 3 with stride 2 over 4 need 1 of padding, which goes to the end; columns likewise.
    let at = |r: usize, c: usize, k: usize| if r < 4 && c < 5 { image[(r * 5 + c) * 2 + k] } else { 0.0 };
    let mut conv = Vec::new();
    for (r, c, f) in (0..2).flat_map(|r| (0..5).flat_map(move |c| (0..3).map(move |f| (r, c, f)))) {
        let mut sum = 0.1 * (f + 1) as f64;
        for (i, j, k) in (0..3).flat_map(|i| (0..2).flat_map(move |j| (0..2).map(move |k| (i, j, k)))) {
            sum += at(2 * r + i, c + j, k) * kernel[((i * 2 + j) * 2 + k) * 3 + f];
        }
        conv.push(sum);
    }
    assert_close(&out[0].to_numbers(), &conv, 1e-12, "convolution");
    let at = |r: usize, c: usize, f: usize| if r < 2 && c < 5 { conv[(r * 5 + c) * 3 + f] } else { f64::NEG_INFINITY };
    let mut pooled = Vec::new();
    for (r, c, f) in (0..2).flat_map(|r| (0..5).flat_map(move |c| (0..3).map(move |f| (r, c, f)))) {
        pooled.push(
            [at(r, c, f), at(r + 1, c, f), at(r, c + 1, f), at(r + 1, c + 1, f)]
                .into_iter()
                .fold(f64::NEG_INFINITY, f64::max),
        );
    }
    assert_close(&out[1].to_numbers(), &pooled, 1e-12, "pooling");
}

#[test]
fn the_gradient_of_pooling_goes_to_the_first_maximum() {
    let m = Model::new("m");
    let x = m.input("x", [2, 2, 1], F32);
    let y = MaxPooling2D::new(2).apply(&x);
    m.entry("slope").training(true).output("y", &y).output("dx", &y.sum_all().gradient(&x));
    let out = Interpreted::new(&m, 1).peek("slope", 1, &[Value::f32(&[1, 2, 2, 1], &[1., 3., 3., 3.])]).outputs;
    assert_eq!(out[0].to_numbers(), [3.0]);
    assert_eq!(out[1].to_numbers(), [0.0, 1.0, 0.0, 0.0]);
}

#[test]
fn shared_layers_and_nested_models_have_one_set_of_weights() {
    let encoder = Model::new("encoder");
    let x = encoder.input("x", 4, F32);
    let shared = Dense::new(4).name("fc");
    encoder.output(&Dense::new(2).name("out").apply(&shared.apply(&shared.apply(&x))));
    let m = Model::new("siamese");
    let (a, b) = (m.input("a", 4, F32), m.input("b", 4, F32));
    let (p, q) = (encoder.apply(&a), encoder.apply(&b));
    m.output_as("distance", &(&p - &q).square().sum(&[1]));
    m.compile(SGD::new(0.1), MeanSquaredError, ());
    let mut run = Interpreted::new(&m, 1);
    let params: Vec<&str> =
        run.module.storage.iter().filter(|c| c.kind == StorageKind::Param).map(|c| c.name.as_str()).collect();
    assert_eq!(params, ["encoder/fc/kernel", "encoder/fc/bias", "encoder/out/kernel", "encoder/out/bias"]);
    let mut numbers = Numbers::new(6);
    let x = numbers.tensor(&[3, 4], -1.0, 1.0);
    let same = run.call("predict", 3, &[x.clone(), x.clone()]);
    assert_eq!(same[0].to_numbers(), [0.0; 3]);
    let inputs = [x, numbers.tensor(&[3, 4], -1.0, 1.0), numbers.tensor(&[3], 0.0, 1.0)];
    let l = losses(&mut run, &inputs, 3, 30);
    assert!(l[29] < l[0], "{l:?}");
}

#[test]
fn frozen_layers_stay_as_they_are() {
    let encoder = Sequential::new("encoder").add(Dense::new(3).name("fc1")).add(Dense::new(3).name("fc2"));
    let m = Model::new("m");
    let x = m.input("x", 2, F32);
    m.output(&Dense::new(1).name("head").apply(&encoder.apply(&x)));
    m.compile(SGD::new(0.1), MeanSquaredError, ());
    let trained = |m: &Model| -> Vec<String> {
        let mut run = Interpreted::new(m, 1);
        let mut numbers = Numbers::new(6);
        let before = run.storage.clone();
        run.call("train_step", 4, &[numbers.tensor(&[4, 2], 0.5, 1.0), numbers.tensor(&[4, 1], -1.0, 1.0)]);
        let cells = run.module.storage.iter().zip(before.iter().zip(&run.storage));
        let changed = cells.filter(|(c, (old, new))| c.kind == StorageKind::Param && old != new);
        changed.map(|(c, _)| c.name.clone()).collect()
    };
    assert_eq!(trained(&m).len(), 6);
    m.freeze("encoder/fc1");
    assert_eq!(trained(&m), ["encoder/fc2/kernel", "encoder/fc2/bias", "head/kernel", "head/bias"]);
    m.freeze("encoder");
    assert_eq!(trained(&m), ["head/kernel", "head/bias"]);
}

#[test]
fn two_optimizers_train_their_own_parts() {
    let generator = Sequential::new("generator").add(Dense::new(4).activation(Tanh)).add(Dense::new(2));
    let critic = Sequential::new("critic").add(Dense::new(4).activation(LeakyRelu(0.2))).add(Dense::new(1));
    let m = Model::new("gan");
    let (noise, real) = (m.input("noise", 3, F32), m.input("real", 2, F32));
    let fake = generator.apply(&noise);
    let (judged, truth) = (critic.apply(&fake), critic.apply(&real));
    m.output(&fake);
    let loss = BinaryCrossentropy::from_logits();
    let (zeros, ones) = (&judged * 0.0, &truth * 0.0 + 1.0);
    let critic_loss = loss.between(&zeros, &judged) + loss.between(&ones, &truth);
    let generator_loss = loss.between(&ones, &judged);
    m.entry("train_critic").output("loss", &critic_loss).minimize(&critic_loss, &["critic"], Adam::new(0.01));
    m.entry("train_generator").output("loss", &generator_loss).minimize(&generator_loss, &["generator"], SGD::new(0.1));
    let mut run = Interpreted::new(&m, 1);
    verify::verify_module(&run.module).unwrap();
    let names = |e: &str| run.entry(e).inputs.iter().map(|i| i.name.clone()).collect::<Vec<_>>();
    assert_eq!(names("predict"), ["noise"]);
    assert_eq!(names("train_critic"), ["noise", "real"]);
    let mut numbers = Numbers::new(8);
    let inputs = [numbers.tensor(&[5, 3], -1.0, 1.0), numbers.tensor(&[5, 2], -1.0, 1.0)];
    let part = |run: &Interpreted, prefix: &str| -> Vec<Value> {
        let cells = run.module.storage.iter().zip(&run.storage);
        cells.filter(|(c, _)| c.name.starts_with(prefix)).map(|(_, v)| v.clone()).collect()
    };
    let (g, c) = (part(&run, "generator/"), part(&run, "critic/"));
    let first = scalar(&run.call("train_critic", 5, &inputs)[0]);
    assert_eq!(part(&run, "generator/"), g);
    assert_ne!(part(&run, "critic/"), c);
    for _ in 0..20 {
        run.call("train_critic", 5, &inputs);
    }
    assert!(scalar(&run.call("train_critic", 5, &inputs)[0]) < first);
    let c = part(&run, "critic/");
    run.call("train_generator", 5, &inputs);
    assert_eq!(part(&run, "critic/"), c);
    assert_ne!(part(&run, "generator/"), g);
    assert_eq!(scalar(run.cell("train_critic/optimizer/iterations")), 22.0);
    assert_eq!(run.cell("train_critic/optimizer/critic/dense/kernel/momentum").shape, [2, 4]);
}

#[test]
fn entry_points_give_activations_and_gradients_with_respect_to_anything() {
    let m = Model::new("m");
    let x = m.input("image", [5, 5, 1], F32);
    let maps = Conv2D::new(2, 3).activation(Relu).name("maps").apply(&x);
    let scores = Dense::new(3).name("scores").apply(&GlobalAveragePooling2D.apply(&maps));
    m.output(&scores);
    let score = scores.slice(1, 2, 3).sum_all();
    // Class activation maps: channels weighted by the mean gradient of the score with respect to them.
    let weights = score.gradient(&maps).mean(&[1, 2]);
    let weights = Reshape::new([1, 1, 2]).apply(&weights);
    let heat = Relu.apply(&(&maps * &weights).sum(&[3]));
    m.entry("explain").output("heat", &heat).output("maps", &maps).output("saliency", &score.gradient(&x));
    // A gradient of a gradient: the penalty of Wasserstein critics.
    let norm = score.gradient(&x).square().sum_all();
    m.entry("penalty").output("norm", &norm).minimize(&norm, &["maps", "scores"], SGD::new(0.1));
    let mut run = Interpreted::new(&m, 2);
    let image = Numbers::new(5).tensor(&[2, 5, 5, 1], 0.0, 1.0);
    let out = run.call("explain", 2, from_ref(&image));
    assert_eq!(
        out.iter().map(|t| t.shape.clone()).collect::<Vec<_>>(),
        [vec![2, 3, 3], vec![2, 3, 3, 2], vec![2, 5, 5, 1]]
    );
    let w: Vec<f64> = run.cell("scores/kernel").to_numbers().chunks(3).map(|row| row[2] / 9.0 / 9.0).collect();
    let active = |maps: &[f64], c: usize| maps.iter().skip(c).step_by(2).filter(|x| **x > 0.0).count();
    assert!(active(&out[1].to_numbers(), 0) + active(&out[1].to_numbers(), 1) > 0, "some channel is active");
    let expected: Vec<f64> =
        out[1].to_numbers().chunks(2).map(|m| (9.0 * (m[0] * w[0] + m[1] * w[1])).max(0.0)).collect();
    assert_close(&out[0].to_numbers(), &expected, 1e-9, "heat");
    let n = |run: &mut Interpreted| scalar(&run.call("penalty", 2, from_ref(&image))[0]);
    let first = n(&mut run);
    assert!((0..20).map(|_| n(&mut run)).last().unwrap() < first);
}

#[test]
fn the_graph_prints_as_dot() {
    let m = Sequential::new("m").input("x", 4, F32).add(Dense::new(2).name("fc"));
    let dot = m.to_dot();
    for part in ["digraph \"m\"", "x\\nInput", "fc\\nDense", "n0 -> n1 [label=\"f32[batch, 4]\"]"] {
        assert!(dot.contains(part), "{dot}");
    }
}
