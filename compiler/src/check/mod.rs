//! A model's machine code against the interpreter: for trust, and for bug reports.
//!
//! [`check`] compiles a module, calls every entry point at several batches and numbers of threads, and compares what it
//! gives and leaves in the cells with the reference interpreter, which computes in `f64` ([`crate::ir::eval`]). How far
//! apart they may be, the model says itself (`rounding.rs`). Any number of threads must give the same bits.
//!
//! Where they differ, the entry point is cut off behind one layer after the other, and each of these beginnings is compiled
//! and compared in turn, so that the first layer that is wrong is named. That beginning, with its weights and inputs, is
//! the [`Reproduction`]: a text that can be checked again.

mod code;
mod cut;
mod reproduction;
mod rounding;

use std::fmt;

use crate::backend::BackendError;
use crate::build::internal;
use crate::compile::CompilerBug;
use crate::diag::Diagnostics;
use crate::ir::eval::{EvalError, Tensor};
use crate::ir::graph::InputDecl;
use crate::ir::random::Rng;
use crate::ir::{DType, Graph, Module, NodeId, Op, SourceLine};
use crate::model::Model;

use code::Code;
pub use reproduction::Reproduction;
use rounding::{Expected, Off};

/// What to check.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The batches; by default 1, 3, 7 and the largest.
    pub batches: Vec<usize>,
    /// Numbers of threads, each taken once; by default 1, 2 and 5.
    pub threads: Vec<usize>,
    /// What initial weights and generated inputs follow from.
    pub seed: u64,
}

impl Options {
    fn batches(&self, most: usize) -> Vec<usize> {
        let mut batches = if self.batches.is_empty() { vec![1, 3, 7, most] } else { self.batches.clone() };
        batches.retain(|batch| (1..=most).contains(batch));
        batches.sort_unstable();
        batches.dedup();
        batches
    }

    fn threads(&self) -> Vec<usize> {
        let mut threads = if self.threads.is_empty() { vec![1, 2, 5] } else { self.threads.clone() };
        threads.retain(|n| *n > 0);
        threads.sort_unstable();
        threads.dedup();
        threads
    }
}

/// What a check found.
#[derive(Clone, Debug)]
pub struct Report {
    pub model: String,
    /// The entry points in order.
    pub entries: Vec<Checked>,
}

/// One entry point.
#[derive(Clone, Debug)]
pub struct Checked {
    pub entry: String,
    pub batches: Vec<usize>,
    pub threads: Vec<usize>,
    /// The most that any result is off by, as a part of what rounding explains.
    pub worst: f64,
    /// The first difference, if there is one.
    pub difference: Option<Box<Difference>>,
}

/// A result that rounding does not explain.
#[derive(Clone, Debug)]
pub struct Difference {
    pub entry: String,
    pub batch: usize,
    pub threads: usize,
    /// The output or cell, its element, and the numbers.
    pub what: String,
    /// The first layer that differs, where the difference shows behind one alone, and the line that added it.
    pub layer: Option<String>,
    pub source: Option<SourceLine>,
    /// The case on its own: the beginning of the entry point up to that layer.
    pub reproduction: Reproduction,
}

impl Report {
    /// Whether everything agrees.
    pub fn agrees(&self) -> bool {
        self.entries.iter().all(|entry| entry.difference.is_none())
    }

