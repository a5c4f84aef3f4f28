//! MODEL: from a file to layers or graphs, and to a running model.
//!
//! ```text
//! Source::open        what kind of file it is, parsed                 .keras, Keras's JSON, a saved graph
//! Source::describe    open dimensions bound, the batch known          Described: layers or graphs
//! Described::start    lowered, compiled, opened, weights in place     Running
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bakelite::Contents;

use super::diagram::Diagram;
use super::file;
use super::progress::Progress;
use crate::backend::cranelift::TargetCpu;
use crate::build::internal;
use crate::compile::{Compiled, Options, compile};
use crate::diag::{Code, Diagnostic, Diagnostics, Problem};
use crate::emit::select::select;
use crate::export::save_keras;
use crate::import::{KerasFile, KerasModel, OpenInput, load_weights};
use crate::ir::parse::parse_module;
use crate::ir::verify::verify_module;
use crate::ir::{Module, SourceLine};
use crate::jit::JitModel;
use crate::library::Weights;
use crate::model::Model;
use crate::report::StageTime;

/// The longest text of a model.
const LONGEST_TEXT: u64 = 1 << 28;

/// A model as a file has it.
pub struct Source {
    path: PathBuf,
    form: Form,
}

enum Form {
    Keras(Box<KerasFile>),
    Json(Box<KerasModel>),
    Graph(Box<Module>),
}

/// Shapes of items by the names of inputs, for the dimensions that a file leaves open.
pub type Shapes = BTreeMap<String, Vec<usize>>;

/// A model whose shapes are known.
pub enum Described {
    Layers(Model),
    Graph(Box<Module>),
}

/// How to run a model.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// The most threads of a call; all processors by default.
    pub threads: Option<usize>,
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
    /// What the model's file and the model do not have in common, one sentence each.
    pub left_out: Vec<String>,
}

