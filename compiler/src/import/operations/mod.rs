//! Operations between tensors: what `x + y` and `keras.ops.*` leave in the description of a functional model.
//!
//! An operation is described like a layer, with a module of `keras.src.ops`, and becomes one: an [`Operation`], whose
//! arguments are tensors, numbers and plain values mixed. [`find`] knows the classes; each is a function that builds
//! graph, and that refuses what it cannot honour.
//!
//! Element types meet as in Keras: numbers take the type of the tensor unless they are fractions, and functions of real
//! numbers give `f32`.

mod arrange;
mod constants;
mod elementwise;
mod gather;
mod images;
mod narrow;
mod neural;
mod numbers;
mod products;
mod reductions;
mod shapes;
mod signals;
mod sorting;

use std::ops::RangeInclusive;
use std::rc::Rc;

use serde::de::IntoDeserializer;
use serde::de::value::F64Deserializer;
use serde_json::Value;

use crate::diag::{Code, Problem};
use crate::ir::{DType, Graph, NodeId, Shape, TensorType};
use crate::model::config::{Config, excerpt, infinite};
use crate::model::functions::express::attempt;
use crate::model::{BuildCx, CallCx, LayerDef, Narrow};
use constants::Constant;

/// What an operation is given in one place.
#[derive(Clone, Debug)]
pub(super) enum Argument {
    /// One of the tensors of the call, by its number.
    Tensor(usize),
    List(Vec<Argument>),
    Plain(Value),
}

/// A function that adds an operation to a graph.
pub(super) type Build = fn(&mut Call<'_>) -> Result<Vec<NodeId>, String>;

/// A class of operations: its name, and how it is built.
pub(super) type Class = (&'static str, Build);

const TABLES: &[&[Class]] = &[
    arrange::CLASSES,
    elementwise::CLASSES,
    gather::CLASSES,
    images::CLASSES,
    neural::CLASSES,
    numbers::CLASSES,
    products::CLASSES,
    reductions::CLASSES,
    shapes::CLASSES,
    signals::CLASSES,
    sorting::CLASSES,
];

/// The classes that give back their very tensor, with its mask, where they change nothing. The others make another one.
const KEEPING: &[&str] = &[
    "Cast",
    "Concatenate",
    "Conj",
    "Conjugate",
    "ConvertToTensor",
    "Einsum",
    "GetItem",
    "Moveaxis",
    "Real",
    "Reshape",
    "Squeeze",
    "Swapaxes",
    "Transpose",
];

/// The class with a name.
pub(super) fn find(name: &str) -> Option<Class> {
    classes().find(|class| class.0 == name)
}

/// The names of all classes, in the order of the alphabet.
pub(super) fn names() -> Vec<&'static str> {
    let mut names: Vec<&str> = classes().map(|class| class.0).collect();
    names.sort_unstable();
    names
}

/// Every class of operations.
fn classes() -> impl Iterator<Item = Class> {
    TABLES.iter().flat_map(|table| table.iter()).copied()
}

/// One call of an operation, as a layer.
#[derive(Clone)]
pub(super) struct Operation {
    pub class: Class,
    /// What the operation was made with.
    pub config: Config,
    pub positional: Vec<Argument>,
    pub named: Vec<(String, Argument)>,
    /// The number of tensors among the arguments.
    pub tensors: usize,
    pub results: usize,
}

impl std::fmt::Debug for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Operation").field("class", &self.class.0).finish_non_exhaustive()
    }
}

impl Operation {
    /// The operation with the number of results that it has for tensors of the types that the description says, if it
    /// says them.
    pub fn new(
        class: Class,
        config: Config,
        positional: Vec<Argument>,
        named: Vec<(String, Argument)>,
        tensors: usize,
        types: Option<Vec<TensorType>>,
    ) -> Rc<Operation> {
        let mut operation = Operation { class, config, positional, named, tensors, results: 1 };
        let tried = types.and_then(|types| attempt(&types, |graph, x| operation.add_to(graph, x)).ok());
        operation.results = match tried {
            Some(results) => results.len(),
            None if class.0 == "Split" => shapes::pieces(&operation.config),
            None => 1,
        };
        Rc::new(operation)
    }

