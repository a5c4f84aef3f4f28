//! Steps as a whole: weights of samples, masks, terms of the loss, losses of one's own, options of optimizers.

use std::slice::from_ref;

use bakelite_compiler::ir::eval::Tensor as Value;
use bakelite_compiler::prelude::*;

use crate::common::{Interpreted, Numbers, assert_close, scalar};

fn results(run: &mut Interpreted, entry: &str, batch: usize, inputs: &[Value]) -> Vec<f64> {
    run.call(entry, batch, inputs).iter().map(scalar).collect()
}

#[test]
fn sample_weights_count_in_the_loss_and_in_weighted_metrics() {
    let m = Model::new("m");
    let x = m.input("x", 1, F32);
    m.output(&Dense::new(1).name("y").apply(&x));
    m.sample_weight("y", ());
    m.compile(SGD::new(0.0), MeanSquaredError, (MeanSquaredError, MeanAbsoluteError));
    m.weighted_metrics([MeanSquaredError]);
    let mut run = Interpreted::new(&m, 1);
    run.set("y/kernel", &[1.0]);
    let names: Vec<&str> = run.entry("train_step").inputs.iter().map(|i| i.name.as_str()).collect();
    assert_eq!(names, ["x", "y_target", "y_weight"]);
    let names: Vec<&str> = run.entry("train_step").outputs.iter().map(|o| o.name.as_str()).collect();
    assert_eq!(names, ["loss", "mean_squared_error", "mean_absolute_error", "weighted_mean_squared_error"]);
    let column = |v: &[f32]| Value::f32(&[v.len(), 1], v);
    let first = [column(&[1.0, 2.0]), column(&[0.0, 0.0]), Value::f32(&[2], &[1.0, 0.5])];
    let got = results(&mut run, "train_step", 2, &first);
    assert_close(&got, &[(1.0 + 2.0) / 2.0, 2.5, 1.5, 3.0 / 1.5], 1e-6, "first batch");
    let second = [column(&[3.0]), column(&[0.0]), Value::f32(&[1], &[2.0])];
    let got = results(&mut run, "train_step", 1, &second);
    assert_close(&got, &[18.0, 14.0 / 3.0, 2.0, 21.0 / 3.5], 1e-6, "metrics go on, the loss is of the batch");
    run.call("reset_metrics", 1, &[]);
    let got = results(&mut run, "evaluate_step", 1, &second);
    assert_close(&got, &[18.0, 9.0, 3.0, 9.0], 1e-6, "a new beginning");
}

#[test]
fn masks_of_outputs_leave_steps_out() {
    let m = Model::new("m");
    let x = m.input("x", [3, 1], F32);
    m.output(&Dense::new(1).name("y").use_bias(false).kernel_initializer(Ones).apply(&Masking::new().apply(&x)));
    m.compile(SGD::new(0.0), MeanSquaredError, [MeanAbsoluteError]);
    let mut run = Interpreted::new(&m, 1);
    // The second sample has one step, the third none.
    let x = Value::f32(&[3, 3, 1], &[1.0, 2.0, 3.0, 4.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    let zeros = Value::splat(F32, &[3, 3, 1], 0.0);
    let got = results(&mut run, "evaluate_step", 3, &[x, zeros]);
    assert_close(&got, &[30.0 / 4.0, 10.0 / 4.0], 1e-6, "means over what counts");
}

#[test]
fn terms_of_the_loss_come_from_anywhere() {
    let inner = Model::new("inner");
    let a = inner.input("a", 2, F32);
    let b = Dense::new(2).use_bias(false).kernel_initializer(Ones).apply(&a);
    inner.output(&b).add_loss(&(b.square() * 0.25));
    let m = Model::new("m");
    let x = m.input("x", 2, F32);
    let y = inner.apply(&x);
    m.output_as("y", &y).add_loss(&(&y * 2.0).mean_all()).track(&y, Mean::new("level")).track(&y, Sum::new("sum"));
    m.compile(SGD::new(0.0), (), ());
    let mut run = Interpreted::new(&m, 1);
    let names: Vec<&str> = run.entry("train_step").outputs.iter().map(|o| o.name.as_str()).collect();
    assert_eq!(names, ["loss", "level", "sum"]);
    let x = Value::f32(&[2, 2], &[1.0, 2.0, 0.0, 1.0]);
    // Outputs are 3, 3, 1, 1: a quarter of the squares, and twice the mean.
    let got = results(&mut run, "train_step", 2, from_ref(&x));
    assert_close(&got, &[5.0 + 4.0, 2.0, 8.0], 1e-6, "both terms");
    let got = results(&mut run, "train_step", 2, from_ref(&x));
    assert_close(&got, &[9.0, 2.0, 16.0], 1e-6, "sums go on");
}

#[test]
fn losses_can_be_expressions() {
    let loss = LossFn::new("quartic", |t, y| (t - y).square().square());
    let m = Sequential::new("m").input("x", 2, F32).add(Dense::new(2).name("y").use_bias(false));
    m.compile(SGD::new(0.5), loss.clone(), [loss.clone()]);
    let mut run = Interpreted::new(&m, 1);
    run.set("y/kernel", &[1.0, 0.0, 0.0, 1.0]);
    let x = Value::f32(&[1, 2], &[1.0, 2.0]);
    let zeros = Value::splat(F32, &[1, 2], 0.0);
    let got = results(&mut run, "train_step", 1, &[x, zeros]);
    assert_close(&got, &[8.5, 8.5], 1e-6, "the mean of fourth powers");
    let names: Vec<&str> = run.entry("train_step").outputs.iter().map(|o| o.name.as_str()).collect();
    assert_eq!(names, ["loss", "quartic"]);
    // The gradient is 4 x^3 / 2, times x.
    assert_close(&run.cell("y/kernel").to_numbers(), &[1.0 - 1.0, -8.0, -2.0, 1.0 - 16.0], 1e-6, "one step");
    let whole = LossFn::new("whole", |t, y| (t - y).abs().max_all());
    m.compile(SGD::new(0.5), whole, ());
    let x = Value::f32(&[2, 2], &[1.0, -2.0, 0.0, 0.5]);
    let mut run = Interpreted::new(&m, 1);
    run.set("y/kernel", &[1.0, 0.0, 0.0, 1.0]);
    assert_eq!(results(&mut run, "evaluate_step", 2, &[x, Value::splat(F32, &[2, 2], 0.0)]), [2.0]);
}

#[test]
fn excluded_weights_do_not_decay() {
    let m = Sequential::new("m").input("x", 2, F32).add(Dense::new(2).bias_initializer(Ones).kernel_initializer(Ones));
    m.compile(
        SGD::new(0.1).weight_decay(0.5).exclude_from_weight_decay(["bias"]),
        LossFn::new("none", |_, y| y * 0.0),
        (),
    );
    let mut run = Interpreted::new(&m, 1);
    let x = Numbers::new(1).tensor(&[3, 2], -1.0, 1.0);
    run.call("train_step", 3, &[x.clone(), x]);
    assert_close(&run.cell("dense/kernel").to_numbers(), &[0.95; 4], 1e-6, "decays by the rate times the decay");
    assert_eq!(run.cell("dense/bias").to_numbers(), [1.0, 1.0]);
}

#[test]
fn schedules_have_no_cell() {
    let m = Sequential::new("m").input("x", 2, F32).add(Dense::new(2));
    m.compile(SGD::new(ExponentialDecay::new(0.1, 10.0, 0.5)), MeanSquaredError, ());
    let module = m.lower().unwrap();
    assert!(module.storage.iter().all(|c| c.name != "optimizer/learning_rate"));
}
