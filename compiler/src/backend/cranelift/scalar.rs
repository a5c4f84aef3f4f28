//! The native rows of the scalar table as instructions on four lanes.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Type, Value, types};
use cranelift_frontend::FunctionBuilder;

use crate::ir::{BinaryFn, DType, ReduceFn, UnaryFn};

use super::lanes::{cast, constant, lanes32, select};
use super::target::Features;

/// What is known of an operand, for cheaper forms of the same value.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Operand {
    /// Any value, different in each lane.
    Lanes,
    /// The same value in every lane.
    Uniform,
    /// This value.
    Const(f64),
}

impl Operand {
    fn is_number(self) -> bool {
        matches!(self, Operand::Const(c) if !c.is_nan())
    }
}

/// A unary function on operands of type `dtype`; `None` if the row is not native.
pub fn unary(b: &mut FunctionBuilder, features: Features, f: UnaryFn, dtype: DType, x: Value) -> Option<Value> {
    let float = dtype.is_float();
    Some(match f {
        UnaryFn::Neg if float => b.ins().fneg(x),
        UnaryFn::Neg => {
            let y = b.ins().ineg(x);
            wrap(b, dtype, y)
        }
        UnaryFn::Abs if float => b.ins().fabs(x),
        UnaryFn::Abs if dtype == DType::I32 => b.ins().iabs(x),
        UnaryFn::Abs => x,
        UnaryFn::Floor if features.round => b.ins().floor(x),
        UnaryFn::Ceil if features.round => b.ins().ceil(x),
        UnaryFn::Trunc if features.round => b.ins().trunc(x),
        UnaryFn::Round if features.round => b.ins().nearest(x),
        UnaryFn::Floor | UnaryFn::Ceil | UnaryFn::Trunc | UnaryFn::Round => integral(b, f, x),
        UnaryFn::Sqrt => b.ins().sqrt(x),
        UnaryFn::Not => {
            let y = b.ins().bnot(x);
            wrap(b, dtype, y)
        }
        UnaryFn::ToBits => cast(b, types::I32X4, x),
        UnaryFn::FromBits => cast(b, types::F32X4, x),
        _ => return None,
    })
}

/// A binary function on operands of type `dtype`; `None` if the row is not native.
pub fn binary(
    b: &mut FunctionBuilder,
    f: BinaryFn,
    dtype: DType,
    (x, y): (Value, Value),
    (known_x, known_y): (Operand, Operand),
) -> Option<Value> {
    let float = dtype.is_float();
    let arithmetic = |b: &mut FunctionBuilder, value: Value| wrap(b, dtype, value);
    Some(match f {
        BinaryFn::Add if float => b.ins().fadd(x, y),
        BinaryFn::Sub if float => b.ins().fsub(x, y),
        BinaryFn::Mul if float => b.ins().fmul(x, y),
        BinaryFn::Div if float => b.ins().fdiv(x, y),
        BinaryFn::Add => {
            let z = b.ins().iadd(x, y);
            arithmetic(b, z)
        }
        BinaryFn::Sub => {
            let z = b.ins().isub(x, y);
            arithmetic(b, z)
        }
        BinaryFn::Mul => {
            let z = b.ins().imul(x, y);
            arithmetic(b, z)
        }
        BinaryFn::Div => per_lane(b, x, y, |b, x, y| divide(b, dtype, x, y)),
        BinaryFn::Max | BinaryFn::Min if float => extremum(b, f, (x, y), (known_x, known_y)),
        BinaryFn::Max | BinaryFn::Min => int_extremum(b, f, dtype, x, y),
        BinaryFn::Eq => compare(b, dtype, FloatCC::Equal, IntCC::Equal, x, y),
        BinaryFn::Ne => compare(b, dtype, FloatCC::NotEqual, IntCC::NotEqual, x, y),
        BinaryFn::Lt => compare(b, dtype, FloatCC::LessThan, IntCC::SignedLessThan, x, y),
        BinaryFn::Le => compare(b, dtype, FloatCC::LessThanOrEqual, IntCC::SignedLessThanOrEqual, x, y),
        BinaryFn::Gt => compare(b, dtype, FloatCC::GreaterThan, IntCC::SignedGreaterThan, x, y),
        BinaryFn::Ge => compare(b, dtype, FloatCC::GreaterThanOrEqual, IntCC::SignedGreaterThanOrEqual, x, y),
        BinaryFn::And => b.ins().band(x, y),
        BinaryFn::Or => b.ins().bor(x, y),
        BinaryFn::Xor => b.ins().bxor(x, y),
        BinaryFn::Shl | BinaryFn::Shr => shift(b, f == BinaryFn::Shl, x, y, known_y),
        _ => return None,
    })
}

