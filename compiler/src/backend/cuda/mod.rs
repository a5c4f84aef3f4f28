//! The Program as CUDA C++: one `__global__` function a kernel, and the list of launches that runs them.
//!
//! The text is self-contained: it includes nothing but the device prelude, which is part of it. Shapes are literals;
//! what a kernel learns at run time are the batch and the base pointers it touches. Buffers of the arena and of the
//! storage block are constant byte offsets from theirs, constants are arrays in the text.
//!
//! Launches run in order on one stream, those of a loop once for each of its steps, and that is all the synchronisation between kernels. Within a kernel each
//! outer point belongs to one thread, or to one block where points are few and the work of each is long
//! ([`Mapping`]). Nothing is atomic and every reduction has one fixed order, so results repeat bit for bit.

mod kernel;
mod mapping;
mod spelling;
mod stage;
mod width;

use std::fmt::Write;

use crate::ir::{Dim, TensorType};
use crate::schedule::Verified;
use crate::schedule::program::{BufferId, Event, Loop, Place, Program, StorageLayout, events, sequence};
use bakelite::names::printable;

pub use bakelite_kernels::cuda::PRELUDE;
pub use mapping::Mapping;

/// What a launch passes to its kernel.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Arg {
    /// The batch of the call, an `int`.
    Batch,
    /// The base of the storage block.
    Storage,
    /// The base of the arena.
    Arena,
    /// The caller's input with this index.
    Input(usize),
    /// The caller's output with this index.
    Output(usize),
    /// The current step of a loop, an `int`.
    Step(usize),
}

/// One launch of a kernel on a one-dimensional grid of one-dimensional blocks.
#[derive(Clone, PartialEq, Debug)]
pub struct Launch {
    /// The `extern "C"` name of the function.
    pub symbol: String,
    /// The extents of the kernel's outer axes, outermost first.
    pub points: Vec<Dim>,
    pub mapping: Mapping,
    /// Dynamic shared memory in bytes.
    pub shared: usize,
    /// The parameters, in order.
    pub args: Vec<Arg>,
}

impl Launch {
    /// Blocks in the grid for a given batch. 0 means that there is nothing to launch.
    pub fn grid(&self, batch: usize) -> usize {
        let points: usize = self.points.iter().map(|d| d.at(batch)).product();
        points.div_ceil(self.mapping.points_per_block())
    }

    /// Threads in a block.
    pub fn block(&self) -> usize {
        self.mapping.threads()
    }

    /// Whether threads of a block may wait for one another.
    pub fn has_barriers(&self) -> bool {
        match self.mapping {
            Mapping::Thread => false,
            Mapping::Block(_) => true,
        }
    }
}

/// How to run one entry point.
#[derive(Clone, PartialEq, Debug)]
pub struct CudaEntry {
    pub name: String,
    pub max_batch: usize,
    pub inputs: Vec<TensorType>,
    pub outputs: Vec<TensorType>,
    /// In order of execution.
    pub launches: Vec<Launch>,
    /// Loops around runs of launches, as in [`Program::loops`].
    pub loops: Vec<Loop>,
    pub arena_bytes: usize,
}

/// The device text of a model and how to run its entry points.
#[derive(Clone, PartialEq, Debug)]
pub struct CudaModule {
    /// CUDA C++, self-contained.
    pub source: String,
    pub entries: Vec<CudaEntry>,
    pub storage_bytes: usize,
}

impl CudaEntry {
    /// The launches of a call in order, loops unrolled, each with the current step of every loop.
    pub fn sequence(&self) -> Vec<(&Launch, Vec<usize>)> {
        let steps = sequence(&self.loops, self.launches.len());
        steps.into_iter().map(|(k, steps)| (&self.launches[k], steps)).collect()
    }
}

impl CudaModule {
    /// The entry point with a name.
    pub fn entry(&self, name: &str) -> Option<&CudaEntry> {
        self.entries.iter().find(|e| e.name == name)
    }
}

/// Prints the programs of one model as one module. The names of the programs differ.
pub fn print(programs: &[&Verified<Program>], storage: &StorageLayout) -> CudaModule {
    let mut source = String::from(PRELUDE);
    let mut entries = Vec::new();
    for program in programs {
        source.push_str(&constants(program));
        let mut launches = Vec::new();
        for kernel in &program.kernels {
            let (text, launch) = kernel::print(program, kernel, storage);
            source.push('\n');
            source.push_str(&text);
            launches.push(launch);
        }
        let port = |id: &BufferId| {
            let buffer = program.buffer(*id);
            TensorType::new(buffer.dtype, buffer.shape.clone())
        };
        let entry = CudaEntry {
            name: program.name.clone(),
            max_batch: program.max_batch,
            inputs: program.inputs.iter().map(port).collect(),
            outputs: program.outputs.iter().map(port).collect(),
            launches,
            loops: program.loops.clone(),
            arena_bytes: program.arena_bytes,
        };
        source.push_str(&launch_table(&entry));
        entries.push(entry);
    }
    CudaModule { source, entries, storage_bytes: storage.bytes }
}

/// The constant arrays of a program.
fn constants(program: &Program) -> String {
    let mut text = String::new();
    for (i, buffer) in program.buffers.iter().enumerate() {
        let Place::Const(numbers) = &buffer.place else { continue };
        let (ty, mut elements) = spelling::initializer(numbers, buffer.dtype);
        if elements.is_empty() {
            // An array has at least one element, even one that is never read.
            elements.push("0".into());
        }
        let name = kernel::constant_name(program, BufferId(i as u32));
        let lines: Vec<String> = elements.chunks(12).map(|line| line.join(", ")).collect();
        let count = elements.len();
        writeln!(text, "\n__device__ const {ty} {name}[{count}] = {{\n    {}}};", lines.join(",\n    ")).unwrap();
    }
    text
}

/// The launches of an entry point as a comment.
fn launch_table(entry: &CudaEntry) -> String {
    let mut rows = vec![["launch", "grid", "block", "shared", "arguments"].map(str::to_string)];
    for launch in &entry.launches {
        let points = match launch.points.as_slice() {
            [] => "1".to_string(),
            dims => dims.iter().map(|d| d.to_string()).collect::<Vec<_>>().join(" * "),
        };
        let grid = match launch.mapping.points_per_block() {
            1 => points,
            n => format!("ceil({points} / {n})"),
        };
        let args: Vec<String> = launch.args.iter().map(|a| kernel::arg_name(*a)).collect();
        rows.push([
            launch.symbol.clone(),
            grid,
            launch.block().to_string(),
            launch.shared.to_string(),
            args.join(", "),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2), width(3)];
    let mut text = format!("\n// entry {}: arena {} bytes\n", printable(&entry.name), entry.arena_bytes);
    let line = |row: &[String; 5]| {
        let cells: Vec<String> = row[..4].iter().zip(widths).map(|(cell, w)| format!("{cell:<w$}")).collect();
        format!("//   {}  {}\n", cells.join("  "), row[4])
    };
    text.push_str(&line(&rows[0]));
    for event in events(&entry.loops, entry.launches.len()) {
        match event {
            Event::Kernel(k) => text.push_str(&line(&rows[k + 1])),
            Event::Open(id) => {
                let Loop { count, reverse, .. } = entry.loops[id.index()];
                let order = if reverse { ", the last first" } else { "" };
                writeln!(text, "//   {} < {count}{order} {{", kernel::arg_name(Arg::Step(id.index()))).unwrap();
            }
            Event::Close(id) => writeln!(text, "//   }} {}", kernel::arg_name(Arg::Step(id.index()))).unwrap(),
        }
    }
    text
}
