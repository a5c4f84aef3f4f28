//! Operations element by element: arithmetic, comparisons, functions of numbers, activations.

use serde_json::Value;

use super::{Argument, Call, Class};
use crate::ir::scalar::{BinaryFn, UnaryFn};
use crate::ir::{DType, Graph, NodeId, Op, TensorType};
use crate::model::{Activation, merge};

pub(super) type Built = Result<Vec<NodeId>, String>;

pub(super) const CLASSES: &[Class] = &[
    ("Add", |c| c.arithmetic(BinaryFn::Add)),
    ("Subtract", |c| c.arithmetic(BinaryFn::Sub)),
    ("Multiply", |c| c.arithmetic(BinaryFn::Mul)),
    ("Divide", |c| c.real_arithmetic(BinaryFn::Div)),
    ("TrueDivide", |c| c.real_arithmetic(BinaryFn::Div)),
    ("Power", |c| c.real_arithmetic(BinaryFn::Pow)),
    ("Maximum", |c| c.arithmetic(BinaryFn::Max)),
    ("Minimum", |c| c.arithmetic(BinaryFn::Min)),
    ("Equal", |c| c.arithmetic(BinaryFn::Eq)),
    ("NotEqual", |c| c.arithmetic(BinaryFn::Ne)),
    ("Less", |c| c.arithmetic(BinaryFn::Lt)),
    ("LessEqual", |c| c.arithmetic(BinaryFn::Le)),
    ("Greater", |c| c.arithmetic(BinaryFn::Gt)),
    ("GreaterEqual", |c| c.arithmetic(BinaryFn::Ge)),
    ("LogicalAnd", |c| c.logic(BinaryFn::And)),
    ("LogicalOr", |c| c.logic(BinaryFn::Or)),
    ("LogicalXor", |c| c.logic(BinaryFn::Xor)),
    ("LogicalNot", |c| {
        let x = c.x()?;
        let x = c.graph.cast(x, DType::Bool);
        Ok(vec![c.graph.not(x)])
    }),
    ("Negative", |c| c.of_number(UnaryFn::Neg)),
    ("Absolute", |c| c.of_number(UnaryFn::Abs)),
    ("Square", |c| c.of_number(UnaryFn::Square)),
    ("Sqrt", |c| c.of_real(UnaryFn::Sqrt)),
    ("Rsqrt", |c| c.of_real(UnaryFn::Rsqrt)),
    ("Reciprocal", |c| c.of_real(UnaryFn::Recip)),
    ("Exp", |c| c.of_real(UnaryFn::Exp)),
    ("Expm1", |c| c.of_real(UnaryFn::Expm1)),
    ("Log", |c| c.of_real(UnaryFn::Log)),
    ("Log1p", |c| c.of_real(UnaryFn::Log1p)),
    ("Log2", |c| c.logarithm(std::f64::consts::LOG2_E)),
    ("Log10", |c| c.logarithm(std::f64::consts::LOG10_E)),
    ("Sin", |c| c.of_real(UnaryFn::Sin)),
    ("Cos", |c| c.of_real(UnaryFn::Cos)),
    ("Tan", |c| c.of_real(UnaryFn::Tan)),
    ("Tanh", |c| c.of_real(UnaryFn::Tanh)),
    ("Erf", |c| c.of_real(UnaryFn::Erf)),
    ("Sign", |c| c.of_real(UnaryFn::Sign)),
    ("Floor", |c| c.of_real(UnaryFn::Floor)),
    ("Ceil", |c| c.of_real(UnaryFn::Ceil)),
    ("Trunc", |c| c.of_real(UnaryFn::Trunc)),
    ("Isnan", |c| c.of_real(UnaryFn::IsNan)),
    ("StopGradient", |c| c.of_real(UnaryFn::StopGradient)),
    ("Cast", |c| {
        let name: String = c.value(1, "dtype")?.ok_or("`dtype` is missing")?;
        let to = super::super::dtype_called(&name)
            .ok_or_else(|| format!("tensors of type `{}` do not exist", name.escape_debug()))?;
        let x = c.x()?;
        Ok(vec![c.graph.cast(x, to)])
    }),
    ("Clip", |c| {
        let (low, high) = (c.number(1, "x_min")?, c.number(2, "x_max")?);
        let x = c.x()?;
        let x = c.graph.max_s(x, low);
        Ok(vec![c.graph.min_s(x, high)])
    }),
    ("Where", |c| {
        let condition = c.tensor(0, "condition")?;
        let condition = c.graph.cast(condition, DType::Bool);
        let [a, b] = c.pair([(1, "x1"), (2, "x2")], false)?;
        let [condition, a, b] = c.stretched([condition, a, b])?;
        Ok(vec![c.graph.select(condition, a, b)])
    }),
    // The first choice whose condition holds.
    ("Select", |c| {
        let (conditions, choices) = (c.list(0, "condlist")?, c.list(1, "choicelist")?);
        if conditions.len() != choices.len() {
            return Err(format!("{} conditions for {} choices", conditions.len(), choices.len()));
        }
        let mut y = c.optional(2, "default")?.unwrap_or_else(|| c.graph.scalar(DType::I32, 0.0));
        for (&condition, &choice) in conditions.iter().zip(&choices).rev() {
            let condition = c.graph.cast(condition, DType::Bool);
            let [choice, other] = c.met([choice, y]);
            let [condition, choice, other] = c.stretched([condition, choice, other])?;
            y = c.graph.select(condition, choice, other);
        }
        Ok(vec![y])
    }),
    ("Size", |c| {
        let x = c.x()?;
        let size = c.shape(x).elements().ok_or("it has too many elements")?;
        Ok(vec![c.graph.size(size, DType::I32)])
    }),
    ("Ndim", |c| {
        let x = c.x()?;
        let rank = c.shape(x).rank();
        Ok(vec![c.graph.scalar(DType::I32, rank as f64)])
    }),
    ("Relu", |c| c.between(0.0, None, Activation::Relu)),
    ("Relu6", |c| c.activation(Activation::Relu6)),
    ("Sigmoid", |c| c.activation(Activation::Sigmoid)),
    ("SparseSigmoid", |c| c.activation(Activation::SparseSigmoid)),
    ("HardSigmoid", |c| c.activation(Activation::HardSigmoid)),
    ("LogSigmoid", |c| c.activation(Activation::LogSigmoid)),
    ("Softplus", |c| c.activation(Activation::Softplus)),
    ("SparsePlus", |c| c.activation(Activation::SparsePlus)),
    ("Softsign", |c| c.activation(Activation::Softsign)),
    ("Silu", |c| c.activation(Activation::Silu)),
    ("HardSilu", |c| c.activation(Activation::HardSilu)),
    ("Selu", |c| c.activation(Activation::Selu)),
    ("HardTanh", |c| c.between(-1.0, Some(1.0), Activation::HardTanh)),
    ("TanhShrink", |c| c.activation(Activation::TanhShrink)),
    ("Elu", |c| c.with_number("alpha", 1.0, Activation::Elu)),
    ("Celu", |c| c.with_number("alpha", 1.0, Activation::Celu)),
    ("LeakyRelu", |c| c.with_number("negative_slope", 0.2, Activation::LeakyRelu)),
    ("HardShrink", |c| c.with_number("threshold", 0.5, Activation::HardShrink)),
    ("SoftShrink", |c| c.with_number("threshold", 0.5, Activation::SoftShrink)),
    ("Squareplus", |c| c.with_number("b", 4.0, Activation::Squareplus)),
    ("Gelu", |c| {
        let approximate = c.value(1, "approximate")?.unwrap_or(true);
        c.activation(if approximate { Activation::GeluTanh } else { Activation::Gelu })
    }),
    ("Softmax", |c| {
        let x = c.real_x()?;
        let axes = c.softmax_axes(x)?;
        c.graph.softmax_over(x, &axes).map(|y| vec![y])
    }),
    ("LogSoftmax", |c| {
        let x = c.real_x()?;
        let (axes, shape) = (c.softmax_axes(x)?, c.shape(x));
        let flat = c.graph.joined(x, &axes)?;
        let sum = c.graph.log_sum_exp(flat, c.shape(flat).rank() - 1);
        let sum = c.graph.unreduce(sum, &axes, &shape);
        Ok(vec![c.graph.sub(x, sum)])
    }),
];

