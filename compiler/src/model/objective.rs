//! Which loss, target and metrics each output of a compiled model has.

use std::collections::HashSet;
use std::rc::Rc;

use super::builder::Net;
use super::check::Report;
use super::compile::{Compiled, For, Metrics, OutputMetric, WeightedLoss};
use super::loss::Loss;
use super::metric::Metric;
use super::optimizer::options;
use super::output::{Output, Place};
use crate::diag::{Code, Problem, count};
use crate::ir::{Dim, SourceLine, TensorType};

/// What training knows about one output.
pub(crate) struct Objective {
    /// Index and name of the output.
    pub output: usize,
    pub name: String,
    /// What the history calls it by.
    pub place: Place,
    /// The entry points' argument for the target.
    pub target_name: String,
    pub target: TensorType,
    /// The argument for the weights of samples, and its type.
    pub weight: Option<(String, TensorType)>,
    pub loss: Option<(Rc<dyn Loss>, f64)>,
    pub metrics: Vec<Reported>,
}

/// A metric of an output.
pub(crate) struct Reported {
    /// The name in the history.
    pub name: String,
    pub metric: Rc<dyn Metric>,
    /// Whether samples count by their weights.
    pub weighted: bool,
}

/// Resolves what `compile` was given against the outputs.
pub(crate) fn resolve(net: &Net, compiled: &Compiled, report: &mut Report<'_>) -> Vec<Objective> {
    let source = &compiled.source;
    report.result(options::check(compiled.optimizer.as_ref()), "", source);
    if net.graph.outputs.is_empty() {
        return Vec::new();
    }
    // An output that was refused has been reported where it was made.
    let sound = net.problems.is_empty();
    if sound {
        references(net, compiled, report);
    }
    let outputs = net.graph.outputs.iter().enumerate();
    let mut list: Vec<Objective> = outputs.filter_map(|(i, o)| objective(net, compiled, i, o, report)).collect();
    if sound && list.iter().all(|o| o.loss.is_none()) && net.graph.losses.is_empty() {
        report.problem(Problem::new(Code::Loss, "no output has a loss"), "", source);
    }
    name_metrics(net, &mut list, report, source);
    list
}

/// Names the metrics as Keras does: after their output where there are several, `weighted_` before and numbers behind
/// what is taken.
fn name_metrics(net: &Net, list: &mut [Objective], report: &mut Report<'_>, source: &SourceLine) {
    let single = net.graph.outputs.len() == 1;
    let mut taken = HashSet::from(["loss".to_string()]);
    for weighted in [false, true] {
        for objective in list.iter_mut() {
            let named =
                |name: String| if single { name } else { format!("{}_{name}", objective.place.metric_series()) };
            for metric in objective.metrics.iter_mut().filter(|m| m.weighted == weighted) {
                let plain = metric.metric.name();
                let other = named(if weighted { format!("weighted_{plain}") } else { plain.clone() });
                let numbered = (1..).map(|n| format!("{other}_{n}"));
                let free = [named(plain), other.clone()].into_iter().chain(numbered).find(|n| !taken.contains(n));
                metric.name = free.unwrap_or_default();
                taken.insert(metric.name.clone());
            }
        }
    }
    for tracked in &net.tracked {
        let name = tracked.metric.name();
        if !taken.insert(name.clone()) {
            let problem = Problem::new(Code::Name, format!("the metric `{name}` is reported twice"));
            report.problem(problem.help("give one of them another name"), &name, source);
        }
        let ty = net.graph.ty(tracked.port);
        report.result(tracked.metric.check(ty, ty), &name, &tracked.source);
    }
    for name in taken.iter().filter(|name| name.contains(['/']) || name.trim().is_empty()) {
        report.problem(Problem::new(Code::Name, format!("`{name}` cannot name a metric")), name, source);
    }
}

