//! What can only be judged when the model is complete: its name, outputs and inputs, entry points, something to train.

use super::builder::{Net, check_name};
use super::graph::Port;
use super::objective::{self, Objective};
use super::optimizer::options;
use super::store::Store;
use crate::diag::{Code, Diagnostic, Problem};
use crate::ir::{SourceLine, StorageId};

/// Collects mistakes.
pub(crate) struct Report<'a>(pub &'a mut Vec<Diagnostic>);

impl Report<'_> {
    pub fn problem(&mut self, problem: Problem, path: &str, source: &SourceLine) {
        self.0.push(Diagnostic::new(problem, path, Some(source.clone())));
    }

    pub fn result(&mut self, result: Result<(), Problem>, path: &str, source: &SourceLine) {
        if let Err(problem) = result {
            self.problem(problem, path, source);
        }
    }
}

/// Every tensor that some entry point computes.
pub(crate) fn wanted(net: &Net) -> Vec<Port> {
    let outputs = net.graph.outputs.iter().map(|o| o.port);
    let results = net.entries.iter().flat_map(|e| e.outputs.iter().map(|(_, port)| *port));
    let losses = net.entries.iter().flat_map(|e| e.updates.iter().map(|u| u.loss));
    outputs.chain(results).chain(losses).chain(step_ports(net)).collect()
}

/// Tensors that only training and evaluation compute: terms of the loss, and what metrics watch.
pub(crate) fn step_ports(net: &Net) -> Vec<Port> {
    net.graph.losses.iter().copied().chain(net.tracked.iter().map(|t| t.port)).collect()
}

/// Checks a complete model and resolves its losses and metrics.
pub(crate) fn check(net: &Net, problems: &mut Vec<Diagnostic>) -> Vec<Objective> {
    let mut report = Report(problems);
    report.result(identifier(&net.graph.name), "", &net.source);
    if let Err(cycle) = net.graph.order() {
        report.problem(Problem::new(Code::Cycle, cycle.to_string()), &cycle.0, &net.source);
    }
    // Earlier mistakes explain what is missing; only a model without them is judged on that.
    if net.problems.is_empty() && !net.broken {
        completeness(net, &mut report);
    }
    entries(net, &mut report);
    match &net.compiled {
        Some(compiled) => objective::resolve(net, compiled, &mut report),
        None => Vec::new(),
    }
}

/// The model's name becomes a module and a part of symbols.
fn identifier(name: &str) -> Result<(), Problem> {
    check_name("model", name)?;
    let mut letters = name.chars();
    let first = letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if first && letters.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Ok(());
    }
    Err(Problem::new(Code::Name, format!("`{}` cannot name a model", name.escape_debug()))
        .help("the name becomes a module: use letters, digits and underscores, and begin with no digit"))
}

fn completeness(net: &Net, report: &mut Report<'_>) {
    if !net.chain.waiting.is_empty() {
        let problem = Problem::new(Code::Missing, format!("the sequential model `{}` has no input", net.graph.name))
            .help("declare it before the first layer: `.input(\"x\", [28, 28, 1], F32)`");
        report.problem(problem, "", &net.source);
        return;
    }
    let wanted = wanted(net);
    if net.graph.outputs.is_empty() && (net.entries.is_empty() || net.compiled.is_some()) {
        let problem = Problem::new(Code::Missing, format!("the model `{}` has no output", net.graph.name))
            .help("declare one: `m.output(&x)`");
        report.problem(problem, "", &net.source);
        return;
    }
    for output in &net.graph.outputs {
        let ty = net.graph.ty(output.port);
        if ty.shape.iter().position(|d| d.batch).is_some_and(|axis| axis > 0) {
            let message = format!("the output `{}` is {ty}: the batch does not lead in it", output.name);
            let problem = Problem::shape(message).help("outputs are rows: move the batch back to the front");
            report.problem(problem, &output.name, &output.source);
        }
    }
    let needed = net.graph.needed(&wanted);
    let unused = net.graph.inputs.iter().filter(|i| !needed.contains(i) && !net.graph.keeps_inputs);
    for &index in unused {
        let call = net.graph.call(index);
        let problem = Problem::new(Code::Unused, format!("no result depends on the input `{}`", call.input_name()))
            .help("use it or remove it");
        report.problem(problem, &call.name, &call.source);
    }
    for call in net.graph.unread() {
        let problem = Problem::new(Code::Unused, format!("no layer reads the text `{}`", call.name))
            .help("look it up or remove it: `TextVectorization::new().output_sequence_length(80).apply(&x)`");
        report.problem(problem, &call.name, &call.source);
    }
    for entry in net.entries.iter().filter(|e| e.outputs.is_empty() && e.updates.is_empty()) {
        let problem = Problem::new(Code::Missing, format!("the entry point `{}` does nothing", entry.name))
            .help("give it a result or something to minimize");
        report.problem(problem, &entry.name, &entry.source);
    }
}

fn entries(net: &Net, report: &mut Report<'_>) {
    for entry in &net.entries {
        if net.graph.calls().any(|call| call.name == entry.name) {
            let problem = Problem::new(Code::Name, format!("`{}` names a layer and an entry point", entry.name))
                .help("both own storage under their name; rename one");
            report.problem(problem, &entry.name, &entry.source);
        }
        for update in &entry.updates {
            let checked = options::check(update.optimizer.as_ref());
            report.result(checked, &entry.name, &update.source);
        }
    }
}

/// The parameters that training may change at or below some paths, in order.
pub(crate) fn selected(store: &Store, layers: &[String]) -> Vec<StorageId> {
    let below = |name: &str, path: &str| name.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
    let chosen = |id: &StorageId| layers.iter().any(|path| below(&store.place(*id), path));
    store.trainable().into_iter().filter(chosen).collect()
}

/// Checks that whoever trains finds something to train.
pub(crate) fn trainable(net: &Net, store: &Store, report: &mut Report<'_>) {
    if let Some(compiled) = &net.compiled
        && store.trainable().is_empty()
    {
        let problem = Problem::new(Code::Missing, "the model has no trainable weight")
            .help("every layer is frozen or has no weights; without `compile` it still predicts");
        report.problem(problem, "", &compiled.source);
    }
    for entry in &net.entries {
        for update in entry.updates.iter().filter(|u| selected(store, &u.layers).is_empty()) {
            let message = format!("`{}` has no trainable weight at {}", entry.name, update.layers.join(", "));
            let names: Vec<&str> = net.graph.layers().iter().map(|(name, _)| *name).collect();
            let problem = Problem::new(Code::Unknown, message).help(format!("layers are {}", names.join(", ")));
            report.problem(problem, &entry.name, &update.source);
        }
    }
}
