//! Weights from a file into an opened model.

use bakelite::DType;

use super::h5::{Numbers, Store};
use super::{join, malformed};
use crate::diag::{Code, Diagnostic, Diagnostics, Problem, count};
use crate::ir::SourceLine;
use crate::model::Model;
use crate::model::optimizer::saved::{Kept, Role, Slots, orders};
use crate::model::saved::{Filed, Saved, SavedObject, Variable, distinct, extents};

/// What a file held for a model.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// Whether the state of the optimizer came with the weights, so that training goes on where it was.
    pub optimizer: bool,
    /// What was left as it is in the model or passed over in the file, one sentence each.
    pub left_out: Vec<String>,
}

/// How a file names variables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Layout {
    /// By objects and numbers: `layers/dense/vars/0`. Keras 3.
    Numbered,
    /// By layers and names: `dense` has a list of names. Keras 2, and Keras 3 for `.h5`.
    ByLayer,
}

/// A value for a cell.
struct Write {
    cell: String,
    shape: Vec<usize>,
    values: Numbers,
}

/// What reading the weights of a file carries along.
struct Reading<'a> {
    store: &'a Store,
    source: &'a SourceLine,
    problems: Vec<Diagnostic>,
    writes: Vec<Write>,
    left_out: Vec<String>,
}

/// See [`KerasFile::restore`](super::KerasFile::restore). A `whole` file must have every weight.
pub(super) fn restore(
    store: &Store,
    layout: Layout,
    model: &Model,
    into: &mut bakelite::Model,
    source: &SourceLine,
    whole: bool,
) -> Result<Restored, Diagnostics> {
    let saved = model.saved()?;
    let (problems, writes, left_out) = Default::default();
    let mut reading = Reading { store, source, problems, writes, left_out };
    match layout {
        Layout::Numbered => reading.numbered(&saved, whole),
        Layout::ByLayer => reading.by_layer(&saved, whole),
    }
    let optimizer = saved.optimizer.as_ref().is_some_and(|state| reading.optimizer(state, layout, into));
    for write in &reading.writes {
        let checked = into.param(&write.cell).map(|param| param.shape() == write.shape);
        let why = match checked {
            Ok(true) => continue,
            Ok(false) => format!("`{}` has another shape in the opened model", write.cell),
            Err(error) => error.to_string(),
        };
        let problem = Problem::new(Code::Import, why).help("open what was compiled from this description");
        reading.problems.push(Diagnostic::new(problem, write.cell.clone(), Some(source.clone())));
    }
    if !reading.problems.is_empty() {
        return Err(Diagnostics { model: model.name(), list: reading.problems });
    }
    for write in reading.writes {
        let cell = write.cell.clone();
        if let Err(error) = put(into, write) {
            return Err(malformed(&cell, error.to_string(), source));
        }
    }
    Ok(Restored { optimizer, left_out: reading.left_out })
}

/// Writes a value into its cell, as the cell's element type.
fn put(into: &mut bakelite::Model, write: Write) -> Result<(), bakelite::Error> {
    let Write { cell, shape, values } = write;
    let dtype = into.param(&cell)?.dtype();
    match dtype {
        DType::U32 => {
            let values: Vec<u32> = match values {
                Numbers::Int(values) => values.into_iter().map(|x| x.clamp(0, u32::MAX.into()) as u32).collect(),
                Numbers::Float(values) => values.into_iter().map(|x| x as u32).collect(),
            };
            into.set_param_shaped(&cell, &shape, &values)
        }
        _ => into.set_param_shaped(&cell, &shape, &values.floats()),
    }
}

