//! A model as Keras saves it: a tree of objects, each with variables of its own.
//!
//! Keras names no variable in its files. It walks from the model to the objects inside it, by the attributes that hold
//! them, and numbers the variables of each: `layers/bidirectional/forward_layer/cell/vars/0`. Layers in a list go by
//! their classes, with a number from the second one on. The walk here gives the same paths. Most layers are one object
//! with the weights that they declare, in that order; the others say what is inside them with [`LayerDef::parts`].
//!
//! [`LayerDef::parts`]: super::layer::LayerDef::parts

use std::collections::{HashMap, HashSet};

use super::builder::Model;
use super::graph::LayerGraph;
use super::layer::{AnyLayer, snake_case};
use super::lower;
use super::optimizer::saved::{Kept, state};
use super::store::Store;
use crate::diag::Diagnostics;
use crate::ir::{StorageKind, TensorType};

/// Something that a layer keeps inside and that Keras saves as an object of its own.
#[derive(Clone, Debug)]
pub struct Part {
    /// The attribute of Keras's layer that holds it.
    pub(crate) attribute: &'static str,
    pub(crate) held: Held,
}

/// What an attribute holds.
#[derive(Clone, Debug)]
pub(crate) enum Held {
    /// A part of the layer: its weights are those whose names begin with this and a slash. It has parts itself.
    Scope(String, Vec<Part>),
    /// The same, of a part that is a layer of Keras's with a flag of its own: whether training changes it.
    Half(AnyLayer, Vec<Part>),
    Layer(AnyLayer),
    /// Layers by the names that their weights have here.
    Layers(Vec<(String, AnyLayer)>),
    /// A weight of a layer inside, by its name there: Keras saves it with both.
    Weight(AnyLayer, String),
}

impl Part {
    /// The weights that the layer declares under a name, as in `query/kernel`.
    pub fn scope(attribute: &'static str, name: impl Into<String>) -> Part {
        Part { attribute, held: Held::Scope(name.into(), Vec::new()) }
    }

    /// A layer with an identity of its own.
    pub fn layer(attribute: &'static str, layer: &AnyLayer) -> Part {
        Part { attribute, held: Held::Layer(layer.clone()) }
    }

    /// A weight of such a layer, which Keras counts among those of the outer one too.
    pub(crate) fn weight(attribute: &'static str, layer: &AnyLayer, name: impl Into<String>) -> Part {
        Part { attribute, held: Held::Weight(layer.clone(), name.into()) }
    }

    /// A list of such layers, by the names that their weights have in the layer.
    pub fn layers<'l>(attribute: &'static str, layers: impl IntoIterator<Item = (&'l str, &'l AnyLayer)>) -> Part {
        let layers = layers.into_iter().map(|(name, layer)| (name.to_string(), layer.clone()));
        Part { attribute, held: Held::Layers(layers.collect()) }
    }

    /// A part with parts, which stands for a layer: weights have the layer's name, and its flag says whether training
    /// changes them.
    pub(crate) fn half(attribute: &'static str, layer: &AnyLayer, parts: Vec<Part>) -> Part {
        Part { attribute, held: Held::Half(layer.clone(), parts) }
    }
}

/// How Keras's files have a weight.
#[derive(Clone, PartialEq, Debug)]
pub enum Filed {
    /// As floats.
    Plain,
    /// As whole numbers of 8 bits.
    Int8,
    /// Together with what adapts it: the sum of the weight and of `factor * a . b`. `a` and `b` are weights beside it.
    Adapted { a: String, b: String, factor: f64 },
    /// As part of another one: it is zero once that has been read.
    Within,
}

/// How the names of states begin that stateful recurrent layers keep between batches. Keras does not save them.
const KEPT_STATE: &str = "rnn_state";

/// A variable of an object, which is a cell of the model.
#[derive(Clone, Debug)]
pub(crate) struct Variable {
    pub cell: String,
    pub ty: TensorType,
    pub kind: StorageKind,
    /// Whether training changes it.
    pub trainable: bool,
    /// Whether Keras lists it among the weights that training changes, wherever it stands among them in a file.
    pub listed_first: bool,
    /// How it is in files, with the names of cells.
    pub filed: Filed,
}

/// The extents of a variable, none of which is the batch.
#[cfg(feature = "keras")]
pub(crate) fn extents(ty: &TensorType) -> Vec<usize> {
    ty.shape.iter().map(|d| d.scale).collect()
}

