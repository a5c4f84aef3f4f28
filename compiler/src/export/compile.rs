//! Compile configurations.

use serde_json::{Value, json};

use crate::diag::{Code, Diagnostic, Diagnostics, Problem};
use crate::ir::SourceLine;
use crate::model::compile::{Compiled, For};
use crate::model::config;
use crate::model::registry::{self, LOSSES, METRICS, OPTIMIZERS};
use crate::model::{Accuracy, Loss, Metric, Metrics, Model, Optimizer, Reduction};

/// Brings the compile configuration of a description up to date: the optimizer as the model has it, with its present
/// learning rate; and the whole configuration where the description has none.
pub(super) fn update(document: &mut Value, model: &Model, from: &bakelite::Model) -> Result<(), Diagnostics> {
    let compiled = model.net.borrow().compiled.clone();
    let (Some(compiled), Some(document)) = (compiled, document.as_object_mut()) else { return Ok(()) };
    match document.get_mut("compile_config").and_then(Value::as_object_mut) {
        Some(known) if !known.is_empty() => {
            let mut problems = Problems { model, list: Vec::new() };
            let now = optimizer(compiled.optimizer.as_ref(), from, &mut problems);
            problems.finish()?;
            let name = known.get("optimizer").and_then(|o| o.pointer("/config/name")).cloned();
            let mut now = now;
            if let (Some(name), Some(config)) = (name, now["config"].as_object_mut()) {
                config.insert("name".into(), name);
            }
            known.insert("optimizer".into(), now);
        }
        _ => {
            let config = compile_config(model, &compiled, from)?;
            document.insert("compile_config".into(), config);
        }
    }
    Ok(())
}

/// Collects what Keras has no word for.
pub(super) struct Problems<'m> {
    pub model: &'m Model,
    pub list: Vec<Diagnostic>,
}

impl Problems<'_> {
    pub fn add(&mut self, path: &str, source: &SourceLine, problem: Problem) {
        self.list.push(Diagnostic::new(problem, path, Some(source.clone())));
    }

    pub fn finish(self) -> Result<(), Diagnostics> {
        match self.list.is_empty() {
            true => Ok(()),
            false => Err(Diagnostics { model: self.model.name(), list: self.list }),
        }
    }
}

/// How a model is trained, in Keras's form.
pub(super) fn compile_config(model: &Model, compiled: &Compiled, from: &bakelite::Model) -> Result<Value, Diagnostics> {
    let mut problems = Problems { model, list: Vec::new() };
    let source = &compiled.source;
    let outputs = model.output_names();
    let optimizer = optimizer(compiled.optimizer.as_ref(), from, &mut problems);
    let mut losses = vec![Value::Null; outputs.len()];
    let mut weights = vec![1.0; outputs.len()];
    for weighted in &compiled.losses.list {
        let form = loss(weighted.loss.as_ref());
        if form.is_none() {
            let message = format!("the loss {} has no counterpart in Keras", weighted.loss.kind());
            problems.add("loss", source, Problem::new(Code::Unknown, message));
        }
        for index in (0..outputs.len()).filter(|&i| weighted.output.is(i, &outputs[i])) {
            losses[index] = form.clone().unwrap_or_default();
            weights[index] = weighted.weight;
        }
    }
    if let Some(list) = &compiled.losses.weights {
        weights.iter_mut().zip(list).for_each(|(weight, given)| *weight *= given);
    }
    let metrics = of_outputs(&compiled.metrics, &outputs, source, &mut problems);
    let net = model.net.borrow();
    let weighted = of_outputs(&net.weighted_metrics, &outputs, source, &mut problems);
    if !net.graph.losses.is_empty() || !net.tracked.is_empty() {
        let message = "tensors that are added to the loss or tracked have no place in a Keras file";
        problems.add("", source, Problem::new(Code::Unknown, message).help("save the weights alone"));
    }
    problems.finish()?;
    let single = outputs.len() == 1;
    Ok(json!({
        "optimizer": optimizer,
        "loss": if single { losses.swap_remove(0) } else { Value::Array(losses) },
        "loss_weights": if weights.iter().all(|w| *w == 1.0) { Value::Null } else { json!(weights) },
        "metrics": metrics,
        "weighted_metrics": weighted,
        "run_eagerly": false,
        "steps_per_execution": 1,
        "jit_compile": true,
    }))
}

fn optimizer(optimizer: &dyn Optimizer, from: &bakelite::Model, problems: &mut Problems<'_>) -> Value {
    let source = problems.model.net.borrow().source.clone();
    let Some((class, mut arguments)) = registry::write(OPTIMIZERS, optimizer) else {
        let message = format!("the optimizer {} has no counterpart in Keras", optimizer.kind());
        problems.add("optimizer", &source, Problem::new(Code::Unknown, message));
        return Value::Null;
    };
    let rates = ["/learning_rate", "/inner_optimizer/config/learning_rate"];
    for place in rates {
        if let (Some(rate), Some(given)) =
            (from.learning_rate(), arguments.pointer_mut(place).filter(|v| v.is_number()))
        {
            *given = json!(rate);
        }
    }
    if !optimizer.options().exclude_from_weight_decay.is_empty() {
        let message = "the weights that do not decay are no part of a Keras file";
        problems.add("optimizer", &source, Problem::new(Code::Unknown, message));
    }
    config::object("keras.optimizers", class, arguments)
}

/// A loss in Keras's form, with its reduction.
fn loss(loss: &dyn Loss) -> Option<Value> {
    let reduction = loss.reduction();
    let mut inner = loss;
    while let Some(wrapped) = inner.wrapped() {
        inner = wrapped;
    }
    let (class, mut arguments) = registry::write(LOSSES, inner)?;
    if reduction != Reduction::default() {
        arguments["reduction"] = serde_json::to_value(reduction).ok()?;
    }
    Some(config::object("keras.losses", class, arguments))
}

/// A metric in Keras's form, with its name.
fn metric(metric: &dyn Metric) -> Option<Value> {
    let name = metric.name();
    let mut inner = metric;
    while let Some(wrapped) = inner.wrapped() {
        inner = wrapped;
    }
    if (inner as &dyn std::any::Any).is::<Accuracy>() {
        return (name == inner.name()).then(|| json!("accuracy"));
    }
    let (class, mut arguments) = registry::write(METRICS, inner)?;
    arguments["name"] = json!(name);
    Some(config::object("keras.metrics", class, arguments))
}

/// Metrics by output: a list for the only one, or a list for each.
fn of_outputs(metrics: &Metrics, outputs: &[String], source: &SourceLine, problems: &mut Problems<'_>) -> Value {
    let mut lists = vec![Vec::new(); outputs.len()];
    for of in &metrics.list {
        let form = metric(of.metric.as_ref());
        if form.is_none() {
            let message = format!("the metric `{}` has no counterpart in Keras", of.metric.name());
            problems.add("metrics", source, Problem::new(Code::Unknown, message));
        }
        let output = &of.output;
        for index in (0..outputs.len()).filter(|&i| For::is(output, i, &outputs[i])) {
            lists[index].push(form.clone().unwrap_or_default());
        }
    }
    match (lists.iter().all(Vec::is_empty), lists.len()) {
        (true, _) => Value::Null,
        (_, 1) => Value::Array(lists.swap_remove(0)),
        _ => json!(lists),
    }
}
