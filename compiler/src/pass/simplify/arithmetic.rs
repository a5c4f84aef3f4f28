//! Rules of scalar functions, choices and conversions.

use super::{binary, operand_of, unary};
use crate::ir::{BinaryFn, DType, Graph, NodeId, Op, ReduceFn, UnaryFn};

/// The number with every bit set.
fn all_ones(dtype: DType) -> f64 {
    if dtype == DType::I32 { -1.0 } else { ReduceFn::Min.neutral(dtype) }
}

/// `x * 1`, `x + 0`, `max(x, -inf)`, ... give `x`.
pub fn neutral_operand(g: &mut Graph, id: NodeId) -> Option<NodeId> {
    let (f, x, y) = binary(g, id)?;
    let dtype = g.ty(x).dtype;
    let is_neutral = |c: f64| match f {
        BinaryFn::Add | BinaryFn::Sub | BinaryFn::Or | BinaryFn::Xor | BinaryFn::Shl | BinaryFn::Shr => c == 0.0,
        BinaryFn::Mul | BinaryFn::Div | BinaryFn::Pow => c == 1.0,
        BinaryFn::Min => c == ReduceFn::Min.neutral(dtype),
        BinaryFn::Max => c == ReduceFn::Max.neutral(dtype),
        BinaryFn::And => c == all_ones(dtype),
        _ => false,
    };
    if g.splat(y).is_some_and(is_neutral) {
        return Some(x);
    }
    (f.row().commutes && g.splat(x).is_some_and(is_neutral)).then_some(y)
}

/// On integers and booleans: `x * 0`, `x & 0` give zero, `x | -1` gives -1.
pub fn absorbing_operand(g: &mut Graph, id: NodeId) -> Option<NodeId> {
    let (f, x, y) = binary(g, id)?;
    let dtype = g.ty(x).dtype;
    if dtype.is_float() {
        return None;
    }
    let absorbs = |c: f64| match f {
        BinaryFn::Mul | BinaryFn::And => c == 0.0,
        BinaryFn::Or => c == all_ones(dtype),
        _ => false,
    };
    [x, y].into_iter().find(|n| g.splat(*n).is_some_and(absorbs))
}

/// `max(x, x)` gives `x`; on integers `x - x` gives 0 and `x == x` true. A NaN differs from itself.
pub fn same_operands(g: &mut Graph, id: NodeId) -> Option<NodeId> {
    let (f, x, y) = binary(g, id)?;
    if x != y {
        return None;
    }
    let exact = !g.ty(x).dtype.is_float();
    match f {
        BinaryFn::Min | BinaryFn::Max | BinaryFn::And | BinaryFn::Or => Some(x),
        BinaryFn::Sub | BinaryFn::Xor | BinaryFn::Ne if exact => Some(g.lit_like(id, 0.0)),
        BinaryFn::Lt | BinaryFn::Gt => Some(g.lit_like(id, 0.0)),
        BinaryFn::Eq | BinaryFn::Le | BinaryFn::Ge if exact => Some(g.lit_like(id, 1.0)),
        _ => None,
    }
}

/// Negations move out of sums and cancel elsewhere: `a + -b` is `a - b`, `-a * -b` is `a * b`, `|-a|` is `|a|`.
pub fn negated_operand(g: &mut Graph, id: NodeId) -> Option<NodeId> {
    let negated = |g: &Graph, x| operand_of(g, UnaryFn::Neg, x);
    if let Some((f, x)) = unary(g, id) {
        let signed = g.ty(x).dtype.is_float() || g.ty(x).dtype == DType::I32;
        return match f {
            UnaryFn::Neg => match (negated(g, x), binary(g, x)) {
                (Some(x), _) => Some(x),
                (_, Some((BinaryFn::Sub, a, b))) => Some(g.sub(b, a)),
                _ => None,
            },
            UnaryFn::Square => negated(g, x).map(|x| g.square(x)),
            UnaryFn::Abs if signed => negated(g, x).map(|x| g.abs(x)),
            UnaryFn::Cos => negated(g, x).map(|x| g.cos(x)),
            _ => None,
        };
    }
    let (f, x, y) = binary(g, id)?;
    let float = g.ty(x).dtype.is_float();
    match (f, negated(g, x), negated(g, y)) {
        (BinaryFn::Add, _, Some(b)) => Some(g.sub(x, b)),
        (BinaryFn::Add, Some(a), _) => Some(g.sub(y, a)),
        (BinaryFn::Sub, _, Some(b)) => Some(g.add(x, b)),
        (BinaryFn::Mul, Some(a), Some(b)) => Some(g.mul(a, b)),
        (BinaryFn::Div, Some(a), Some(b)) if float => Some(g.div(a, b)),
        (BinaryFn::Sub, ..) if g.splat(x) == Some(0.0) => Some(g.neg(y)),
        (BinaryFn::Mul, ..) if g.splat(y) == Some(-1.0) => Some(g.neg(x)),
        (BinaryFn::Mul, ..) if g.splat(x) == Some(-1.0) => Some(g.neg(y)),
        (BinaryFn::Div, ..) if float && g.splat(y) == Some(-1.0) => Some(g.neg(x)),
        _ => None,
    }
}

