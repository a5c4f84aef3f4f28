//! A model as the levels of the compiler see it.

use std::path::Path;

use super::mistake::{at, wrong};
use super::progress::Progress;
use super::source::{Purpose, Shapes, Source};
use crate::backend::{BackendError, cuda};
use crate::build::{failed, internal};
use crate::compile::{Compiled, Options, compile};
use crate::diag::{Code, Diagnostics, Problem};
use crate::inspect::{asm, clif};
use crate::ir::Module;
use crate::report::Report;

/// A level of the compiler.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
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

/// The text of a level, of all entry points or of one; `level` names the instruction set of code.
pub fn inspect(
    model: &Path,
    shapes: &Shapes,
    stage: Stage,
    entry: Option<&str>,
    level: Option<&str>,
    progress: Progress,
) -> Result<String, Diagnostics> {
    let mut module = read(model, shapes, progress)?;
    let name = module.name.clone();
    if let Some(entry) = entry {
        let known: Vec<String> = module.entries.iter().map(|e| format!("`{}`", e.name)).collect();
        let full = format!("{entry}_step");
        let wanted = if module.entry(entry).is_some() { entry } else { &full };
        module.entries.retain(|e| e.name == wanted);
        if module.entries.is_empty() {
            let mut unknown = wrong(model, "", format!("there is no entry point `{}`", entry.escape_debug()));
            unknown.list.iter_mut().for_each(|d| {
                d.code = Code::Unknown;
                d.help = Some(format!("the model has {}", known.join(", ")));
            });
            return Err(unknown);
        }
    }
    let compiled = || compiled(module.clone());
    let code = |e: BackendError| match e {
        BackendError::Internal { .. } => internal(&name, e),
        _ => failed(&name, Problem::new(Code::Build, e.to_string())),
    };
    Ok(match stage {
        Stage::Graph => module.to_string(),
        Stage::Grad => compiled()?.module.to_string(),
        Stage::Program => compiled()?.programs.iter().map(|p| format!("{}\n", **p)).collect(),
        Stage::Clif => clif(&compiled()?, level).map_err(code)?,
        Stage::Asm => asm(&compiled()?, level).map_err(code)?,
        Stage::Cuda => {
            let compiled = compiled()?;
            let programs: Vec<_> = compiled.programs.iter().collect();
            cuda::print(&programs, &compiled.storage).source
        }
    })
}

/// The build report of a model.
pub fn report(model: &Path, shapes: &Shapes, progress: Progress) -> Result<Report, Diagnostics> {
    Ok(compiled(read(model, shapes, progress)?)?.report())
}

fn read(model: &Path, shapes: &Shapes, progress: Progress) -> Result<Module, Diagnostics> {
    let described = Source::open(model)?.describe(shapes, None, Purpose::Run)?;
    described.explain_untrained(progress);
    described.lower().map_err(|d| at(model, d))
}

fn compiled(module: Module) -> Result<Compiled, Diagnostics> {
    let name = module.name.clone();
    compile(module, &Options::default()).map_err(|e| internal(&name, e))
}
