//! The pipeline from a lowered model to verified programs. Every way in (build scripts, the command, in process) goes
//! through [`compile`]; what differs is only what happens to the result.

use std::path::PathBuf;
use std::time::Instant;

use crate::ir::Module;
use crate::ir::verify::verify_module;
use crate::pass::{self, PassOptions};
use crate::report::{EntryReport, Report, StageTime, parameter_count};
use crate::schedule::program::{Program, StorageLayout};
use crate::schedule::{self, ScheduleError, Verified, layout_storage, schedule};

/// A module in every form that later stages need.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The optimised tensor graphs, and the storage cells in their final layout.
    pub module: Module,
    pub storage: StorageLayout,
    /// One program for each entry point, in order.
    pub programs: Vec<Verified<Program>>,
    /// How long each stage took.
    pub stages: Vec<StageTime>,
}

/// How to compile.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub passes: PassOptions,
    pub schedule: schedule::Options,
}

/// A bug of the compiler: what the verifier found, with the graph it was found in written to a file.
#[derive(Clone, Debug, thiserror::Error)]
#[error("bug in the compiler, {stage}:\n{details}{}", dump.as_ref().map(|d| format!("  the graph is in {}\n", d.display())).unwrap_or_default())]
pub struct CompilerBug {
    /// The stage after which something was wrong.
    pub stage: String,
    /// Rule, node, and site of every finding.
    pub details: String,
    /// The module in text form, for a bug report.
    pub dump: Option<PathBuf>,
}

impl CompilerBug {
    /// Describes findings and dumps the module beside other temporary files.
    fn new<T: std::fmt::Display>(stage: &str, findings: impl IntoIterator<Item = T>, module: &Module) -> CompilerBug {
        let details = findings.into_iter().map(|v| format!("  {v}\n")).collect();
        CompilerBug { stage: stage.to_string(), details, dump: dump(&module.name, &module.to_string()) }
    }
}

/// Writes a graph to a temporary file.
fn dump(name: &str, text: &str) -> Option<PathBuf> {
    let path = std::env::temp_dir().join(format!("bakelite-bug-{name}-{}.bk", std::process::id()));
    std::fs::write(&path, text).is_ok().then_some(path)
}

/// Optimises and schedules a module.
pub fn compile(mut module: Module, options: &Options) -> Result<Compiled, CompilerBug> {
    let mut stages = Vec::new();
    verify_module(&module).map_err(|v| CompilerBug::new("lowering of the model", v, &module))?;
    let name = module.name.clone();
    let report = pass::optimize(&mut module, &options.passes).map_err(|bug| CompilerBug {
        stage: format!("pass `{}`", bug.pass),
        details: format!("{bug}\n"),
        dump: dump(&name, &bug.dump),
    })?;
    stages.extend(report.times().into_iter().map(|(name, took)| StageTime::new(name, took)));
    let storage = layout_storage(&module.storage);
    let mut programs = Vec::new();
    for entry in &module.entries {
        let start = Instant::now();
        let program = schedule(entry, &module.storage, module.max_batch, options.schedule).map_err(|e| {
            let details = match e {
                ScheduleError::Invalid { violations, .. } => violations.iter().map(|v| v.to_string()).collect(),
                ScheduleError::Lowering { .. } => vec![e.to_string()],
            };
            CompilerBug::new(&format!("scheduling `{}`", entry.name), details, &module)
        })?;
        stages.push(StageTime::new(format!("schedule {}", entry.name), start.elapsed()));
        programs.push(program);
    }
    Ok(Compiled { module, storage, programs, stages })
}

impl Compiled {
    /// The program of an entry point.
    pub fn program(&self, entry: &str) -> Option<&Verified<Program>> {
        self.programs.iter().find(|p| p.name == entry)
    }

    /// The report of everything that is known before code is generated.
    pub fn report(&self) -> Report {
        let entries: Vec<EntryReport> = self.programs.iter().map(EntryReport::new).collect();
        Report {
            model: self.module.name.clone(),
            max_batch: self.module.max_batch,
            parameters: parameter_count(&self.module),
            storage_bytes: self.storage.bytes,
            arena_bytes: entries.iter().map(|e| e.arena_bytes).max().unwrap_or(0),
            scratch_bytes: 0,
            object_bytes: None,
            levels: Vec::new(),
            entries,
            stages: self.stages.clone(),
        }
    }
}
