//! Operations on Keras's narrow element types, and sums, which widen.
//!
//! An operation that [`MEANINGS`] knows is built in the wide types, over operands that have been brought to the type in
//! which Keras's meet; then its results are fitted. Every other operation refuses narrow tensors.

use serde_json::Value;

use super::{Argument, Operation};
use crate::ir::{DType, Graph, NodeId};
use crate::model::Narrow;

/// What an operation does with the types of its operands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// Moves or picks elements of all its tensors.
    Moves,
    /// Moves elements of the first tensor; the others are indices.
    Picks,
    /// Computes in the type in which the operands meet: whole numbers wrap, real ones are rounded.
    Computes,
    /// The same, of whole numbers.
    ComputesWhole,
    /// The same of real numbers; whole ones become `f32`.
    ComputesReal,
    /// Gives truths or places.
    Compares,
    /// Adds or multiplies whole numbers in 32 bits.
    Widens,
    /// Makes `f32` of whole numbers.
    Measures,
}

use Meaning::{Compares, Computes, ComputesReal, ComputesWhole, Measures, Moves, Picks, Widens};

const MEANINGS: &[(Meaning, &[&str])] = &[
    (
        Moves,
        &[
            "Amax",
            "Amin",
            "BroadcastTo",
            "Concatenate",
            "Copy",
            "ExpandDims",
            "Flip",
            "GetItem",
            "Max",
            "Min",
            "Moveaxis",
            "OnesLike",
            "Ravel",
            "Repeat",
            "Reshape",
            "Roll",
            "Split",
            "Squeeze",
            "Stack",
            "Swapaxes",
            "Tile",
            "Transpose",
            "ZerosLike",
        ],
    ),
    (Picks, &["Take", "TakeAlongAxis"]),
    (
        Computes,
        &[
            "Absolute",
            "Add",
            "Clip",
            "Maximum",
            "Minimum",
            "Multiply",
            "Negative",
            "Relu",
            "Sign",
            "Square",
            "StopGradient",
            "Subtract",
            "Where",
        ],
    ),
    (ComputesWhole, &["FloorDivide", "Mod"]),
    (ComputesReal, &["Ceil", "Divide", "Floor", "Sqrt", "TrueDivide", "Trunc"]),
    (
        Compares,
        &[
            "All",
            "Any",
            "Argmax",
            "Argmin",
            "CountNonzero",
            "Equal",
            "Greater",
            "GreaterEqual",
            "Isnan",
            "Less",
            "LessEqual",
            "LogicalAnd",
            "LogicalNot",
            "LogicalOr",
            "LogicalXor",
            "NotEqual",
        ],
    ),
    (Widens, &["Prod", "Sum"]),
    (Measures, &["Cos", "Exp", "Log", "Mean", "Sin", "Std", "Tanh", "Var"]),
];

/// An element type of Keras's.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Element {
    Own(DType),
    Narrow(Narrow),
}

impl Element {
    fn is_float(self) -> bool {
        match self {
            Element::Own(dtype) => dtype.is_float(),
            Element::Narrow(narrow) => narrow.is_float(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Element::Own(dtype) => dtype.name(),
            Element::Narrow(narrow) => narrow.name(),
        }
    }

    /// Whether whole numbers have a sign, and their bits.
    fn whole(self) -> (bool, u32) {
        match self {
            Element::Own(DType::U8) => (false, 8),
            Element::Own(DType::U32) => (false, 32),
            Element::Narrow(Narrow::Int8) => (true, 8),
            Element::Narrow(Narrow::Int16) => (true, 16),
            Element::Narrow(Narrow::Uint16) => (false, 16),
            Element::Own(DType::Bool) => (false, 1),
            Element::Own(DType::I32 | DType::F32 | DType::F64)
            | Element::Narrow(Narrow::Float16 | Narrow::Bfloat16) => (true, 32),
        }
    }

    /// The type in which two meet, as in JAX without 64 bits.
    fn meet(self, other: Element) -> Element {
        let (a, b) = (self.whole(), other.whole());
        match (self.is_float(), other.is_float()) {
            _ if self == other => self,
            (true, true) => Element::Own(DType::F32),
            (true, false) => self,
            (false, true) => other,
            _ if a.1 == 1 => other,
            _ if b.1 == 1 => self,
            _ if a.0 == b.0 => {
                if a.1 >= b.1 {
                    self
                } else {
                    other
                }
            }
            _ => {
                let (signed, unsigned) = if a.0 { (a.1, b.1) } else { (b.1, a.1) };
                match signed.max(2 * unsigned) {
                    ..=8 => Element::Narrow(Narrow::Int8),
                    16 => Element::Narrow(Narrow::Int16),
                    _ => Element::Own(DType::I32),
                }
            }
        }
    }

    /// An operand in this type.
    fn of(self, graph: &mut Graph, x: NodeId, from: Element) -> NodeId {
        match self {
            _ if self == from => x,
            Element::Own(dtype) => graph.cast(x, dtype),
            Element::Narrow(narrow) => narrow.cast(graph, x),
        }
    }
}

/// The tensors and the plain numbers in an argument.
fn leaves<'a>(argument: &'a Argument, tensors: &mut Vec<usize>, numbers: &mut Vec<&'a serde_json::Number>) {
    match argument {
        Argument::Tensor(i) => tensors.push(*i),
        Argument::List(list) => list.iter().for_each(|one| leaves(one, tensors, numbers)),
        Argument::Plain(Value::Number(number)) => numbers.push(number),
        Argument::Plain(_) => {}
    }
}

