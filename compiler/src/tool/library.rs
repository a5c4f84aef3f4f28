//! A model as files to link: a static library with its header, weights and report.

use std::path::PathBuf;

use bakelite_kernels::manifest::{Level, best_level};

use super::source::{Run, Shapes, Source, at};
use crate::backend::cranelift::TargetCpu;
use crate::diag::{Code, Diagnostic, Diagnostics, Problem};
use crate::library::{BuiltLibrary, LibraryOptions, build_library};

/// What to compile.
#[derive(Clone, Debug)]
pub struct Library {
    pub model: PathBuf,
    /// The folder for all files.
    pub output: PathBuf,
    /// The name in files and functions; the model's own by default.
    pub name: Option<String>,
    /// The most rows of a call; the model's own by default.
    pub max_batch: Option<usize>,
    /// The entry points, all by default; `train` and `evaluate` are short for their steps.
    pub entries: Option<Vec<String>>,
    /// `portable`, `native`, or a level.
    pub target_cpu: String,
    /// The target's triple; this machine's system by default.
    pub target: Option<String>,
    pub shapes: Shapes,
    pub run: Run,
}

/// Compiles a model into a folder.
pub fn library(what: &Library) -> Result<BuiltLibrary, Diagnostics> {
    let target_cpu = target_cpu(&what.target_cpu)?;
    let source = Source::open(&what.model)?;
    let described = source.describe(&what.shapes, what.max_batch)?;
    let module = described.lower().map_err(|d| at(&what.model, d))?;
    source.with_weights(&described, &what.run, |weights| {
        let mut options = LibraryOptions::new(&what.output);
        options.name = what.name.clone();
        options.max_batch = what.max_batch;
        options.entries = what.entries.clone();
        options.target = what.target.clone().unwrap_or(options.target);
        options.target_cpu = target_cpu;
        options.weights = weights;
        build_library(module, &options)
    })
}

/// The instruction sets of a name.
pub fn target_cpu(name: &str) -> Result<TargetCpu, Diagnostics> {
    match name {
        "portable" => Ok(TargetCpu::Portable),
        "native" => Ok(TargetCpu::Level(best_level())),
        name => Level::ALL.into_iter().find(|level| level.name() == name).map(TargetCpu::Level).ok_or_else(|| {
            let known: Vec<&str> = Level::ALL.iter().map(|level| level.name()).collect();
            let problem = Problem::new(Code::Unknown, format!("there is no target CPU `{}`", name.escape_debug()))
                .help(format!("known are portable, native, {}", known.join(", ")));
            Diagnostics { model: String::new(), list: vec![Diagnostic::new(problem, "", None)] }
        }),
    }
}
