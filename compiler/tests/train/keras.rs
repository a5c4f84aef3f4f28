//! Every case of `keras.json`, which `make_keras.py` writes: definitions are read from Keras's configurations, and give
//! what Keras gives.

use std::rc::Rc;

use bakelite_compiler::ir::eval::Tensor as Value;
use bakelite_compiler::model::registry::{self, LOSSES, METRICS, OPTIMIZERS};
use bakelite_compiler::prelude::*;
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use crate::common::{Interpreted, scalar};

#[derive(Deserialize)]
struct Tables {
    losses: Vec<LossCase>,
    metrics: Vec<MetricCase>,
    optimizers: Vec<OptimizerCase>,
    schedules: Vec<ScheduleCase>,
}

#[derive(Deserialize)]
struct LossCase {
    class: String,
    config: Map<String, Json>,
    reduction: String,
    target: Array,
    output: Array,
    weight: Option<Array>,
    expected: f64,
}

#[derive(Deserialize)]
struct MetricCase {
    class: String,
    config: Map<String, Json>,
    batches: Vec<MetricBatch>,
}

#[derive(Deserialize)]
struct MetricBatch {
    target: Array,
    output: Array,
    weight: Option<Array>,
    /// After this batch.
    expected: Vec<Option<f64>>,
}

#[derive(Deserialize)]
struct OptimizerCase {
    class: String,
    config: Map<String, Json>,
    kernel: Array,
    bias: Array,
    x: Vec<Array>,
    y: Vec<Array>,
    /// Kernel and bias after each step.
    after: Vec<Vec<f64>>,
    /// After the end of training, where that changes them.
    r#final: Option<Vec<f64>>,
}

#[derive(Deserialize)]
struct ScheduleCase {
    class: String,
    config: Map<String, Json>,
    /// What Keras writes for it.
    written: Map<String, Json>,
    /// From step 0 on.
    expected: Vec<f64>,
}

#[derive(Deserialize)]
struct Array {
    dtype: String,
    shape: Vec<usize>,
    values: Vec<f64>,
}

impl Array {
    fn value(&self) -> Value {
        Value::from_numbers(self.dtype(), &self.shape, &self.values)
    }

    fn dtype(&self) -> DType {
        if self.dtype == "i32" { I32 } else { F32 }
    }

    fn item(&self) -> Vec<usize> {
        self.shape[1..].to_vec()
    }
}

fn tables() -> Tables {
    serde_json::from_str(include_str!("keras.json")).unwrap()
}

/// Collects what does not match, so that one run shows all of it.
#[derive(Default)]
struct Mismatches(Vec<String>);

impl Mismatches {
    fn compare(&mut self, what: &str, got: &[f64], expected: &[f64], tolerance: f64) {
        let near = |(g, e): (&f64, &f64)| (g - e).abs() <= tolerance * e.abs().max(1.0) || g.is_nan() && e.is_nan();
        if got.len() != expected.len() || !got.iter().zip(expected).all(near) {
            self.0.push(format!("{what}: {got:?}, Keras has {expected:?}"));
        }
    }
}

impl Drop for Mismatches {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.0.is_empty(), "{} do not match\n{}", self.0.len(), self.0.join("\n"));
        }
    }
}

/// A model whose output is its input, and which has something to train.
fn identity(output: &Array, target: &Array, weight: Option<&Array>) -> Model {
    let m = Model::new("identity");
    let x = m.input("x", output.item(), F32);
    m.output_as("y", &x);
    m.target("y", target.item(), target.dtype());
    if let Some(weight) = weight {
        m.sample_weight("y", weight.item());
    }
    let one = m.input("one", 1, F32);
    m.add_loss(&Dense::new(1).kernel_initializer(Zeros).apply(&one));
    m
}

fn inputs(output: &Array, target: &Array, weight: Option<&Array>) -> Vec<Value> {
    let one = Value::splat(F32, &[output.shape[0], 1], 1.0);
    [Some(output.value()), Some(one), Some(target.value()), weight.map(Array::value)].into_iter().flatten().collect()
}

#[test]
fn losses() {
    let mut mismatches = Mismatches::default();
    for case in tables().losses {
        let LossCase { class, config, reduction, target, output, weight, expected } = case;
        let loss = registry::read(LOSSES, "loss", &class, &config).unwrap_or_else(|e| panic!("{class}: {e:?}"));
        let reduction = match reduction.as_str() {
            "sum" => Reduction::Sum,
            "mean_with_sample_weight" => Reduction::MeanWithSampleWeight,
            _ => Reduction::SumOverBatchSize,
        };
        let m = identity(&output, &target, weight.as_ref());
        m.compile(SGD::new(0.1), loss.reduced(reduction), ());
        let run = Interpreted::new(&m, 1);
        let inputs = inputs(&output, &target, weight.as_ref());
        let got = scalar(&run.peek("evaluate_step", output.shape[0], &inputs).outputs[0]);
        let what = format!("{class} {config:?} {reduction:?}, weighted: {}", weight.is_some());
        mismatches.compare(&what, &[got], &[expected], 2e-5);
    }
}

