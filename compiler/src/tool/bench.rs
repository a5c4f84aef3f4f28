//! How fast a model is, on generated data.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bakelite::{EntryId, Values};
use serde::Serialize;

use super::data::runtime_type;
use super::diagram;
use super::mistake::{at, runtime};
use super::progress::Progress;
use super::running::{Run, Running};
use super::source::{Purpose, Shapes, Source};
use crate::backend::cranelift::TargetCpu;
use crate::build::internal;
use crate::compile::Compiled;
use crate::diag::Diagnostics;
use crate::emit::image::EntryImage;
use crate::ir::graph::InputDecl;
use crate::ir::{DType, Graph, NodeId, Op};
use crate::jit::JitModel;
use crate::profile::{self, Profile};

/// What to measure.
#[derive(Clone, Debug)]
pub struct Bench {
    pub model: PathBuf,
    pub batch: usize,
    pub shapes: Shapes,
    pub run: Run,
    /// How long each number is measured.
    pub budget: Duration,
}

/// Medians of the warm model. A model that is not compiled for training has no training step.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    pub model: String,
    pub batch: usize,
    pub threads: usize,
    /// The instruction set level of the code.
    pub level: String,
    /// One training step of the batch, in milliseconds.
    pub train_step_ms: Option<f64>,
    /// The predictions for the batch, in milliseconds.
    pub predict_ms: Option<f64>,
    /// The prediction for one sample, in microseconds.
    pub predict1_us: Option<f64>,
    /// From the description to code in memory, all entry points, in seconds.
    pub compile_s: f64,
    /// Memory for intermediate results at this batch, the most of any entry point.
    pub arena_bytes: usize,
    /// Floating-point operations that the compiled code does for one training step of the batch; for its prediction
    /// where there is no training.
    pub flops: u64,
    /// Those of the same step as the layers describe it, before the compiler has left out or repeated any: what
    /// [`summary`](super::summary) counts for one sample.
    pub model_flops: u64,
}

/// Measures; with `kernels` also each kernel of a training step, or of a prediction where there is no training.
pub fn bench(what: &Bench, kernels: bool, progress: Progress) -> Result<(Measured, Option<Profile>), Diagnostics> {
    let source = Source::open(&what.model)?;
    let stage = progress.stage("compiling");
    let described = source.describe(&what.shapes, Some(what.batch), Purpose::Run)?;
    described.explain_untrained(progress);
    let mut running = source.start(&described, &[], &what.run)?;
    let module = described.lower().map_err(|d| at(&what.model, d))?;
    drop(stage);
    let _stage = progress.stage("measuring");
    let Running { model, compiled, compile_time, .. } = &mut running;
    let entry = main_entry(compiled);
    let flops = compiled.program(entry).map(EntryImage::new);
    let failed = |e: bakelite::Error| runtime(&compiled.module.name, &what.model, &e);
    let mut time = |entry: &str, batch: usize| -> Result<Option<f64>, Diagnostics> {
        let Some(mut call) = Call::new(model, compiled, entry, batch) else { return Ok(None) };
        call.median(model, what.budget).map(Some).map_err(failed)
    };
    let measured = Measured {
        model: compiled.module.name.clone(),
        batch: what.batch,
        train_step_ms: time("train_step", what.batch)?.map(|s| rounded(s * 1e3)),
        predict_ms: time("predict", what.batch)?.map(|s| rounded(s * 1e3)),
        predict1_us: time("predict", 1)?.map(|s| rounded(s * 1e6)),
        threads: model.threads(),
        level: model.level().to_string(),
        compile_s: rounded(compile_time.as_secs_f64()),
        arena_bytes: model.memory().1,
        flops: flops.map_or(0, |image| image.flops_fixed + image.flops_row * what.batch as u64),
        model_flops: module.entry(entry).map_or(0.0, |graph| diagram::flops(graph, what.batch).values().sum()) as u64,
    };
    let profile = if kernels { profile(what, &running)? } else { None };
    Ok((measured, profile))
}

/// A time without the digits that no clock has.
fn rounded(time: f64) -> f64 {
    (time * 1e6).round() / 1e6
}

/// The training step, or the prediction where there is no training.
fn main_entry(compiled: &Compiled) -> &'static str {
    if compiled.program("train_step").is_some() { "train_step" } else { "predict" }
}

/// Runs the code again with a clock between the kernels.
fn profile(what: &Bench, running: &Running) -> Result<Option<Profile>, Diagnostics> {
    let compiled = &running.compiled;
    let name = &compiled.module.name;
    let failed = |e: bakelite::Error| runtime(name, &what.model, &e);
    let image = JitModel::profiled(compiled, TargetCpu::Portable).map_err(|e| internal(name, e))?;
    let (threads, subnormals) = (running.model.threads(), running.model.subnormals());
    let options = bakelite::Options::new().threads(threads).subnormals(subnormals);
    let mut model = bakelite::Model::open_with(image, options).map_err(failed)?;
    if model.entry("init").is_ok() {
        model.init(what.run.seed).map_err(failed)?;
    }
    let entry = main_entry(compiled);
    let (Some(mut call), Some(program)) = (Call::new(&model, compiled, entry, what.batch), compiled.program(entry))
    else {
        return Ok(None);
    };
    call.median(&mut model, what.budget / 4).map_err(failed)?;
    let (calls, times) = profile::record(|| call.repeat(&mut model, what.budget));
    Ok(Some(Profile::new(program, calls.map_err(failed)?.len(), &times)))
}