/// One step of a reduction: `acc` folded with `x`.
pub fn reduce(b: &mut FunctionBuilder, f: ReduceFn, dtype: DType, acc: Value, x: Value) -> Value {
    match f {
        ReduceFn::Sum if dtype.is_float() => b.ins().fadd(acc, x),
        ReduceFn::Sum if dtype == DType::Bool => b.ins().bor(acc, x),
        ReduceFn::Sum => {
            let sum = b.ins().iadd(acc, x);
            wrap(b, dtype, sum)
        }
        ReduceFn::Max | ReduceFn::Min if dtype.is_float() => {
            extremum(b, f.combine(), (acc, x), (Operand::Lanes, Operand::Lanes))
        }
        ReduceFn::Max | ReduceFn::Min => int_extremum(b, f.combine(), dtype, acc, x),
    }
}

/// Converts a value; see [`crate::ir::Op::Cast`].
pub fn convert(b: &mut FunctionBuilder, from: DType, to: DType, x: Value) -> Value {
    let zero = |b: &mut FunctionBuilder| constant(b, from, 0.0);
    match (from, to) {
        (DType::F32 | DType::F64, DType::F32 | DType::F64) | (DType::Bool, DType::Bool) => x,
        (DType::F32 | DType::F64, DType::I32) => b.ins().fcvt_to_sint_sat(types::I32X4, x),
        (DType::F32 | DType::F64, DType::U32) => b.ins().fcvt_to_uint_sat(types::I32X4, x),
        (DType::F32 | DType::F64, DType::U8) => {
            let y = b.ins().fcvt_to_sint_sat(types::I32X4, x);
            let (low, high) = (constant(b, DType::I32, 0.0), constant(b, DType::I32, 255.0));
            let y = b.ins().smax(y, low);
            b.ins().smin(y, high)
        }
        (DType::F32 | DType::F64, DType::Bool) => {
            let zero = zero(b);
            b.ins().fcmp(FloatCC::NotEqual, x, zero)
        }
        (DType::I32 | DType::U8, DType::F32 | DType::F64) => b.ins().fcvt_from_sint(types::F32X4, x),
        (DType::U32, DType::F32 | DType::F64) => b.ins().fcvt_from_uint(types::F32X4, x),
        (DType::Bool, DType::F32 | DType::F64) => {
            let one = lanes32(b, types::I32X4, [1f32.to_bits(); 4]);
            let y = b.ins().band(x, one);
            cast(b, types::F32X4, y)
        }
        (DType::Bool, DType::I32 | DType::U32 | DType::U8) => {
            let one = constant(b, DType::I32, 1.0);
            b.ins().band(x, one)
        }
        (DType::I32 | DType::U32 | DType::U8, DType::Bool) => {
            let zero = zero(b);
            b.ins().icmp(IntCC::NotEqual, x, zero)
        }
        (DType::I32 | DType::U32 | DType::U8, DType::U8) => wrap(b, DType::U8, x),
        (DType::I32 | DType::U32 | DType::U8, DType::I32 | DType::U32) => x,
    }
}

/// Brings the lanes of a `u8` back into their range after arithmetic.
fn wrap(b: &mut FunctionBuilder, dtype: DType, x: Value) -> Value {
    if dtype != DType::U8 {
        return x;
    }
    let low = constant(b, DType::I32, 255.0);
    b.ins().band(x, low)
}

/// The larger or smaller operand, NaN if either is. A single instruction of x86-64 where one operand is a number.
fn extremum(b: &mut FunctionBuilder, f: BinaryFn, (x, y): (Value, Value), known: (Operand, Operand)) -> Value {
    // `pick(p, q)` is `q` where either is NaN.
    let pick = |b: &mut FunctionBuilder, p: Value, q: Value| {
        let (low, high) = if f == BinaryFn::Max { (q, p) } else { (p, q) };
        let mask = b.ins().fcmp(FloatCC::LessThan, low, high);
        let mask = cast(b, types::F32X4, mask);
        b.ins().bitselect(mask, p, q)
    };
    if known.1.is_number() {
        return pick(b, y, x);
    }
    let z = pick(b, x, y);
    if known.0.is_number() {
        return z;
    }
    let nan = b.ins().fcmp(FloatCC::NotEqual, x, x);
    select(b, nan, x, z)
}

fn int_extremum(b: &mut FunctionBuilder, f: BinaryFn, dtype: DType, x: Value, y: Value) -> Value {
    match (dtype, f == BinaryFn::Max) {
        (DType::U32, true) => b.ins().umax(x, y),
        (DType::U32, false) => b.ins().umin(x, y),
        (DType::Bool, true) => b.ins().bor(x, y),
        (DType::Bool, false) => b.ins().band(x, y),
        (_, true) => b.ins().smax(x, y),
        (_, false) => b.ins().smin(x, y),
    }
}

/// A float that is not folded into the next instruction as a memory operand. Cranelift 0.135 does so for `cmpps`
/// without AVX, which takes aligned memory only.
fn in_register(b: &mut FunctionBuilder, x: Value) -> Value {
    let bits = cast(b, types::I32X4, x);
    cast(b, types::F32X4, bits)
}