    fn add_to(&self, graph: &mut Graph, tensors: &[NodeId]) -> Result<Vec<NodeId>, String> {
        (self.class.1)(&mut Call { graph, operation: self, tensors })
    }
}

impl LayerDef for Operation {
    fn kind(&self) -> &'static str {
        self.class.0
    }

    fn arity(&self) -> RangeInclusive<usize> {
        self.tensors..=self.tensors
    }

    fn results(&self) -> usize {
        self.results
    }

    fn computes_narrow(&self) -> bool {
        true
    }

    /// Tries the operation on a graph of its own: what does not fit is a mistake of the description.
    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        let types: Vec<Option<Narrow>> = (0..cx.inputs().len()).map(|i| cx.narrow(i)).collect();
        let why = match attempt(cx.inputs(), |graph, x| Ok(self.typed(graph, x, &types)?.0)) {
            Ok(results) if results.len() == self.results => return Ok(()),
            Ok(results) => format!("it gives {} tensors where the description has {}", results.len(), self.results),
            Err(why) => why,
        };
        let types: Vec<String> = cx.inputs().iter().map(|ty| ty.to_string()).collect();
        Err(Problem::new(Code::Import, format!("the operation {} of {}: {why}", self.class.0, types.join(" and "))))
    }

    fn call(&self, cx: &mut CallCx<'_>, tensors: &[NodeId]) -> Vec<NodeId> {
        let types: Vec<Option<Narrow>> = (0..tensors.len()).map(|i| cx.narrow(i)).collect();
        let (results, narrow) = self.typed(cx, tensors, &types).unwrap_or_else(|why| cx.fault(why));
        (0..results.len()).for_each(|i| cx.set_narrow(i, narrow));
        if !KEEPING.contains(&self.class.0) {
            (0..results.len()).for_each(|i| cx.set_mask(i, None));
        }
        results
    }
}

/// An operation while it is added to a graph.
pub(super) struct Call<'a> {
    graph: &'a mut Graph,
    operation: &'a Operation,
    tensors: &'a [NodeId],
}

