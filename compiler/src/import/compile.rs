//! How a model is trained: Keras's compile configuration.

use std::rc::Rc;

use serde::Deserialize;
use serde_json::Value;

use super::Reader;
use crate::diag::count;
use crate::model::compile::For;
use crate::model::config::{Object, excerpt};
use crate::model::registry::{self, Class, LOSSES, METRICS, OPTIMIZERS};
use crate::model::{Accuracy, Loss, Losses, Metric, Metrics, Model, Named, Reduced, Reduction};

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
        let weighted = self.metrics(config.get("weighted_metrics"), &outputs);
        if let (Some(optimizer), true) = (optimizer, self.problems.is_empty()) {
            model.compile_at(optimizer, losses, metrics, self.source.clone());
            model.weighted_metrics(weighted);
        }
    }

    /// A loss, metric or optimizer: a name or a serialised object.
    fn object<T: ?Sized>(&mut self, table: &[Class<T>], what: &str, value: &Value, path: &str) -> Option<Rc<T>> {
        let object = self.parsed(value, path)?;
        self.made(table, what, &object, path)
    }

    fn parsed(&mut self, value: &Value, path: &str) -> Option<Object> {
        let object = match function_name(value) {
            Some(name) => Ok(Object { class: name.to_string(), config: Default::default() }),
            None => Object::parse(value),
        };
        object.map_err(|why| self.malformed(path, why)).ok()
    }

    fn made<T: ?Sized>(&mut self, table: &[Class<T>], what: &str, object: &Object, path: &str) -> Option<Rc<T>> {
        let made = registry::read(table, what, &object.class, &object.config);
        made.map_err(|problems| problems.into_iter().for_each(|p| self.problem(path, p))).ok()
    }

    /// A loss, with its reduction.
    fn loss(&mut self, value: &Value) -> Option<Rc<dyn Loss>> {
        let mut object = self.parsed(value, "loss")?;
        let reduction = match object.config.remove("reduction") {
            None | Some(Value::Null) => Reduction::default(),
            Some(reduction) => match Reduction::deserialize(&reduction) {
                Ok(reduction) => reduction,
                Err(why) => {
                    self.malformed("loss", format!("{} with reduction {}: {why}", object.class, excerpt(&reduction)));
                    return None;
                }
            },
        };
        let loss = self.made(LOSSES, "loss", &object, "loss")?;
        Some(match reduction == Reduction::default() {
            true => loss,
            false => Rc::new(Reduced { loss, reduction }),
        })
    }

    /// The losses of the outputs, with their weights.
    fn losses(&mut self, loss: Option<&Value>, weights: Option<&Value>, outputs: &[String]) -> Losses {
        let mut losses = Losses::new();
        let weights = self.per_output(weights, outputs, "loss_weights", false);
        for (output, value) in self.per_output(loss, outputs, "loss", false) {
            // One loss for all outputs is still weighted one by one.
            let names = if output == For::Every { outputs } else { &[] };
            let each: Vec<For> = names.iter().map(|name| For::Name(name.clone())).collect();
            let each = if each.is_empty() { vec![output] } else { each };
            for output in each {
                let weight = weights.iter().find(|(o, _)| *o == output || *o == For::Every);
                let weight = match weight.map(|(_, value)| (value, value.as_f64())) {
                    None => 1.0,
                    Some((_, Some(weight))) => weight,
                    Some((value, None)) => {
                        self.malformed("loss_weights", format!("{} is no weight", excerpt(value)));
                        continue;
                    }
                };
                losses = self.loss(value).into_iter().fold(losses, |all, loss| all.push(output.clone(), loss, weight));
            }
        }
        losses
    }

    /// A metric under the name that the history has for it: that of its description.
    fn metric(&mut self, value: &Value) -> Option<Rc<dyn Metric>> {
        let object = self.parsed(value, "metrics")?;
        let metric: Rc<dyn Metric> = match object.class.as_str() {
            // Which accuracy is meant depends on the shapes.
            "accuracy" | "acc" => Rc::new(Accuracy),
            _ => self.made(METRICS, "metric", &object, "metrics")?,
        };
        let name = match value {
            Value::String(name) => Some(name.as_str()),
            _ => object.config.get("name").and_then(Value::as_str),
        };
        Some(match name {
            Some(name) if name != metric.name() => Rc::new(Named { metric, name: name.to_string() }),
            _ => metric,
        })
    }

    fn metrics(&mut self, metrics: Option<&Value>, outputs: &[String]) -> Metrics {
        let mut all = Metrics::new();
        for (output, value) in self.per_output(metrics, outputs, "metrics", true) {
            let mut found = Vec::new();
            flatten(value, &mut found);
            for value in found {
                all = self.metric(value).into_iter().fold(all, |all, metric| all.push(output.clone(), metric));
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
            // Outputs that cannot be read have been reported; what is said of them is still looked at.
            Some(Value::Array(list)) if outputs.is_empty() => list.iter().map(|value| (For::Every, value)).collect(),
            Some(Value::Array(list)) => {
                let (found, wanted) = (list.len(), count(outputs.len(), "output"));
                self.malformed(key, format!("`{key}` is a list of {found}, the model has {wanted}"));
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
