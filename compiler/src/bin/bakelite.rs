//! The `bakelite` command: compiles saved graphs into libraries, and looks into them at every level of the compiler.
//!
//! Exit codes: 0 success, 1 the model or a file is at fault, 2 the command line is.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bakelite_compiler::backend::cranelift::TargetCpu;
use bakelite_compiler::compile::{Compiled, Options, compile};
use bakelite_compiler::ir::Module;
use bakelite_compiler::ir::parse::parse_module;
use bakelite_compiler::library::{LibraryOptions, Weights, build_library};
use bakelite_compiler::{backend, inspect};
use bakelite_kernels::manifest::{Level, best_level};
use clap::{Parser, Subcommand, ValueEnum};

/// Ahead-of-time compiler for neural networks.
#[derive(Parser)]
#[command(name = "bakelite", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print a model as one level of the compiler sees it.
    Inspect {
        /// A graph that a build saved (NAME.bk).
        model: PathBuf,
        /// The level to print.
        #[arg(long, value_enum)]
        stage: Stage,
        /// Only this entry point.
        #[arg(long)]
        entry: Option<String>,
        /// The instruction set of `clif` and `asm`: baseline, x86-64-v3, neon; by default this machine's best.
        #[arg(long, value_name = "LEVEL")]
        level: Option<String>,
    },
    /// Compile a model into a static library with a C header, a CMake file, a Rust module, weights and a report.
    Compile {
        /// A graph that a build saved (NAME.bk).
        model: PathBuf,
        /// The folder for all files.
        #[arg(short, long, value_name = "DIR")]
        output: PathBuf,
        /// The name in files and functions; the model's own by default.
        #[arg(long)]
        name: Option<String>,
        /// The most rows of a call.
        #[arg(long, value_name = "N")]
        max_batch: Option<usize>,
        /// Only these entry points, such as predict,train; all by default.
        #[arg(long, value_delimiter = ',', value_name = "ENTRY")]
        entry: Option<Vec<String>>,
        /// The instruction sets: portable (all, chosen at load), native, or a level such as x86-64-v3.
        #[arg(long, default_value = "portable", value_name = "CPU")]
        target_cpu: String,
        /// The system that the library is for; this one by default.
        #[arg(long, value_name = "TRIPLE")]
        target: Option<String>,
        /// The seed of the weights that are written beside the library.
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// Print the build report of a model.
    Report {
        /// A graph that a build saved (NAME.bk).
        model: PathBuf,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// The tensor graph as the model was lowered, gradients included.
    Graph,
    /// The tensor graph after all passes.
    Grad,
    /// The Program: fused kernels and the memory plan.
    Program,
    /// Cranelift's intermediate code of every kernel.
    Clif,
    /// Machine code of every kernel.
    Asm,
    /// One self-contained CUDA C++ text.
    Cuda,
}

fn main() -> ExitCode {
    match run(&Args::parse().command) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<String, String> {
    match command {
        Command::Inspect { model, stage, entry, level } => {
            let mut module = read(model)?;
            if let Some(entry) = entry {
                let names: Vec<String> = module.entries.iter().map(|e| e.name.clone()).collect();
                module.entries.retain(|e| e.name == *entry);
                if module.entries.is_empty() {
                    return Err(format!("no entry point `{entry}`; the model has {}", names.join(", ")));
                }
            }
            inspect_stage(module, *stage, level.as_deref())
        }
        Command::Compile { model, output, name, max_batch, entry, target_cpu, target, seed } => {
            let mut options = LibraryOptions::new(output);
            options.name = name.clone();
            options.max_batch = *max_batch;
            options.entries = entry.clone();
            options.target_cpu = cpu(target_cpu)?;
            options.weights = Weights::Seed(*seed);
            if let Some(target) = target {
                options.target = target.clone();
            }
            let built = build_library(read(model)?, &options).map_err(|d| d.to_string())?;
            Ok(format!("{}\n", built.library.display()))
        }
        Command::Report { model, json } => {
            let report = compiled(read(model)?)?.report();
            if *json {
                return serde_json::to_string_pretty(&report).map_err(|e| e.to_string());
            }
            Ok(report.to_string())
        }
    }
}

fn inspect_stage(module: Module, stage: Stage, level: Option<&str>) -> Result<String, String> {
    Ok(match stage {
        Stage::Graph => module.to_string(),
        Stage::Grad => compiled(module)?.module.to_string(),
        Stage::Program => compiled(module)?.programs.iter().map(|p| format!("{}\n", **p)).collect(),
        Stage::Clif => inspect::clif(&compiled(module)?, level).map_err(|e| e.to_string())?,
        Stage::Asm => inspect::asm(&compiled(module)?, level).map_err(|e| e.to_string())?,
        Stage::Cuda => {
            let compiled = compiled(module)?;
            let programs: Vec<_> = compiled.programs.iter().collect();
            backend::cuda::print(&programs, &compiled.storage).source
        }
    })
}

fn cpu(name: &str) -> Result<TargetCpu, String> {
    match name {
        "portable" => Ok(TargetCpu::Portable),
        "native" => Ok(TargetCpu::Level(best_level())),
        name => Level::ALL.into_iter().find(|level| level.name() == name).map(TargetCpu::Level).ok_or_else(|| {
            let known: Vec<&str> = Level::ALL.iter().map(|level| level.name()).collect();
            format!("unknown target CPU `{name}`: portable, native, {}", known.join(", "))
        }),
    }
}

fn read(path: &Path) -> Result<Module, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    parse_module(&text).map_err(|e| format!("{}: {e}", path.display()))
}

fn compiled(module: Module) -> Result<Compiled, String> {
    compile(module, &Options::default()).map_err(|e| e.to_string())
}
