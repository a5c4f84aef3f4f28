//! Models from elsewhere.
//!
//! Keras describes a model as JSON: `model.to_json()`, or `config.json` inside a `.keras` file. [`KerasModel`] reads it
//! into a [`Model`], and its compile configuration into a call of [`Model::compile`].
//!
//! ```text
//! KerasModel::parse     text -> JSON, of bounded depth and memory     json.rs
//!   Reader::layer       one layer, by the registry            layer.rs
//!   Reader::nested      a model as a layer                    model.rs
//!   Reader::sequential  a chain of layers                     sequential.rs
//!   Reader::functional  layers, and who is applied to what    functional/
//!   Operation           what lies between layers: `x + y`     operations/
//!   Reader::compile     optimizer, losses, metrics            compile.rs
//!   older               what Keras 2 wrote in other words     older/
//! ```
//!
//! The text is not trusted. Everything in it that cannot be honoured is reported at once, by the path of the layer
//! that it belongs to.

#[cfg(feature = "keras")]
mod archive;
mod compile;
#[cfg(feature = "keras")]
mod file;
mod functional;
#[cfg(feature = "keras")]
mod h5;
#[cfg(feature = "keras")]
pub(crate) mod half;
mod inputs;
mod json;
mod layer;
#[cfg(feature = "keras")]
mod legacy;
mod model;
mod older;
mod operations;
#[cfg(feature = "keras")]
mod restore;
mod sequential;
#[cfg(test)]
mod tests;
#[cfg(feature = "keras")]
mod vocabulary;
#[cfg(feature = "keras")]
mod weights;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value;

#[cfg(feature = "keras")]
pub use archive::{MAX_CONFIG, MAX_EXPANSION, MAX_WEIGHTS};
#[cfg(feature = "keras")]
pub use file::KerasFile;
pub use inputs::OpenInput;
#[cfg(feature = "keras")]
pub use restore::Restored;
#[cfg(feature = "keras")]
pub use weights::load_weights;

use crate::diag::{Code, Diagnostic, Diagnostics, Problem};
use crate::ir::{DType, SourceLine};
use crate::limit::Limit;
use crate::model::config::{Config, Object, excerpt};
use crate::model::output::BatchFirst;
use crate::model::{AnyLayer, DEFAULT_MAX_BATCH, Model, Tensor, tensor};

/// A model as Keras describes it.
///
/// ```
/// # use bakelite_compiler::import::KerasModel;
/// # fn main() -> Result<(), bakelite_compiler::diag::Diagnostics> {
/// let json = r#"{"class_name": "Sequential", "config": {"name": "xor", "layers": [
///     {"class_name": "InputLayer", "config": {"batch_shape": [null, 2], "dtype": "float32", "name": "x"}},
///     {"class_name": "Dense", "config": {"name": "answer", "units": 1, "activation": "sigmoid"}}
/// ]}}"#;
/// let model = KerasModel::parse(json)?.max_batch(32).build()?;
/// assert_eq!(model.layer_names(), ["answer"]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct KerasModel {
    /// The serialised object, which clones of the description share.
    document: Arc<Value>,
    /// Whether it is taken over how the model is trained.
    training: bool,
    name: String,
    shapes: BTreeMap<String, Vec<usize>>,
    max_batch: usize,
    /// The file that it was read from; without one, mistakes are reported at the line that builds the model.
    file: Option<SourceLine>,
}

impl KerasModel {
    /// Reads the text of a model's configuration. Nesting beyond what `serde_json` admits is refused.
    #[track_caller]
    pub fn parse(json: &str) -> Result<KerasModel, Diagnostics> {
        let source = SourceLine::caller();
        let failed = |why: String| malformed("", why, &source);
        let mut value = json::parse(json).map_err(failed)?;
        // Not every text says which version wrote it.
        let version = value.get("keras_version").and_then(Value::as_str).map(str::to_string);
        older::bring_up_to_date(&mut value, version.as_deref());
        Ok(KerasModel { file: None, ..KerasModel::from_value(Arc::new(value), source)? })
    }