/// Checks that everything that names or counts outputs does so rightly.
fn references(net: &Net, compiled: &Compiled, report: &mut Report<'_>) {
    let source = &compiled.source;
    let names: Vec<&str> = net.graph.outputs.iter().map(|o| o.name.as_str()).collect();
    let known = format!("outputs are {}", names.join(", "));
    let losses = compiled.losses.list.iter().map(|l| ("loss", &l.output));
    let metrics = compiled.metrics.list.iter().chain(&net.weighted_metrics.list).map(|m| ("metric", &m.output));
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
    let declared = net.targets.iter().map(|t| ("a target is", t)).chain(net.weights.iter().map(|w| ("weights are", w)));
    for (what, target) in declared.filter(|(_, t)| !names.contains(&t.output.as_str())) {
        let message = format!("{what} declared for the output `{}`, which is none", target.output);
        let problem = Problem::new(Code::Unknown, message).help(known.clone());
        report.problem(problem, &target.output, &target.source);
    }
    if let Some(weights) = &compiled.losses.weights
        && weights.len() != names.len()
    {
        let message = format!("{} for {}", count(weights.len(), "loss weight"), count(names.len(), "output"));
        report.problem(Problem::new(Code::Arity, message).help(known), "", source);
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
    let Output { name, port, place, .. } = output;
    let source = &compiled.source;
    let fitting: Vec<&WeightedLoss> = compiled.losses.list.iter().filter(|l| l.output.is(index, name)).collect();
    if fitting.len() > 1 {
        report.problem(Problem::new(Code::Loss, format!("the output `{name}` has two losses")), name, source);
    }
    let loss = fitting.first().copied();
    let fits = |m: &&OutputMetric| match m.output {
        For::Every => loss.is_some(),
        For::Index(_) | For::Name(_) => m.output.is(index, name),
    };
    let reported = |list: &Metrics, weighted: bool| -> Vec<Reported> {
        let metric = |m: &OutputMetric| Reported { name: String::new(), metric: m.metric.clone(), weighted };
        list.list.iter().filter(fits).map(metric).collect()
    };
    let mut metrics = reported(&compiled.metrics, false);
    metrics.extend(reported(&net.weighted_metrics, true));
    if loss.is_none() && metrics.is_empty() {
        return None;
    }
    let ty = net.graph.ty(*port);
    let declared = net.targets.iter().rfind(|t| t.output == *name);
    let target = match (declared, loss) {
        (Some(declared), _) => declared.ty.clone(),
        (None, Some(loss)) => Loss::target(&*loss.loss, ty),
        (None, None) => metrics[0].metric.target(ty),
    };
    // The loss and a metric often object to the same thing, so the first objection stands for all.
    let mut checks = loss.iter().map(|l| Loss::check(&*l.loss, &target, ty));
    let objection = checks.find_map(Result::err);
    if let Some(problem) = objection.or_else(|| metrics.iter().find_map(|m| m.metric.check(&target, ty).err())) {
        let place = declared.map_or(source, |d| &d.source);
        report.0.push(net.explain(problem, name.clone(), place.clone(), &[*port]));
    }
    let factor = compiled.losses.weights.as_ref().and_then(|w| w.get(index)).copied();
    let loss = loss.map(|l| (l.loss.clone(), factor.unwrap_or(l.weight)));
    if let Some((_, factor)) = &loss
        && !factor.is_finite()
    {
        report.problem(
            Problem::value(format!("the loss of `{name}` has weight {factor}: must be finite")),
            name,
            source,
        );
    }
    let declared = net.weights.iter().rfind(|w| w.output == *name);
    if let Some(declared) = declared {
        let fits = declared.ty.shape.iter().zip(ty.shape.iter()).all(|(w, y)| w == y || *w == Dim::ONE);
        let longest = ty.shape.rank().max(2);
        if declared.ty.shape.rank() > longest || !fits {
            let message = format!("the sample weights of `{name}` are {}, the output is {ty}", declared.ty);
            let problem = Problem::new(Code::Loss, message).help("their axes are the first ones of the output");
            report.0.push(net.explain(problem, name.clone(), declared.source.clone(), &[*port]));
        }
    }
    // Arguments are named after their outputs; an input that is called so keeps its name.
    let taken = |name: &str| net.graph.inputs.iter().any(|&i| net.graph.call(i).input_name() == name);
    let argument = |suffix: &str| {
        let mut argument = format!("{name}{suffix}");
        while taken(&argument) {
            argument.push('_');
        }
        argument
    };
    let weight = declared.map(|d| (argument("_weight"), d.ty.clone()));
    let (target_name, place) = (argument("_target"), place.clone());
    Some(Objective { output: index, name: name.clone(), place, target_name, target, weight, loss, metrics })
}
