//! How types, literals, scalar functions, conversions and addresses are spelled in CUDA C++.
//!
//! Every function returns text that can be an operand of anything: a name, a call, or something in parentheses.

use crate::ir::scalar::Gives;
use crate::ir::{BinaryFn, DType, Dim, Number, UnaryFn};
use crate::schedule::print::bare;

/// The type of a value in a register.
pub const fn value_type(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "float",
        DType::F64 => "double",
        DType::I32 => "int",
        DType::U32 => "unsigned",
        DType::U8 => "unsigned char",
        DType::Bool => "bool",
    }
}

/// The type of an element in memory. A boolean is a byte, so that no byte makes it an invalid `bool`.
pub const fn memory_type(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "unsigned char",
        DType::F32 | DType::F64 | DType::I32 | DType::U32 | DType::U8 => value_type(dtype),
    }
}

/// A number of a type.
pub fn literal(x: f64, dtype: DType) -> String {
    let text = match dtype {
        DType::F32 if x.is_nan() => "BK_NAN".into(),
        DType::F64 if x.is_nan() => "(double)BK_NAN".into(),
        DType::F32 if (x as f32).is_infinite() => (if x > 0.0 { "BK_INF" } else { "-BK_INF" }).into(),
        DType::F64 if x.is_infinite() => (if x > 0.0 { "(double)BK_INF" } else { "-(double)BK_INF" }).into(),
        DType::F32 => format!("{:?}f", x as f32),
        DType::F64 => format!("{x:?}"),
        DType::I32 if x as i32 == i32::MIN => "BK_I32_MIN".into(),
        DType::I32 => format!("{}", x as i32),
        DType::U32 => format!("{}u", x as u32),
        DType::U8 => format!("(unsigned char){}", x as u8),
        DType::Bool => (if x != 0.0 { "true" } else { "false" }).into(),
    };
    if text.starts_with(['-', '(']) { format!("({text})") } else { text }
}

/// The element type and the elements of a constant array, which is then read as an array of `dtype`. Floating-point
/// elements appear as their bits where one is not finite: no constant expression of CUDA C++ has such a value.
pub fn initializer(numbers: &[Number], dtype: DType) -> (&'static str, Vec<String>) {
    let finite = numbers.iter().all(|n| match dtype {
        DType::F32 => (n.0 as f32).is_finite(),
        DType::F64 => n.0.is_finite(),
        DType::I32 | DType::U32 | DType::U8 | DType::Bool => true,
    });
    let ty = match dtype {
        DType::F32 if !finite => "unsigned",
        DType::F64 if !finite => "unsigned long long",
        DType::F32 | DType::F64 | DType::I32 | DType::U32 | DType::U8 | DType::Bool => memory_type(dtype),
    };
    let element = |x: f64| match dtype {
        DType::F32 if !finite => format!("{:#010x}u", (x as f32).to_bits()),
        DType::F64 if !finite => format!("{:#018x}ull", x.to_bits()),
        DType::U8 => format!("{}", x as u8),
        DType::Bool => format!("{}", (x != 0.0) as u8),
        DType::F32 | DType::F64 | DType::I32 | DType::U32 => bare(&literal(x, dtype)).to_string(),
    };
    (ty, numbers.iter().map(|n| element(n.0)).collect())
}

/// The run-time value of an extent.
pub fn size(dim: Dim) -> String {
    match (dim.batch, dim.scale) {
        (false, n) => n.to_string(),
        (true, 1) => "batch".into(),
        (true, n) => format!("({n} * batch)"),
    }
}

/// The product of extents, as an `int` or, if `wide`, as a `long long`.
pub fn product(dims: &[Dim], wide: bool) -> String {
    let fixed: usize = dims.iter().map(|d| d.scale).product();
    let batches = dims.iter().filter(|d| d.batch).count();
    if batches == 0 {
        return fixed.to_string();
    }
    let mut factors: Vec<String> = if fixed == 1 { vec![] } else { vec![fixed.to_string()] };
    factors.extend((0..batches).map(|i| if wide && i == 0 { "(long long)batch".into() } else { "batch".into() }));
    match factors.as_slice() {
        [one] => one.clone(),
        many => format!("({})", many.join(" * ")),
    }
}

