//! Operations between tensors in graphs: `x + y`, `keras.ops.mean(x, axis=-1)`, `x[:, 1:3]`.
//!
//! Keras keeps them beside the layers, with classes and arguments of their own. Here each becomes one or two layers
//! without weights.

use serde_json::{Value, json};

use super::Reader;
use crate::ir::scalar::{BinaryFn, UnaryFn};
use crate::ir::{Number, ReduceFn};
use crate::model::config::{Config, Object, excerpt};
use crate::model::layer::snake_case;
use crate::model::ops::{Axes, Expression};
use crate::model::registry::{self, LAYERS};
use crate::model::{Activation, AnyLayer, IntoLayer, Tensor, tensor};

/// An operation in a graph.
pub(super) struct Operation {
    pub class: String,
    module: String,
    config: Config,
    nodes: Vec<Value>,
}

/// Operations that masks are computed by, and nothing else as a rule.
const OF_MASKS: &[&str] =
    &["All", "Any", "Cast", "Equal", "LogicalAnd", "LogicalNot", "LogicalOr", "NotEqual", "OnesLike", "ZerosLike"];

/// Elements of the longest list of arguments that is looked at.
const MAX_ARGUMENTS: usize = 4096;

impl Operation {
    /// The operation that an entry of a graph describes, if it is one.
    pub fn of(value: &Value, object: &Object) -> Option<Operation> {
        let module = value.get("module").and_then(Value::as_str).unwrap_or_default();
        let known = registry::find(LAYERS, &object.class).is_some() || super::layer::is_model(&object.class);
        // Older files say no module; what has a name and nothing like a layer's arguments is an operation there too.
        let nameless = module.is_empty()
            && !known
            && object.class != "InputLayer"
            && (kind(&object.class).is_some() || OF_MASKS.contains(&object.class.as_str()));
        if !module.starts_with("keras.src.ops") && !nameless {
            return None;
        }
        let nodes = value.get("inbound_nodes").and_then(Value::as_array).cloned().unwrap_or_default();
        let (class, module, config) = (object.class.clone(), module.to_string(), object.config.clone());
        Some(Operation { class, module, config, nodes })
    }

    /// What it is called in messages.
    pub fn text(&self) -> String {
        match self.module.as_str() {
            "" => self.class.clone(),
            module => format!("{} of {module}", self.class),
        }
    }

    /// Whether there is something like it here.
    pub fn is_known(&self) -> bool {
        kind(&self.class).is_some()
    }

    pub fn nodes(&self) -> &[Value] {
        &self.nodes
    }
}

/// What an operation does.
#[derive(Clone, Copy)]
enum Kind {
    Unary(UnaryFn),
    Binary(BinaryFn),
    Reduce(Option<ReduceFn>),
    Activation,
    Concatenate,
    Reshape,
    ExpandDims,
    Squeeze,
    Transpose,
    Item,
}

fn kind(class: &str) -> Option<Kind> {
    Some(match class {
        "Add" => Kind::Binary(BinaryFn::Add),
        "Subtract" => Kind::Binary(BinaryFn::Sub),
        "Multiply" => Kind::Binary(BinaryFn::Mul),
        "Divide" | "TrueDivide" => Kind::Binary(BinaryFn::Div),
        "Maximum" => Kind::Binary(BinaryFn::Max),
        "Minimum" => Kind::Binary(BinaryFn::Min),
        "Power" => Kind::Binary(BinaryFn::Pow),
        "Negative" => Kind::Unary(UnaryFn::Neg),
        "Absolute" | "Abs" => Kind::Unary(UnaryFn::Abs),
        "Square" => Kind::Unary(UnaryFn::Square),
        "Sqrt" => Kind::Unary(UnaryFn::Sqrt),
        "Exp" => Kind::Unary(UnaryFn::Exp),
        "Log" => Kind::Unary(UnaryFn::Log),
        "Sin" => Kind::Unary(UnaryFn::Sin),
        "Cos" => Kind::Unary(UnaryFn::Cos),
        "StopGradient" => Kind::Unary(UnaryFn::StopGradient),
        "Sum" => Kind::Reduce(Some(ReduceFn::Sum)),
        "Max" => Kind::Reduce(Some(ReduceFn::Max)),
        "Min" => Kind::Reduce(Some(ReduceFn::Min)),
        "Mean" => Kind::Reduce(None),
        "Concatenate" => Kind::Concatenate,
        "Reshape" => Kind::Reshape,
        "ExpandDims" => Kind::ExpandDims,
        "Squeeze" => Kind::Squeeze,
        "Transpose" => Kind::Transpose,
        "GetItem" => Kind::Item,
        _ if activation(class).is_some() => Kind::Activation,
        _ => return None,
    })
}

