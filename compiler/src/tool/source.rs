//! MODEL: from a file to layers or graphs.
//!
//! ```text
//! Source::open        what kind of file it is, parsed                 .keras, Keras's JSON, a saved graph
//! Source::describe    open dimensions bound, the batch known          Described: layers or graphs
//! Source::start       lowered, compiled, opened, weights in place     Running, in running.rs
//! ```

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use bakelite::Contents;

use super::diagram::Diagram;
use super::file;
use super::mistake::{at, failed, runtime, wrong};
use super::progress::Progress;
use crate::check::Reproduction;
use crate::diag::{Code, Diagnostic, Diagnostics, Problem};
use crate::export::{check_keras, save_keras};
use crate::import::{KerasFile, KerasModel, OpenInput};
use crate::ir::parse::parse_module;
use crate::ir::verify::verify_module;
use crate::ir::{Module, SourceLine};
use crate::model::{Lowered, Model};

/// The longest text of a model.
const LONGEST_TEXT: u64 = 1 << 28;

const NO_MODEL: &str = "this is no model: neither a .keras or .h5 file, nor Keras's JSON, nor a saved graph";

/// A model as a file has it.
pub struct Source {
    pub(super) path: PathBuf,
    pub(super) form: Form,
}

/// What a file holds.
pub(super) enum Form {
    Keras(Box<KerasFile>),
    Json(Box<KerasModel>),
    Graph(Box<Module>),
}

/// Shapes of items by the names of inputs, for the dimensions that a file leaves open.
pub type Shapes = BTreeMap<String, Vec<usize>>;

/// What a model is to be used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// How it is trained does not matter.
    Predict,
    /// Training is part of it where it can be; [`Described::explain_untrained`] says where it cannot.
    Run,
    Train,
}

/// A model whose shapes are known.
pub enum Described {
    Layers(Model),
    Graph(Box<Module>),
}

impl Source {
    /// Reads a file. What it is, its first bytes say.
    pub fn open(path: impl AsRef<Path>) -> Result<Source, Diagnostics> {
        let path = path.as_ref();
        if path.is_dir() {
            let form = Form::Keras(Box::new(KerasFile::open(path)?));
            return Ok(Source { path: path.to_path_buf(), form });
        }
        let mut lead = Vec::new();
        let opened = File::open(path).and_then(|file| {
            file.take(8).read_to_end(&mut lead)?;
            Ok(())
        });
        opened.map_err(|e| failed(path, "read", &e))?;
        let text = || {
            let mut text = String::new();
            let read = File::open(path).and_then(|file| file.take(LONGEST_TEXT).read_to_string(&mut text));
            read.map(|_| text).map_err(|e| match e.kind() {
                std::io::ErrorKind::InvalidData => wrong(path, "", NO_MODEL),
                _ => failed(path, "read", &e),
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
                // The values behind the graph of a reproducing file are for `check` alone.
                let text = Reproduction::graph(&text);
                if !text.split_whitespace().any(|word| word == "module") {
                    return Err(wrong(path, "", NO_MODEL));
                }
                let module = parse_module(text).map_err(|e| wrong(path, "", e.to_string()))?;
                verify_module(&module).map_err(|violations| {
                    let problems = violations.iter().map(|v| Problem::new(Code::Import, v.to_string()));
                    let at = |problem| Diagnostic::new(problem, "", Some(SourceLine::file(path)));
                    Diagnostics { model: module.name.clone(), list: problems.map(at).collect() }
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
    pub fn describe(&self, shapes: &Shapes, batch: Option<usize>, purpose: Purpose) -> Result<Described, Diagnostics> {
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
        Diagnostics::check(list)?;
        match &self.form {
            Form::Keras(_) | Form::Json(_) => {
                let Some(mut model) = self.keras() else { return Err(wrong(&self.path, "", "no description")) };
                for (name, item) in shapes {
                    model = model.shape(name, item.clone());
                }
                if let Some(batch) = batch {
                    model = model.max_batch(batch);
                }
                let built = match purpose {
                    Purpose::Predict => model.without_training().build(),
                    Purpose::Run => model.build_to_run(),
                    Purpose::Train => model.build(),
                };
                built.map(Described::Layers).map_err(|d| at(&self.path, d))
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
                        let source = SourceLine::file(&self.path);
                        return Err(Diagnostics::one(Problem::shape(what), &input.name, Some(source)));
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
            let problem = Problem::new(Code::File, what).help(format!("name it {}", names.join(" or ")));
            return Err(Diagnostics::in_file(problem, output));
        }
        file::check_writable(output)
    }

    /// Everything that would keep [`Source::save`] from writing a model, apart from the file itself.
    pub fn check_save(&self, output: &Path, described: &Described, model: &bakelite::Model) -> Result<(), Diagnostics> {
        if let (Described::Layers(layers), Some("keras")) = (described, output.extension().and_then(|e| e.to_str())) {
            let savable = match &self.form {
                Form::Keras(file) => file.check_save(layers, model),
                Form::Json(_) | Form::Graph(_) => check_keras(layers, model),
            };
            return savable.map_err(|d| {
                let mut d = at(&self.path, d);
                if let Some(Diagnostic { help: help @ None, .. }) = d.list.last_mut() {
                    *help = Some("name the output OUT.safetensors: it holds the weights without the layers".into());
                }
                d
            });
        }
        Ok(())
    }

    /// Writes a trained model: weights, moving statistics and the optimizer's state, all at once or not at all.
    pub fn save(&self, output: &Path, described: &Described, model: &bakelite::Model) -> Result<(), Diagnostics> {
        if let (Described::Layers(layers), Some("keras")) = (described, output.extension().and_then(|e| e.to_str())) {
            return match &self.form {
                Form::Keras(file) => file.save(output, layers, model),
                Form::Json(_) | Form::Graph(_) => save_keras(output, layers, model),
            };
        }
        model.save_with(output, Contents::Training).map_err(|e| runtime(model.name(), output, &e))
    }
}

impl Described {
    /// The tensor graphs.
    pub fn lower(&self) -> Result<Module, Diagnostics> {
        self.lowered().map(|lowered| lowered.module)
    }

    /// The tensor graphs, with what is probably not meant in the layers.
    pub(crate) fn lowered(&self) -> Result<Lowered, Diagnostics> {
        match self {
            Described::Layers(model) => model.lowered(),
            Described::Graph(module) => Ok(Lowered { module: Module::clone(module), warnings: Vec::new() }),
        }
    }

    /// The outputs that training asks for; nothing for a model that says nothing about its training.
    pub fn targets(&self) -> Vec<String> {
        match self {
            Described::Layers(model) => model.targets().into_iter().map(|(output, _)| output).collect(),
            Described::Graph(module) => {
                let inputs = module.entry("train_step").map_or(&[][..], |entry| &entry.inputs);
                inputs
                    .iter()
                    .filter_map(|i| i.name.trim_end_matches('_').strip_suffix("_target"))
                    .map(str::to_string)
                    .collect()
            }
        }
    }

    /// Why the model has no training, where its file asks for it.
    pub fn untrained(&self) -> Vec<String> {
        match self {
            Described::Layers(model) => model.untrained().iter().map(|why| why.message.clone()).collect(),
            Described::Graph(_) => Vec::new(),
        }
    }

    /// Says why the model has no training, where its file asks for it.
    pub fn explain_untrained(&self, progress: Progress) {
        self.untrained().iter().for_each(|why| progress.note(&format!("it cannot be trained: {why}")));
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
        Err(Diagnostics::in_file(problem, path))
    }
}
