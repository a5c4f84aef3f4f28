//! The build report: what a model became. Printed on request, written beside the object, and available as data.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::backend::cranelift::threads;
use crate::ir::{Module, StorageKind};
use crate::schedule::program::Program;
use crate::schedule::{Verified, cost, memory};

/// What is known of a compiled model.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub model: String,
    pub max_batch: usize,
    pub parameters: usize,
    pub storage_bytes: usize,
    pub arena_bytes: usize,
    pub scratch_bytes: usize,
    /// Size of the object file, where one was written.
    pub object_bytes: Option<usize>,
    /// The instruction set levels that the object carries code for.
    pub levels: Vec<String>,
    pub entries: Vec<EntryReport>,
    /// Compiler stages in order of execution, in milliseconds.
    pub stages: Vec<StageTime>,
}

/// One stage of the compiler.
#[derive(Clone, Debug, Serialize)]
pub struct StageTime {
    pub stage: String,
    pub milliseconds: f64,
}

impl StageTime {
    pub fn new(stage: impl Into<String>, took: Duration) -> StageTime {
        StageTime { stage: stage.into(), milliseconds: took.as_secs_f64() * 1e3 }
    }
}

/// One entry point, at the largest batch.
#[derive(Clone, Debug, Serialize)]
pub struct EntryReport {
    pub name: String,
    pub flops: f64,
    pub bytes: f64,
    pub arena_bytes: usize,
    /// The sum of the buffers that are alive at the worst kernel: no plan needs less than this.
    pub peak_bytes: usize,
    /// That kernel, and the buffers alive there with their sizes.
    pub peak_kernel: String,
    pub peak_buffers: Vec<(String, usize)>,
    /// Numbers of threads, each with the smallest batch from which on it is faster than fewer.
    pub threads: BTreeMap<usize, usize>,
    pub kernels: Vec<KernelReport>,
}

/// One kernel, at the largest batch.
#[derive(Clone, Debug, Serialize)]
pub struct KernelReport {
    pub name: String,
    /// The layers and transformations that were fused into it.
    pub fused: Vec<String>,
    /// How often it runs in a call: the steps of the loops around it.
    pub repeats: usize,
    /// Of all its runs.
    pub flops: f64,
    pub bytes: f64,
    pub contraction: bool,
    pub parallel: bool,
}

impl EntryReport {
    /// Describes a scheduled entry point.
    pub fn new(program: &Verified<Program>) -> EntryReport {
        let kernels: Vec<KernelReport> = (0..program.kernels.len()).map(|k| kernel(program, k)).collect();
        let (peak_bytes, worst, live) = memory::peak(program);
        EntryReport {
            name: program.name.clone(),
            flops: kernels.iter().map(|k| k.flops).sum(),
            bytes: kernels.iter().map(|k| k.bytes).sum(),
            arena_bytes: program.arena_bytes,
            peak_bytes,
            peak_kernel: program.kernels.get(worst).map(|k| k.name.clone()).unwrap_or_default(),
            peak_buffers: live
                .iter()
                .map(|b| (program.buffer(*b).name.clone(), memory::footprint(program, *b)))
                .collect(),
            threads: (threads::parallel_batch(program).into_iter().enumerate())
                .filter(|(_, batch)| *batch < usize::MAX)
                .map(|(i, batch)| (2 << i, batch))
                .collect(),
            kernels,
        }
    }
}

fn kernel(program: &Program, index: usize) -> KernelReport {
    let (kernel, repeats) = (&program.kernels[index], program.repeats(index));
    let cost = cost::cost(program, kernel, program.max_batch);
    KernelReport {
        name: kernel.name.clone(),
        fused: kernel.sites.iter().map(|s| s.to_string()).collect(),
        repeats,
        flops: cost.flops * repeats as f64,
        bytes: cost.bytes * repeats as f64,
        contraction: kernel.contract.is_some(),
        parallel: kernel.parallel.is_some(),
    }
}

/// Number of trained numbers of a module.
pub fn parameter_count(module: &Module) -> usize {
    let params = module.storage.iter().filter(|c| matches!(c.kind, StorageKind::Param));
    params.map(|c| c.ty.shape.count(1)).sum()
}

/// A count with a metric prefix: `1.23 G`.
fn metric(x: f64) -> String {
    let (scaled, prefix) = match x {
        x if x >= 1e9 => (x / 1e9, " G"),
        x if x >= 1e6 => (x / 1e6, " M"),
        x if x >= 1e3 => (x / 1e3, " k"),
        x => return format!("{x}"),
    };
    format!("{scaled:.2}{prefix}")
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "model {}: {} parameters, batch up to {}", self.model, self.parameters, self.max_batch)?;
        writeln!(
            f,
            "  storage {}B, arena {}B, scratch {}B a thread",
            metric(self.storage_bytes as f64),
            metric(self.arena_bytes as f64),
            metric(self.scratch_bytes as f64)
        )?;
        if let Some(bytes) = self.object_bytes {
            writeln!(f, "  object {}B, code for {}", metric(bytes as f64), self.levels.join(", "))?;
        }
        for entry in &self.entries {
            write!(f, "{entry}")?;
        }
        writeln!(f, "compiler")?;
        for stage in &self.stages {
            writeln!(f, "  {:<28} {:>9.2} ms", stage.stage, stage.milliseconds)?;
        }
        Ok(())
    }
}

impl fmt::Display for EntryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "entry {}: {}flop, {}B moved", self.name, metric(self.flops), metric(self.bytes))?;
        writeln!(
            f,
            "  arena {}B; alive at the peak ({}): {}B",
            metric(self.arena_bytes as f64),
            self.peak_kernel,
            metric(self.peak_bytes as f64)
        )?;
        let mut alive = self.peak_buffers.clone();
        alive.sort_by_key(|b| std::cmp::Reverse(b.1));
        for (name, bytes) in alive.iter().take(8) {
            writeln!(f, "    {:>10}B  {name}", metric(*bytes as f64))?;
        }
        let threads: Vec<String> =
            self.threads.iter().map(|(threads, batch)| format!("{threads} threads from batch {batch}")).collect();
        writeln!(f, "  {}", if threads.is_empty() { "one thread at every batch".into() } else { threads.join(", ") })?;
        for kernel in &self.kernels {
            let kind = if kernel.contraction { "contract" } else { "loops" };
            let threads = if kernel.parallel { "threads" } else { "serial" };
            let repeats = if kernel.repeats == 1 { String::new() } else { format!("{}x", kernel.repeats) };
            writeln!(
                f,
                "  {:<44} {kind:<8} {threads:<7} {repeats:>5} {:>9}flop {:>9}B  {}",
                kernel.name,
                metric(kernel.flops),
                metric(kernel.bytes),
                kernel.fused.join(" + ")
            )?;
        }
        Ok(())
    }
}
