//! From a model to its module: storage cells, and one tensor graph for every entry point.

use std::collections::HashMap;

use super::builder::Net;
use super::call::{CallCx, Effects, Masked};
use super::check::{self, Report};
use super::entry::EntrySpec;
use super::graph::{Port, Role};
use super::loss::{Weighting, loss_of};
use super::metric::{Batch, Metric};
use super::objective::{Objective, Reported};
use super::optimizer::step::{self, Step};
use super::store::Store;
use crate::diag::{Code, Diagnostic, Diagnostics, Problem};
use crate::grad;
use crate::ir::graph::MAX_NODES;
use crate::ir::{DType, Graph, Module, NodeId, Shape, Site, SourceLine, StorageId, TensorType};
use crate::limit::Limit;

/// The path of the cells of the optimizer of `compile`.
pub(crate) const OPTIMIZER: &str = "optimizer";
/// The entry point that gives the outputs.
const PREDICT: &str = "predict";
/// The path of the cells of metrics.
const METRICS: &str = "metrics/";

/// A model as graphs.
#[derive(Debug)]
pub(crate) struct Lowered {
    pub module: Module,
    /// What is no mistake, and probably not meant.
    pub warnings: Vec<Diagnostic>,
}

/// A model that has been checked.
pub(crate) struct Checked {
    objectives: Vec<Objective>,
    /// The cells of the weights.
    store: Store,
    /// The entry point `predict`, where declaring the weights has built it.
    predict: Option<Graph>,
}

/// The parts of a model that entry points are made of, or everything that is wrong with it.
pub(crate) fn checked(net: &Net) -> Result<Checked, Diagnostics> {
    let mut problems = net.problems.clone();
    let objectives = check::check(net, &mut problems);
    let (mut store, mut predict) = (Store::default(), None);
    // Whatever else is wrong, the layers that are there can be judged, unless tensors between them are missing.
    if net.is_whole() && net.chain.waiting.is_empty() {
        match declare(net, &mut store) {
            Ok(graph) => {
                predict = graph;
                check::trainable(net, &store, &mut Report(&mut problems));
            }
            Err(large) => problems.extend(large.list),
        }
    }
    match problems.is_empty() {
        true => Ok(Checked { objectives, store, predict }),
        false => Err(Diagnostics { model: net.graph.name.clone(), list: problems }),
    }
}

/// Lowers a model, or returns everything that is wrong with it.
pub(crate) fn lower(net: &Net) -> Result<Lowered, Diagnostics> {
    let Checked { objectives, mut store, predict: before } = checked(net)?;
    let mut entries = Vec::new();
    match before {
        Some(graph) => entries.push(graph),
        None if net.graph.outputs.is_empty() => {}
        None => entries.push(built(net, PREDICT, |g| predict(net, &mut store, g))?),
    }
    let trained = |(graph, gradient): (Graph, Result<(), grad::GradError>), source: &SourceLine| match gradient {
        Ok(()) => Ok(graph),
        Err(error) => {
            let problem = Problem::new(Code::Gradient, error.to_string());
            Err(Diagnostics::one(problem, "", Some(source.clone())).of_model(&net.graph.name))
        }
    };
    if let Some(compiled) = &net.compiled {
        let step = build(net, "train_step", |g| train_step(net, &mut store, &objectives, g))?;
        entries.push(trained(step, &compiled.source)?);
        entries.push(built(net, "evaluate_step", |g| evaluate_step(net, &mut store, &objectives, g))?);
        entries.extend(reset_metrics(&store));
        entries.extend(step::finalize("finalize", compiled.optimizer.as_ref(), OPTIMIZER, &store));
    }
    for spec in &net.entries {
        let entry = build(net, &spec.name, |g| custom(net, &mut store, spec, g))?;
        entries.push(trained(entry, &spec.source)?);
    }
    entries.insert(0, store.init());
    let warnings = check::warnings(net, &store);
    let name = net.graph.name.clone();
    let module = Module { name, max_batch: net.max_batch, storage: store.cells, entries, ..Module::default() };
    Ok(Lowered { module, warnings })
}