    /// The first difference of each entry point that has one.
    pub fn differences(&self) -> impl Iterator<Item = &Difference> {
        self.entries.iter().filter_map(|entry| entry.difference.as_deref())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |numbers: &[usize]| numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        for entry in &self.entries {
            let Checked { entry: name, batches, threads, worst, difference } = entry;
            write!(f, "{name}: batches {}; threads {}: ", list(batches), list(threads))?;
            match difference {
                None => writeln!(f, "agrees, at most {:.0}% of what rounding explains", 100.0 * worst)?,
                Some(difference) => writeln!(f, "{difference}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "differs at batch {} with {} threads\n  {}\n  ", self.batch, self.threads, self.what)?;
        match &self.layer {
            Some(layer) => write!(f, "the first layer that differs is {layer}")?,
            None => write!(f, "no layer differs on its own")?,
        }
        self.source.iter().try_for_each(|line| write!(f, " ({line})"))
    }
}

/// Why a check could not be done.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    #[error(transparent)]
    Bug(#[from] Box<CompilerBug>),
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error(transparent)]
    Runtime(#[from] bakelite::Error),
    #[error(transparent)]
    Interpreter(#[from] EvalError),
    #[error("there is no entry point `{0}`")]
    NoEntry(String),
}

/// Gives a compiled model its weights.
pub type Weights<'a> = dyn FnMut(&mut bakelite::Model) -> Result<(), bakelite::Error> + 'a;

/// An input's rows where they are given: by its name, for a batch.
pub type Given<'a> = dyn Fn(&InputDecl, usize) -> Option<Tensor> + 'a;

impl Model {
    /// Compiles the model into this process and compares every entry point with the interpreter, on initial weights and
    /// generated inputs.
    ///
    /// ```no_run
    /// # use bakelite_compiler::prelude::*;
    /// # let model = Model::new("m");
    /// let report = model.check()?;
    /// assert!(report.agrees(), "{report}");
    /// # Ok::<(), Diagnostics>(())
    /// ```
    ///
    /// # Errors
    /// What keeps the model from being compiled. Differences are in the report.
    pub fn check(&self) -> Result<Report, Diagnostics> {
        let module = self.lower()?;
        check(&module, &Options::default()).map_err(|e| internal(&module.name, e))
    }
}

/// Checks every entry point of a module on initial weights and generated inputs.
pub fn check(module: &Module, options: &Options) -> Result<Report, CheckError> {
    let init =
        |model: &mut bakelite::Model| if model.entry("init").is_ok() { model.init(options.seed) } else { Ok(()) };
    check_with(module, options, &mut { init }, &|_, _| None)
}

/// [`check`] with weights and inputs from elsewhere; inputs that are not given are generated.
pub fn check_with(
    module: &Module,
    options: &Options,
    weights: &mut Weights<'_>,
    given: &Given<'_>,
) -> Result<Report, CheckError> {
    compare(module, module, options, weights, given)
}

/// Compares the code of one module with what another means. They have the same cells, entry points and nodes.
fn compare(
    meant: &Module,
    compiled: &Module,
    options: &Options,
    weights: &mut Weights<'_>,
    given: &Given<'_>,
) -> Result<Report, CheckError> {
    let mut code = Code::new(compiled)?;
    weights(code.model())?;
    let storage = code.storage(meant)?;
    let mut report = Report { model: meant.name.clone(), entries: Vec::new() };
    for entry in &meant.entries {
        let (batches, threads) = (options.batches(meant.max_batch), options.threads());
        let mut checked = Checked { entry: entry.name.clone(), batches, threads, worst: 0.0, difference: None };
        for &batch in &checked.batches {
            let mut rng = Rng::new(options.seed ^ (batch as u64) << 32);
            let inputs: Vec<Tensor> = (0..entry.inputs.len())
                .map(|i| given(&entry.inputs[i], batch).unwrap_or_else(|| generated(&mut rng, entry, i, batch)))
                .collect();
            let case = Case { batch, inputs: &inputs, storage: &storage };
            let (found, worst) = case.run(&mut code, meant, entry, compiled, &checked.threads)?;
            checked.worst = checked.worst.max(worst);
            if let Some((threads, what)) = found {
                let part = cut::first_difference(meant, compiled, entry, &case, threads)?;
                let site = part.behind.map(|id| entry.site(id));
                let cells: Vec<Tensor> = part.cells.iter().map(|cell| storage[*cell].clone()).collect();
                checked.difference = Some(Box::new(Difference {
                    entry: entry.name.clone(),
                    batch,
                    threads,
                    what,
                    layer: site.map(ToString::to_string),
                    source: site.and_then(|site| site.source.clone()),
                    reproduction: Reproduction::new(part.module, batch, threads, &inputs, &cells),
                }));
                break;
            }
        }
        report.entries.push(checked);
    }
    Ok(report)
}

/// The values of a call.
struct Case<'a> {
    batch: usize,
    inputs: &'a [Tensor],
    storage: &'a [Tensor],
}

impl Case<'_> {
    /// The first difference, with the number of threads, and how much of what is allowed the others are off by.
    fn run(
        &self,
        code: &mut Code,
        meant: &Module,
        entry: &Graph,
        compiled: &Module,
        threads: &[usize],
    ) -> Result<(Option<(usize, String)>, f64), CheckError> {
        let mut expected = Expected::new(entry, self.batch, self.inputs, self.storage)?;
        let mut first: Option<Vec<Tensor>> = None;
        let mut worst = 0.0f64;
        for &threads in threads {
            let got = code.call(compiled, entry, self.batch, threads, self.inputs, self.storage)?;
            match &first {
                None => {
                    let (off, part) = expected.compare(&got)?;
                    worst = worst.max(part);
                    if let Some(off) = off {
                        return Ok((Some((threads, describe(meant, entry, &off))), worst));
                    }
                    first = Some(got);
                }
                Some(first) => {
                    if let Some(result) = (0..got.len()).find(|&i| bits(&first[i]) != bits(&got[i])) {
                        let what = format!("{} has other bits than with one thread", name(meant, entry, result));
                        return Ok((Some((threads, what)), worst));
                    }
                }
            }
        }
        Ok((None, worst))
    }
}

fn bits(x: &Tensor) -> Vec<u64> {
    x.to_numbers().into_iter().map(f64::to_bits).collect()
}

/// How a result is called: outputs come first, then cells.
fn name(module: &Module, entry: &Graph, result: usize) -> String {
    match entry.outputs.get(result) {
        Some(output) => format!("output `{}`", output.name),
        None => format!("cell `{}`", module.storage[result - entry.outputs.len()].name),
    }
}

fn describe(module: &Module, entry: &Graph, off: &Off) -> String {
    let Off { result, element, got, want, allowed } = off;
    format!(
        "{}, element {element}: the code has {got}, the interpreter {want}; rounding explains {allowed:.1e}",
        name(module, entry, *result)
    )
}

/// Values for an input: floats between 0 and 1, and whole numbers that are what the input is used for.
fn generated(rng: &mut Rng, entry: &Graph, index: usize, batch: usize) -> Tensor {
    let input = &entry.inputs[index];
    let (ty, shape) = (&input.ty, input.ty.shape.at(batch));
    let count = ty.shape.count(batch);
    let numbers: Vec<f64> = match (ty.dtype, input.range) {
        (DType::F32 | DType::F64, None) => rng.floats(count, (0.0, 1.0)),
        (_, Some(range)) => {
            let width = (range.high - range.low).clamp(1, 1 << 20) as usize;
            (0..count).map(|_| (range.low + rng.below(width) as i64) as f64).collect()
        }
        (DType::U32, None) if index_bound(entry, index).is_none() => {
            (0..count).map(|_| (rng.bits() >> 32) as f64).collect()
        }
        (_, None) => {
            let below = index_bound(entry, index).unwrap_or(2);
            (0..count).map(|_| rng.below(below) as f64).collect()
        }
    };
    Tensor::from_numbers(ty.dtype, &shape, &numbers)
}

/// The extent of what an input is looked up in.
fn index_bound(graph: &Graph, index: usize) -> Option<usize> {
    let mut same = vec![false; graph.nodes().len()];
    let mut bound: Option<usize> = None;
    for id in graph.ids() {
        let node = graph.node(id);
        let from = |id: &NodeId| same[id.index()];
        let passes = matches!(node.op, Op::Input { index: i, .. } if i == index)
            || (node.op.is_view() || matches!(node.op, Op::Cast(_) | Op::Binary(_))) && node.args.iter().any(from);
        if let Op::Gather { axis, .. } = node.op
            && from(&node.args[1])
        {
            let extent = graph.ty(node.args[0]).shape[axis].scale;
            bound = Some(bound.map_or(extent, |bound| bound.min(extent)));
        }
        same[id.index()] = passes;
    }
    bound
}

#[cfg(test)]
mod tests;
