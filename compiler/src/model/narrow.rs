//! Keras's narrow element types, which are computed in wider ones.
//!
//! A tensor of Keras's `int8` is an `i32` here whose elements are whole numbers from -128 to 127, one of `float16` an
//! `f32` whose elements are numbers of `float16`. That it is one travels with the tensor, as masks do; every operation
//! that knows narrow types ends by fitting its results, and every other one refuses them. One operation in `f32` that is
//! then rounded gives the correctly rounded result: `f32` has more than twice the digits, and two to spare.

use crate::ir::scalar::{BinaryFn, UnaryFn};
use crate::ir::{DType, Graph, NodeId, Op};

/// A type of Keras's that has no [`DType`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Narrow {
    Int8,
    Int16,
    Uint16,
    Float16,
    Bfloat16,
}

impl Narrow {
    pub const ALL: [Narrow; 5] = [Narrow::Int8, Narrow::Int16, Narrow::Uint16, Narrow::Float16, Narrow::Bfloat16];

    /// Keras's name.
    pub const fn name(self) -> &'static str {
        match self {
            Narrow::Int8 => "int8",
            Narrow::Int16 => "int16",
            Narrow::Uint16 => "uint16",
            Narrow::Float16 => "float16",
            Narrow::Bfloat16 => "bfloat16",
        }
    }

    /// Inverse of [`Narrow::name`].
    pub fn parse(name: &str) -> Option<Narrow> {
        Narrow::ALL.into_iter().find(|narrow| narrow.name() == name)
    }

    /// The type that it is computed in.
    pub const fn wide(self) -> DType {
        match self {
            Narrow::Int8 | Narrow::Int16 => DType::I32,
            Narrow::Uint16 => DType::U32,
            Narrow::Float16 | Narrow::Bfloat16 => DType::F32,
        }
    }

    pub const fn is_float(self) -> bool {
        self.wide().is_float()
    }

    /// The smallest and the largest number, of a type of whole numbers.
    const fn bounds(self) -> Option<(f64, f64)> {
        match self {
            Narrow::Int8 => Some((-128.0, 127.0)),
            Narrow::Int16 => Some((-32768.0, 32767.0)),
            Narrow::Uint16 => Some((0.0, 65535.0)),
            Narrow::Float16 | Narrow::Bfloat16 => None,
        }
    }

    /// Whether a number is one of the type.
    pub fn holds(self, x: f64) -> bool {
        match self.bounds() {
            Some((low, high)) => x.fract() == 0.0 && (low..=high).contains(&x),
            None => true,
        }
    }

    /// Conversion from any type: whole numbers wrap, and from real ones saturate; real numbers are rounded to nearest,
    /// ties to even, with infinities where they are too large.
    pub fn cast(self, g: &mut Graph, x: NodeId) -> NodeId {
        let x = match (self.bounds(), g.ty(x).dtype.is_float()) {
            (Some((low, high)), true) => {
                // A NaN becomes 0 in the conversion.
                let x = g.max_s(x, low);
                g.min_s(x, high)
            }
            _ => x,
        };
        let x = g.cast(x, self.wide());
        self.fit(g, x)
    }

    /// The number of the type that an element of the wide type becomes.
    pub fn fit(self, g: &mut Graph, x: NodeId) -> NodeId {
        match self {
            Narrow::Int8 => wrapped(g, x, 0xFF, 0x80),
            Narrow::Int16 => wrapped(g, x, 0xFFFF, 0x8000),
            Narrow::Uint16 => {
                let low = g.lit_like(x, 65535.0);
                g.push(Op::Binary(BinaryFn::And), &[x, low])
            }
            Narrow::Float16 => {
                let fixed = g.stop_gradient(x);
                let normal = rounded(g, fixed, 13);
                // Below 2^-14 the numbers lie evenly.
                let even = g.mul_s(fixed, 2f64.powi(24));
                let even = g.push(Op::Unary(UnaryFn::Round), &[even]);
                let even = g.mul_s(even, 2f64.powi(-24));
                let size = g.abs(fixed);
                let least = g.lit_like(size, 2f64.powi(-14));
                let small = g.lt(size, least);
                let y = g.select(small, even, normal);
                let (size, end) = (g.abs(y), g.lit_like(y, 65536.0));
                let large = g.ge(size, end);
                let infinite = g.mul_s(y, f64::INFINITY);
                let y = g.select(large, infinite, y);
                with_gradient(g, y, x)
            }
            Narrow::Bfloat16 => {
                let fixed = g.stop_gradient(x);
                let y = rounded(g, fixed, 16);
                with_gradient(g, y, x)
            }
        }
    }

    /// A constant of the type: real ones are rounded.
    pub fn constant(self, x: f64) -> f64 {
        let (digits, least, end) = match self {
            Narrow::Int8 | Narrow::Int16 | Narrow::Uint16 => return x,
            Narrow::Float16 => (10, -14, 65536.0),
            Narrow::Bfloat16 => (7, -126, f64::INFINITY),
        };
        let x = x as f32 as f64;
        if x == 0.0 || !x.is_finite() {
            return x;
        }
        let exponent = (x.abs().log2().floor() as i32).max(least);
        let unit = 2f64.powi(exponent - digits);
        let y = (x / unit).round_ties_even() * unit;
        if y.abs() >= end { f64::INFINITY.copysign(x) } else { y }
    }
}

/// The low bits of a whole number, the highest of which is the sign.
fn wrapped(g: &mut Graph, x: NodeId, mask: i32, sign: i32) -> NodeId {
    let (mask, sign) = (g.lit_like(x, mask.into()), g.lit_like(x, sign.into()));
    let low = g.push(Op::Binary(BinaryFn::And), &[x, mask]);
    let turned = g.push(Op::Binary(BinaryFn::Xor), &[low, sign]);
    g.sub(turned, sign)
}

/// An `f32` rounded to one whose lowest bits are zero; a NaN stays.
fn rounded(g: &mut Graph, x: NodeId, bits: u32) -> NodeId {
    let whole = g.push(Op::Unary(UnaryFn::ToBits), &[x]);
    let places = g.lit_like(whole, bits.into());
    let last = g.push(Op::Binary(BinaryFn::Shr), &[whole, places]);
    let one = g.lit_like(last, 1.0);
    let odd = g.push(Op::Binary(BinaryFn::And), &[last, one]);
    let half = g.add_s(whole, ((1u32 << (bits - 1)) - 1).into());
    let sum = g.add(half, odd);
    let mask = g.lit_like(sum, (!((1u32 << bits) - 1)).into());
    let kept = g.push(Op::Binary(BinaryFn::And), &[sum, mask]);
    let y = g.push(Op::Unary(UnaryFn::FromBits), &[kept]);
    let nan = g.push(Op::Unary(UnaryFn::IsNan), &[x]);
    g.select(nan, x, y)
}

/// A value with the gradient of the number that it was rounded from.
fn with_gradient(g: &mut Graph, y: NodeId, x: NodeId) -> NodeId {
    g.push(Op::Binary(BinaryFn::GradientOf), &[y, x])
}
