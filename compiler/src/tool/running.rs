//! A model that runs: compiled, opened, and with its weights in place.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bakelite::Subnormals;

use super::mistake::{at, runtime, wrong};
use super::progress::Progress;
use super::source::{Described, Form, Source};
use crate::backend::cranelift::TargetCpu;
use crate::build::internal;
use crate::compile::{Compiled, Options, compile};
use crate::diag::{Diagnostic, Diagnostics};
use crate::emit::select::select;
use crate::import::{Restored, load_weights};
use crate::jit::JitModel;
use crate::library::Weights;
use crate::model::Lowered;
use crate::report::StageTime;

/// How to run a model.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// The most threads of a call; all processors by default.
    pub threads: Option<usize>,
    /// What calls do with subnormal numbers.
    pub subnormals: Subnormals,
    /// What initial weights, random layers and the order of rows follow from.
    pub seed: u64,
    /// A file of weights that goes before the model's own.
    pub weights: Option<PathBuf>,
}

/// A model that is ready for calls.
pub struct Running {
    pub model: bakelite::Model,
    pub compiled: Compiled,
    /// From layers or graphs to code in memory.
    pub compile_time: Duration,
    /// Whether the weights are only what the seed gives.
    pub initial: bool,
    /// What the file of the weights and the model do not have in common, one sentence each.
    pub left_out: Vec<String>,
    /// What is probably not meant in its layers.
    pub warnings: Vec<Diagnostic>,
}

impl Source {
    /// Compiles entry points (those of these that the model has, all for none) and gives them their weights.
    pub fn start(&self, described: &Described, entries: &[&str], run: &Run) -> Result<Running, Diagnostics> {
        let start = Instant::now();
        let Lowered { mut module, warnings } = described.lowered().map_err(|d| at(&self.path, d))?;
        let name = module.name.clone();
        let lowered = StageTime::new("lower", start.elapsed());
        if !entries.is_empty() {
            let wanted: Vec<&str> =
                entries.iter().chain(&["init"]).copied().filter(|entry| module.entry(entry).is_some()).collect();
            select(&mut module, &wanted).map_err(|entry| wrong(&self.path, &entry, "there is no such entry point"))?;
        }
        let mut compiled = compile(module, &Options::default()).map_err(|e| internal(&name, e))?;
        compiled.stages.insert(0, lowered);
        let code = Instant::now();
        let image = JitModel::new(&compiled, TargetCpu::Portable).map_err(|e| internal(&name, e))?;
        compiled.stages.push(StageTime::new("generate code", code.elapsed()));
        let compile_time = start.elapsed();
        let mut options = bakelite::Options::new().subnormals(run.subnormals);
        if let Some(threads) = run.threads {
            options = options.threads(threads);
        }
        let failed = |e: bakelite::Error| runtime(&name, &self.path, &e);
        let mut model = bakelite::Model::open_with(image, options).map_err(failed)?;
        if model.entry("init").is_ok() {
            model.init(run.seed).map_err(failed)?;
        }
        let (mut initial, mut restored) = (true, Restored::default());
        if let (Form::Keras(file), Described::Layers(layers)) = (&self.form, described) {
            restored = file.restore(layers, &mut model).map_err(|d| at(&self.path, d))?;
            initial = false;
        }
        if let Some(weights) = &run.weights {
            restored = described.load(weights, &mut model)?;
            initial = false;
        }
        Ok(Running { model, compiled, compile_time, initial, left_out: restored.left_out, warnings })
    }

    /// Hands on the weights that a library of the model begins with.
    pub fn with_weights<T>(
        &self,
        described: &Described,
        run: &Run,
        build: impl FnOnce(Weights<'_>) -> Result<T, Diagnostics>,
    ) -> Result<T, Diagnostics> {
        let failure = RefCell::new(None);
        let set = |model: &mut bakelite::Model| {
            model.init(run.seed)?;
            let restored = match (&self.form, described) {
                (Form::Keras(file), Described::Layers(layers)) => {
                    file.restore(layers, model).map_err(|d| at(&self.path, d))
                }
                _ => Ok(Restored::default()),
            };
            let loaded =
                restored.and_then(|own| run.weights.as_ref().map_or(Ok(own), |path| described.load(path, model)));
            *failure.borrow_mut() = loaded.err();
            Ok(())
        };
        let built = build(match (&self.form, &run.weights) {
            (Form::Json(_) | Form::Graph(_), None) => Weights::Seed(run.seed),
            _ => Weights::Set(&set),
        });
        match failure.take() {
            Some(failure) => Err(failure),
            None => built,
        }
    }
}

impl Described {
    /// Writes the weights of a file into the model that runs: safetensors, and for layers Keras's weights too.
    fn load(&self, weights: &Path, into: &mut bakelite::Model) -> Result<Restored, Diagnostics> {
        match self {
            Described::Layers(model) => load_weights(weights, model, into),
            Described::Graph(module) => {
                into.load(weights).map(|()| Restored::default()).map_err(|e| runtime(&module.name, weights, &e))
            }
        }
    }
}

impl Running {
    /// Says so where a model without weights runs with initial ones.
    pub fn explain_weights(&self, progress: Progress) {
        if self.initial {
            progress.note("the model comes without weights: they are initial ones, drawn from the seed");
        }
    }

    /// Says what training does not go on with.
    pub fn explain_left_out(&self, progress: Progress) {
        self.left_out.iter().for_each(|what| progress.note(&format!("not taken from the file: {what}")));
    }
}
