//! Graphs of layers.
//!
//! A description lists layers, and each layer its applications ("inbound nodes"). An application names the tensors that
//! it takes by their history: layer, number of the application, number of the result.
//!
//! ```text
//!   Reader::graph      the description of a model                               mod.rs
//!     Reader::net        layers, inputs and operations, with their applications
//!       Reader::calls      what an application takes                            call.rs
//!       operation          operations such as `x + y`                           operation.rs
//!     Reader::choose     which of the operations are needed                     needed.rs
//!   Reader::functional a model filled by a description                          mod.rs
//!     Reader::apply      the layers applied, each after what it depends on      apply.rs, order.rs
//! ```
//!
//! A description can fill several models: one for each size that it is applied to, where it leaves sizes open. They share
//! its layers.

mod apply;
mod call;
mod history;
mod needed;
mod operation;
mod order;

use std::collections::HashMap;

use call::Application;
use history::{Endpoint, History};

use super::inputs::InputSpec;
use super::layer::name_of;
use super::model::is_model;
use super::{Reader, join};
use crate::ir::TensorType;
use crate::model::config::Config;
use crate::model::output::{self, Place};
use crate::model::{AnyLayer, Model, Tensor};

/// The description of a model that is a graph.
#[derive(Clone, Debug)]
pub(super) struct Graph {
    net: Net,
    inputs: Vec<Endpoint>,
    outputs: Vec<Endpoint>,
}

/// The layers of a graph.
#[derive(Clone, Default, Debug)]
struct Net {
    entries: Vec<Entry>,
    /// Their places by name.
    index: HashMap<String, usize>,
}

/// Something that the description lists as a layer.
#[derive(Clone, Debug)]
struct Entry {
    name: String,
    kind: Kind,
    calls: Vec<Application>,
    /// The results of each application, once it has been made.
    results: Vec<Option<Vec<Tensor>>>,
}

#[derive(Clone, Debug)]
enum Kind {
    /// What is declared, until it has been.
    Input(Option<InputSpec>),
    Layer(AnyLayer),
    /// A functional model. Its outputs count its own description as application 0.
    Functional(AnyLayer),
    /// An operation such as `x + y`.
    Operation {
        class: String,
        module: String,
    },
    /// A layer that cannot be read, which has been reported.
    Refused,
}

impl Graph {
    /// The inputs, as far as they are inputs.
    pub fn inputs(&self) -> impl Iterator<Item = &InputSpec> {
        self.inputs.iter().filter_map(|end| match &self.net.find(&end.history)?.kind {
            Kind::Input(spec) => spec.as_ref(),
            _ => None,
        })
    }

    /// How many outputs there are.
    pub fn results(&self) -> usize {
        self.outputs.len()
    }
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
    /// Reads the description of a graph of layers.
    pub(super) fn graph(&mut self, config: &Config, path: &str) -> Graph {
        let mut net = self.net(config, path);
        let inputs = self.endpoints(config, "input_layers", path);
        let outputs = self.endpoints(config, "output_layers", path);
        self.choose(&mut net, &outputs, path);
        Graph { net, inputs, outputs }
    }

    /// Fills a model with a graph of layers. It takes its inputs in the order in which it lists them, those whose sizes
    /// are open as they are `given`.
    pub(super) fn functional(&mut self, model: &Model, graph: &Graph, given: &[TensorType], path: &str) {
        let Graph { mut net, inputs, outputs } = graph.clone();
        let layers = net.entries.iter().filter(|e| matches!(e.kind, Kind::Layer(_) | Kind::Functional(_)));
        {
            let graph = &mut model.net.borrow_mut().graph;
            graph.listed = Some(layers.map(|entry| entry.name.clone()).collect());
            graph.keeps_inputs = true;
        }
        for (i, end) in inputs.iter().enumerate() {
            self.declare(model, &mut net, &end.history, given.get(i), path);
        }
        if !self.problems.is_empty() {
            return;
        }
        self.apply(&mut net, path);
        let names: Vec<Place> = outputs.iter().map(|end| end.place()).collect();
        let names = output::distinct(&names.iter().map(Place::name).collect::<Vec<_>>());
        outputs.iter().zip(names).for_each(|(end, name)| self.output(model, &net, end, name, path));
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
                let is_graph = is_model(&object.class) && object.class != "Sequential";
                let kind = match self.layer(&object, &name, path) {
                    Some(made) if is_graph => Kind::Functional(made),
                    Some(made) => Kind::Layer(made),
                    None => Kind::Refused,
                };
                (kind, self.calls(value, call::listed_inputs(&object), &here))
            };
            // An input is there once, without having been applied.
            let results = if matches!(kind, Kind::Input(_)) { 1 } else { calls.len() };
            net.entries.push(Entry { name, kind, calls, results: vec![None; results] });
        }
        net
    }

    /// Declares an input of the model.
    fn declare(&mut self, model: &Model, net: &mut Net, history: &History, given: Option<&TensorType>, path: &str) {
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
        let item = self.bound(&input, given, path);
        results[0] = item.map(|item| vec![input.declare(model, &item, self.source.clone())]);
    }

    /// Makes a tensor an output of the model.
    fn output(&mut self, model: &Model, net: &Net, end: &Endpoint, name: String, path: &str) {
        let history = &end.history;
        let Some(entry) = net.find(history) else {
            self.malformed(path, format!("the output `{}` is no layer", history.layer.escape_debug()));
            return;
        };
        let node = if entry.is_functional() { history.node.saturating_sub(1) } else { history.node };
        match net.tensor(&History { node, ..history.clone() }) {
            Some(x) => drop(model.place_output(name, end.place(), x, self.source.clone())),
            None if self.problems.is_empty() => self.malformed(path, format!("the output {history} does not exist")),
            None => {}
        }
    }
}

impl Endpoint {
    /// Where Keras has it.
    fn place(&self) -> Place {
        Place { layer: self.history.layer.clone(), steps: self.steps.clone() }
    }
}