impl Call<'_> {
    /// An argument: a positional one, one with a name, or one that the operation was made with.
    fn argument(&self, place: usize, name: &str) -> Option<Argument> {
        let Operation { config, positional, named, .. } = self.operation;
        let named = || named.iter().find(|(n, _)| n == name).map(|(_, argument)| argument.clone());
        positional.get(place).cloned().or_else(named).or_else(|| Some(Argument::Plain(config.get(name)?.clone())))
    }

    /// A plain argument; `None` where it is missing or null.
    fn plain(&self, place: usize, name: &str) -> Result<Option<Value>, String> {
        match self.argument(place, name) {
            None | Some(Argument::Plain(Value::Null)) => Ok(None),
            Some(argument) => argument.plain().map(Some).ok_or_else(|| format!("`{name}` is a tensor")),
        }
    }

    /// A plain argument of a type.
    fn value<T: serde::de::DeserializeOwned>(&self, place: usize, name: &str) -> Result<Option<T>, String> {
        let Some(value) = self.plain(place, name)? else { return Ok(None) };
        let text = excerpt(&value);
        if let Some(number) = infinite::number(&value) {
            let number: F64Deserializer<serde::de::value::Error> = number.into_deserializer();
            return T::deserialize(number).map(Some).map_err(|_| format!("`{name}` is {text}"));
        }
        serde_json::from_value(value).map(Some).map_err(|_| format!("`{name}` is {text}"))
    }

    fn number(&self, place: usize, name: &str) -> Result<f64, String> {
        self.value(place, name)?.ok_or_else(|| format!("`{name}` is missing"))
    }

    fn flag(&self, place: usize, name: &str) -> Result<bool, String> {
        Ok(self.value(place, name)?.unwrap_or(false))
    }

    /// The tensor in a place, which may be a constant.
    fn tensor(&mut self, place: usize, name: &str) -> Result<NodeId, String> {
        match self.argument(place, name) {
            Some(argument) => self.made(&argument)?.ok_or_else(|| format!("`{name}` is no tensor")),
            None => Err(format!("`{name}` is missing")),
        }
    }

    /// The tensor in a place, if there is one.
    fn optional(&mut self, place: usize, name: &str) -> Result<Option<NodeId>, String> {
        match self.argument(place, name) {
            None | Some(Argument::Plain(Value::Null)) => Ok(None),
            Some(_) => self.tensor(place, name).map(Some),
        }
    }

    /// The tensor that an argument is, or the constant.
    fn made(&mut self, argument: &Argument) -> Result<Option<NodeId>, String> {
        if let Argument::Tensor(i) = argument {
            return Ok(self.tensors.get(*i).copied());
        }
        let Some(value) = argument.plain() else { return Ok(None) };
        let Some(constant) = Constant::read(&value)? else { return Ok(None) };
        self.constant_node(&constant, constant.own_dtype()).map(Some)
    }

    /// The first tensor.
    fn x(&mut self) -> Result<NodeId, String> {
        self.tensor(0, "x")
    }

    /// The first tensor in a type of real numbers.
    fn real_x(&mut self) -> Result<NodeId, String> {
        let x = self.x()?;
        Ok(self.real(x))
    }

    /// A list of tensors.
    fn list(&mut self, place: usize, name: &str) -> Result<Vec<NodeId>, String> {
        let wrong = || format!("`{name}` is no list of tensors");
        match self.argument(place, name) {
            Some(Argument::List(list)) if !list.is_empty() => {
                list.iter().map(|argument| self.made(argument)?.ok_or_else(wrong)).collect()
            }
            _ => Err(wrong()),
        }
    }

    /// An argument that is an axis, or its default.
    fn axis_at(&self, place: usize, name: &str, default: i64, rank: usize) -> Result<usize, String> {
        self.axis(self.value(place, name)?.unwrap_or(default), rank)
    }

    /// An argument that is a list of numbers, or one number.
    fn numbers<T: serde::de::DeserializeOwned>(&self, place: usize, name: &str) -> Result<Option<Vec<T>>, String> {
        match self.plain(place, name)? {
            None => Ok(None),
            Some(Value::Array(_)) => self.value(place, name),
            Some(_) => Ok(self.value(place, name)?.map(|one| vec![one])),
        }
    }

    /// Fails for a flag that is not supported.
    fn without(&self, place: usize, name: &str) -> Result<(), String> {
        match self.flag(place, name)? {
            true => Err(format!("`{name}` is not supported")),
            false => Ok(()),
        }
    }

    fn ty(&self, x: NodeId) -> TensorType {
        self.graph.ty(x).clone()
    }

    fn shape(&self, x: NodeId) -> Shape {
        self.graph.ty(x).shape.clone()
    }

    /// The tensor in a type of real numbers.
    fn real(&mut self, x: NodeId) -> NodeId {
        match self.graph.ty(x).dtype.is_float() {
            true => x,
            false => self.graph.cast(x, DType::F32),
        }
    }

    /// An axis counted from the front or the back, of a tensor with a number of axes.
    fn axis(&self, axis: i64, rank: usize) -> Result<usize, String> {
        let from_front = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
        let found = from_front.and_then(|a| usize::try_from(a).ok()).filter(|a| *a < rank);
        found.ok_or_else(|| format!("axis {axis} of {rank} axes"))
    }
}

impl Argument {
    /// The value of an argument without tensors.
    fn plain(&self) -> Option<Value> {
        match self {
            Argument::Tensor(_) => None,
            Argument::Plain(value) => Some(value.clone()),
            Argument::List(list) => list.iter().map(Argument::plain).collect::<Option<Vec<_>>>().map(Value::Array),
        }
    }
}