    /// Reads a configuration that mistakes are reported of at a place.
    pub(crate) fn from_value(document: Arc<Value>, source: SourceLine) -> Result<KerasModel, Diagnostics> {
        let failed = |why: String| malformed("", why, &source);
        let object = Object::parse(&document).map_err(failed)?;
        if !model::is_model(&object.class) {
            let why = format!("{} is no class of models", excerpt(&object.class.as_str().into()));
            let problem = Problem::new(Code::Import, why).help(
                "models are read that are layers applied to tensors: `keras.Sequential` and `keras.Model(inputs, outputs)`",
            );
            return Err(Diagnostics::one(problem, "", Some(source)));
        }
        let name = object.config.get("name").and_then(Value::as_str).unwrap_or("model");
        let name = identifier(name);
        let (shapes, max_batch) = (BTreeMap::new(), DEFAULT_MAX_BATCH);
        Ok(KerasModel { document, training: true, name, shapes, max_batch, file: Some(source) })
    }

    /// The name of the model, an identifier; by default Keras's name with other characters replaced.
    pub fn name(mut self, name: impl Into<String>) -> KerasModel {
        self.name = name.into();
        self
    }

    /// The shape of an item of an input, where the description leaves dimensions open.
    pub fn shape(mut self, input: impl Into<String>, item: impl Into<Vec<usize>>) -> KerasModel {
        self.shapes.insert(input.into(), item.into());
        self
    }

    /// The largest batch of a call.
    pub fn max_batch(mut self, batch: usize) -> KerasModel {
        self.max_batch = batch;
        self
    }

    /// Whether the description says how the model is trained.
    pub fn is_compiled(&self) -> bool {
        self.compile().is_some()
    }

    fn compile(&self) -> Option<&Value> {
        let compile = self.document.get("compile_config").filter(|_| self.training);
        compile.filter(|c| c.as_object().is_some_and(|c| !c.is_empty()))
    }

    /// The model that the description is of.
    fn object(&self) -> Option<Object<'_>> {
        Object::parse(&self.document).ok()
    }

    /// The model, compiled where the description says so; or everything that is wrong with it.
    #[track_caller]
    pub fn build(&self) -> Result<Model, Diagnostics> {
        let source = match &self.file {
            Some(file) => file.clone(),
            None => SourceLine::caller(),
        };
        self.read(self.compile(), source)
    }

    /// Leaves out how the model is trained, as Keras's `compile=False` does.
    pub fn without_training(mut self) -> KerasModel {
        self.training = false;
        self
    }

    /// The model as far as it can be run: where nothing but its training cannot be honoured - a loss that is Python code, no
    /// optimizer - it is the model without training, and [`Model::untrained`] says why.
    ///
    /// # Errors
    /// Everything that is wrong with the model itself, and arguments of known losses, optimizers and metrics that no model
    /// can have: those are mistakes of the description, whatever it is read for.
    #[track_caller]
    pub fn build_to_run(&self) -> Result<Model, Diagnostics> {
        let why = match self.build() {
            Ok(model) => match model.check_description() {
                Ok(()) => return Ok(model),
                Err(why) => why,
            },
            Err(why) => why,
        };
        if !self.is_compiled() || why.list.iter().any(is_impossible) {
            return Err(why);
        }
        let model = self.clone().without_training().build()?;
        model.net.borrow_mut().untrained = why.list;
        Ok(model)
    }

    /// The model, trained as another compile configuration says.
    #[track_caller]
    pub fn build_with(&self, compile: &Value) -> Result<Model, Diagnostics> {
        let source = match &self.file {
            Some(file) => file.clone(),
            None => SourceLine::caller(),
        };
        self.read(Some(compile), source)
    }

    fn read(&self, compile: Option<&Value>, source: SourceLine) -> Result<Model, Diagnostics> {
        let mut reader = Reader { source, shapes: &self.shapes, problems: Vec::new() };
        let model = Model::at(self.name.clone(), reader.source.clone());
        model.max_batch(self.max_batch);
        if let Some(object) = self.object() {
            reader.outermost(&model, &object);
            reader.lead_with_batch(&model);
        }
        if let Some(compile) = compile {
            reader.compile(&model, compile);
        }
        // Mistakes of shapes and names are with the model, those of classes and arguments with the reader.
        let mut list = reader.problems;
        list.extend(model.problems().iter().cloned());
        if list.is_empty() { Ok(model) } else { Err(Diagnostics { model: self.name.clone(), list }) }
    }
}