/// The graph of an entry point. What is too large to exist is a mistake of whoever described it.
fn build<T>(net: &Net, name: &str, build: impl FnOnce(&mut Graph) -> T) -> Result<(Graph, T), Diagnostics> {
    Graph::built(name, MAX_NODES, build).map_err(|(error, site)| match error.is_size() {
        true => {
            let problem =
                Problem::new(Code::Size, format!("`{name}` is larger than anything can be: {}", error.reason));
            Diagnostics::one(problem.limit(Limit::Sizes), site.path, site.source).of_model(&net.graph.name)
        }
        false => panic!("compiler bug in graph `{name}` at {site}: {error}"),
    })
}

/// The graph of an entry point that is built without further ado.
fn built(net: &Net, name: &str, with: impl FnOnce(&mut Graph)) -> Result<Graph, Diagnostics> {
    build(net, name, with).map(|(graph, ())| graph)
}

/// The cells of the weights, under the names that [`lower`] gives them; or everything that is wrong with the model.
pub(crate) fn declared(net: &Net) -> Result<Store, Diagnostics> {
    let mut list = net.problems.clone();
    check::check(net, &mut list);
    if !list.is_empty() {
        return Err(Diagnostics { model: net.graph.name.clone(), list });
    }
    let mut store = Store::default();
    declare(net, &mut store)?;
    Ok(store)
}

/// Gives every weight that some entry point needs its cell, in the order of the layers. Where all that entry points need is
/// in the outputs, the graph that finds the weights is that of `predict`.
fn declare(net: &Net, store: &mut Store) -> Result<Option<Graph>, Diagnostics> {
    let wanted = check::wanted(net);
    if !wanted.is_empty() && net.graph.outputs.iter().map(|o| o.port).eq(wanted.iter().copied()) {
        return built(net, PREDICT, |g| predict(net, store, g)).map(Some);
    }
    let run = |scratch: &mut Graph| {
        let inputs = declare_inputs(net, scratch, &wanted);
        CallCx::new(scratch, store, false).run(&net.graph, &inputs, &wanted);
    };
    built(net, &net.graph.name, run).map(|_| None)
}

/// Declares the model inputs that some tensors need, in the order of their declaration.
fn declare_inputs(net: &Net, g: &mut Graph, wanted: &[Port]) -> HashMap<Port, Masked> {
    let needed = net.graph.needed(wanted);
    let mut nodes = HashMap::new();
    for &index in net.graph.inputs.iter().filter(|i| net.graph.keeps_inputs || needed.contains(i)) {
        let call = net.graph.call(index);
        let site = Site { path: call.name.clone(), source: Some(call.source.clone()), derived: Vec::new() };
        enter(g, site);
        let node = g.input(call.input_name(), call.results[0].ty.clone());
        if let Role::Encoded(text) = &call.role
            && let Some(input) = g.inputs.last_mut()
        {
            input.text = Some(text.form.clone());
        }
        nodes.insert(Port { call: index, output: 0 }, node.into());
    }
    nodes
}

/// New nodes belong to this site.
fn enter(g: &mut Graph, site: Site) {
    let site = g.site_id(&site);
    g.set_site(site);
}

fn site(path: impl Into<String>, source: &SourceLine) -> Site {
    Site { path: path.into(), source: Some(source.clone()), derived: Vec::new() }
}

fn predict(net: &Net, store: &mut Store, g: &mut Graph) {
    let wanted: Vec<Port> = net.graph.outputs.iter().map(|o| o.port).collect();
    let inputs = declare_inputs(net, g, &wanted);
    let mut cx = CallCx::new(g, store, false);
    let nodes = cx.run(&net.graph, &inputs, &wanted);
    let effects = cx.finish();
    for (output, result) in net.graph.outputs.iter().zip(nodes) {
        g.output(output.name.clone(), result.node);
    }
    assign_all(g, effects.updates);
}

fn assign_all(g: &mut Graph, updates: Vec<(StorageId, NodeId)>) {
    for (cell, node) in updates {
        g.assign(cell, node);
    }
}