/// `relu(relu(x))`, `floor(round(x))`, `||x||`, ... give the inner value; `!!x` gives `x`.
pub fn repeated_function(g: &mut Graph, id: NodeId) -> Option<NodeId> {
    use UnaryFn::{Abs, Ceil, Exp, Floor, Not, Relu, Round, Sigmoid, Sign, Sqrt, Square, Trunc};
    let (f, x) = unary(g, id)?;
    let (inner, y) = unary(g, x)?;
    let float = g.ty(x).dtype.is_float();
    match (f, inner) {
        (Not, Not) => Some(y),
        (Relu, Relu | Exp | Sigmoid | Sqrt | Abs | Square) => Some(x),
        (Abs, Abs) => Some(x),
        (Abs, Relu | Exp | Sigmoid | Sqrt | Square) if float => Some(x),
        (Floor | Ceil | Round | Trunc, Floor | Ceil | Round | Trunc | Sign) => Some(x),
        (Sign, Sign) => Some(x),
        _ => None,
    }
}

/// `x^2` is a square, `x^-1` a reciprocal.
pub fn constant_power(g: &mut Graph, id: NodeId) -> Option<NodeId> {
    match binary(g, id)? {
        (BinaryFn::Pow, x, y) if g.splat(y) == Some(2.0) => Some(g.square(x)),
        (BinaryFn::Pow, x, y) if g.splat(y) == Some(-1.0) => Some(g.recip(x)),
        _ => None,
    }
}

/// Division by a power of two is an exact multiplication.
pub fn constant_divisor(g: &mut Graph, id: NodeId) -> Option<NodeId> {
    let (BinaryFn::Div, x, y) = binary(g, id)? else {
        return None;
    };
    let c = g.splat(y).filter(|_| g.ty(x).dtype.is_float())?;
    let mantissa_is_zero = c.to_bits() << 12 == 0;
    if !mantissa_is_zero || !(1e-30..1e30).contains(&c.abs()) {
        return None;
    }
    Some(g.mul_s(x, 1.0 / c))
}

/// `!(a == b)` is `a != b`; the other comparisons differ on NaN, so theirs is for integers.
pub fn negated_comparison(g: &mut Graph, id: NodeId) -> Option<NodeId> {
    let x = operand_of(g, UnaryFn::Not, id)?;
    let (f, a, b) = binary(g, x)?;
    let exact = !g.ty(a).dtype.is_float();
    let opposite = match f {
        BinaryFn::Eq => BinaryFn::Ne,
        BinaryFn::Ne => BinaryFn::Eq,
        BinaryFn::Lt if exact => BinaryFn::Ge,
        BinaryFn::Ge if exact => BinaryFn::Lt,
        BinaryFn::Gt if exact => BinaryFn::Le,
        BinaryFn::Le if exact => BinaryFn::Gt,
        _ => return None,
    };
    Some(g.push(Op::Binary(opposite), &[a, b]))
}

fn choice(g: &Graph, id: NodeId) -> Option<(NodeId, NodeId, NodeId)> {
    match (&g.node(id).op, &g.node(id).args[..]) {
        (Op::Select, [c, a, b]) => Some((*c, *a, *b)),
        _ => None,
    }
}

/// A choice between equals, by a constant, or between true and false.
pub fn constant_choice(g: &mut Graph, id: NodeId) -> Option<NodeId> {
    let (c, a, b) = choice(g, id)?;
    match (g.splat(c), g.splat(a), g.splat(b)) {
        _ if a == b => Some(a),
        (Some(c), ..) => Some(if c != 0.0 { a } else { b }),
        (_, Some(a), Some(b)) if g.ty(id).dtype == DType::Bool => match (a != 0.0, b != 0.0) {
            (true, false) => Some(c),
            (false, true) => Some(g.not(c)),
            _ => None,
        },
        _ => None,
    }
}

/// A choice by a condition that was chosen by already, or by a negation.
pub fn repeated_choice(g: &mut Graph, id: NodeId) -> Option<NodeId> {
    let (c, a, b) = choice(g, id)?;
    if let Some(c) = operand_of(g, UnaryFn::Not, c) {
        return Some(g.select(c, b, a));
    }
    match (choice(g, a).filter(|i| i.0 == c), choice(g, b).filter(|i| i.0 == c)) {
        (None, None) => None,
        (inner_a, inner_b) => {
            let (a, b) = (inner_a.map_or(a, |i| i.1), inner_b.map_or(b, |i| i.2));
            Some(g.select(c, a, b))
        }
    }
}

/// Whether every value of one type is a value of another.
fn holds(wide: DType, narrow: DType) -> bool {
    use DType::{Bool, F32, F64, I32, U8, U32};
    match narrow {
        Bool => true,
        U8 => !matches!(wide, Bool),
        I32 => matches!(wide, I32 | F64),
        U32 => matches!(wide, U32 | F64),
        F32 => matches!(wide, F32 | F64),
        F64 => matches!(wide, F64),
    }
}

/// A conversion that changes nothing, or goes through a type that loses nothing.
pub fn cast_of_cast(g: &mut Graph, id: NodeId) -> Option<NodeId> {
    let cast = |g: &Graph, id: NodeId| match (&g.node(id).op, &g.node(id).args[..]) {
        (Op::Cast(to), [x]) => Some((*to, *x)),
        _ => None,
    };
    let (to, x) = cast(g, id)?;
    if g.ty(x).dtype == to {
        return Some(x);
    }
    let (through, y) = cast(g, x)?;
    let from = g.ty(y).dtype;
    // An integer through a float saturates where it would wrap.
    let alike = from.is_float() == through.is_float() || to.is_float() || to == DType::Bool || holds(to, from);
    (holds(through, from) && alike).then(|| g.cast(y, to))
}

/// Gradients have been taken before the passes run.
pub fn gradient_barrier(g: &mut Graph, id: NodeId) -> Option<NodeId> {
    match binary(g, id) {
        Some((BinaryFn::GradientOf, value, _)) => Some(value),
        _ => operand_of(g, UnaryFn::StopGradient, id),
    }
}