fn compare(b: &mut FunctionBuilder, dtype: DType, float: FloatCC, int: IntCC, x: Value, y: Value) -> Value {
    match dtype {
        DType::F32 | DType::F64 => {
            let (x, y) = (in_register(b, x), in_register(b, y));
            b.ins().fcmp(float, x, y)
        }
        DType::U32 => b.ins().icmp(int.unsigned(), x, y),
        DType::I32 | DType::U8 | DType::Bool => b.ins().icmp(int, x, y),
    }
}

/// A shift of `u32` lanes; 0 for counts of 32 and more.
fn shift(b: &mut FunctionBuilder, left: bool, x: Value, count: Value, known: Operand) -> Value {
    let by = |b: &mut FunctionBuilder, x: Value, n: Value| if left { b.ins().ishl(x, n) } else { b.ins().ushr(x, n) };
    match known {
        Operand::Const(n) if !(0.0..32.0).contains(&n) => constant(b, DType::U32, 0.0),
        Operand::Const(n) => {
            let n = b.ins().iconst(types::I32, n as i64);
            by(b, x, n)
        }
        Operand::Uniform => {
            let n = b.ins().extractlane(count, 0);
            let shifted = by(b, x, n);
            let limit = constant(b, DType::U32, 32.0);
            let fits = b.ins().icmp(IntCC::UnsignedLessThan, count, limit);
            b.ins().band(shifted, fits)
        }
        Operand::Lanes => per_lane(b, x, count, |b, x, n| {
            let shifted = by(b, x, n);
            let zero = b.ins().iconst(types::I32, 0);
            let fits = b.ins().icmp_imm_u(IntCC::UnsignedLessThan, n, 32);
            b.ins().select(fits, shifted, zero)
        }),
    }
}

/// Integer division that truncates, wraps, and gives 0 for a zero divisor.
fn divide(b: &mut FunctionBuilder, dtype: DType, x: Value, y: Value) -> Value {
    let signed = dtype == DType::I32;
    let widen = |b: &mut FunctionBuilder, v: Value| {
        if signed { b.ins().sextend(types::I64, v) } else { b.ins().uextend(types::I64, v) }
    };
    let (x, y) = (widen(b, x), widen(b, y));
    let one = b.ins().iconst(types::I64, 1);
    let none = b.ins().icmp_imm_s(IntCC::Equal, y, 0);
    let divisor = b.ins().select(none, one, y);
    let quotient = if signed { b.ins().sdiv(x, divisor) } else { b.ins().udiv(x, divisor) };
    let quotient = b.ins().ireduce(types::I32, quotient);
    let zero = b.ins().iconst(types::I32, 0);
    b.ins().select(none, zero, quotient)
}

/// Applies a function of `i32` to the lanes one by one.
fn per_lane(
    b: &mut FunctionBuilder,
    x: Value,
    y: Value,
    f: impl Fn(&mut FunctionBuilder, Value, Value) -> Value,
) -> Value {
    let mut result = None;
    for lane in 0..4 {
        let (p, q) = (b.ins().extractlane(x, lane), b.ins().extractlane(y, lane));
        let z = f(b, p, q);
        result = Some(match result {
            None => b.ins().scalar_to_vector(types::I32X4, z),
            Some(v) => b.ins().insertlane(v, z, lane),
        });
    }
    result.unwrap_or(x)
}

/// Rounding without an instruction for it: through integers where the magnitude is below 2^23, the number itself
/// where it is not. The sign of a zero is that of `x`.
fn integral(b: &mut FunctionBuilder, f: UnaryFn, x: Value) -> Value {
    const F: Type = types::F32X4;
    let sign = lanes32(b, types::I32X4, [0x8000_0000; 4]);
    let bits = cast(b, types::I32X4, x);
    let sign = b.ins().band(bits, sign);
    let size = b.ins().fabs(x);
    let limit = constant(b, DType::F32, 8_388_608.0);
    let rounded = if f == UnaryFn::Round {
        // Adding 2^23 rounds to an integer, ties to even.
        let sum = b.ins().fadd(size, limit);
        b.ins().fsub(sum, limit)
    } else {
        let whole = b.ins().fcvt_to_sint_sat(types::I32X4, x);
        let whole = b.ins().fcvt_from_sint(F, whole);
        let one = constant(b, DType::F32, 1.0);
        match f {
            UnaryFn::Floor => {
                let above = b.ins().fcmp(FloatCC::GreaterThan, whole, x);
                let less = b.ins().fsub(whole, one);
                select(b, above, less, whole)
            }
            UnaryFn::Ceil => {
                let below = b.ins().fcmp(FloatCC::LessThan, whole, x);
                let more = b.ins().fadd(whole, one);
                select(b, below, more, whole)
            }
            _ => whole,
        }
    };
    let magnitude = b.ins().fabs(rounded);
    let magnitude = cast(b, types::I32X4, magnitude);
    let signed = b.ins().bor(magnitude, sign);
    let signed = cast(b, F, signed);
    let small = b.ins().fcmp(FloatCC::LessThan, size, limit);
    select(b, small, signed, x)
}