impl Reading<'_> {
    fn wrong(&mut self, path: &str, why: String) {
        self.problems.push(Diagnostic::new(Problem::new(Code::Import, why), path, Some(self.source.clone())));
    }

    /// Reads one variable for a cell.
    fn variable(&mut self, object: &SavedObject, variable: &Variable, path: &str) {
        let shape = extents(&variable.ty);
        match self.store.read(path, &shape) {
            Ok(values) => self.writes.push(Write { cell: variable.cell.clone(), shape, values }),
            Err(why) => self.wrong(&object.name, why),
        }
    }

    fn numbered(&mut self, saved: &Saved, whole: bool) {
        for object in saved.objects.iter().filter(|object| !object.variables.is_empty()) {
            let found = spellings(&object.path).into_iter().map(|path| format!("{path}/vars"));
            let Some(path) = found.into_iter().find(|path| self.store.has(path)) else {
                match whole {
                    true => self.wrong(&object.name, format!("the file has no weights at `{}`", object.path)),
                    false => self.left_out.push(format!("`{}`, which the file does not have", object.name)),
                }
                continue;
            };
            let wanted = object.numbered().count();
            match self.store.count(&path) {
                Ok(Some(found)) if found == wanted => {}
                Ok(found) => {
                    let found = count(found.unwrap_or(0), "weight");
                    self.wrong(&object.name, format!("the file has {found} at `{path}`, the layer has {wanted}"));
                    continue;
                }
                Err(why) => {
                    self.wrong(&object.name, format!("`{path}`: {why}"));
                    continue;
                }
            }
            for variable in object.variables.iter().filter(|variable| variable.filed == Filed::Within) {
                let shape = extents(&variable.ty);
                let values = Numbers::Float(vec![0.0; shape.iter().product()]);
                self.writes.push(Write { cell: variable.cell.clone(), shape, values });
            }
            for (number, variable) in object.numbered().enumerate() {
                self.variable(object, variable, &format!("{path}/{number}"));
            }
        }
    }

    fn by_layer(&mut self, saved: &Saved, whole: bool) {
        let root = if self.store.has("model_weights") { "model_weights" } else { "" };
        let names = match self.store.texts(root, "layer_names") {
            Ok(Some(names)) => names,
            Ok(None) => return self.wrong("", "the file has no list of layers (`layer_names`)".into()),
            Err(why) => return self.wrong("", why),
        };
        let mut layers: Vec<&str> = Vec::new();
        for object in saved.objects.iter().filter(|object| !object.variables.is_empty()) {
            if layers.last() != Some(&object.layer.as_str()) {
                layers.push(&object.layer);
            }
        }
        for name in names.iter().filter(|name| !layers.contains(&name.as_str())) {
            let group = join(root, name);
            let weights = self.store.texts(&group, "weight_names").ok().flatten().unwrap_or_default();
            if !weights.is_empty() {
                self.left_out.push(format!("`{name}` of the file, which the model does not have"));
            }
        }
        for layer in layers {
            let listed = names.iter().any(|name| name == layer);
            self.named(saved, layer, &join(root, layer), listed, whole);
        }
    }

    /// The weights of everything inside a layer, which a group lists together: trained ones first.
    fn named(&mut self, saved: &Saved, layer: &str, group: &str, listed: bool, whole: bool) {
        let inside = saved.objects.iter().filter(|object| object.layer == layer);
        let mut wanted: Vec<(&SavedObject, &Variable)> = distinct(inside).collect();
        wanted.sort_by_key(|(_, variable)| !variable.trainable);
        let found = match self.store.texts(group, "weight_names") {
            Ok(Some(found)) if listed => found,
            Err(why) => return self.wrong(layer, why),
            _ if whole => return self.wrong(layer, "the file has no weights for this layer".into()),
            _ => return self.left_out.push(format!("`{layer}`, which the file does not have")),
        };
        if found.len() != wanted.len() {
            let (found, wanted) = (count(found.len(), "weight"), wanted.len());
            return self.wrong(layer, format!("the file has {found} for this layer, which has {wanted}"));
        }
        for (name, (object, variable)) in found.iter().zip(wanted) {
            self.variable(object, variable, &join(group, name));
        }
    }

    /// Reads the optimizer's state; whether all of it was there.
    fn optimizer(&mut self, state: &[Kept], layout: Layout, into: &bakelite::Model) -> bool {
        let paths: Vec<String> = match layout {
            Layout::Numbered => match self.store.count("optimizer/vars") {
                Ok(Some(n)) => (0..n).map(|i| format!("optimizer/vars/{i}")).collect(),
                _ => return false,
            },
            Layout::ByLayer => match self.store.texts("optimizer_weights", "weight_names") {
                Ok(Some(names)) => names.iter().map(|name| join("optimizer_weights", name)).collect(),
                _ => return false,
            },
        };
        // An optimizer that never took a step has no more than the number of steps and the learning rate, and one inside
        // another has them twice.
        let fresh = if matches!(state.first(), Some(Kept { role: Role::Placeholder, .. })) { 4 } else { 2 };
        if paths.len() <= fresh && paths.len() < state.len() {
            return false;
        }
        if into.param("optimizer/iterations").is_err() {
            self.left_out.push("the optimizer's state: the opened model has no training".into());
            return false;
        }
        let shapes: Vec<Option<Vec<usize>>> = paths.iter().map(|path| self.store.shape(path).ok()).collect();
        let fits = |order: &Vec<Kept>| {
            order.len() == shapes.len() && order.iter().zip(&shapes).all(|(k, s)| s.as_ref() == Some(&extents(&k.ty)))
        };
        // What counts the steps was called `iter` by the optimizers before Keras 2.11.
        let before = paths.first().is_some_and(|path| path.rsplit('/').next() == Some("iter:0"));
        let slots = if before { Slots::BySlot } else { Slots::ByParameter };
        let Some(order) = orders(state, slots).into_iter().find(fits) else {
            let (found, wanted) = (count(paths.len(), "variable"), state.len());
            self.left_out.push(format!(
                "the optimizer's state: the file has {found}, the optimizer of the model keeps {wanted} in other shapes or order"
            ));
            return false;
        };
        let mut writes = Vec::new();
        for (path, kept) in paths.iter().zip(order) {
            let (Role::Cell(cell, _) | Role::Scalar(cell, _)) = kept.role else { continue };
            // Gradients that no loss depends on are not accumulated here.
            if into.param(&cell).is_err() {
                continue;
            }
            let shape = extents(&kept.ty);
            match self.store.read(path, &shape) {
                Ok(values) if kept.ty.dtype == crate::ir::DType::U32 && values.count().is_none() => {
                    self.wrong("optimizer", format!("`{path}` is no number of steps"));
                    return false;
                }
                Ok(values) => writes.push(Write { cell, shape, values }),
                Err(why) => {
                    self.wrong("optimizer", why);
                    return false;
                }
            }
        }
        self.writes.extend(writes);
        true
    }
}

/// A path, and how older versions of Keras spelled it: attributes were private, and layers had another name.
fn spellings(path: &str) -> Vec<String> {
    let private = path.rsplit_once('/').map(|(head, last)| format!("{head}/_{last}"));
    let plain: Vec<String> = std::iter::once(path.to_string()).chain(private).collect();
    let renamed = |from: &str, to: &str| plain.iter().map(|p| p.replace(from, to)).collect::<Vec<_>>();
    let class = renamed("grouped_query_attention", "group_query_attention");
    let dependencies = renamed("layers", "_layer_checkpoint_dependencies");
    [plain, class, dependencies].concat()
}
