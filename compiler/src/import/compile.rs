//! How a model is trained: Keras's compile configuration.

use std::rc::Rc;

use serde_json::Value;

use super::Reader;
use crate::diag::Problem;
use crate::model::compile::For;
use crate::model::config::{Object, excerpt};
use crate::model::registry::{self, Class, LOSSES, METRICS, OPTIMIZERS};
use crate::model::{Accuracy, Loss, Losses, Metric, Metrics, Model};

/// Short names of losses and metrics.
const ALIASES: &[(&str, &str)] = &[
    ("bce", "BinaryCrossentropy"),
    ("kld", "KLDivergence"),
    ("mae", "MeanAbsoluteError"),
    ("mape", "MeanAbsolutePercentageError"),
    ("mse", "MeanSquaredError"),
    ("msle", "MeanSquaredLogarithmicError"),
];

impl Reader<'_> {
    /// Compiles a model whose outputs are known.
    pub(super) fn compile(&mut self, model: &Model, config: &Value) {
        let Some(config) = config.as_object() else {
            self.malformed("", format!("the compile configuration is {}, not an object", excerpt(config)));
            return;
        };
        let outputs = model.output_names();
        let optimizer = match config.get("optimizer") {
            None | Some(Value::Null) => {
                self.malformed("optimizer", "the compile configuration names no optimizer");
                None
            }
            Some(value) => self.object(OPTIMIZERS, "optimizer", value, "optimizer"),
        };
        let losses = self.losses(config.get("loss"), config.get("loss_weights"), &outputs);
        let metrics = self.metrics(config.get("metrics"), &outputs);
        if config.get("weighted_metrics").is_some_and(|m| !m.is_null() && *m != Value::Array(Vec::new())) {
            self.problem("weighted_metrics", Problem::value("metrics that sample weights count in are not supported"));
        }
        if let (Some(optimizer), true) = (optimizer, self.problems.is_empty()) {
            model.compile_at(optimizer, losses, metrics, self.source.clone());
        }
    }

    /// A loss, metric or optimizer: a name or a serialised object.
    fn object<T: ?Sized>(&mut self, table: &[Class<T>], what: &str, value: &Value, path: &str) -> Option<Rc<T>> {
        let object = match function_name(value) {
            Some(name) => Ok(Object { class: name.to_string(), config: Default::default() }),
            None => Object::parse(value),
        };
        let object = match object {
            Ok(object) => object,
            Err(why) => {
                self.malformed(path, why);
                return None;
            }
        };
        let short = object.class.to_lowercase();
        let alias = ALIASES.iter().find(|(name, _)| *name == short);
        let class = alias.map_or(object.class.as_str(), |(_, class)| *class);
        match registry::read(table, what, class, &object.config) {
            Ok(def) => Some(def),
            Err(problems) => {
                problems.into_iter().for_each(|p| self.problem(path, p));
                None
            }
        }
    }

    fn losses(&mut self, loss: Option<&Value>, weights: Option<&Value>, outputs: &[String]) -> Losses {
        let mut losses = Losses::new();
        let given = self.per_output(loss, outputs, "loss", false);
        let weights = self.per_output(weights, outputs, "loss_weights", false);
        for (output, value) in given {
            let weight = weights.iter().find(|(o, _)| *o == output || *o == For::Every);
            let weight = match weight.map(|(_, value)| (value, value.as_f64())) {
                None => 1.0,
                Some((_, Some(weight))) => weight,
                Some((value, None)) => {
                    self.malformed("loss_weights", format!("{} is no weight", excerpt(value)));
                    continue;
                }
            };
            let loss: Option<Rc<dyn Loss>> = self.object(LOSSES, "loss", value, "loss");
            losses = loss.into_iter().fold(losses, |all, loss| all.push(output.clone(), loss, weight));
        }
        losses
    }

    fn metrics(&mut self, metrics: Option<&Value>, outputs: &[String]) -> Metrics {
        let mut all = Metrics::new();
        for (output, value) in self.per_output(metrics, outputs, "metrics", true) {
            let mut found = Vec::new();
            flatten(value, &mut found);
            for value in found {
                let accuracy = value.as_str().is_some_and(|name| ["accuracy", "acc"].contains(&name));
                let metric: Option<Rc<dyn Metric>> = match accuracy {
                    true => Some(Rc::new(Accuracy)),
                    false => self.object(METRICS, "metric", value, "metrics"),
                };
                all = metric.into_iter().fold(all, |all, metric| all.push(output.clone(), metric));
            }
        }
        all
    }

    /// What is given to which output: one thing for all of them, a list in their order, or an object by their names. A
    /// model with one output takes a list as a whole where `lists`.
    fn per_output<'v>(
        &mut self,
        value: Option<&'v Value>,
        outputs: &[String],
        key: &str,
        lists: bool,
    ) -> Vec<(For, &'v Value)> {
        let named = |name: &str| For::Name(name.to_string());
        let given: Vec<(For, &Value)> = match value {
            None | Some(Value::Null) => Vec::new(),
            Some(whole @ Value::Array(_)) if lists && outputs.len() == 1 => vec![(For::Every, whole)],
            Some(Value::Array(list)) if list.len() == outputs.len() => {
                outputs.iter().zip(list).map(|(name, value)| (named(name), value)).collect()
            }
            Some(Value::Array(list)) if lists && list.is_empty() => Vec::new(),
            Some(Value::Array(list)) => {
                self.malformed(key, format!("there are {} of them for {} outputs", list.len(), outputs.len()));
                Vec::new()
            }
            Some(Value::Object(object)) if !object.contains_key("class_name") => {
                object.iter().map(|(name, value)| (named(name), value)).collect()
            }
            Some(one) => vec![(For::Every, one)],
        };
        given.into_iter().filter(|(_, value)| !value.is_null()).collect()
    }
}

/// The name of a loss or metric that is a Python function.
fn function_name(value: &Value) -> Option<&str> {
    if value.get("class_name")? != "function" { None } else { value.get("config")?.as_str() }
}

/// The items of nested lists.
fn flatten<'v>(value: &'v Value, found: &mut Vec<&'v Value>) {
    match value {
        Value::Null => {}
        Value::Array(items) => items.iter().for_each(|item| flatten(item, found)),
        item => found.push(item),
    }
}
