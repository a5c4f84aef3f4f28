//! How a model is trained: Keras's compile configuration.

use std::rc::Rc;

use serde::Deserialize;
use serde_json::Value;

use super::Reader;
use crate::diag::count;
use crate::model::compile::For;
use crate::model::config::{Config, Object, excerpt};
use crate::model::output::{Place, Step};
use crate::model::registry::{self, Class, LOSSES, METRICS, OPTIMIZERS};
use crate::model::{Accuracy, Loss, Losses, Metric, Metrics, Model, Named, Reduced, Reduction};

/// The outputs of a model: their names here, and their places in Keras.
struct Outputs {
    names: Vec<String>,
    places: Vec<Place>,
}

impl Outputs {
    fn of(model: &Model) -> Outputs {
        let places = model.net.borrow().graph.outputs.iter().map(|output| output.place.clone()).collect();
        Outputs { names: model.output_names(), places }
    }

    /// What is for one of them.
    fn named(&self, index: usize) -> For {
        self.names.get(index).map_or(For::Every, |name| For::Name(name.clone()))
    }
}

impl Reader<'_> {
    /// Compiles a model whose outputs are known.
    pub(super) fn compile(&mut self, model: &Model, config: &Value) {
        let Some(config) = config.as_object() else {
            self.malformed("", format!("the compile configuration is {}, not an object", excerpt(config)));
            return;
        };
        let outputs = Outputs::of(model);
        let optimizer = match config.get("optimizer") {
            None | Some(Value::Null) => {
                self.malformed("optimizer", "the compile configuration names no optimizer");
                None
            }
            Some(value) => self.object(OPTIMIZERS, "optimizer", value, "optimizer"),
        };
        let losses = self.losses(config.get("loss"), config.get("loss_weights"), &outputs);
        let metrics = self.metrics(config.get("metrics"), "metrics", &outputs);
        let weighted = self.metrics(config.get("weighted_metrics"), "weighted_metrics", &outputs);
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

    fn parsed<'v>(&mut self, value: &'v Value, path: &str) -> Option<Object<'v>> {
        let object = match function_name(value) {
            Some(name) => Ok(Object { class: name.to_string(), config: Default::default() }),
            None => Object::parse(value),
        };
        object.map_err(|why| self.malformed(path, why)).ok()
    }

    fn made<T: ?Sized>(&mut self, table: &[Class<T>], what: &str, object: &Object<'_>, path: &str) -> Option<Rc<T>> {
        let made = registry::read(table, what, &object.class, &object.config);
        made.map_err(|problems| problems.into_iter().for_each(|p| self.problem(path, p))).ok()
    }

    /// A loss, with its reduction.
    fn loss(&mut self, value: &Value) -> Option<Rc<dyn Loss>> {
        let mut object = self.parsed(value, "loss")?;
        let reduction = match object.config.to_mut().remove("reduction") {
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
    fn losses(&mut self, loss: Option<&Value>, weights: Option<&Value>, outputs: &Outputs) -> Losses {
        let mut losses = Losses::new();
        let weights = self.per_output(weights, &outputs.places, "loss_weights", false);
        for (output, value) in self.per_output(loss, &outputs.places, "loss", false) {
            let weight = weights.iter().find(|(o, _)| *o == output);
            let weight = match weight.map(|(_, value)| (value, value.as_f64())) {
                None => 1.0,
                Some((_, Some(weight))) => weight,
                Some((value, None)) => {
                    self.malformed("loss_weights", format!("{} is no weight", excerpt(value)));
                    continue;
                }
            };
            let output = outputs.named(output);
            losses = self.loss(value).into_iter().fold(losses, |all, loss| all.push(output.clone(), loss, weight));
        }
        losses
    }

    /// A metric under the name that the history has for it: that of its description.
    fn metric(&mut self, value: &Value) -> Option<Rc<dyn Metric>> {
        let object = self.parsed(value, "metrics")?;
        let metric: Rc<dyn Metric> = match value.as_str().map(str::to_lowercase).as_deref() {
            // Which accuracy is meant depends on the shapes; the class `Accuracy` compares numbers.
            Some("accuracy" | "acc") => Rc::new(Accuracy),
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

    fn metrics(&mut self, metrics: Option<&Value>, key: &str, outputs: &Outputs) -> Metrics {
        let mut all = Metrics::new();
        for (output, value) in self.per_output(metrics, &outputs.places, key, true) {
            let mut found = Vec::new();
            flatten(value, &mut found);
            for value in found {
                let output = outputs.named(output);
                all = self.metric(value).into_iter().fold(all, |all, metric| all.push(output.clone(), metric));
            }
        }
        all
    }

    /// What is given to which output, by its number: one thing for all of them, a list in their order, a dict by their
    /// names, or a structure like theirs. A list is a whole for one output where `lists`.
    fn per_output<'v>(
        &mut self,
        value: Option<&'v Value>,
        outputs: &[Place],
        key: &str,
        lists: bool,
    ) -> Vec<(usize, &'v Value)> {
        let Some(value) = value.filter(|value| !value.is_null()) else { return Vec::new() };
        let mut found = Vec::new();
        let shared = match value {
            // Outputs that cannot be read have been reported; what is said of them is still looked at.
            Value::Array(list) if outputs.is_empty() => {
                found.extend(list.iter().map(|value| (0, value)));
                Ok(())
            }
            _ if outputs.is_empty() => {
                found.push((0, value));
                Ok(())
            }
            Value::Array(list) if lists && (outputs.len() == 1 || list.is_empty()) => {
                found.extend(list.iter().map(|value| (0, value)));
                Ok(())
            }
            // In the order in which Keras flattens them.
            Value::Array(list) if list.len() == outputs.len() => {
                found.extend(list.iter().enumerate());
                Ok(())
            }
            Value::Object(dict)
                if is_dict(value) && !outputs.iter().any(|o| matches!(o.steps[..], [Step::Key(_), ..])) =>
            {
                by_name(dict, outputs, &mut found)
            }
            _ => {
                let every: Vec<(usize, &[Step])> = outputs.iter().map(|o| &o.steps[..]).enumerate().collect();
                share(value, &every, &mut found)
            }
        };
        if let Err(why) = shared {
            self.malformed(key, format!("`{key}` {why}"));
        }
        found.into_iter().filter(|(_, value)| !value.is_null()).collect()
    }
}

/// Whether a value is a dict, and not a serialised object.
fn is_dict(value: &Value) -> bool {
    value.as_object().is_some_and(|object| !object.contains_key("class_name"))
}

/// Gives outputs what a dict has for their names, which several of them can have.
fn by_name<'v>(dict: &'v Config, outputs: &[Place], found: &mut Vec<(usize, &'v Value)>) -> Result<(), String> {
    for (name, value) in dict {
        let before = found.len();
        found.extend(outputs.iter().enumerate().filter(|(_, o)| o.name() == name).map(|(i, _)| (i, value)));
        if found.len() == before {
            let known: Vec<&str> = outputs.iter().map(Place::name).collect();
            let name = name.escape_debug();
            return Err(format!("is for the output `{name}`, which is none; outputs are {}", known.join(", ")));
        }
    }
    Ok(())
}

/// Shares a structure among outputs, by the steps that are left to each of them.
fn share<'v>(
    value: &'v Value,
    outputs: &[(usize, &[Step])],
    found: &mut Vec<(usize, &'v Value)>,
) -> Result<(), String> {
    let below = |step: &Step| -> Vec<(usize, &[Step])> {
        let next = outputs.iter().filter(|(_, steps)| steps.first() == Some(step));
        next.map(|(i, steps)| (*i, &steps[1..])).collect()
    };
    let inside = outputs.iter().any(|(_, steps)| !steps.is_empty());
    match value {
        Value::Array(list) if inside => {
            for (i, item) in list.iter().enumerate() {
                match below(&Step::Index(i)) {
                    below if below.is_empty() => {
                        let (given, wanted) = (list.len(), count(outputs.len(), "output"));
                        return Err(format!("is a list of {given}, the model has {wanted}"));
                    }
                    below => share(item, &below, found)?,
                }
            }
        }
        Value::Object(dict) if inside && is_dict(value) => {
            for (key, item) in dict {
                match below(&Step::Key(key.clone())) {
                    below if below.is_empty() => {
                        return Err(format!("is for the output `{}`, which is none", key.escape_debug()));
                    }
                    below => share(item, &below, found)?,
                }
            }
        }
        one => found.extend(outputs.iter().map(|(i, _)| (*i, one))),
    }
    Ok(())
}

/// The name of a loss or metric that is a Python function.
fn function_name(value: &Value) -> Option<&str> {
    if value.get("class_name")? != "function" { None } else { value.get("config")?.as_str() }
}

/// The items of nested lists and dicts.
fn flatten<'v>(value: &'v Value, found: &mut Vec<&'v Value>) {
    match value {
        Value::Null => {}
        Value::Array(items) => items.iter().for_each(|item| flatten(item, found)),
        Value::Object(items) if is_dict(value) => items.values().for_each(|item| flatten(item, found)),
        item => found.push(item),
    }
}
