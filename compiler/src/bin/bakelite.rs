//! The `bakelite` command: looks into saved graphs at every level of the compiler.
//!
//! Exit codes: 0 success, 1 the model or a file is at fault, 2 the command line is.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bakelite_compiler::compile::{Compiled, Options, compile};
use bakelite_compiler::ir::Module;
use bakelite_compiler::ir::parse::parse_module;
use bakelite_compiler::{backend, inspect};
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

fn read(path: &Path) -> Result<Module, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    parse_module(&text).map_err(|e| format!("{}: {e}", path.display()))
}

fn compiled(module: Module) -> Result<Compiled, String> {
    compile(module, &Options::default()).map_err(|e| e.to_string())
}