fn train_step(net: &Net, store: &mut Store, objectives: &[Objective], g: &mut Graph) -> Result<(), grad::GradError> {
    let (loss, updates) = step(net, store, objectives, g, true);
    if let Some(compiled) = &net.compiled {
        let params = store.trainable();
        let optimizer = compiled.optimizer.as_ref();
        Step { optimizer, prefix: OPTIMIZER, params: &params, source: &compiled.source }.add(g, store, loss)?;
    }
    assign_all(g, updates);
    Ok(())
}

fn evaluate_step(net: &Net, store: &mut Store, objectives: &[Objective], g: &mut Graph) {
    let (_, updates) = step(net, store, objectives, g, false);
    assign_all(g, updates);
}

/// The entry point that begins new sums of all metrics, if there are metrics.
fn reset_metrics(store: &Store) -> Option<Graph> {
    let mut g = Graph::new("reset_metrics");
    let cells = (0..store.cells.len() as u32).map(StorageId);
    for id in cells.filter(|&id| store.cell(id).name.starts_with(METRICS)) {
        let zero = g.splat_of(0.0, store.cell(id).ty.clone());
        g.assign(id, zero);
    }
    (!g.assigns.is_empty()).then_some(g)
}

/// Inputs, targets, sample weights, forward pass, loss and metrics: what training and evaluation have in common.
/// Results are `loss`, with several outputs the loss of each, and the metrics over all batches since `reset_metrics`.
fn step(
    net: &Net,
    store: &mut Store,
    objectives: &[Objective],
    g: &mut Graph,
    training: bool,
) -> (NodeId, Vec<(StorageId, NodeId)>) {
    let outputs = net.graph.outputs.iter().map(|o| o.port);
    let wanted: Vec<Port> = outputs.chain(check::step_ports(net)).collect();
    let inputs = declare_inputs(net, g, &wanted);
    let source = net.compiled.as_ref().map_or(&net.source, |c| &c.source);
    let mut declare = |name: &String, ty: &TensorType| {
        enter(g, site(name, source));
        g.input(name.clone(), ty.clone())
    };
    let targets: Vec<NodeId> = objectives.iter().map(|o| declare(&o.target_name, &o.target)).collect();
    let weights: Vec<Option<NodeId>> =
        objectives.iter().map(|o| o.weight.as_ref().map(|(name, ty)| declare(name, ty))).collect();
    let mut cx = CallCx::new(g, store, training);
    let results = cx.run(&net.graph, &inputs, &wanted);
    let Effects { losses: extra, mut updates } = cx.finish();
    let (outputs, rest) = results.split_at(net.graph.outputs.len());
    let (added, tracked) = rest.split_at(net.graph.losses.len());
    let batches: Vec<Batch> = objectives
        .iter()
        .zip(targets.into_iter().zip(weights))
        .map(|(objective, (target, weight))| {
            let Masked { node: output, mask, .. } = outputs[objective.output];
            Batch { target, output, by: Weighting { weight, mask } }
        })
        .collect();
    let mut terms = Vec::new();
    let mut reports = Vec::new();
    for (objective, batch) in objectives.iter().zip(&batches) {
        if let Some((loss, weight)) = &objective.loss {
            enter(g, site(format!("{}/loss", objective.name), source));
            let mean = loss_of(g, loss.as_ref(), batch.target, batch.output, batch.by);
            // Of outputs that have one name in Keras, its history has the last one.
            let name = format!("{}_loss", objective.place.loss_series());
            reports.retain(|(other, _)| *other != name);
            reports.push((name, mean));
            terms.push(if *weight == 1.0 { mean } else { g.mul_s(mean, *weight) });
        }
    }
    if terms.len() < 2 {
        reports.clear();
    }
    for (objective, batch) in objectives.iter().zip(&batches) {
        for Reported { name, metric, weighted } in &objective.metrics {
            enter(g, site(format!("{}/{name}", objective.name), source));
            let weight = batch.by.weight.filter(|_| *weighted);
            let batch = Batch { by: Weighting { weight, ..batch.by }, ..*batch };
            reports.extend(report(g, store, name, metric.as_ref(), &batch, &mut updates));
        }
    }
    for (spec, result) in net.tracked.iter().zip(tracked) {
        let name = spec.metric.name();
        enter(g, site(&name, &spec.source));
        let by = Weighting { weight: None, mask: result.mask };
        let batch = Batch { target: result.node, output: result.node, by };
        reports.extend(report(g, store, &name, spec.metric.as_ref(), &batch, &mut updates));
    }
    let trained = store.trainable();
    terms.extend(extra);
    enter(g, site("loss", source));
    terms.extend(added.iter().map(|term| g.sum_all(term.node)).collect::<Vec<_>>());
    terms.extend(penalties(g, store, &trained));
    enter(g, site("loss", source));
    let loss = terms.iter().copied().reduce(|a, b| g.add(a, b)).unwrap_or_else(|| g.scalar(DType::F32, 0.0));
    g.output("loss", loss);
    for (name, node) in reports {
        g.output(name, node);
    }
    (loss, updates)
}

