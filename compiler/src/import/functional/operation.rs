//! Operations that are listed among the layers: what `x + y` and `keras.ops.*` leave in a description.

use serde_json::Value;

use super::call::Application;
use super::history::{History, is_tensor};
use crate::import::dtype_called;
use crate::import::model::is_model;
use crate::import::operations::{self, Argument, Operation};
use crate::ir::{Dim, Shape, TensorType};
use crate::model::config::Object;
use crate::model::registry::{self, LAYERS};

/// The module of an operation, which is no layer. Older files name none: what has the name of an operation and of no
/// layer is one there.
pub(super) fn module<'v>(value: &'v Value, object: &Object<'_>) -> Option<&'v str> {
    match value.get("module").and_then(Value::as_str) {
        Some(module) => Some(module).filter(|module| module.starts_with("keras.src.ops")),
        None => {
            let layer = registry::find(LAYERS, &object.class).is_some() || is_model(&object.class);
            (!layer && operations::find(&object.class).is_some()).then_some("keras.ops")
        }
    }
}

/// The calls of an operation. Those that cannot be read have none; they may belong to a mask that nobody needs.
pub(super) fn calls(value: &Value, object: &Object<'_>) -> Vec<Application> {
    let nodes = value.get("inbound_nodes").and_then(Value::as_array);
    nodes.into_iter().flatten().map(|node| call(node, object).unwrap_or_default()).collect()
}

fn call(node: &Value, object: &Object<'_>) -> Option<Application> {
    let (mut tensors, mut types) = (Vec::new(), Vec::new());
    let positional = node.get("args").and_then(Value::as_array)?.iter();
    let positional = positional.map(|value| argument(value, &mut tensors, &mut types)).collect::<Option<Vec<_>>>()?;
    let named = node.get("kwargs").and_then(Value::as_object)?.iter();
    let named = named.map(|(name, value)| Some((name.clone(), argument(value, &mut tensors, &mut types)?)));
    let named = named.collect::<Option<Vec<_>>>()?;
    let class = operations::find(&object.class).filter(|_| !tensors.is_empty());
    let count = tensors.len();
    let types: Option<Vec<TensorType>> = types.into_iter().collect();
    let operation =
        class.map(|class| Operation::new(class, object.config.clone().into_owned(), positional, named, count, types));
    Some(Application { tensors, operation, ..Application::default() })
}

/// An argument of an operation. The tensors in it join the list, and what the description says of their types.
fn argument(value: &Value, tensors: &mut Vec<History>, types: &mut Vec<Option<TensorType>>) -> Option<Argument> {
    Some(match value {
        // A list of numbers stays as it is: it may be long.
        Value::Array(items) if items.iter().all(|item| item.is_number() || item.is_boolean()) && !items.is_empty() => {
            Argument::Plain(value.clone())
        }
        Value::Array(items) => {
            Argument::List(items.iter().map(|item| argument(item, tensors, types)).collect::<Option<Vec<_>>>()?)
        }
        tensor if is_tensor(tensor) => {
            tensors.push(History::of_tensor(tensor)?);
            types.push(declared(tensor));
            Argument::Tensor(tensors.len() - 1)
        }
        plain => Argument::Plain(plain.clone()),
    })
}

/// The type that a description says a tensor has, with the batch as the only open extent.
fn declared(tensor: &Value) -> Option<TensorType> {
    let shape = tensor.pointer("/config/shape")?.as_array()?;
    let extent = |value: &Value| match value {
        Value::Null => Some(Dim::BATCH),
        value => Some(Dim::fixed(usize::try_from(value.as_u64()?).ok()?)),
    };
    let dtype = dtype_called(tensor.pointer("/config/dtype")?.as_str()?)?;
    Some(TensorType::new(dtype, Shape(shape.iter().map(extent).collect::<Option<Vec<_>>>()?)))
}