/// The activation that an operation is called like.
fn activation(class: &str) -> Option<Activation> {
    let name = match class {
        "Elu" | "Selu" | "Celu" | "Glu" | "Gelu" | "Silu" | "Relu" | "Relu6" => class.to_lowercase(),
        _ => snake_case(class),
    };
    serde_json::from_value(Value::String(name)).ok()
}

/// Part of an element of `x[...]`.
enum Pick {
    All,
    Range(usize, usize),
    One(usize),
}

/// The steps of one operation, each a layer.
struct Steps<'r, 'a> {
    reader: &'r Reader<'a>,
    name: &'r str,
    count: usize,
}

impl Steps<'_, '_> {
    fn apply(&mut self, layer: AnyLayer, xs: &[&Tensor]) -> Tensor {
        let name = if self.count == 0 { self.name.to_string() } else { format!("{}:{}", self.name, self.count) };
        self.count += 1;
        layer.set_name(&name);
        tensor::apply_at(&layer, xs, self.reader.source.clone()).swap_remove(0)
    }

    fn express(&mut self, expression: Expression, xs: &[&Tensor]) -> Tensor {
        self.apply(expression.into_layer(), xs)
    }

    /// A layer of the registry.
    fn layer(&mut self, class: &str, arguments: Value, xs: &[&Tensor]) -> Result<Tensor, String> {
        let arguments = arguments.as_object().cloned().unwrap_or_default();
        let def = registry::read(LAYERS, "layer", class, &arguments);
        let def = def.map_err(|p| p.into_iter().map(|p| p.message).collect::<Vec<_>>().join("; "))?;
        Ok(self.apply(AnyLayer::from_def(def), xs))
    }

    /// The same elements with other extents behind the batch.
    fn reshape(&mut self, x: &Tensor, item: &[usize]) -> Result<Tensor, String> {
        self.layer("Reshape", json!({ "target_shape": item }), &[x])
    }
}

/// The extents behind the batch.
fn item(x: &Tensor) -> Option<Vec<usize>> {
    let ty = x.ty()?;
    ty.shape.first()?.batch.then(|| ty.shape[1..].iter().map(|d| d.scale).collect())
}

/// An axis counted from the front, never the batch.
fn axis(value: &Value, rank: usize) -> Result<usize, String> {
    let axis = value.as_i64().ok_or_else(|| format!("axis {}", excerpt(value)))?;
    let rank = rank as i64;
    let resolved = if axis < 0 { axis.saturating_add(rank) } else { axis };
    match (1..rank).contains(&resolved) {
        true => Ok(resolved as usize),
        false => Err(format!("axis {axis} of a tensor of rank {rank}; the batch stays as it is")),
    }
}

