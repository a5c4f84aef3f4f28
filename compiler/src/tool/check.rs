//! A model's code against the interpreter, on its own weights.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use bakelite::Values;

use super::data::{self, Columns};
use super::file;
use super::mistake::{at, failed, runtime, wrong};
use super::npz::Npz;
use super::progress::Progress;
use super::running::Run;
use super::source::{Purpose, Shapes, Source};
use crate::build::internal;
use crate::check::{CheckError, Options, Report, Reproduction, check_with};
use crate::diag::{Code, Diagnostic, Diagnostics, Problem};
use crate::ir::SourceLine;
use crate::ir::eval::Tensor;
use crate::ir::graph::InputDecl;
use crate::library::Weights;

/// What to check.
#[derive(Clone, Debug)]
pub struct Check {
    /// A model, or the reproducing file of a check before.
    pub model: PathBuf,
    /// Rows for the inputs, targets and sample weights; generated numbers where there are none.
    pub data: Option<PathBuf>,
    /// The most rows of a call.
    pub batch: usize,
    /// Where the case goes that shows the first difference.
    pub output: PathBuf,
    pub shapes: Shapes,
    pub run: Run,
}

/// The name of the reproducing file of a model, in the current folder.
pub fn reproducing(model: &Path) -> PathBuf {
    let stem = model.file_stem().map_or_else(|| "model".into(), |stem| stem.to_string_lossy());
    PathBuf::from(format!("{stem}.check.bk"))
}

/// Checks. A difference is a mistake of the compiler: it comes back as one, and is written to a file.
pub fn check(what: &Check, progress: Progress) -> Result<Report, Diagnostics> {
    let stage = progress.stage("checking");
    let report = match reproduction(&what.model)? {
        Some(case) => case.check().map_err(|e| mistake(&case.module.name, &what.model, e))?,
        None => {
            let report = checked(what, progress)?;
            if let Some(first) = report.differences().next() {
                let text = first.reproduction.to_string();
                file::replace(&what.output, |file| file.write_all(text.as_bytes()))?;
            }
            report
        }
    };
    drop(stage);
    let help = match reproduction(&what.model)? {
        Some(_) => "this is a mistake of Bakelite, not of your model; please report it with this file".to_string(),
        None => format!(
            "this is a mistake of Bakelite, not of your model; please report it with {}, which `bakelite check` reads too",
            what.output.display()
        ),
    };
    let differs = report.differences().map(|d| {
        let problem = Problem::new(Code::Internal, format!("`{}` {d}", d.entry)).help(&help);
        Diagnostic::new(problem, d.layer.clone().unwrap_or_default(), Some(SourceLine::file(&what.model)))
    });
    Diagnostics::check(differs.collect()).map_err(|d| d.of_model(&report.model))?;
    Ok(report)
}

/// The case in a file, if it is a reproducing file.
fn reproduction(path: &Path) -> Result<Option<Reproduction>, Diagnostics> {
    let mut bytes = Vec::new();
    fs::File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)).map_err(|e| failed(path, "read", &e))?;
    match std::str::from_utf8(&bytes) {
        Ok(text) if Reproduction::is(text) => Reproduction::parse(text).map(Some).map_err(|e| wrong(path, "", e)),
        _ => Ok(None),
    }
}

fn checked(what: &Check, progress: Progress) -> Result<Report, Diagnostics> {
    let source = Source::open(&what.model)?;
    let inputs = source.inputs();
    let mut data = what.data.as_ref().map(Npz::open).transpose()?;
    let mut shapes = what.shapes.clone();
    if let Some(npz) = &data {
        data::bind(npz, &inputs, &mut shapes);
    }
    let described = source.describe(&shapes, Some(what.batch), Purpose::Run)?;
    described.explain_untrained(progress);
    let columns = match &data {
        Some(npz) => Some(columns(npz, &inputs, &described.targets())?),
        None => None,
    };
    columns.iter().for_each(|columns| columns.declare(&described, None));
    let module = described.lower().map_err(|d| at(&what.model, d))?;
    let mut rows = Vec::new();
    if let (Some(columns), Some(npz)) = (&columns, &mut data) {
        for entry in &module.entries {
            for (column, values) in columns.values(npz, &module, &entry.name)? {
                if let Some(argument) = columns.argument(column, &entry.inputs) {
                    rows.push((argument.name.clone(), values));
                }
            }
        }
    }
    let given = |input: &InputDecl, batch: usize| {
        let (_, values) = rows.iter().find(|(name, _)| *name == input.name)?;
        some_rows(values, input, batch)
    };
    let threads = match what.run.threads {
        Some(most) => [1, 2, most].into_iter().filter(|n| *n <= most).collect(),
        None => Vec::new(),
    };
    let options = Options { batches: Vec::new(), threads, seed: what.run.seed };
    source.with_weights(&described, &what.run, |weights| {
        let mut set = |model: &mut bakelite::Model| match weights {
            Weights::Seed(seed) if model.entry("init").is_ok() => model.init(seed),
            Weights::Seed(_) | Weights::None => Ok(()),
            Weights::Set(set) => set(model),
        };
        check_with(&module, &options, &mut set, &given).map_err(|e| mistake(&module.name, &what.model, e))
    })
}

/// Data of training, or of predictions where there are no targets.
fn columns(npz: &Npz, inputs: &[crate::import::OpenInput], outputs: &[String]) -> Result<Columns, Diagnostics> {
    let targets = npz.arrays().iter().any(|array| array.name == "y" || array.name.starts_with("y:"));
    if targets && !outputs.is_empty() { data::training(npz, inputs, outputs) } else { data::prediction(npz, inputs) }
}

/// The first rows, again from the start where there are too few.
fn some_rows(values: &Values<'_>, input: &InputDecl, batch: usize) -> Option<Tensor> {
    let numbers: Vec<f64> = match values {
        Values::F32(v) => v.iter().map(|x| f64::from(*x)).collect(),
        Values::F64(v) => v.to_vec(),
        Values::I32(v) => v.iter().map(|x| f64::from(*x)).collect(),
        Values::U32(v) => v.iter().map(|x| f64::from(*x)).collect(),
        Values::U8(v) => v.iter().map(|x| f64::from(*x)).collect(),
        Values::Bool(v) => v.iter().map(|x| f64::from(*x as u8)).collect(),
    };
    let count = input.ty.shape.count(batch);
    let some: Vec<f64> = numbers.iter().copied().cycle().take(count).collect();
    (some.len() == count).then(|| Tensor::from_numbers(input.ty.dtype, &input.ty.shape.at(batch), &some))
}

fn mistake(model: &str, path: &Path, error: CheckError) -> Diagnostics {
    match error {
        CheckError::Runtime(e) => runtime(model, path, &e),
        other => internal(model, other),
    }
}
