//! From a model to its module: storage cells, and one tensor graph for every entry point.

use std::collections::HashMap;

use super::builder::Net;
use super::call::{CallCx, Effects, Masked};
use super::check::{self, Report};
use super::entry::EntrySpec;
use super::graph::Port;
use super::loss::mean_all;
use super::objective::Objective;
use super::optimizer::{Optimizer, StepCx, Update};
use super::store::Store;
use crate::diag::{Code, Diagnostic, Diagnostics, Problem};
use crate::grad;
use crate::ir::{DType, Graph, Module, NodeId, Site, SourceLine, StorageId, TensorType};

/// Lowers a model, or returns everything that is wrong with it.
pub(crate) fn lower(net: &Net) -> Result<Module, Diagnostics> {
    let mut problems = net.problems.clone();
    let objectives = check::check(net, &mut problems);
    let fail = |list: Vec<Diagnostic>| Diagnostics { model: net.graph.name.clone(), list };
    if !problems.is_empty() {
        return Err(fail(problems));
    }
    let mut store = Store::default();
    declare(net, &mut store);
    check::trainable(net, &store, &mut Report(&mut problems));
    if !problems.is_empty() {
        return Err(fail(problems));
    }
    let mut entries = Vec::new();
    if !net.graph.outputs.is_empty() {
        entries.push(predict(net, &mut store));
    }
    let invalid = |source: &SourceLine| {
        let source = source.clone();
        move |error: grad::GradError| {
            fail(vec![Diagnostic::new(Problem::new(Code::Gradient, error.to_string()), "", Some(source))])
        }
    };
    if let Some(compiled) = &net.compiled {
        entries.push(train_step(net, &mut store, &objectives).map_err(invalid(&compiled.source))?);
        entries.push(evaluate_step(net, &mut store, &objectives));
    }
    for spec in &net.entries {
        entries.push(custom(net, &mut store, spec).map_err(invalid(&spec.source))?);
    }
    entries.insert(0, store.init());
    Ok(Module {
        name: net.graph.name.clone(),
        max_batch: net.max_batch,
        storage: store.cells,
        entries,
        ..Module::default()
    })
}

/// Gives every weight that some entry point needs its cell, in the order of the layers.
fn declare(net: &Net, store: &mut Store) {
    let mut scratch = Graph::new("declare");
    let wanted = check::wanted(net);
    let inputs = declare_inputs(net, &mut scratch, &wanted);
    CallCx::new(&mut scratch, store, false).run(&net.graph, &inputs, &wanted);
}