impl Reader<'_> {
    /// Applies an operation to the tensors among its arguments, which come in their order; or says what about it is not
    /// supported. Nothing comes of poisoned tensors.
    pub(super) fn operate(
        &self,
        name: &str,
        operation: &Operation,
        node: usize,
        tensors: &[Tensor],
    ) -> Result<Option<Tensor>, String> {
        let kind = kind(&operation.class).ok_or("no such operation is known here")?;
        let Some(first) = tensors.first() else { return Err("it is applied to no tensor".into()) };
        if tensors.iter().any(|x| x.port.is_none()) {
            return Ok(None);
        }
        let node = &operation.nodes[node];
        let args = node.get("args").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let argument = |place: usize, key: &str| {
            let named = node.get("kwargs").and_then(|k| k.get(key)).or_else(|| operation.config.get(key));
            args.get(place).or(named).cloned().unwrap_or_default()
        };
        let name = if node_index(operation, node) == 0 {
            name.to_string()
        } else {
            format!("{name}@{}", node_index(operation, node))
        };
        let mut steps = Steps { reader: self, name: &name, count: 0 };
        let extents = item(first).ok_or("its operand has no batch")?;
        let rank = extents.len() + 1;
        Ok(Some(match kind {
            Kind::Unary(f) => steps.express(Expression::Unary(f), &[first]),
            Kind::Activation => {
                let found = activation(&operation.class).unwrap_or_default();
                let approximate = argument(1, "approximate");
                let found = match (found, approximate.as_bool()) {
                    (Activation::Gelu, Some(true)) => Activation::GeluTanh,
                    (other, _) => other,
                };
                let along = argument(1, "axis");
                if along.is_i64() && axis(&along, rank)? != rank - 1 {
                    return Err(format!("axis {along}, it works along the last one"));
                }
                steps.apply(found.into_layer(), &[first])
            }
            Kind::Binary(f) => match (tensors, args) {
                ([a, b], _) => steps.express(Expression::Binary(f), &[a, b]),
                ([x], [Value::Number(number), _]) => {
                    steps.express(Expression::From(f, Number(number.as_f64().unwrap_or(f64::NAN))), &[x])
                }
                ([x], [_, Value::Number(number)]) => {
                    steps.express(Expression::With(f, Number(number.as_f64().unwrap_or(f64::NAN))), &[x])
                }
                _ => return Err("its operands are neither tensors nor numbers".into()),
            },
            Kind::Reduce(f) => {
                let given = argument(1, "axis");
                let list = given.as_array().cloned().unwrap_or_else(|| vec![given]);
                let axes = list.iter().map(|a| axis(a, rank)).collect::<Result<Vec<usize>, String>>()?;
                let along = Axes::Some(axes.iter().map(|&a| a as isize).collect());
                let expression = match f {
                    Some(f) => Expression::Reduce(f, along),
                    None => Expression::Mean(along),
                };
                let y = steps.express(expression, &[first]);
                match argument(2, "keepdims").as_bool() {
                    Some(true) => {
                        let kept = |(i, n): (usize, &usize)| if axes.contains(&(i + 1)) { 1 } else { *n };
                        let kept: Vec<usize> = extents.iter().enumerate().map(kept).collect();
                        steps.reshape(&y, &kept)?
                    }
                    _ => y,
                }
            }
            Kind::Concatenate => {
                let along = axis(&argument(1, "axis"), rank)?;
                let all: Vec<&Tensor> = tensors.iter().collect();
                steps.layer("Concatenate", json!({ "axis": along }), &all)?
            }
            Kind::Reshape => {
                let shape = [argument(1, "newshape"), argument(1, "shape")].into_iter().find(Value::is_array);
                let shape = shape.and_then(|s| s.as_array().cloned()).unwrap_or_default();
                match shape.split_first() {
                    Some((batch, rest)) if batch.is_null() || *batch == json!(-1) => {
                        steps.layer("Reshape", json!({ "target_shape": rest }), &[first])?
                    }
                    _ => return Err("it gives the batch another extent".into()),
                }
            }
            Kind::ExpandDims => {
                let at = axis(&argument(1, "axis"), rank + 1)?;
                let mut extents = extents;
                extents.insert(at - 1, 1);
                steps.reshape(first, &extents)?
            }
            Kind::Squeeze => {
                let given = argument(1, "axis");
                let list = given.as_array().cloned().unwrap_or_else(|| vec![given]);
                let axes = list.iter().map(|a| axis(a, rank)).collect::<Result<Vec<usize>, String>>()?;
                if let Some(bad) = axes.iter().find(|a| extents[**a - 1] != 1) {
                    return Err(format!("axis {bad} has {} elements", extents[bad - 1]));
                }
                let left = extents.iter().enumerate().filter(|(i, _)| !axes.contains(&(i + 1))).map(|(_, n)| *n);
                steps.reshape(first, &left.collect::<Vec<_>>())?
            }
            Kind::Transpose => {
                let axes = argument(1, "axes");
                match axes.as_array().and_then(|a| a.split_first()) {
                    Some((batch, rest)) if *batch == json!(0) => {
                        steps.layer("Permute", json!({ "dims": rest }), &[first])?
                    }
                    _ => return Err("it moves the batch".into()),
                }
            }
            Kind::Item => {
                let key = args.get(1).ok_or("it says no elements")?;
                let picks = picks(key, &extents)?;
                let mut x = first.clone();
                for (place, pick) in picks.iter().enumerate() {
                    let (start, end) = match *pick {
                        Pick::All => continue,
                        Pick::Range(start, end) => (start, end),
                        Pick::One(at) => (at, at + 1),
                    };
                    x = steps.express(Expression::Slice { axis: place as isize + 1, start, end }, &[&x]);
                }
                if picks.iter().any(|pick| matches!(pick, Pick::One(_))) {
                    let left: Vec<usize> = picks
                        .iter()
                        .zip(&extents)
                        .filter_map(|(pick, &n)| match *pick {
                            Pick::All => Some(n),
                            Pick::Range(start, end) => Some(end.saturating_sub(start)),
                            Pick::One(_) => None,
                        })
                        .collect();
                    x = steps.reshape(&x, &left)?;
                }
                match steps.count {
                    0 => steps.express(Expression::With(BinaryFn::Add, Number(0.0)), &[&x]),
                    _ => x,
                }
            }
        }))
    }
}