/// An object with its variables, in the order of their numbers.
#[cfg_attr(not(feature = "keras"), expect(dead_code, reason = "only files have them"))]
#[derive(Clone, Debug)]
pub(crate) struct SavedObject {
    /// `layers/dense_1`
    pub path: String,
    /// The name that users know it by, as part of its layer: `encoder/fc`.
    pub name: String,
    /// The layer of the outermost model that it belongs to.
    pub layer: String,
    pub variables: Vec<Variable>,
}

#[cfg(feature = "keras")]
impl SavedObject {
    /// The variables that have numbers.
    pub fn numbered(&self) -> impl Iterator<Item = &Variable> {
        self.variables.iter().filter(|variable| variable.filed != Filed::Within)
    }
}

/// Everything that Keras saves of a model.
#[cfg_attr(not(feature = "keras"), expect(dead_code, reason = "only files have them"))]
#[derive(Clone, Debug)]
pub(crate) struct Saved {
    /// In the order in which Keras lists their variables.
    pub objects: Vec<SavedObject>,
    /// The optimizer's variables, if the model is compiled.
    pub optimizer: Option<Vec<Kept>>,
}

impl Model {
    /// The names of the weights in the order in which Keras lists them, that of its `model.weights`, `get_weights` and
    /// `set_weights`: layer by layer, and in each what is trained first. What stateful recurrent layers keep between
    /// batches, and seeds, are not among them.
    pub fn weights_as_in_keras(&self) -> Result<Vec<String>, Diagnostics> {
        let mut objects = self.saved()?.objects;
        objects.iter_mut().for_each(|object| object.variables.sort_by_key(|variable| !variable.listed_first));
        Ok(distinct(&objects).map(|(_, variable)| variable.cell.clone()).collect())
    }

    /// What Keras saves of the model, or why it cannot be compiled.
    pub(crate) fn saved(&self) -> Result<Saved, Diagnostics> {
        let net = self.net.borrow();
        let store = lower::declared(&net)?;
        let mut walk = Walk { store: &store, seen: HashSet::new(), objects: Vec::new() };
        walk.graph(&net.graph, "", None, "");
        let objects = walk.objects;
        let trained: Vec<&Variable> =
            distinct(&objects).map(|(_, variable)| variable).filter(|v| v.trainable).collect();
        let optimizer = net.compiled.as_ref().map(|compiled| state(compiled.optimizer.as_ref(), &trained));
        Ok(Saved { objects, optimizer })
    }
}

/// The variables of objects with their objects, each once: where it comes first.
pub(crate) fn distinct<'o>(
    objects: impl IntoIterator<Item = &'o SavedObject>,
) -> impl Iterator<Item = (&'o SavedObject, &'o Variable)> {
    let mut seen = HashSet::new();
    let all = objects.into_iter().flat_map(|object| object.variables.iter().map(move |variable| (object, variable)));
    all.filter(move |(_, variable)| seen.insert(variable.cell.as_str()))
}

/// The class that Keras has for a layer.
pub(crate) fn class_of(layer: &AnyLayer) -> &'static str {
    layer.def.submodel().map_or(layer.def.kind(), |model| model.graph.class())
}

struct Walk<'a> {
    store: &'a Store,
    /// Layers that have been saved; later ones with the same identity are passed over.
    seen: HashSet<u64>,
    objects: Vec<SavedObject>,
}

/// Where in the tree the walk is.
#[derive(Clone, Copy)]
struct Place<'p> {
    path: &'p str,
    name: &'p str,
    layer: &'p str,
}