/// Declares the model inputs that some tensors need, in the order of their declaration.
fn declare_inputs(net: &Net, g: &mut Graph, wanted: &[Port]) -> HashMap<Port, Masked> {
    let needed = net.graph.needed(wanted);
    let mut nodes = HashMap::new();
    for &index in net.graph.inputs.iter().filter(|i| needed.contains(i)) {
        let call = net.graph.call(index);
        let site = Site { path: call.name.clone(), source: Some(call.source.clone()), derived: Vec::new() };
        enter(g, site);
        let node = g.input(call.name.clone(), call.results[0].ty.clone());
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

fn predict(net: &Net, store: &mut Store) -> Graph {
    let mut g = Graph::new("predict");
    let wanted: Vec<Port> = net.graph.outputs.iter().map(|o| o.port).collect();
    let inputs = declare_inputs(net, &mut g, &wanted);
    let mut cx = CallCx::new(&mut g, store, false);
    let nodes = cx.run(&net.graph, &inputs, &wanted);
    let effects = cx.finish();
    for (output, result) in net.graph.outputs.iter().zip(nodes) {
        g.output(output.name.clone(), result.node);
    }
    assign_all(&mut g, effects.updates);
    g
}

fn assign_all(g: &mut Graph, updates: Vec<(StorageId, NodeId)>) {
    for (cell, node) in updates {
        g.assign(cell, node);
    }
}

fn train_step(net: &Net, store: &mut Store, objectives: &[Objective]) -> Result<Graph, grad::GradError> {
    let mut g = Graph::new("train_step");
    let (loss, updates) = step(net, store, objectives, &mut g, true);
    if let Some(compiled) = &net.compiled {
        let source = &compiled.source;
        let trained = store.trainable();
        optimize(&mut g, store, "optimizer", compiled.optimizer.as_ref(), loss, &trained, source)?;
    }
    assign_all(&mut g, updates);
    Ok(g)
}

fn evaluate_step(net: &Net, store: &mut Store, objectives: &[Objective]) -> Graph {
    let mut g = Graph::new("evaluate_step");
    let (_, updates) = step(net, store, objectives, &mut g, false);
    assign_all(&mut g, updates);
    g
}

/// Inputs, targets, forward pass, loss and metrics: what training and evaluation have in common. Results are
/// `loss`, with several outputs the loss of each, and the metrics.
fn step(
    net: &Net,
    store: &mut Store,
    objectives: &[Objective],
    g: &mut Graph,
    training: bool,
) -> (NodeId, Vec<(StorageId, NodeId)>) {
    let wanted: Vec<Port> = net.graph.outputs.iter().map(|o| o.port).collect();
    let inputs = declare_inputs(net, g, &wanted);
    let source = net.compiled.as_ref().map_or(&net.source, |c| &c.source);
    let mut targets = Vec::new();
    for objective in objectives {
        enter(g, site(&objective.target_name, source));
        targets.push(g.input(objective.target_name.clone(), objective.target.clone()));
    }
    let mut cx = CallCx::new(g, store, training);
    let outputs = cx.run(&net.graph, &inputs, &wanted);
    let Effects { losses: extra, updates } = cx.finish();
    let mut terms = Vec::new();
    let mut reports = Vec::new();
    for (objective, &target) in objectives.iter().zip(&targets) {
        let output = outputs[objective.output].node;
        if let Some((loss, weight)) = &objective.loss {
            enter(g, site(format!("{}/loss", objective.name), source));
            let values = loss.values(g, target, output);
            let mean = mean_all(g, values);
            reports.push((format!("{}_loss", objective.name), mean));
            terms.push(if *weight == 1.0 { mean } else { g.mul_s(mean, *weight) });
        }
    }
    if terms.len() < 2 {
        reports.clear();
    }
    for (objective, &target) in objectives.iter().zip(&targets) {
        for (name, metric) in &objective.metrics {
            enter(g, site(format!("{}/{name}", objective.name), source));
            let values = metric.values(g, target, outputs[objective.output].node);
            let mean = mean_all(g, values);
            reports.push((name.clone(), mean));
        }
    }
    let trained = store.trainable();
    terms.extend(extra);
    terms.extend(penalties(g, store, &trained));
    enter(g, site("loss", source));
    let loss = terms.iter().copied().reduce(|a, b| g.add(a, b)).unwrap_or_else(|| g.scalar(DType::F32, 0.0));
    g.output("loss", loss);
    for (name, node) in reports {
        g.output(name, node);
    }
    (loss, updates)
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

/// Adds one optimizer step over some parameters: their gradients, their new values, the optimizer's slots and
/// counters. Parameters that the loss does not depend on stay as they are.
fn optimize(
    g: &mut Graph,
    store: &mut Store,
    prefix: &str,
    optimizer: &dyn Optimizer,
    loss: NodeId,
    params: &[StorageId],
    source: &SourceLine,
) -> Result<(), grad::GradError> {
    let scalar = TensorType::scalar;
    let iterations = store.training(&format!("{prefix}/iterations"), scalar(DType::U32), 0.0);
    let rate = store.training(&format!("{prefix}/learning_rate"), scalar(DType::F32), optimizer.learning_rate());
    let weights: Vec<NodeId> = params.iter().map(|&id| store.read(g, id)).collect();
    let gradients = grad::gradients(g, loss, &weights)?;
    enter(g, site(prefix, source));
    let (count, rate) = (store.read(g, iterations), store.read(g, rate));
    for ((&id, &weight), &gradient) in params.iter().zip(&weights).zip(&gradients) {
        let cell = store.cell(id).clone();
        let slots: Vec<StorageId> = optimizer
            .slots()
            .into_iter()
            .map(|slot| store.training(&format!("{prefix}/{}/{slot}", cell.name), cell.ty.clone(), 0.0))
            .collect();
        if g.splat(gradient) == Some(0.0) {
            continue;
        }
        enter(g, site(format!("{prefix}/{}", cell.name), source));
        let old: Vec<NodeId> = slots.iter().map(|&slot| store.read(g, slot)).collect();
        let mut cx = StepCx::new(g, rate, count);
        let Update { weight, slots: new } = optimizer.update(&mut cx, weight, gradient, &old);
        let weight = match store.declaration(id).and_then(|w| w.constraint.as_ref()) {
            Some(constraint) => constraint.apply(g, weight),
            None => weight,
        };
        g.assign(id, weight);
        assign_all(g, slots.into_iter().zip(new).collect());
    }
    enter(g, site(prefix, source));
    let next = g.add_s(count, 1.0);
    g.assign(iterations, next);
    Ok(())
}

/// An entry point of the user's own.
fn custom(net: &Net, store: &mut Store, spec: &EntrySpec) -> Result<Graph, grad::GradError> {
    let mut g = Graph::new(spec.name.clone());
    let results = spec.outputs.iter().map(|(_, port)| *port);
    let wanted: Vec<Port> = results.chain(spec.updates.iter().map(|u| u.loss)).collect();
    let inputs = declare_inputs(net, &mut g, &wanted);
    let training = spec.training.unwrap_or(!spec.updates.is_empty());
    let mut cx = CallCx::new(&mut g, store, training);
    let nodes: Vec<NodeId> = cx.run(&net.graph, &inputs, &wanted).into_iter().map(|result| result.node).collect();
    let effects = cx.finish();
    let (results, losses) = nodes.split_at(spec.outputs.len());
    for ((name, _), &node) in spec.outputs.iter().zip(results) {
        g.output(name.clone(), node);
    }
    for (i, (update, &loss)) in spec.updates.iter().zip(losses).enumerate() {
        let params = check::selected(store, &update.layers);
        let terms = penalties(&mut g, store, &params);
        let loss = terms.into_iter().fold(loss, |sum, term| g.add(sum, term));
        let prefix = match i {
            0 => format!("{}/optimizer", spec.name),
            i => format!("{}/optimizer_{i}", spec.name),
        };
        optimize(&mut g, store, &prefix, update.optimizer.as_ref(), loss, &params, &update.source)?;
    }
    assign_all(&mut g, effects.updates);
    Ok(g)
}