impl Source {
    /// Reads a file. What it is, its first bytes say.
    pub fn open(path: impl AsRef<Path>) -> Result<Source, Diagnostics> {
        let path = path.as_ref();
        let mut lead = Vec::new();
        let opened = File::open(path).and_then(|file| {
            file.take(8).read_to_end(&mut lead)?;
            Ok(())
        });
        opened.map_err(|e| file::failed(path, "read", &e))?;
        let text = || {
            let mut text = String::new();
            let read = File::open(path).and_then(|file| file.take(LONGEST_TEXT).read_to_string(&mut text));
            read.map(|_| text).map_err(|e| match e.kind() {
                std::io::ErrorKind::InvalidData => wrong(path, "", "this is neither a .keras file nor a saved graph"),
                _ => file::failed(path, "read", &e),
            })
        };
        let form = match lead.as_slice() {
            lead if lead.starts_with(b"PK") || lead.starts_with(b"\x89HDF") => {
                Form::Keras(Box::new(KerasFile::open(path)?))
            }
            lead if lead.trim_ascii_start().starts_with(b"{") => {
                let model = KerasModel::parse(&text()?).map_err(|d| at(path, d))?;
                Form::Json(Box::new(model))
            }
            _ => {
                let text = text()?;
                if !text.split_whitespace().any(|word| word == "module") {
                    return Err(wrong(path, "", "this is neither a .keras file nor a saved graph"));
                }
                let module = parse_module(&text).map_err(|e| wrong(path, "", e.to_string()))?;
                verify_module(&module).map_err(|violations| {
                    let list = violations.iter().map(|v| diagnostic(path, "", v.to_string())).collect();
                    Diagnostics { model: module.name.clone(), list }
                })?;
                Form::Graph(Box::new(module))
            }
        };
        Ok(Source { path: path.to_path_buf(), form })
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the model is a chain of layers in Keras, which does not count its input among them.
    pub fn is_sequential(&self) -> bool {
        self.keras().is_some_and(|model| model.class() == "Sequential")
    }

    /// Keras's description, if there is one.
    fn keras(&self) -> Option<KerasModel> {
        match &self.form {
            Form::Keras(file) => Some(file.model()),
            Form::Json(model) => Some(KerasModel::clone(model)),
            Form::Graph(_) => None,
        }
    }

    /// The layers and what flows between them.
    pub fn diagram(&self, described: &Described) -> Diagram {
        let classes = self.keras().map(|keras| keras.layer_classes()).unwrap_or_default();
        match described {
            Described::Layers(model) => Diagram::of_layers(model, &classes),
            Described::Graph(module) => Diagram::of_graph(module),
        }
    }

    /// The inputs in order, with the extents of an item as far as the file fixes them.
    pub fn inputs(&self) -> Vec<OpenInput> {
        match &self.form {
            Form::Keras(file) => file.model().inputs(),
            Form::Json(model) => model.inputs(),
            Form::Graph(module) => {
                let inputs = module.entry("predict").map_or(&[][..], |predict| &predict.inputs);
                let item = |ty: &crate::ir::TensorType| ty.shape.iter().skip(1).map(|d| d.as_fixed()).collect();
                inputs.iter().map(|i| OpenInput { name: i.name.clone(), item: item(&i.ty) }).collect()
            }
        }
    }

    /// Binds open dimensions and the largest batch, where one is given.
    pub fn describe(&self, shapes: &Shapes, batch: Option<usize>) -> Result<Described, Diagnostics> {
        let inputs = self.inputs();
        let known: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
        let unknown = shapes.keys().filter(|name| !known.contains(&name.as_str()));
        let list: Vec<Diagnostic> = unknown
            .map(|name| {
                let problem =
                    Problem::new(Code::Unknown, format!("a shape is given for the input `{name}`, which is none"));
                let problem = problem.help(format!("inputs are {}", known.join(", ")));
                Diagnostic::new(problem, name, Some(SourceLine::file(&self.path)))
            })
            .collect();
        if !list.is_empty() {
            return Err(Diagnostics { model: String::new(), list });
        }
        match &self.form {
            Form::Keras(_) | Form::Json(_) => {
                let Some(mut model) = self.keras() else { return Err(wrong(&self.path, "", "no description")) };
                for (name, item) in shapes {
                    model = model.shape(name, item.clone());
                }
                if let Some(batch) = batch {
                    model = model.max_batch(batch);
                }
                model.build().map(Described::Layers).map_err(|d| at(&self.path, d))
            }
            Form::Graph(module) => {
                let mut module = module.clone();
                for input in inputs.iter().filter(|input| shapes.contains_key(&input.name)) {
                    let fixed: Option<Vec<usize>> = input.item.iter().copied().collect();
                    let given = &shapes[&input.name];
                    if fixed.as_ref() != Some(given) {
                        let what = format!(
                            "the input was given the shape {given:?}, the graph has {:?}",
                            fixed.unwrap_or_default()
                        );
                        return Err(wrong(&self.path, &input.name, what));
                    }
                }
                match batch {
                    Some(0) | None => {}
                    Some(batch) => module.max_batch = batch,
                }
                Ok(Described::Graph(module))
            }
        }
    }

    /// Compiles entry points (those of these that the model has, all for none) and gives them their weights.
    pub fn start(&self, described: &Described, entries: &[&str], run: &Run) -> Result<Running, Diagnostics> {
        let start = Instant::now();
        let mut module = described.lower().map_err(|d| at(&self.path, d))?;
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
        let mut options = bakelite::Options::new();
        if let Some(threads) = run.threads {
            options = options.threads(threads);
        }
        let failed = |e: bakelite::Error| runtime(&name, &self.path, &e);
        let mut model = bakelite::Model::open_with(image, options).map_err(failed)?;
        if model.entry("init").is_ok() {
            model.init(run.seed).map_err(failed)?;
        }
        let (mut initial, mut left_out) = (true, Vec::new());
        if let (Form::Keras(file), Described::Layers(layers)) = (&self.form, described) {
            left_out = file.restore(layers, &mut model).map_err(|d| at(&self.path, d))?.left_out;
            initial = false;
        }
        if let Some(weights) = &run.weights {
            left_out = load(weights, described, &mut model)?;
            initial = false;
        }
        Ok(Running { model, compiled, compile_time, initial, left_out })
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
            if let (Form::Keras(file), Described::Layers(layers)) = (&self.form, described) {
                *failure.borrow_mut() = file.restore(layers, model).map_err(|d| at(&self.path, d)).err();
            }
            if let Some(Err(why)) = run.weights.as_ref().map(|path| load(path, described, model)) {
                failure.borrow_mut().get_or_insert(why);
            }
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

    /// Whether [`Source::save`] can write a file of this name.
    pub fn check_output(&self, output: &Path) -> Result<(), Diagnostics> {
        let extension = output.extension().and_then(|e| e.to_str()).unwrap_or_default();
        let kinds: &[&str] = match &self.form {
            Form::Keras(_) | Form::Json(_) => &["keras", "safetensors"],
            Form::Graph(_) => &["safetensors"],
        };
        if !kinds.contains(&extension) {
            let names: Vec<String> = kinds.iter().map(|kind| format!("OUT.{kind}")).collect();
            let what = format!("a model from {} is not written to such a file", self.path.display());
            return Err(Diagnostics {
                model: String::new(),
                list: vec![Diagnostic::new(
                    Problem::new(Code::File, what).help(format!("name it {}", names.join(" or "))),
                    "",
                    Some(SourceLine::file(output)),
                )],
            });
        }
        file::check_writable(output)
    }

    /// Writes a trained model: weights, moving statistics and the optimizer's state, all at once or not at all.
    pub fn save(&self, output: &Path, described: &Described, model: &bakelite::Model) -> Result<(), Diagnostics> {
        if let (Described::Layers(layers), Some("keras")) = (described, output.extension().and_then(|e| e.to_str())) {
            return match &self.form {
                Form::Keras(file) => file.save(output, layers, model),
                _ => save_keras(output, layers, model),
            };
        }
        model.save_with(output, Contents::Training).map_err(|e| runtime(model.name(), output, &e))
    }
}

impl Described {
    /// The tensor graphs.
    pub fn lower(&self) -> Result<Module, Diagnostics> {
        match self {
            Described::Layers(model) => model.lower(),
            Described::Graph(module) => Ok(Module::clone(module)),
        }
    }

    /// The outputs that training asks for; nothing for a model that says nothing about its training.
    pub fn targets(&self) -> Vec<String> {
        match self {
            Described::Layers(model) => model.targets().into_iter().map(|(output, _)| output).collect(),
            Described::Graph(module) => {
                let inputs = module.entry("train_step").map_or(&[][..], |entry| &entry.inputs);
                inputs.iter().filter_map(|i| i.name.strip_suffix("_target")).map(str::to_string).collect()
            }
        }
    }

    /// Fails for a model that says nothing about its training.
    pub fn check_compiled(&self, path: &Path) -> Result<(), Diagnostics> {
        let compiled = match self {
            Described::Layers(model) => model.net.borrow().compiled.is_some(),
            Described::Graph(module) => module.entry("train_step").is_some(),
        };
        if compiled {
            return Ok(());
        }
        let problem = Problem::new(Code::Missing, "the model was not compiled: it has no loss and no optimizer")
            .help("call `model.compile(...)` before it is saved");
        let list = vec![Diagnostic::new(problem, "", Some(SourceLine::file(path)))];
        Err(Diagnostics { model: String::new(), list })
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

/// Loads a file of weights: safetensors by the paths of parameters, and for a model of layers Keras's `.weights.h5`. Gives
/// what one of them does not have.
fn load(path: &Path, described: &Described, into: &mut bakelite::Model) -> Result<Vec<String>, Diagnostics> {
    match described {
        Described::Layers(layers) if path.extension().is_some_and(|extension| extension == "h5") => {
            load_weights(path, layers, into).map(|restored| restored.left_out).map_err(|d| at(path, d))
        }
        _ => into.load(path).map(|()| Vec::new()).map_err(|e| runtime(into.name(), path, &e)),
    }
}

/// A mistake in a file, at one of its parts.
pub fn wrong(path: &Path, part: &str, what: impl Into<String>) -> Diagnostics {
    Diagnostics { model: String::new(), list: vec![diagnostic(path, part, what)] }
}

fn diagnostic(path: &Path, part: &str, what: impl Into<String>) -> Diagnostic {
    Diagnostic::new(Problem::new(Code::Import, what), part, Some(SourceLine::file(path)))
}

/// Mistakes of a model that came from a file: no line of a program is to blame.
pub fn at(path: &Path, mut diagnostics: Diagnostics) -> Diagnostics {
    let source = SourceLine::file(path);
    for diagnostic in &mut diagnostics.list {
        diagnostic.source = Some(source.clone());
        diagnostic.inputs.iter_mut().for_each(|input| input.source = Some(source.clone()));
        diagnostic.related.iter_mut().for_each(|(_, line)| *line = Some(source.clone()));
    }
    diagnostics
}

/// An error of the runtime as a diagnostic about a file.
pub fn runtime(model: &str, path: &Path, error: &bakelite::Error) -> Diagnostics {
    use bakelite::Error;
    let code = match error {
        Error::OutOfMemory { .. } => Code::Size,
        Error::Io { .. } | Error::File { .. } => Code::File,
        _ => Code::Data,
    };
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    let diagnostic = Diagnostic::new(Problem::new(code, text), "", Some(SourceLine::file(path)));
    Diagnostics { model: model.to_string(), list: vec![diagnostic] }
}