/// A unary function of an operand of type `from`.
pub fn unary(f: UnaryFn, x: &str, from: DType) -> String {
    let apply = |x: &str| f.row().cuda.replace("({0})", &format!("({})", bare(x))).replace("{0}", x);
    let wraps = from == DType::I32 && matches!(f, UnaryFn::Neg | UnaryFn::Square);
    if wraps { format!("((int){})", apply(&unsigned(x))) } else { narrow(apply(x), f.row().gives, from) }
}

/// A binary function of operands of type `from`.
pub fn binary(f: BinaryFn, x: &str, y: &str, from: DType) -> String {
    let apply = |x: &str, y: &str| {
        let call = f.row().cuda.replace("({0}, {1})", &format!("({}, {})", bare(x), bare(y)));
        call.replace("{0}", x).replace("{1}", y)
    };
    let wraps = from == DType::I32 && matches!(f, BinaryFn::Add | BinaryFn::Sub | BinaryFn::Mul);
    match wraps {
        true => format!("((int){})", apply(&unsigned(x), &unsigned(y))),
        false => narrow(apply(x, y), f.row().gives, from),
    }
}

/// An `int` for arithmetic that wraps; signed overflow would be undefined.
fn unsigned(x: &str) -> String {
    format!("(unsigned){x}")
}

/// Brings a result that C++ promoted to `int` back to the type of the operands.
fn narrow(text: String, gives: Gives, from: DType) -> String {
    match (gives, from) {
        (Gives::Same, DType::U8 | DType::Bool) => format!("(({}){text})", value_type(from)),
        (Gives::Same, DType::F32 | DType::F64 | DType::I32 | DType::U32) | (Gives::Type(_), _) => text,
    }
}

/// Conversion of a value.
pub fn cast(x: &str, from: DType, to: DType) -> String {
    if from == to {
        return x.to_string();
    }
    match to {
        DType::I32 if from.is_float() => format!("bk_to_i32({})", bare(x)),
        DType::U32 if from.is_float() => format!("bk_to_u32({})", bare(x)),
        DType::U8 if from.is_float() => format!("bk_to_u8({})", bare(x)),
        DType::Bool => format!("({x} != 0)"),
        DType::F32 | DType::F64 | DType::I32 | DType::U32 | DType::U8 => format!("(({}){x})", value_type(to)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_operands_of_their_type() {
        let cases = [
            (1.0, DType::F32, "1.0f"),
            (-0.5, DType::F32, "(-0.5f)"),
            (0.1, DType::F32, "0.1f"),
            (0.1, DType::F64, "0.1"),
            (1e-30, DType::F32, "1e-30f"),
            (1e300, DType::F32, "BK_INF"),
            (f64::NEG_INFINITY, DType::F32, "(-BK_INF)"),
            (f64::NAN, DType::F64, "((double)BK_NAN)"),
            (-7.0, DType::I32, "(-7)"),
            (-2147483648.0, DType::I32, "BK_I32_MIN"),
            (4294967295.0, DType::U32, "4294967295u"),
            (7.0, DType::U8, "((unsigned char)7)"),
            (1.0, DType::Bool, "true"),
        ];
        for (x, dtype, text) in cases {
            assert_eq!(literal(x, dtype), text);
        }
    }

    #[test]
    fn products_name_the_batch_once_for_each_factor() {
        let rows = Dim { scale: 4, batch: true };
        assert_eq!(product(&[], false), "1");
        assert_eq!(product(&[Dim::fixed(3), Dim::fixed(5)], false), "15");
        assert_eq!(product(&[Dim::BATCH], false), "batch");
        assert_eq!(product(&[rows, Dim::fixed(5)], false), "(20 * batch)");
        assert_eq!(product(&[rows, Dim::BATCH], true), "(4 * (long long)batch * batch)");
    }

    #[test]
    fn only_the_outermost_parentheses_go() {
        assert_eq!(bare("(a + b)"), "a + b");
        assert_eq!(bare("(a) + (b)"), "(a) + (b)");
        assert_eq!(bare("f(a)"), "f(a)");
    }
}
