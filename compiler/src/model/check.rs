//! What can only be judged when the model is complete: its name, outputs and inputs, entry points, something to train.

use std::collections::HashSet;

use super::builder::{Net, check_name};
use super::graph::{LayerGraph, Port};
use super::objective::{self, Objective};
use super::optimizer::options;
use super::store::Store;
use crate::diag::{Code, Diagnostic, Problem};
use crate::ir::{Site, SourceLine, StorageId};

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
    // Earlier mistakes explain what is missing; only a model in which nothing is gets judged on that.
    if net.is_whole() {
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
            for path in &update.layers {
                // A layer that was refused has been reported already.
                if net.graph.has_layer(head(path)) || (net.lost && net.is_taken(head(path))) {
                    continue;
                }
                let problem = Problem::new(Code::Unknown, format!("`{}` has no layer `{path}` to train", entry.name));
                report.problem(problem.help(net.layers_hint(path)), &entry.name, &update.source);
            }
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
        for update in &entry.updates {
            let below = |path: &str| {
                let prefix = format!("{path}/");
                store.cells.iter().any(|cell| cell.name.starts_with(&prefix))
            };
            // Names of no layer at all have been reported.
            let (known, strange): (Vec<&String>, Vec<&String>) = update
                .layers
                .iter()
                .filter(|path| net.graph.has_layer(head(path)))
                .partition(|path| net.graph.has_layer(path) || below(path));
            for path in &strange {
                let message = format!("`{}` has no layer `{path}` to train", entry.name);
                report.problem(Problem::new(Code::Unknown, message), &entry.name, &update.source);
            }
            if update.layers.is_empty() {
                let problem = Problem::new(Code::Missing, format!("`{}` is given no layer to train", entry.name));
                report.problem(problem.help(net.layers_hint("")), &entry.name, &update.source);
            } else if !known.is_empty() && selected(store, &update.layers).is_empty() {
                let paths: Vec<String> = known.iter().map(|path| format!("`{path}`")).collect();
                let message = format!("`{}` has no trainable weight at {}", entry.name, paths.join(", "));
                let problem = Problem::new(Code::Unknown, message).help(match known.iter().any(|path| below(path)) {
                    true => "they are frozen: name others, or do not freeze them",
                    false => "no weights of theirs are used by an output or an entry point: name others",
                });
                report.problem(problem, &entry.name, &update.source);
            }
        }
    }
}

/// The name of the layer that a path begins with.
fn head(path: &str) -> &str {
    path.split('/').next().unwrap_or(path)
}

/// What is no mistake, and probably not meant, in a model that has been lowered.
pub(crate) fn warnings(net: &Net, store: &Store) -> Vec<Diagnostic> {
    let mut list = Vec::new();
    let mut seen = HashSet::new();
    unused(&net.graph, &wanted(net), "", &mut seen, &mut list);
    untrained(net, store, &mut list);
    list
}

/// Layers that no wanted tensor depends on, in a graph and in the models that are layers of it.
fn unused(graph: &LayerGraph, wanted: &[Port], prefix: &str, seen: &mut HashSet<u64>, list: &mut Vec<Diagnostic>) {
    let needed = graph.needed(wanted);
    let used: HashSet<u64> = needed.iter().filter_map(|index| graph.call(*index).layer()).map(|l| l.core.id).collect();
    for call in graph.calls() {
        let Some(layer) = call.layer() else { continue };
        if !seen.insert(layer.core.id) {
            continue;
        }
        let path = format!("{prefix}{}", call.name);
        if !used.contains(&layer.core.id) {
            let problem = Problem::new(Code::Unused, format!("no result depends on the layer `{path}`"))
                .help("make what it gives an output, use it in another layer, or remove it");
            list.push(Diagnostic::warning(problem, path, Some(call.source.clone())));
        } else if let Some(model) = layer.def.submodel() {
            let wanted: Vec<Port> =
                model.graph.outputs.iter().map(|o| o.port).chain(model.graph.losses.iter().copied()).collect();
            unused(&model.graph, &wanted, &format!("{path}/"), seen, list);
        }
    }
}

/// Trainable weights that no training step changes, layer by layer.
fn untrained(net: &Net, store: &Store, list: &mut Vec<Diagnostic>) {
    let trains = net.compiled.is_some() || net.entries.iter().any(|entry| !entry.updates.is_empty());
    if !trains {
        return;
    }
    let mut layers: Vec<(&Site, Vec<StorageId>)> = Vec::new();
    for id in store.trainable().into_iter().filter(|id| !store.trained.contains(id)) {
        let site = &store.cell(id).site;
        match layers.iter_mut().find(|(at, _)| at.path == site.path) {
            Some((_, ids)) => ids.push(id),
            None => layers.push((site, vec![id])),
        }
    }
    let updates = || net.entries.iter().flat_map(|entry| &entry.updates);
    for (site, ids) in layers {
        let names: Vec<String> = ids.iter().map(|id| format!("`{}`", store.cell(*id).name)).collect();
        let reached = net.compiled.is_some() || updates().any(|u| selected(store, &u.layers).contains(&ids[0]));
        let path = &site.path;
        let problem = Problem::new(Code::Unused, format!("no training step changes {}", names.join(", ")));
        let why = match reached {
            true => "the loss does not depend on it".to_string(),
            false => format!("no `minimize` names `{path}`"),
        };
        let described = site.source.as_ref().is_some_and(|source| source.line > 0);
        let freeze = match described {
            true => format!("`m.freeze(\"{path}\")`"),
            false => "`trainable = False` where the file is made".to_string(),
        };
        let problem = problem.help(format!("{why}; if that is meant, freeze it: {freeze}"));
        list.push(Diagnostic::warning(problem, path, site.source.clone()));
    }
}