/// The type in which two element types meet.
fn common(a: DType, b: DType) -> DType {
    match (a, b) {
        (a, b) if a == b => a,
        (a, b) if a.is_float() || b.is_float() => DType::F32,
        (DType::Bool, other) | (other, DType::Bool) => other,
        _ => DType::I32,
    }
}

/// Whether a whole number takes an element type.
fn holds(dtype: DType, value: f64) -> bool {
    dtype.is_float() || dtype != DType::Bool && dtype.wrap(value as i64) as f64 == value
}

/// An operand: a tensor, or a number that still has no type.
enum Operand {
    Tensor(NodeId),
    Number { value: f64, whole: bool },
}

impl Call<'_> {
    fn operand(&mut self, (place, name): (usize, &str)) -> Result<Operand, String> {
        let argument = self.argument(place, name);
        match argument {
            Some(Argument::Plain(Value::Number(n))) => {
                Ok(Operand::Number { value: n.as_f64().unwrap_or(f64::NAN), whole: !n.is_f64() })
            }
            Some(Argument::Plain(Value::Bool(b))) => Ok(Operand::Number { value: b as u8 as f64, whole: true }),
            Some(argument) => match self.made(&argument)? {
                Some(x) => Ok(Operand::Tensor(x)),
                None => Err(format!("`{name}` is neither a tensor nor a number")),
            },
            None => Err(format!("`{name}` is missing")),
        }
    }

    /// Two operands in one type, a real one if that is asked for.
    pub(super) fn pair(&mut self, places: [(usize, &str); 2], real: bool) -> Result<[NodeId; 2], String> {
        let [a, b] = [self.operand(places[0])?, self.operand(places[1])?];
        let own = |operand: &Operand, other: Option<DType>| match operand {
            Operand::Tensor(x) => self.graph.ty(*x).dtype,
            Operand::Number { whole: false, .. } => DType::F32,
            Operand::Number { value, whole: true } => other.filter(|d| holds(*d, *value)).unwrap_or(DType::I32),
        };
        let tensor = |operand: &Operand| matches!(operand, Operand::Tensor(_)).then(|| own(operand, None));
        let meet = common(own(&a, tensor(&b)), own(&b, tensor(&a)));
        let meet = if real && !meet.is_float() { DType::F32 } else { meet };
        let mut made = |operand: Operand| match operand {
            Operand::Tensor(x) => self.graph.cast(x, meet),
            Operand::Number { value, .. } => self.graph.scalar(meet, value),
        };
        Ok([made(a), made(b)])
    }

    /// Two tensors in the type in which they meet.
    pub(super) fn met(&mut self, pair: [NodeId; 2]) -> [NodeId; 2] {
        let meet = common(self.graph.ty(pair[0]).dtype, self.graph.ty(pair[1]).dtype);
        pair.map(|x| self.graph.cast(x, meet))
    }

    /// Tensors stretched to the shape that they have in common.
    pub(super) fn stretched<const N: usize>(&mut self, nodes: [NodeId; N]) -> Result<[NodeId; N], String> {
        let mut shape = self.shape(nodes[0]);
        for &x in &nodes[1..] {
            let other = self.shape(x);
            let common = merge::broadcast_shape(&shape, &other);
            shape = common.ok_or_else(|| format!("{shape} and {other} do not stretch to one shape"))?;
        }
        Ok(nodes.map(|x| self.graph.broadcast_to(x, &shape)))
    }

    fn binary(&mut self, f: BinaryFn, real: bool) -> Built {
        let pair = self.pair([(0, "x1"), (1, "x2")], real)?;
        let [a, b] = self.stretched(pair)?;
        Ok(vec![self.graph.push(Op::Binary(f), &[a, b])])
    }

    fn arithmetic(&mut self, f: BinaryFn) -> Built {
        self.binary(f, false)
    }

    fn real_arithmetic(&mut self, f: BinaryFn) -> Built {
        self.binary(f, true)
    }

    fn logic(&mut self, f: BinaryFn) -> Built {
        let pair = self.pair([(0, "x1"), (1, "x2")], false)?;
        let [a, b] = self.stretched(pair)?;
        let (a, b) = (self.graph.cast(a, DType::Bool), self.graph.cast(b, DType::Bool));
        Ok(vec![self.graph.push(Op::Binary(f), &[a, b])])
    }

    /// A function of numbers of any kind.
    pub(super) fn of_number(&mut self, f: UnaryFn) -> Built {
        let x = self.x()?;
        let x = if self.graph.ty(x).dtype == DType::Bool { self.graph.cast(x, DType::I32) } else { x };
        Ok(vec![self.graph.push(Op::Unary(f), &[x])])
    }

    pub(super) fn of_real(&mut self, f: UnaryFn) -> Built {
        let x = self.x()?;
        let x = self.real(x);
        Ok(vec![self.graph.push(Op::Unary(f), &[x])])
    }

    /// The natural logarithm times a factor.
    fn logarithm(&mut self, factor: f64) -> Built {
        let x = self.of_real(UnaryFn::Log)?;
        Ok(vec![self.graph.mul_s(x[0], factor)])
    }

    /// The axes of a softmax, by default the last, in order.
    fn softmax_axes(&self, x: NodeId) -> Result<Vec<usize>, String> {
        let rank = self.shape(x).rank();
        let axes: Vec<i64> = self.numbers(1, "axis")?.unwrap_or_else(|| vec![-1]);
        let mut axes = axes.iter().map(|&axis| self.axis(axis, rank)).collect::<Result<Vec<_>, _>>()?;
        axes.sort_unstable();
        axes.dedup();
        match axes.is_empty() {
            true => Err("it is along no axis".into()),
            false => Ok(axes),
        }
    }

    pub(super) fn activation(&mut self, activation: Activation) -> Built {
        let x = self.x()?;
        let x = self.real(x);
        Ok(vec![activation.on(self.graph, x)])
    }

    /// An activation that keeps its input between two numbers, and whole numbers whole.
    fn between(&mut self, low: f64, high: Option<f64>, activation: Activation) -> Built {
        let x = self.x()?;
        if self.ty(x).dtype != DType::I32 {
            return self.activation(activation);
        }
        let y = self.graph.max_s(x, low);
        Ok(vec![high.map_or(y, |high| self.graph.min_s(y, high))])
    }

    /// An activation that a number belongs to.
    fn with_number(&mut self, name: &str, default: f64, activation: fn(f64) -> Activation) -> Built {
        let number = self.value(1, name)?.unwrap_or(default);
        self.activation(activation(number))
    }
}

/// A tensor of ones or zeros like another.
pub(super) fn filled(g: &mut Graph, like: NodeId, value: f64) -> NodeId {
    let ty: TensorType = g.ty(like).clone();
    g.splat_of(value, ty)
}
