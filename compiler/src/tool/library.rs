//! A model as files to link: a static library with its header, weights and report.

use std::path::PathBuf;

use bakelite::{DType, Values};
use bakelite_kernels::manifest::{Level, best_level};

use super::data;
use super::mistake::at;
use super::npz::Npz;
use super::progress::Progress;
use super::running::Run;
use super::source::{Purpose, Shapes, Source};
use crate::backend::cranelift::TargetCpu;
use crate::diag::{Code, Diagnostics, Problem};
use crate::import::OpenInput;
use crate::ir::Module;
use crate::library::{BuiltLibrary, LibraryOptions, Parity, build_library};
use crate::model::Lowered;

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
    /// A few inputs, and the original's answers to them, for the library to check itself against.
    pub verify: Option<(PathBuf, PathBuf)>,
    pub shapes: Shapes,
    pub run: Run,
}

/// Compiles a model into a folder.
pub fn library(what: &Library, progress: Progress) -> Result<BuiltLibrary, Diagnostics> {
    let target_cpu = target_cpu(&what.target_cpu)?;
    let source = Source::open(&what.model)?;
    let mut shapes = what.shapes.clone();
    let inputs = source.inputs();
    let mut vectors = match &what.verify {
        Some((x, y)) => Some((Npz::open(x)?, Npz::open(y)?)),
        None => None,
    };
    if let Some((x, _)) = &vectors {
        data::bind(x, &inputs, &mut shapes);
    }
    let trains = |entries: &Vec<String>| entries.iter().any(|e| !matches!(e.as_str(), "init" | "predict"));
    let purpose = if what.entries.as_ref().is_none_or(trains) { Purpose::Train } else { Purpose::Predict };
    let described = source.describe(&shapes, what.max_batch, purpose).map_err(|mut why| {
        let runs = purpose == Purpose::Train && source.describe(&shapes, what.max_batch, Purpose::Predict).is_ok();
        if let (true, Some(last)) = (runs, why.list.last_mut()) {
            last.help = Some("`--entry predict` compiles the model without its training".into());
        }
        why
    })?;
    let Lowered { module, warnings } = described.lowered().map_err(|d| at(&what.model, d))?;
    progress.warn(&what.model, warnings);
    let parity = vectors.as_mut().map(|(x, y)| parity(x, y, &inputs, &module)).transpose()?;
    source.with_weights(&described, &what.run, |weights| {
        let mut options = LibraryOptions::new(&what.output);
        options.name = what.name.clone();
        options.max_batch = what.max_batch;
        options.entries = what.entries.clone();
        options.target = what.target.clone().unwrap_or(options.target);
        options.target_cpu = target_cpu;
        options.weights = weights;
        options.parity = parity;
        build_library(module, &options)
    })
}

/// Inputs of `predict` and the answers to them, as the files have them: answers are under the names of the outputs, or
/// a lone array for a model with one.
fn parity(x: &mut Npz, y: &mut Npz, inputs: &[OpenInput], module: &Module) -> Result<Parity, Diagnostics> {
    let columns = data::prediction(x, inputs)?;
    let (arguments, results) =
        module.entry("predict").map_or((&[][..], &[][..]), |entry| (&entry.inputs[..], &entry.outputs[..]));
    let mut read = columns.values(x, module, "predict")?;
    // In the order of the arguments.
    read.sort_by_key(|(column, _)| arguments.iter().position(|input| input.name == column.name));
    let parity = read.iter().fold(Parity::new(columns.rows()), |parity, (_, values)| match values {
        Values::F32(v) => parity.input::<f32>(v),
        // No entry point takes these.
        Values::F64(_) => parity,
        Values::I32(v) => parity.input::<i32>(v),
        Values::U32(v) => parity.input::<u32>(v),
        Values::U8(v) => parity.input::<u8>(v),
        Values::Bool(v) => parity.input::<bool>(v),
    });
    let lone = match y.arrays() {
        [array] if results.len() == 1 => Some(array.clone()),
        _ => None,
    };
    results.iter().try_fold(parity, |parity, output| {
        let Some(array) = y.find(&output.name).cloned().or_else(|| lone.clone()) else {
            let keys: Vec<&str> = y.arrays().iter().map(|array| array.name.as_str()).collect();
            let problem = Problem::new(Code::Data, format!("there is no array `{}` to verify with", output.name))
                .help(format!("the file has {}", keys.join(", ")));
            return Err(Diagnostics::one(problem, "", Some(y.source())).of_model(&module.name));
        };
        let values = y.values(&array, DType::F32)?;
        Ok(match &values {
            Values::F32(v) => parity.output(v),
            _ => parity,
        })
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
            Diagnostics::one(problem, "", None)
        }),
    }
}