impl Walk<'_> {
    /// The layers of a model at a path that is empty or ends in a slash.
    fn graph(&mut self, graph: &LayerGraph, path: &str, outermost: Option<&str>, prefix: &str) {
        let layers = graph.saved_layers();
        let mut numbers = Numbers::default();
        for (name, layer) in layers {
            let path = format!("{path}layers/{}", numbers.next(class_of(layer)));
            let full = format!("{prefix}{name}");
            self.layer(layer, Place { path: &path, name: &full, layer: outermost.unwrap_or(name) });
        }
    }

    fn layer(&mut self, layer: &AnyLayer, at: Place<'_>) {
        if !self.seen.insert(layer.core.id) {
            return;
        }
        self.object(layer, "", &layer.def.parts(), at);
        if let Some(model) = layer.def.submodel() {
            self.graph(&model.graph, &format!("{}/", at.path), Some(at.layer), &format!("{}/", at.name));
        }
    }

    /// A layer, or the part of it whose weights begin with a prefix.
    fn object(&mut self, layer: &AnyLayer, prefix: &str, parts: &[Part], at: Place<'_>) {
        let scopes: Vec<String> = parts
            .iter()
            .filter_map(|part| match &part.held {
                Held::Scope(name, _) => Some(format!("{prefix}{name}/")),
                Held::Half(half, _) => Some(format!("{prefix}{}/", half.own_name())),
                Held::Layer(_) | Held::Layers(_) | Held::Weight(..) => None,
            })
            .collect();
        let own = |name: &String| name.starts_with(prefix) && !scopes.iter().any(|scope| name.starts_with(scope));
        let declared = layer.weights();
        let kept = |name: &str| name.rsplit('/').next().is_some_and(|name| name.starts_with(KEPT_STATE));
        let own = declared.iter().filter(|w| own(&w.name) && !kept(&w.name));
        let own = own.filter_map(|w| self.store.find(layer.core.id, &w.name));
        let beside = |weight: &str, name: &str| {
            let scope = weight.rsplit_once('/').map_or(String::new(), |(scope, _)| format!("{scope}/"));
            let id = self.store.find(layer.core.id, &format!("{scope}{name}"));
            id.map_or(String::new(), |id| self.store.cell(id).name.clone())
        };
        let shared = parts.iter().filter_map(|part| match &part.held {
            Held::Weight(inner, name) => self.store.find(inner.core.id, name),
            _ => None,
        });
        let variables = shared.chain(own).map(|id| {
            let cell = self.store.cell(id);
            let weight = self.store.declaration(id);
            let filed = match weight.map(|weight| (&weight.name, &weight.filed)) {
                Some((name, Filed::Adapted { a, b, factor })) => {
                    Filed::Adapted { a: beside(name, a), b: beside(name, b), factor: *factor }
                }
                Some((_, filed)) => filed.clone(),
                None => Filed::Plain,
            };
            // Keras takes a kernel that is adapted from those that it trains, and leaves it in its place.
            let adapted = matches!(filed, Filed::Adapted { .. });
            let listed_first = cell.kind == StorageKind::Param && weight.is_none_or(|w| w.trainable || adapted);
            let (name, ty) = (cell.name.clone(), cell.ty.clone());
            Variable { cell: name, ty, kind: cell.kind, trainable: cell.trainable, listed_first, filed }
        });
        // Keras numbers what it trains first.
        let mut variables: Vec<Variable> = variables.collect();
        variables.sort_by_key(|v| v.kind != StorageKind::Param);
        let (path, name) = (at.path.to_string(), at.name.to_string());
        self.objects.push(SavedObject { path, name, layer: at.layer.to_string(), variables });
        for part in parts {
            let path = format!("{}/{}", at.path, part.attribute);
            let below = |name: &str| format!("{}/{name}", at.name);
            match &part.held {
                Held::Scope(scope, parts) => {
                    let (name, prefix) = (below(scope), format!("{prefix}{scope}/"));
                    self.object(layer, &prefix, parts, Place { path: &path, name: &name, ..at });
                }
                Held::Half(half, parts) => {
                    let scope = half.own_name();
                    let (name, prefix) = (below(&scope), format!("{prefix}{scope}/"));
                    self.object(layer, &prefix, parts, Place { path: &path, name: &name, ..at });
                }
                Held::Weight(..) => {}
                Held::Layer(inner) => self.layer(inner, Place { path: &path, name: &below(part.attribute), ..at }),
                Held::Layers(list) => {
                    let mut numbers = Numbers::default();
                    for (_, inner) in list {
                        let number = numbers.next(class_of(inner));
                        let path = format!("{path}/{number}");
                        self.layer(inner, Place { path: &path, name: &below(&number), ..at });
                    }
                }
            }
        }
    }
}

/// Names of the members of a list: their classes, numbered from the second one on.
#[derive(Default)]
struct Numbers(HashMap<String, usize>);

impl Numbers {
    fn next(&mut self, class: &str) -> String {
        let name = snake_case(class);
        let count = self.0.entry(name.clone()).or_default();
        *count += 1;
        if *count == 1 { name } else { format!("{name}_{}", *count - 1) }
    }
}