/// A call with its arguments.
struct Call {
    entry: EntryId,
    batch: usize,
    inputs: Vec<Values<'static>>,
    outputs: Vec<Values<'static>>,
}

impl Call {
    /// A call of an entry point on generated data; none where the model does not have it.
    fn new(model: &bakelite::Model, compiled: &Compiled, entry: &str, batch: usize) -> Option<Call> {
        let graph = compiled.module.entry(entry)?;
        let classes = |input: &InputDecl| {
            let output = input.name.trim_end_matches('_').strip_suffix("_target")?;
            let predict = compiled.module.entry("predict")?;
            let output = predict.outputs.iter().find(|o| o.name == output)?;
            predict.ty(output.node).shape.last()?.as_fixed()
        };
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
        let inputs = graph.inputs.iter().enumerate().map(|(index, input)| {
            let below = classes(input).filter(|n| *n > 1).unwrap_or_else(|| index_bound(graph, index));
            numbers.values(input.ty.dtype, input.ty.shape.count(batch), below)
        });
        let inputs = inputs.collect();
        let outputs = graph.outputs.iter().map(|output| {
            let ty = graph.ty(output.node);
            Values::zeros(runtime_type(ty.dtype), ty.shape.count(batch))
        });
        Some(Call { entry: model.entry(entry).ok()?, batch, inputs, outputs: outputs.collect() })
    }

    fn run(&mut self, model: &mut bakelite::Model) -> Result<(), bakelite::Error> {
        let inputs: Vec<_> = self.inputs.iter().map(Values::as_input).collect();
        let mut outputs: Vec<_> = self.outputs.iter_mut().map(Values::as_output).collect();
        model.call(self.entry, &inputs, &mut outputs, self.batch)
    }

    /// Calls for some time, and at least five times: the seconds of each call.
    fn repeat(&mut self, model: &mut bakelite::Model, budget: Duration) -> Result<Vec<f64>, bakelite::Error> {
        let inputs: Vec<_> = self.inputs.iter().map(Values::as_input).collect();
        let mut outputs: Vec<_> = self.outputs.iter_mut().map(Values::as_output).collect();
        let begin = Instant::now();
        let mut seconds = Vec::new();
        while seconds.len() < 5 || begin.elapsed() < budget {
            let start = Instant::now();
            model.call(self.entry, &inputs, &mut outputs, self.batch)?;
            seconds.push(start.elapsed().as_secs_f64());
        }
        Ok(seconds)
    }

    /// The median of calls of a warm model, in seconds.
    fn median(&mut self, model: &mut bakelite::Model, budget: Duration) -> Result<f64, bakelite::Error> {
        for _ in 0..2 {
            self.run(model)?;
        }
        let mut seconds = self.repeat(model, budget)?;
        seconds.sort_by(f64::total_cmp);
        Ok(seconds[seconds.len() / 2])
    }
}

/// How many values the indices in an integer argument may have: the extent of what they are looked up in.
fn index_bound(graph: &Graph, index: usize) -> usize {
    let mut same = vec![false; graph.ids().count()];
    let mut bound = None;
    for id in graph.ids() {
        let node = graph.node(id);
        let from = |id: &NodeId| same[id.index()];
        let passes = matches!(node.op, Op::Input { index: i, .. } if i == index)
            || (node.op.is_view() || matches!(node.op, Op::Cast(_) | Op::Binary(_))) && node.args.iter().any(from);
        if let Op::Gather { axis, .. } = node.op
            && from(&node.args[1])
        {
            let extent = graph.ty(node.args[0]).shape[axis].scale;
            bound = Some(bound.map_or(extent, |bound: usize| bound.min(extent)));
        }
        same[id.index()] = passes;
    }
    bound.unwrap_or(2)
}

/// A xorshift generator.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 16
    }

    /// Floats between 0 and 1, integers below a bound.
    fn values(&mut self, dtype: DType, count: usize, below: usize) -> Values<'static> {
        let below = below.max(1) as u64;
        let mut each = |most: u64| (0..count).map(|_| self.next() % below.min(most)).collect::<Vec<u64>>().into_iter();
        match dtype {
            DType::I32 => each(1 << 31).map(|x| x as i32).collect::<Vec<_>>().into(),
            DType::U32 => each(1 << 32).map(|x| x as u32).collect::<Vec<_>>().into(),
            DType::U8 => each(256).map(|x| x as u8).collect::<Vec<_>>().into(),
            DType::Bool => each(2).map(|x| x == 1).collect::<Vec<_>>().into(),
            DType::F32 => {
                (0..count).map(|_| (self.next() % (1 << 24)) as f32 / (1 << 24) as f32).collect::<Vec<_>>().into()
            }
            DType::F64 => {
                (0..count).map(|_| (self.next() % (1 << 24)) as f64 / (1 << 24) as f64).collect::<Vec<_>>().into()
            }
        }
    }
}
