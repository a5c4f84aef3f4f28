//! Which loss, target and metrics each output of a compiled model has.

use std::collections::HashSet;
use std::rc::Rc;

use super::builder::Net;
use super::check::Report;
use super::compile::{Compiled, For, WeightedLoss};
use super::graph::Output;
use super::loss::Loss;
use super::metric::Metric;
use crate::diag::{Code, Problem, count};
use crate::ir::{DType, TensorType};

/// What training knows about one output.
pub(crate) struct Objective {
    /// Index and name of the output.
    pub output: usize,
    pub name: String,
    /// The entry points' argument for the target.
    pub target_name: String,
    pub target: TensorType,
    pub loss: Option<(Rc<dyn Loss>, f64)>,
    /// With their names in the history.
    pub metrics: Vec<(String, Rc<dyn Metric>)>,
}

/// Resolves what `compile` was given against the outputs.
pub(crate) fn resolve(net: &Net, compiled: &Compiled, report: &mut Report<'_>) -> Vec<Objective> {
    let source = &compiled.source;
    report.result(compiled.optimizer.check(), "", source);
    if net.graph.outputs.is_empty() {
        return Vec::new();
    }
    // An output that was refused has been reported where it was made.
    let sound = net.problems.is_empty();
    if sound {
        references(net, compiled, report);
    }
    let outputs = net.graph.outputs.iter().enumerate();
    let list: Vec<Objective> = outputs.filter_map(|(i, o)| objective(net, compiled, i, o, report)).collect();
    if sound && list.iter().all(|o| o.loss.is_none()) {
        report.problem(Problem::new(Code::Loss, "no output has a loss"), "", source);
    }
    let mut seen = HashSet::from(["loss".to_string()]);
    for name in list.iter().flat_map(|o| &o.metrics).map(|(name, _)| name) {
        if !seen.insert(name.clone()) {
            report.problem(Problem::new(Code::Name, format!("the metric `{name}` is reported twice")), name, source);
        }
    }
    list
}

/// Checks that everything that names or counts outputs does so rightly.
fn references(net: &Net, compiled: &Compiled, report: &mut Report<'_>) {
    let source = &compiled.source;
    let names: Vec<&str> = net.graph.outputs.iter().map(|o| o.name.as_str()).collect();
    let known = format!("outputs are {}", names.join(", "));
    let losses = compiled.losses.list.iter().map(|l| ("loss", &l.output));
    let metrics = compiled.metrics.list.iter().map(|m| ("metric", &m.output));
    for (what, output) in losses.chain(metrics) {
        if let For::Name(name) = output
            && !names.contains(&name.as_str())
        {
            let problem = Problem::new(Code::Unknown, format!("a {what} is for the output `{name}`, which is none"));
            report.problem(problem.help(known.clone()), name, source);
        }
    }
    let positional = compiled.losses.list.iter().filter(|l| matches!(l.output, For::Index(_))).count();
    if positional > 0 && positional != names.len() {
        let message = format!("{} for {}", count(positional, "loss"), count(names.len(), "output"));
        report.problem(Problem::new(Code::Arity, message).help(known.clone()), "", source);
    }
    for target in net.targets.iter().filter(|t| !names.contains(&t.output.as_str())) {
        let message = format!("a target is declared for the output `{}`, which is none", target.output);
        let problem = Problem::new(Code::Unknown, message).help(known.clone());
        report.problem(problem, &target.output, &target.source);
    }
}

/// The objective of one output; none where nothing is asked of it.
fn objective(
    net: &Net,
    compiled: &Compiled,
    index: usize,
    output: &Output,
    report: &mut Report<'_>,
) -> Option<Objective> {
    let Output { name, port, .. } = output;
    let source = &compiled.source;
    let fitting: Vec<&WeightedLoss> = compiled.losses.list.iter().filter(|l| l.output.is(index, name)).collect();
    if fitting.len() > 1 {
        report.problem(Problem::new(Code::Loss, format!("the output `{name}` has two losses")), name, source);
    }
    let loss = fitting.first().copied();
    let single = net.graph.outputs.len() == 1;
    let metrics = compiled.metrics.list.iter().filter(|m| match m.output {
        For::Every => loss.is_some(),
        For::Index(_) | For::Name(_) => m.output.is(index, name),
    });
    let metrics: Vec<(String, Rc<dyn Metric>)> = metrics
        .map(|m| {
            let plain = m.metric.name();
            (if single { plain } else { format!("{name}_{plain}") }, m.metric.clone())
        })
        .collect();
    if loss.is_none() && metrics.is_empty() {
        return None;
    }
    let ty = net.graph.ty(*port);
    let declared = net.targets.iter().rfind(|t| t.output == *name);
    let target = match (declared, loss) {
        (Some(declared), _) => declared.ty.clone(),
        (None, Some(loss)) => loss.loss.target(ty),
        (None, None) => TensorType::new(DType::F32, ty.shape.clone()),
    };
    // The loss and a metric often object to the same thing, so the first objection stands for all.
    let mut checks = loss.iter().map(|l| l.loss.check(&target, ty));
    let objection = checks.find_map(Result::err);
    if let Some(problem) = objection.or_else(|| metrics.iter().find_map(|(_, m)| m.check(&target, ty).err())) {
        let place = declared.map_or(source, |d| &d.source);
        report.0.push(net.explain(problem, name.clone(), place.clone(), &[*port]));
    }
    if let Some(loss) = loss
        && !loss.weight.is_finite()
    {
        let message = format!("the loss of `{name}` has weight {}: must be finite", loss.weight);
        report.problem(Problem::value(message), name, source);
    }
    let target_name = format!("{name}_target");
    if net.graph.inputs.iter().any(|&i| net.graph.call(i).name == target_name) {
        let problem = Problem::new(Code::Name, format!("`{target_name}` names an input and a target"))
            .help("rename the input: targets are named after their outputs");
        report.problem(problem, &target_name, source);
    }
    let loss = loss.map(|l| (l.loss.clone(), l.weight));
    Some(Objective { output: index, name: name.clone(), target_name, target, loss, metrics })
}