/// Keras's name as an identifier.
fn identifier(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = name.chars().take(64).map(plain).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) || name.is_empty() { format!("_{name}") } else { name }
}

/// Whether a diagnostic is about an argument of something known that is outside its domain or its bounds, and not about
/// something unknown, absent or unsupported.
fn is_impossible(diagnostic: &Diagnostic) -> bool {
    matches!(diagnostic.code, Code::Value | Code::Size) && matches!(diagnostic.limit, None | Some(Limit::Sizes))
}

/// One mistake of a description, at a place.
fn malformed(path: &str, why: impl Into<String>, source: &SourceLine) -> Diagnostics {
    Diagnostics::one(Problem::new(Code::Import, why), path, Some(source.clone()))
}

/// What reading a model carries along.
struct Reader<'a> {
    /// The line of the user's source that asked for the model.
    source: SourceLine,
    /// Shapes of inputs of the outermost model.
    shapes: &'a BTreeMap<String, Vec<usize>>,
    problems: Vec<Diagnostic>,
}

impl Reader<'_> {
    /// Moves the batch to the front of outputs in which it comes later.
    fn lead_with_batch(&mut self, model: &Model) {
        let outputs = model.net.borrow().graph.outputs.clone();
        for (i, output) in outputs.into_iter().enumerate() {
            let axis = model.net.borrow().graph.ty(output.port).shape.iter().position(|d| d.batch).unwrap_or(0);
            if axis == 0 {
                continue;
            }
            let layer = AnyLayer::from_def(Rc::new(BatchFirst(axis)));
            let x = Tensor { net: model.net.clone(), port: Some(output.port) };
            let moved = tensor::apply_at(&layer, &[&x], self.source.clone());
            if let Some(port) = moved.first().and_then(|x| x.port) {
                let place = &mut model.net.borrow_mut().graph.outputs[i];
                (place.port, place.axis) = (port, axis);
            }
        }
    }

    fn problem(&mut self, path: &str, problem: Problem) {
        self.problems.push(Diagnostic::new(problem, path, Some(self.source.clone())));
    }

    /// Reports something that the description itself gets wrong.
    fn malformed(&mut self, path: &str, why: impl Into<String>) {
        self.problem(path, Problem::new(Code::Import, why));
    }

    /// The layers that a model lists: what is written of each, and the object that it is.
    fn layers<'v>(&mut self, config: &'v Config, path: &str) -> Vec<(&'v Value, Object<'v>)> {
        let listed: &[Value] = match config.get("layers") {
            Some(Value::Array(layers)) => layers,
            Some(other) => {
                self.malformed(path, format!("`layers` is {}, not a list", excerpt(other)));
                &[]
            }
            None => {
                self.malformed(path, "the model has no `layers`; models that are Python code cannot be read");
                &[]
            }
        };
        let mut layers = Vec::new();
        for value in listed {
            match Object::parse(value) {
                Ok(object) => layers.push((value, object)),
                Err(why) => self.malformed(path, why),
            }
        }
        layers
    }

    /// An element type.
    fn dtype(&mut self, dtype: Option<&Value>, path: &str) -> Option<DType> {
        let name = match dtype {
            None | Some(Value::Null) => "float32",
            Some(Value::String(name)) => name,
            Some(policy) => policy.pointer("/config/name").and_then(Value::as_str).unwrap_or("?"),
        };
        let dtype = dtype_called(name);
        if dtype.is_none() {
            let message = format!("tensors of type `{}` do not exist", name.escape_debug());
            self.problem(path, Problem::new(Code::DType, message));
        }
        dtype
    }
}

/// The element type for one of Keras's, as it is on JAX without 64 bits; none for narrow types, which have no type of
/// their own.
fn dtype_called(name: &str) -> Option<DType> {
    match name {
        "int32" | "int64" | "int" => Some(DType::I32),
        "uint32" | "uint64" => Some(DType::U32),
        "uint8" => Some(DType::U8),
        "bool" => Some(DType::Bool),
        "float" | "float32" | "float64" => Some(DType::F32),
        _ => None,
    }
}

/// The operations of `keras.ops` that files may have between layers, by the names of Keras's classes.
pub fn operation_names() -> Vec<&'static str> {
    operations::names()
}

/// A path one level deeper.
pub(crate) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_string() } else { format!("{path}/{name}") }
}