#[test]
fn metrics() {
    let mut mismatches = Mismatches::default();
    for MetricCase { class, config, batches } in tables().metrics {
        let metric = registry::read(METRICS, "metric", &class, &config).unwrap_or_else(|e| panic!("{class}: {e:?}"));
        let first = &batches[0];
        let m = identity(&first.output, &first.target, first.weight.as_ref());
        m.compile(SGD::new(0.1), (), Metrics::new());
        if first.weight.is_some() {
            m.weighted_metrics(Metrics::new().output("y", metric));
        } else {
            m.compile(SGD::new(0.1), (), Metrics::new().output("y", metric));
        }
        let mut run = Interpreted::new(&m, 1);
        for round in 0..2 {
            run.call("reset_metrics", 1, &[]);
            for (i, batch) in batches.iter().enumerate() {
                let rows = batch.output.shape[0];
                let inputs = inputs(&batch.output, &batch.target, batch.weight.as_ref());
                let results = run.call("evaluate_step", rows, &inputs);
                let got: Vec<f64> = results[1..].iter().map(scalar).collect();
                let expected: Vec<f64> = batch.expected.iter().map(|x| x.unwrap_or(f64::NAN)).collect();
                let what =
                    format!("{class} {config:?}, weighted: {}, round {round}, batch {i}", batch.weight.is_some());
                mismatches.compare(&what, &got, &expected, 2e-5);
            }
        }
    }
}

#[test]
fn optimizers() {
    let mut mismatches = Mismatches::default();
    for case in tables().optimizers {
        let OptimizerCase { class, config, kernel, bias, x, y, after, r#final } = case;
        let optimizer: Rc<dyn Optimizer> =
            registry::read(OPTIMIZERS, "optimizer", &class, &config).unwrap_or_else(|e| panic!("{class}: {e:?}"));
        let m = Sequential::new("m").input("x", 3, F32).add(Dense::new(2).kernel_constraint(NonNeg));
        m.compile(optimizer, MeanSquaredError, ());
        let mut run = Interpreted::new(&m, 1);
        run.set("dense/kernel", &kernel.values);
        run.set("dense/bias", &bias.values);
        let weights = |run: &Interpreted| {
            ["dense/kernel", "dense/bias"].iter().flat_map(|name| run.cell(name).to_numbers()).collect::<Vec<_>>()
        };
        for (step, expected) in after.iter().enumerate() {
            run.call("train_step", x[step].shape[0], &[x[step].value(), y[step].value()]);
            mismatches.compare(&format!("{class} {config:?}, step {step}"), &weights(&run), expected, 2e-5);
        }
        if let Some(expected) = r#final {
            run.call("finalize", 1, &[]);
            mismatches.compare(&format!("{class} {config:?}, finalized"), &weights(&run), &expected, 2e-5);
        }
        // A definition that was read writes what it read.
        let written = registry::write(OPTIMIZERS, &*registry::read(OPTIMIZERS, "", &class, &config).unwrap()).unwrap();
        for (key, value) in config.iter().filter(|(key, _)| *key != "learning_rate") {
            assert_eq!(written.1.get(key), Some(value), "{class} {key}");
        }
    }
}

#[test]
fn schedules() {
    let mut mismatches = Mismatches::default();
    for ScheduleCase { class, config, written, expected } in tables().schedules {
        let object = serde_json::json!({ "class_name": class, "config": config });
        let rate: LearningRate = serde_json::from_value(object).unwrap();
        let form = serde_json::to_value(&rate).unwrap();
        assert_eq!(form["class_name"], class);
        assert_eq!(form["config"], Json::Object(written));
        // A weight that moves by the rate in every step.
        let m = Sequential::new("m").input("x", 1, F32).add(Dense::new(1).use_bias(false));
        m.compile(SGD::new(rate), LossFn::new("slope", |_, y| -y), ());
        let mut run = Interpreted::new(&m, 1);
        let one = Value::splat(F32, &[1, 1], 1.0);
        let mut weight = scalar(run.cell("dense/kernel"));
        let rates = expected.iter().map(|_| {
            run.call("train_step", 1, &[one.clone(), one.clone()]);
            let old = std::mem::replace(&mut weight, scalar(run.cell("dense/kernel")));
            weight - old
        });
        let rates: Vec<f64> = rates.collect();
        mismatches.compare(&format!("{class} {config:?}"), &rates, &expected, 1e-6);
    }
}