/// Which application of an operation a node is.
fn node_index(operation: &Operation, node: &Value) -> usize {
    operation.nodes.iter().position(|n| std::ptr::eq(n, node)).unwrap_or(0)
}

/// What `x[key]` takes of every axis behind the batch.
fn picks(key: &Value, extents: &[usize]) -> Result<Vec<Pick>, String> {
    let list = key.as_array().cloned().unwrap_or_else(|| vec![key.clone()]);
    if list.len() > extents.len() + 1 || list.len() > MAX_ARGUMENTS {
        return Err(format!("{} indices for {} axes", list.len(), extents.len() + 1));
    }
    let mut picks = Vec::new();
    for (place, part) in list.iter().enumerate() {
        let extent = place.checked_sub(1).map(|axis| extents[axis]);
        let slice = part.get("class_name").is_some_and(|class| class == "__slice__");
        let bound = |name: &str| part.pointer(&format!("/config/{name}")).filter(|v| !v.is_null());
        match (slice, extent) {
            (true, None) if ["start", "stop", "step"].iter().all(|name| bound(name).is_none()) => {}
            (true, Some(extent)) => {
                if bound("step").is_some_and(|step| *step != json!(1)) {
                    return Err(format!("index {} with a step", excerpt(part)));
                }
                let at = |name: &str, default: i64| match bound(name) {
                    None => Ok(default),
                    Some(value) => value.as_i64().ok_or_else(|| format!("index {}", excerpt(value))),
                };
                let count = extent as i64;
                let within = |x: i64| if x < 0 { x.saturating_add(count) } else { x }.clamp(0, count) as usize;
                let (start, end) = (within(at("start", 0)?), within(at("stop", count)?));
                match (start, end) {
                    (start, end) if start >= end => return Err(format!("index {} takes nothing", excerpt(part))),
                    (0, end) if end == extent => picks.push(Pick::All),
                    (start, end) => picks.push(Pick::Range(start, end)),
                }
            }
            (false, Some(extent)) => {
                let at = part.as_i64().ok_or_else(|| format!("index {}", excerpt(part)))?;
                let at = if at < 0 { at.saturating_add(extent as i64) } else { at };
                match usize::try_from(at) {
                    Ok(at) if at < extent => picks.push(Pick::One(at)),
                    _ => return Err(format!("index {} of {extent} elements", excerpt(part))),
                }
            }
            _ => return Err("it takes a part of the batch".into()),
        }
    }
    picks.resize_with(extents.len(), || Pick::All);
    Ok(picks)
}