impl Operation {
    /// The operation over tensors of which some are narrow, and the narrow type of its results.
    pub(super) fn typed(
        &self,
        graph: &mut Graph,
        tensors: &[NodeId],
        narrow: &[Option<Narrow>],
    ) -> Result<(Vec<NodeId>, Option<Narrow>), String> {
        if self.class.0 == "Cast" {
            return self.converted(graph, tensors);
        }
        let meaning = MEANINGS.iter().find(|(_, names)| names.contains(&self.class.0)).map(|(meaning, _)| *meaning);
        let element = |i: usize| match narrow.get(i).copied().flatten() {
            Some(narrow) => Element::Narrow(narrow),
            None => Element::Own(graph.ty(tensors[i]).dtype),
        };
        let elements: Vec<Element> = (0..tensors.len()).map(element).collect();
        let Some(some) = elements.iter().copied().find(|e| matches!(e, Element::Narrow(_))) else {
            let wide = |x: &NodeId| match graph.ty(*x).dtype {
                DType::U8 if meaning == Some(Widens) => graph.cast(*x, DType::U32),
                _ => *x,
            };
            let tensors: Vec<NodeId> = tensors.iter().map(wide).collect();
            return Ok((self.add_to(graph, &tensors)?, None));
        };
        let refused = |of: Element| {
            Err(format!(
                "it is not computed in {}; convert the tensor first, as in `ops.cast(x, \"float32\")`",
                of.name()
            ))
        };
        let Some(meaning) = meaning else { return refused(some) };
        // The condition of `where` and indices are no operands.
        let (mut operands, mut numbers) = (Vec::new(), Vec::new());
        let skip = if self.class.0 == "Where" { 1 } else { 0 };
        let all = self.positional.iter().skip(skip).chain(self.named.iter().map(|(_, argument)| argument));
        match meaning {
            Picks => operands.push(0),
            Moves => {
                let mut others = Vec::new();
                all.for_each(|argument| leaves(argument, &mut operands, &mut others));
            }
            _ => all.for_each(|argument| leaves(argument, &mut operands, &mut numbers)),
        }
        let Some(mut meet) = operands.iter().map(|&i| elements[i]).reduce(Element::meet) else {
            return Ok((self.add_to(graph, tensors)?, None));
        };
        let reduces =
            matches!(meaning, Widens | Measures) || matches!(self.class.0, "All" | "Any" | "Argmax" | "Argmin");
        if !reduces && numbers.iter().any(|number| number.is_f64()) && !meet.is_float() {
            meet = Element::Own(DType::F32);
        }
        let mut tensors = tensors.to_vec();
        for &i in &operands {
            tensors[i] = meet.of(graph, tensors[i], elements[i]);
        }
        let real = meet.is_float();
        let Element::Narrow(narrow) = meet else { return Ok((self.add_to(graph, &tensors)?, None)) };
        match meaning {
            Widens | Measures | ComputesWhole if real => return refused(meet),
            Widens | Measures | Compares => return Ok((self.add_to(graph, &tensors)?, None)),
            ComputesReal if !real => return Ok((self.add_to(graph, &tensors)?, None)),
            Moves | Picks | Computes | ComputesWhole | ComputesReal => {}
        }
        let computed = !matches!(meaning, Moves | Picks);
        let results = match computed {
            true => self.in_numbers_of(narrow)?.add_to(graph, &tensors)?,
            false => self.add_to(graph, &tensors)?,
        };
        let fitted = |x: NodeId| {
            let x = graph.cast(x, narrow.wide());
            if computed { narrow.fit(graph, x) } else { x }
        };
        Ok((results.into_iter().map(fitted).collect(), Some(narrow)))
    }

    fn converted(&self, graph: &mut Graph, tensors: &[NodeId]) -> Result<(Vec<NodeId>, Option<Narrow>), String> {
        let named = self.named.iter().find(|(name, _)| name == "dtype").map(|(_, argument)| argument);
        let to =
            self.positional.get(1).or(named).and_then(Argument::plain).or_else(|| self.config.get("dtype").cloned());
        let narrow = to.as_ref().and_then(Value::as_str).and_then(Narrow::parse);
        match (narrow, tensors) {
            (Some(narrow), [x]) => Ok((vec![narrow.cast(graph, *x)], Some(narrow))),
            _ => Ok((self.add_to(graph, tensors)?, None)),
        }
    }

    /// The operation with plain numbers of a type: whole ones have to be in range, real ones are rounded.
    fn in_numbers_of(&self, narrow: Narrow) -> Result<Operation, String> {
        let number = |value: &Value| match value.as_f64() {
            Some(x) if narrow.is_float() => {
                let rounded = serde_json::Number::from_f64(narrow.constant(x)).map(Value::Number);
                rounded.ok_or_else(|| format!("{x} is infinite in {}", narrow.name()))
            }
            Some(x) if !narrow.holds(x) => Err(format!("{x} is no {}", narrow.name())),
            _ => Ok(value.clone()),
        };
        let argument = |argument: &Argument| match argument {
            Argument::Plain(value @ Value::Number(_)) => number(value).map(Argument::Plain),
            other => Ok(other.clone()),
        };
        let mut operation = self.clone();
        operation.positional = self.positional.iter().map(argument).collect::<Result<_, _>>()?;
        for (_, value) in &mut operation.named {
            *value = argument(value)?;
        }
        for key in ["x_min", "x_max"] {
            if let Some(value @ Value::Number(_)) = operation.config.get_mut(key) {
                *value = number(value)?;
            }
        }
        Ok(operation)
    }
}