/// Adds a batch to the sums of a metric, and gives its results, each a scalar with its name.
fn report(
    g: &mut Graph,
    store: &mut Store,
    name: &str,
    metric: &dyn Metric,
    batch: &Batch,
    updates: &mut Vec<(StorageId, NodeId)>,
) -> Vec<(String, NodeId)> {
    let sums: Vec<NodeId> = metric
        .tally(g, batch)
        .into_iter()
        .map(|(sum, more)| {
            let cell = store.training(&format!("{METRICS}{name}/{sum}"), g.ty(more).clone(), 0.0);
            let old = store.read(g, cell);
            let new = g.add(old, more);
            updates.push((cell, new));
            new
        })
        .collect();
    let result = metric.result(g, &sums);
    match g.ty(result).shape.as_fixed().as_deref() {
        Some([n]) => (0..*n)
            .map(|i| {
                let one = g.slice_axis(result, 0, i, i + 1);
                (format!("{name}_{i}"), g.reshape(one, Shape::scalar()))
            })
            .collect(),
        _ => vec![(name.to_string(), result)],
    }
}

/// The penalties of the regularizers of some parameters.
fn penalties(g: &mut Graph, store: &Store, params: &[StorageId]) -> Vec<NodeId> {
    let mut list = Vec::new();
    for &id in params {
        if let Some(regularizer) = store.declaration(id).and_then(|w| w.regularizer) {
            let site = g.site_id(&store.cell(id).site.derive("penalty"));
            g.set_site(site);
            let weight = store.read(g, id);
            list.extend(regularizer.penalty(g, weight));
        }
    }
    list
}

/// An entry point of the user's own.
fn custom(net: &Net, store: &mut Store, spec: &EntrySpec, g: &mut Graph) -> Result<(), grad::GradError> {
    let results = spec.outputs.iter().map(|(_, port)| *port);
    let wanted: Vec<Port> = results.chain(spec.updates.iter().map(|u| u.loss)).collect();
    let inputs = declare_inputs(net, g, &wanted);
    let training = spec.training.unwrap_or(!spec.updates.is_empty());
    let mut cx = CallCx::new(g, store, training);
    let nodes: Vec<NodeId> = cx.run(&net.graph, &inputs, &wanted).into_iter().map(|result| result.node).collect();
    let effects = cx.finish();
    let (results, losses) = nodes.split_at(spec.outputs.len());
    for ((name, _), &node) in spec.outputs.iter().zip(results) {
        g.output(name.clone(), node);
    }
    for (i, (update, &loss)) in spec.updates.iter().zip(losses).enumerate() {
        let params = check::selected(store, &update.layers);
        let terms = penalties(g, store, &params);
        let loss = terms.into_iter().fold(loss, |sum, term| g.add(sum, term));
        let prefix = match i {
            0 => format!("{}/optimizer", spec.name),
            i => format!("{}/optimizer_{i}", spec.name),
        };
        let optimizer = update.optimizer.as_ref();
        Step { optimizer, prefix: &prefix, params: &params, source: &update.source }.add(g, store, loss)?;
    }
    assign_all(g, effects.updates);
    Ok(())
}
