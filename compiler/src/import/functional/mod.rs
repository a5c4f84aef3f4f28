//! Graphs of layers.
//!
//! A description lists layers, and each layer its applications ("inbound nodes"). An application names the tensors that
//! it takes by their history: layer, number of the application, number of the result.
//!
//! ```text
//!   Reader::net        layers, inputs and operations, with their applications   mod.rs
//!     Reader::calls      what an application takes                              call.rs
//!     operation          operations such as `x + y`                             operation.rs
//!   Reader::choose     which of the operations are needed                       needed.rs
//!   Reader::apply      the layers applied, each after what it depends on        apply.rs, order.rs
//! ```

mod apply;
mod call;
mod history;
mod needed;
mod operation;
mod order;

use std::collections::HashMap;

use call::Application;
use history::History;

use super::inputs::InputSpec;
use super::layer::{Made, is_model, name_of};
use super::{Reader, join};
use crate::model::config::Config;
use crate::model::{Model, Tensor};

/// The layers of a graph.
#[derive(Default)]
struct Net {
    entries: Vec<Entry>,
    /// Their places by name.
    index: HashMap<String, usize>,
}

/// Something that the description lists as a layer.
struct Entry {
    name: String,
    kind: Kind,
    calls: Vec<Application>,
    /// The results of each application, once it has been made.
    results: Vec<Option<Vec<Tensor>>>,
}

enum Kind {
    /// What is declared, until it has been.
    Input(Option<InputSpec>),
    Layer(Made),
    /// A functional model. Its outputs count its own description as application 0.
    Functional(Made),
    /// An operation such as `x + y`.
    Operation {
        class: String,
        module: String,
    },
    /// A layer that cannot be read, which has been reported.
    Refused,
}

impl Entry {
    fn is_operation(&self) -> bool {
        matches!(self.kind, Kind::Operation { .. })
    }

    fn is_functional(&self) -> bool {
        matches!(self.kind, Kind::Functional(_))
    }
}

impl Net {
    fn find(&self, history: &History) -> Option<&Entry> {
        self.index.get(&history.layer).map(|&at| &self.entries[at])
    }

    /// A tensor that has been made.
    fn tensor(&self, history: &History) -> Option<&Tensor> {
        self.find(history)?.results.get(history.node)?.as_ref()?.get(history.tensor)
    }
}

impl Reader<'_> {
    /// Fills a model with a graph of layers.
    pub(super) fn functional(&mut self, model: &Model, config: &Config, path: &str) {
        let mut net = self.net(config, path);
        let inputs = self.endpoints(config, "input_layers", path);
        let outputs = self.endpoints(config, "output_layers", path);
        self.choose(&mut net, &outputs, path);
        if !self.problems.is_empty() {
            return;
        }
        let layers = net.entries.iter().filter(|e| matches!(e.kind, Kind::Layer(_) | Kind::Functional(_)));
        model.net.borrow_mut().graph.listed = Some(layers.map(|entry| entry.name.clone()).collect());
        // The model takes its inputs in the order in which it lists them.
        inputs.iter().for_each(|history| self.declare(model, &mut net, history, path));
        self.apply(&mut net, path);
        outputs.iter().for_each(|history| self.output(model, &net, history, path));
    }

    /// Reads what the description lists.
    fn net(&mut self, config: &Config, path: &str) -> Net {
        let mut net = Net::default();
        for (value, object) in self.layers(config, path) {
            let name = name_of(value, &object).to_string();
            let here = join(path, &name);
            if net.index.insert(name.clone(), net.entries.len()).is_some() {
                self.malformed(&here, format!("two layers are called `{}`", name.escape_debug()));
            }
            let (kind, calls) = if object.class == "InputLayer" {
                (Kind::Input(self.input(&object.config, path)), Vec::new())
            } else if let Some(module) = operation::module(value, &object) {
                let kind = Kind::Operation { class: object.class.clone(), module: module.to_string() };
                (kind, operation::calls(value, &object))
            } else {
                let kind = match self.layer(&object, &name, path) {
                    Some(made) if is_model(&object.class) && object.class != "Sequential" => Kind::Functional(made),
                    Some(made) => Kind::Layer(made),
                    None => Kind::Refused,
                };
                (kind, self.calls(value, &here))
            };
            // An input is there once, without having been applied.
            let results = if matches!(kind, Kind::Input(_)) { 1 } else { calls.len() };
            net.entries.push(Entry { name, kind, calls, results: vec![None; results] });
        }
        net
    }

    /// Declares an input of the model.
    fn declare(&mut self, model: &Model, net: &mut Net, history: &History, path: &str) {
        let entry = net.index.get(&history.layer).map(|&at| &mut net.entries[at]);
        let Some(Entry { kind: Kind::Input(spec), results, .. }) = entry else {
            self.malformed(path, format!("the input `{}` is no InputLayer", history.layer.escape_debug()));
            return;
        };
        let Some(input) = spec.take() else {
            self.malformed(path, format!("the input `{}` is listed twice", history.layer.escape_debug()));
            return;
        };
        model.net.borrow_mut().graph.rows = input.rows;
        results[0] = Some(vec![input.declare(model, self.source.clone())]);
    }

    /// Makes a tensor an output of the model, under the name of its layer.
    fn output(&mut self, model: &Model, net: &Net, history: &History, path: &str) {
        let Some(entry) = net.find(history) else {
            self.malformed(path, format!("the output `{}` is no layer", history.layer.escape_debug()));
            return;
        };
        let node = if entry.is_functional() { history.node.saturating_sub(1) } else { history.node };
        match net.tensor(&History { node, ..history.clone() }) {
            Some(x) => drop(model.add_output(entry.name.clone(), x, self.source.clone())),
            None if self.problems.is_empty() => self.malformed(path, format!("the output {history} does not exist")),
            None => {}
        }
    }
}
