//! The scalar functions: one table row each.
//!
//! A row holds everything the rest of the compiler asks about a function: its name in the text form, the types it
//! takes and gives, its value in `f64` (the truth for tests), its exact integer value, its gradient, its CUDA
//! spelling, how a CPU target lowers it, and the domain that tests sample. Adding a function is adding a row; the
//! enums, the parser, the interpreter, differentiation, both backends and the op suite read the table.

use super::dtype::DType;

/// A value inside an [`Emit`] target: a node of a graph or an expression of a kernel.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Val(pub u32);

/// Something that scalar code can be written into. Gradients are written into a graph, expansions into a kernel.
pub trait Emit {
    /// The element type of a value.
    fn dtype(&self, x: Val) -> DType;
    /// A constant of the type and shape of `like`.
    fn lit(&mut self, like: Val, value: f64) -> Val;
    /// Applies a unary function.
    fn unary(&mut self, f: UnaryFn, x: Val) -> Val;
    /// Applies a binary function.
    fn binary(&mut self, f: BinaryFn, x: Val, y: Val) -> Val;
    /// `c ? a : b`, elementwise.
    fn select(&mut self, c: Val, a: Val, b: Val) -> Val;
    /// Converts the element type.
    fn cast(&mut self, x: Val, to: DType) -> Val;

    fn add(&mut self, x: Val, y: Val) -> Val {
        self.binary(BinaryFn::Add, x, y)
    }
    fn sub(&mut self, x: Val, y: Val) -> Val {
        self.binary(BinaryFn::Sub, x, y)
    }
    fn mul(&mut self, x: Val, y: Val) -> Val {
        self.binary(BinaryFn::Mul, x, y)
    }
    fn div(&mut self, x: Val, y: Val) -> Val {
        self.binary(BinaryFn::Div, x, y)
    }
    fn neg(&mut self, x: Val) -> Val {
        self.unary(UnaryFn::Neg, x)
    }
    /// `x * c` for a constant `c`.
    fn scale(&mut self, x: Val, c: f64) -> Val {
        let c = self.lit(x, c);
        self.mul(x, c)
    }
    /// `x + c` for a constant `c`.
    fn offset(&mut self, x: Val, c: f64) -> Val {
        let c = self.lit(x, c);
        self.add(x, c)
    }
}

/// Element types that a function accepts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Floating types.
    Float,
    /// Floating and integer types.
    Number,
    /// Integer types and booleans.
    Bits,
    /// `u32` only.
    U32,
    /// Every type.
    Any,
}

impl Class {
    /// Whether the class holds a type.
    pub const fn accepts(self, d: DType) -> bool {
        match self {
            Class::Float => d.is_float(),
            Class::Number => d.is_float() || d.is_int(),
            Class::Bits => d.is_int() || matches!(d, DType::Bool),
            Class::U32 => matches!(d, DType::U32),
            Class::Any => true,
        }
    }
}

/// The element type of a function's result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gives {
    /// The type of the operands.
    Same,
    /// Always this type.
    Type(DType),
}

impl Gives {
    /// The result type for operands of type `d`.
    pub const fn dtype(self, d: DType) -> DType {
        match self {
            Gives::Same => d,
            Gives::Type(t) => t,
        }
    }
}

/// How a CPU target computes a function on `f32`.
#[derive(Clone, Copy)]
pub enum Lower<E> {
    /// An instruction of the code generator.
    Native,
    /// A vector kernel over a contiguous strip, by its name in the kernel manifest.
    Strip,
    /// A composition of other functions.
    Expand(E),
}

/// Gradient of a unary function: `(emit, x, y = f(x), dy) -> dx`.
pub type UnaryGrad = fn(&mut dyn Emit, Val, Val, Val) -> Val;
/// Gradient of a binary function: `(emit, x, y, z = f(x, y), dz) -> (dx, dy)`.
pub type BinaryGrad = fn(&mut dyn Emit, Val, Val, Val, Val) -> (Val, Val);

/// A unary function as a composition of others.
pub type UnaryExpansion = fn(&mut dyn Emit, Val) -> Val;
/// A binary function as a composition of others.
pub type BinaryExpansion = fn(&mut dyn Emit, Val, Val) -> Val;

/// Everything known about a unary function.
pub struct UnaryRow {
    pub func: UnaryFn,
    pub name: &'static str,
    pub takes: Class,
    pub gives: Gives,
    /// The value in `f64`.
    pub eval: fn(f64) -> f64,
    /// The exact integer value before wrapping, for rows that accept integers or booleans.
    pub int: Option<fn(i64) -> i64>,
    /// `None`: the derivative is zero wherever it exists.
    pub grad: Option<UnaryGrad>,
    /// CUDA C++ on an operand `{0}` of any accepted type; the functions it calls are overloaded.
    pub cuda: &'static str,
    pub lower: Lower<UnaryExpansion>,
    /// The interval that tests sample.
    pub domain: (f64, f64),
}

/// Everything known about a binary function.
pub struct BinaryRow {
    pub func: BinaryFn,
    pub name: &'static str,
    pub takes: Class,
    pub gives: Gives,
    pub eval: fn(f64, f64) -> f64,
    pub int: Option<fn(i64, i64) -> i64>,
    pub grad: Option<BinaryGrad>,
    /// CUDA C++ on operands `{0}` and `{1}` of any accepted type; the functions it calls are overloaded.
    pub cuda: &'static str,
    pub lower: Lower<BinaryExpansion>,
    /// Whether the operands commute, bit for bit.
    pub commutes: bool,
    /// The interval that tests sample, for each operand.
    pub domain: [(f64, f64); 2],
}

macro_rules! unary_table {
    ($( $(#[doc = $doc:literal])+ $id:ident $name:literal {
        takes: $takes:expr, gives: $gives:expr, eval: $eval:expr, int: $int:expr, grad: $grad:expr,
        cuda: $cuda:literal, lower: $lower:expr, domain: $domain:expr $(,)? } )+) => {
        /// A scalar function of one operand; its row is [`UnaryFn::row`].
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, serde::Serialize, serde::Deserialize)]
        pub enum UnaryFn { $( $(#[doc = $doc])+ $id, )+ }
        impl UnaryFn {
            /// Every unary function.
            pub const ALL: &'static [UnaryFn] = &[ $( UnaryFn::$id, )+ ];
            /// The row of this function.
            pub fn row(self) -> &'static UnaryRow { &UNARY[self as usize] }
        }
        static UNARY: &[UnaryRow] = &[ $( UnaryRow { func: UnaryFn::$id, name: $name, takes: $takes, gives: $gives,
            eval: $eval, int: $int, grad: $grad, cuda: $cuda, lower: $lower, domain: $domain }, )+ ];
    };
}

macro_rules! binary_table {
    ($( $(#[doc = $doc:literal])+ $id:ident $name:literal {
        takes: $takes:expr, gives: $gives:expr, eval: $eval:expr, int: $int:expr, grad: $grad:expr,
        cuda: $cuda:literal, lower: $lower:expr, commutes: $commutes:expr, domain: $domain:expr $(,)? } )+) => {
        /// A scalar function of two operands of one type; its row is [`BinaryFn::row`].
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, serde::Serialize, serde::Deserialize)]
        pub enum BinaryFn { $( $(#[doc = $doc])+ $id, )+ }
        impl BinaryFn {
            /// Every binary function.
            pub const ALL: &'static [BinaryFn] = &[ $( BinaryFn::$id, )+ ];
            /// The row of this function.
            pub fn row(self) -> &'static BinaryRow { &BINARY[self as usize] }
        }
        static BINARY: &[BinaryRow] = &[ $( BinaryRow { func: BinaryFn::$id, name: $name, takes: $takes,
            gives: $gives, eval: $eval, int: $int, grad: $grad, cuda: $cuda, lower: $lower, commutes: $commutes,
            domain: $domain }, )+ ];
    };
}

use Class::{Any, Bits, Float, Number, U32};
use Gives::{Same, Type};
use Lower::{Expand, Native, Strip};

const BOOL: Gives = Type(DType::Bool);

unary_table! {
    /// `-x`
    Neg "neg" { takes: Number, gives: Same, eval: |x| -x, int: Some(|x| -x),
        grad: Some(|e, _, _, d| e.neg(d)), cuda: "(-{0})", lower: Native, domain: (-3.0, 3.0) }
    /// `x`, through which no gradient flows.
    StopGradient "stop_gradient" { takes: Any, gives: Same, eval: |x| x, int: Some(|x| x), grad: None, cuda: "({0})",
        lower: Expand(|_, x| x), domain: (-3.0, 3.0) }
    /// `|x|`
    Abs "abs" { takes: Number, gives: Same, eval: f64::abs, int: Some(i64::abs),
        grad: Some(|e, x, _, d| { let s = e.unary(UnaryFn::Sign, x); e.mul(d, s) }),
        cuda: "bk_abs({0})", lower: Native, domain: (-3.0, 3.0) }
    /// -1, 0 or 1; the sign of a NaN is NaN.
    Sign "sign" { takes: Float, gives: Same, eval: |x| if x > 0.0 { 1.0 } else if x < 0.0 { -1.0 } else { x * 0.0 },
        int: None, grad: None, cuda: "bk_sign({0})",
        lower: Expand(|e, x| {
            let (zero, one) = (e.lit(x, 0.0), e.lit(x, 1.0));
            let minus = e.neg(one);
            let flat = e.mul(x, zero);
            let (pos, neg) = (e.binary(BinaryFn::Gt, x, zero), e.binary(BinaryFn::Lt, x, zero));
            let low = e.select(neg, minus, flat);
            e.select(pos, one, low)
        }), domain: (-3.0, 3.0) }
    /// The largest integer not above `x`.
    Floor "floor" { takes: Float, gives: Same, eval: f64::floor, int: None, grad: None, cuda: "floor({0})",
        lower: Native, domain: (-5.0, 5.0) }
    /// The smallest integer not below `x`.
    Ceil "ceil" { takes: Float, gives: Same, eval: f64::ceil, int: None, grad: None, cuda: "ceil({0})",
        lower: Native, domain: (-5.0, 5.0) }
    /// The nearest integer, ties to even.
    Round "round" { takes: Float, gives: Same, eval: f64::round_ties_even, int: None, grad: None, cuda: "rint({0})",
        lower: Native, domain: (-5.0, 5.0) }
    /// `x` without its fraction.
    Trunc "trunc" { takes: Float, gives: Same, eval: f64::trunc, int: None, grad: None, cuda: "trunc({0})",
        lower: Native, domain: (-5.0, 5.0) }
    /// Square root.
    Sqrt "sqrt" { takes: Float, gives: Same, eval: f64::sqrt, int: None,
        grad: Some(|e, _, y, d| { let h = e.scale(d, 0.5); e.div(h, y) }), cuda: "sqrt({0})",
        lower: Native, domain: (0.05, 9.0) }
    /// `1 / sqrt(x)`
    Rsqrt "rsqrt" { takes: Float, gives: Same, eval: |x| 1.0 / x.sqrt(), int: None,
        grad: Some(|e, x, y, d| { let h = e.scale(d, -0.5); let q = e.div(y, x); e.mul(h, q) }),
        cuda: "(1 / sqrt({0}))",
        lower: Expand(|e, x| { let one = e.lit(x, 1.0); let s = e.unary(UnaryFn::Sqrt, x); e.div(one, s) }),
        domain: (0.05, 9.0) }
    /// `1 / x`
    Recip "recip" { takes: Float, gives: Same, eval: |x| 1.0 / x, int: None,
        grad: Some(|e, _, y, d| { let q = e.mul(y, y); let p = e.mul(d, q); e.neg(p) }), cuda: "(1 / {0})",
        lower: Expand(|e, x| { let one = e.lit(x, 1.0); e.div(one, x) }), domain: (0.2, 4.0) }
    /// `x * x`
    Square "square" { takes: Number, gives: Same, eval: |x| x * x, int: Some(|x| x.wrapping_mul(x)),
        grad: Some(|e, x, _, d| { let t = e.scale(x, 2.0); e.mul(d, t) }), cuda: "bk_square({0})",
        lower: Expand(|e, x| e.mul(x, x)), domain: (-3.0, 3.0) }
    /// `e^x`
    Exp "exp" { takes: Float, gives: Same, eval: f64::exp, int: None, grad: Some(|e, _, y, d| e.mul(d, y)),
        cuda: "exp({0})", lower: Strip, domain: (-10.0, 10.0) }
    /// `e^x - 1`, accurate near zero.
    Expm1 "expm1" { takes: Float, gives: Same, eval: f64::exp_m1, int: None,
        grad: Some(|e, _, y, d| { let y1 = e.offset(y, 1.0); e.mul(d, y1) }), cuda: "expm1({0})",
        lower: Strip, domain: (-4.0, 4.0) }
    /// Natural logarithm.
    Log "log" { takes: Float, gives: Same, eval: f64::ln, int: None, grad: Some(|e, x, _, d| e.div(d, x)),
        cuda: "log({0})", lower: Strip, domain: (0.05, 20.0) }
    /// `log(1 + x)`, accurate near zero.
    Log1p "log1p" { takes: Float, gives: Same, eval: f64::ln_1p, int: None,
        grad: Some(|e, x, _, d| { let x1 = e.offset(x, 1.0); e.div(d, x1) }), cuda: "log1p({0})",
        lower: Strip, domain: (-0.8, 10.0) }
    /// Hyperbolic tangent.
    Tanh "tanh" { takes: Float, gives: Same, eval: f64::tanh, int: None,
        grad: Some(|e, _, y, d| { let q = e.mul(y, y); let one = e.lit(y, 1.0); let r = e.sub(one, q); e.mul(d, r) }),
        cuda: "tanh({0})", lower: Strip, domain: (-4.0, 4.0) }
    /// Logistic function `1 / (1 + e^-x)`.
    Sigmoid "sigmoid" { takes: Float, gives: Same, eval: |x| 1.0 / (1.0 + (-x).exp()), int: None,
        grad: Some(|e, _, y, d| { let one = e.lit(y, 1.0); let r = e.sub(one, y); let p = e.mul(y, r); e.mul(d, p) }),
        cuda: "(1 / (1 + exp(-{0})))", lower: Strip, domain: (-8.0, 8.0) }
    /// Error function.
    Erf "erf" { takes: Float, gives: Same, eval: erf, int: None,
        grad: Some(|e, x, _, d| {
            let q = e.mul(x, x);
            let n = e.neg(q);
            let g = e.unary(UnaryFn::Exp, n);
            let s = e.scale(g, std::f64::consts::FRAC_2_SQRT_PI);
            e.mul(d, s)
        }), cuda: "erf({0})", lower: Strip, domain: (-3.0, 3.0) }
    /// Sine.
    Sin "sin" { takes: Float, gives: Same, eval: f64::sin, int: None,
        grad: Some(|e, x, _, d| { let c = e.unary(UnaryFn::Cos, x); e.mul(d, c) }), cuda: "sin({0})",
        lower: Strip, domain: (-6.0, 6.0) }
    /// Cosine.
    Cos "cos" { takes: Float, gives: Same, eval: f64::cos, int: None,
        grad: Some(|e, x, _, d| { let s = e.unary(UnaryFn::Sin, x); let p = e.mul(d, s); e.neg(p) }),
        cuda: "cos({0})", lower: Strip, domain: (-6.0, 6.0) }
    /// Tangent.
    Tan "tan" { takes: Float, gives: Same, eval: f64::tan, int: None,
        grad: Some(|e, _, y, d| { let q = e.mul(y, y); let s = e.offset(q, 1.0); e.mul(d, s) }), cuda: "tan({0})",
        lower: Expand(|e, x| {
            let (s, c) = (e.unary(UnaryFn::Sin, x), e.unary(UnaryFn::Cos, x));
            e.div(s, c)
        }), domain: (-1.4, 1.4) }
    /// The angle of a tangent.
    Atan "atan" { takes: Float, gives: Same, eval: f64::atan, int: None,
        grad: Some(|e, x, _, d| { let q = e.mul(x, x); let s = e.offset(q, 1.0); e.div(d, s) }), cuda: "atan({0})",
        lower: Expand(|e, x| {
            // The angles of slopes above 1 and above tan(pi / 8) are told by those of smaller ones (Cephes, atanf).
            use std::f64::consts::{FRAC_PI_2, FRAC_PI_4};
            let (zero, one) = (e.lit(x, 0.0), e.lit(x, 1.0));
            let size = e.unary(UnaryFn::Abs, x);
            let steep = e.binary(BinaryFn::Gt, size, one);
            let inverse = e.div(one, size);
            let slope = e.select(steep, inverse, size);
            let bound = e.lit(x, 0.414_213_562);
            let middle = e.binary(BinaryFn::Gt, slope, bound);
            let (below, above) = (e.offset(slope, -1.0), e.offset(slope, 1.0));
            let turned = e.div(below, above);
            let u = e.select(middle, turned, slope);
            let z = e.mul(u, u);
            let mut p = e.lit(x, 8.053_744_495_38e-2);
            for c in [-1.387_768_560_32e-1, 1.997_771_064_78e-1, -3.333_294_915_39e-1] {
                let q = e.mul(p, z);
                p = e.offset(q, c);
            }
            let q = e.mul(p, z);
            let q = e.mul(q, u);
            let small = e.add(u, q);
            let more = e.offset(small, FRAC_PI_4);
            let angle = e.select(middle, more, small);
            let quarter = e.lit(x, FRAC_PI_2);
            let other = e.sub(quarter, angle);
            let angle = e.select(steep, other, angle);
            let minus = e.neg(angle);
            let negative = e.binary(BinaryFn::Lt, x, zero);
            e.select(negative, minus, angle)
        }), domain: (-4.0, 4.0) }
    /// The number whose error function is `x`.
    Erfinv "erfinv" { takes: Float, gives: Same, eval: erfinv, int: None,
        grad: Some(|e, _, y, d| {
            let q = e.mul(y, y);
            let g = e.unary(UnaryFn::Exp, q);
            let s = e.scale(g, 1.0 / std::f64::consts::FRAC_2_SQRT_PI);
            e.mul(d, s)
        }), cuda: "erfinv({0})",
        lower: Expand(|e, x| {
            // Two polynomials in -log(1 - x^2) (Giles, Approximating the erfinv function, 2010).
            let (low, high) = (e.offset(x, 1.0), e.neg(x));
            let high = e.offset(high, 1.0);
            let product = e.mul(low, high);
            let log = e.unary(UnaryFn::Log, product);
            let w = e.neg(log);
            let five = e.lit(x, 5.0);
            let central = e.binary(BinaryFn::Lt, w, five);
            let near = e.offset(w, -2.5);
            let root = e.unary(UnaryFn::Sqrt, w);
            let far = e.offset(root, -3.0);
            let mut poly = |v: Val, c: &[f64]| {
                let mut p = e.lit(v, c[0]);
                for &c in &c[1..] {
                    let q = e.mul(p, v);
                    p = e.offset(q, c);
                }
                p
            };
            let p = poly(near, &ERFINV_CENTRE);
            let q = poly(far, &ERFINV_TAIL);
            let factor = e.select(central, p, q);
            let y = e.mul(factor, x);
            // At the ends the polynomial meets an infinity that it cannot take.
            let size = e.unary(UnaryFn::Abs, x);
            let one = e.lit(x, 1.0);
            let end = e.binary(BinaryFn::Eq, size, one);
            let infinity = e.lit(x, f64::INFINITY);
            let signed = e.mul(x, infinity);
            e.select(end, signed, y)
        }), domain: (-0.95, 0.95) }
    /// `max(x, 0)`; its derivative at zero is zero. NaN stays NaN.
    Relu "relu" { takes: Float, gives: Same, eval: |x| if x < 0.0 { 0.0 } else { x }, int: None,
        grad: Some(|e, _, y, d| {
            let zero = e.lit(y, 0.0);
            let on = e.binary(BinaryFn::Gt, y, zero);
            e.select(on, d, zero)
        }), cuda: "bk_relu({0})",
        lower: Expand(|e, x| { let zero = e.lit(x, 0.0); e.binary(BinaryFn::Max, x, zero) }), domain: (-3.0, 3.0) }
    /// `log(1 + e^x)`, stable on both sides.
    Softplus "softplus" { takes: Float, gives: Same, eval: |x| x.max(0.0) + (-x.abs()).exp().ln_1p(), int: None,
        grad: Some(|e, x, _, d| { let s = e.unary(UnaryFn::Sigmoid, x); e.mul(d, s) }), cuda: "bk_softplus({0})",
        lower: Expand(|e, x| {
            let a = e.unary(UnaryFn::Abs, x);
            let n = e.neg(a);
            let t = e.unary(UnaryFn::Exp, n);
            let l = e.unary(UnaryFn::Log1p, t);
            let r = e.unary(UnaryFn::Relu, x);
            e.add(r, l)
        }), domain: (-8.0, 8.0) }
    /// Logical negation of a boolean, bitwise complement of an integer.
    Not "not" { takes: Bits, gives: Same, eval: |x| if x == 0.0 { 1.0 } else { 0.0 }, int: Some(|x| !x), grad: None,
        cuda: "bk_not({0})", lower: Native, domain: (0.0, 1.0) }
    /// Whether a number is NaN.
    IsNan "isnan" { takes: Float, gives: BOOL, eval: |x| x.is_nan() as u8 as f64, int: None, grad: None,
        cuda: "bk_isnan({0})", lower: Expand(|e, x| e.binary(BinaryFn::Ne, x, x)), domain: (-3.0, 3.0) }
    /// The bits of an `f32` as `u32`.
    ToBits "to_bits" { takes: Float, gives: Type(DType::U32), eval: |x| (x as f32).to_bits() as f64, int: None,
        grad: None, cuda: "bk_to_bits({0})", lower: Native, domain: (-3.0, 3.0) }
    /// The `f32` with the given bits.
    FromBits "from_bits" { takes: U32, gives: Type(DType::F32), eval: |x| f32::from_bits(x as u32) as f64, int: None,
        grad: None, cuda: "bk_from_bits({0})", lower: Native, domain: (0.0, 1e9) }
}

/// Gradient of a choice between the operands: `dx` where `takes_x`, `dy` elsewhere.
fn route(e: &mut dyn Emit, takes_x: Val, d: Val) -> (Val, Val) {
    let zero = e.lit(d, 0.0);
    (e.select(takes_x, d, zero), e.select(takes_x, zero, d))
}

binary_table! {
    /// `x + y`
    Add "add" { takes: Number, gives: Same, eval: |x, y| x + y, int: Some(i64::wrapping_add),
        grad: Some(|_, _, _, _, d| (d, d)), cuda: "({0} + {1})", lower: Native, commutes: true,
        domain: [(-3.0, 3.0), (-3.0, 3.0)] }
    /// `x - y`
    Sub "sub" { takes: Number, gives: Same, eval: |x, y| x - y, int: Some(i64::wrapping_sub),
        grad: Some(|e, _, _, _, d| (d, e.neg(d))), cuda: "({0} - {1})", lower: Native, commutes: false,
        domain: [(-3.0, 3.0), (-3.0, 3.0)] }
    /// `x * y`
    Mul "mul" { takes: Number, gives: Same, eval: |x, y| x * y, int: Some(i64::wrapping_mul),
        grad: Some(|e, x, y, _, d| (e.mul(d, y), e.mul(d, x))), cuda: "({0} * {1})", lower: Native, commutes: true,
        domain: [(-3.0, 3.0), (-3.0, 3.0)] }
    /// `x / y`; integer division truncates, and gives 0 for a zero divisor.
    Div "div" { takes: Number, gives: Same, eval: |x, y| x / y,
        int: Some(|x, y| if y == 0 { 0 } else { x.wrapping_div(y) }),
        grad: Some(|e, _, y, z, d| { let q = e.div(d, y); let p = e.mul(q, z); (q, e.neg(p)) }),
        cuda: "bk_div({0}, {1})", lower: Native, commutes: false, domain: [(-3.0, 3.0), (0.3, 3.0)] }
    /// Remainder with the sign of the dividend; integers give 0 for a zero divisor.
    Rem "rem" { takes: Number, gives: Same, eval: |x, y| x % y,
        int: Some(|x, y| if y == 0 { 0 } else { x.wrapping_rem(y) }),
        grad: Some(|e, x, y, _, d| {
            let q = e.div(x, y);
            let t = e.unary(UnaryFn::Trunc, q);
            let p = e.mul(d, t);
            (d, e.neg(p))
        }), cuda: "bk_rem({0}, {1})",
        lower: Expand(|e, x, y| {
            let q = e.div(x, y);
            let t = if e.dtype(x).is_float() { e.unary(UnaryFn::Trunc, q) } else { q };
            let p = e.mul(t, y);
            let r = e.sub(x, p);
            let zero = e.lit(y, 0.0);
            if e.dtype(x).is_float() {
                // Below the divisor nothing is taken off, an infinite one included.
                let below = e.binary(BinaryFn::Eq, t, zero);
                return e.select(below, x, r);
            }
            let none = e.binary(BinaryFn::Eq, y, zero);
            e.select(none, zero, r)
        }), commutes: false, domain: [(-3.0, 3.0), (0.7, 3.0)] }
    /// The smaller operand; NaN if either is NaN. The gradient of a tie goes to `x`.
    Min "min" { takes: Number, gives: Same, eval: |x, y| if x.is_nan() || y.is_nan() { f64::NAN } else { x.min(y) },
        int: Some(|x, y| x.min(y)),
        grad: Some(|e, x, y, _, d| { let c = e.binary(BinaryFn::Le, x, y); route(e, c, d) }),
        cuda: "bk_min({0}, {1})", lower: Native, commutes: true, domain: [(-3.0, 3.0), (-3.0, 3.0)] }
    /// The larger operand; NaN if either is NaN. The gradient of a tie goes to `x`.
    Max "max" { takes: Number, gives: Same, eval: |x, y| if x.is_nan() || y.is_nan() { f64::NAN } else { x.max(y) },
        int: Some(|x, y| x.max(y)),
        grad: Some(|e, x, y, _, d| { let c = e.binary(BinaryFn::Ge, x, y); route(e, c, d) }),
        cuda: "bk_max({0}, {1})", lower: Native, commutes: true, domain: [(-3.0, 3.0), (-3.0, 3.0)] }
    /// `x`, with the gradient of `y`, which need not be computed for the value.
    GradientOf "gradient_of" { takes: Number, gives: Same, eval: |x, _| x, int: Some(|x, _| x),
        grad: Some(|e, _, _, _, d| (e.lit(d, 0.0), d)), cuda: "({0})", lower: Expand(|_, x, _| x), commutes: false,
        domain: [(-3.0, 3.0), (-3.0, 3.0)] }
    /// `x^y`; a negative base has a value for integral exponents only.
    Pow "pow" { takes: Float, gives: Same, eval: f64::powf, int: None,
        grad: Some(|e, x, y, z, d| {
            let less = e.offset(y, -1.0);
            let p = e.binary(BinaryFn::Pow, x, less);
            let py = e.mul(y, p);
            let zero = e.lit(x, 0.0);
            let one = e.lit(x, 1.0);
            let positive = e.binary(BinaryFn::Gt, x, zero);
            let safe = e.select(positive, x, one);
            let l = e.unary(UnaryFn::Log, safe);
            let zl = e.mul(z, l);
            (e.mul(d, py), e.mul(d, zl))
        }), cuda: "pow({0}, {1})", lower: Strip, commutes: false, domain: [(0.1, 3.0), (-2.0, 2.0)] }
    /// Equality; a NaN equals nothing.
    Eq "eq" { takes: Any, gives: BOOL, eval: |x, y| (x == y) as u8 as f64, int: Some(|x, y| (x == y) as i64),
        grad: None, cuda: "({0} == {1})", lower: Native, commutes: true, domain: [(-3.0, 3.0), (-3.0, 3.0)] }
    /// Inequality.
    Ne "ne" { takes: Any, gives: BOOL, eval: |x, y| (x != y) as u8 as f64, int: Some(|x, y| (x != y) as i64),
        grad: None, cuda: "({0} != {1})", lower: Native, commutes: true, domain: [(-3.0, 3.0), (-3.0, 3.0)] }
    /// `x < y`
    Lt "lt" { takes: Number, gives: BOOL, eval: |x, y| (x < y) as u8 as f64, int: Some(|x, y| (x < y) as i64),
        grad: None, cuda: "({0} < {1})", lower: Native, commutes: false, domain: [(-3.0, 3.0), (-3.0, 3.0)] }
    /// `x <= y`
    Le "le" { takes: Number, gives: BOOL, eval: |x, y| (x <= y) as u8 as f64, int: Some(|x, y| (x <= y) as i64),
        grad: None, cuda: "({0} <= {1})", lower: Native, commutes: false, domain: [(-3.0, 3.0), (-3.0, 3.0)] }
    /// `x > y`
    Gt "gt" { takes: Number, gives: BOOL, eval: |x, y| (x > y) as u8 as f64, int: Some(|x, y| (x > y) as i64),
        grad: None, cuda: "({0} > {1})", lower: Native, commutes: false, domain: [(-3.0, 3.0), (-3.0, 3.0)] }
    /// `x >= y`
    Ge "ge" { takes: Number, gives: BOOL, eval: |x, y| (x >= y) as u8 as f64, int: Some(|x, y| (x >= y) as i64),
        grad: None, cuda: "({0} >= {1})", lower: Native, commutes: false, domain: [(-3.0, 3.0), (-3.0, 3.0)] }
    /// Logical or bitwise and.
    And "and" { takes: Bits, gives: Same, eval: |x, y| (x != 0.0 && y != 0.0) as u8 as f64, int: Some(|x, y| x & y),
        grad: None, cuda: "({0} & {1})", lower: Native, commutes: true, domain: [(0.0, 100.0), (0.0, 100.0)] }
    /// Logical or bitwise or.
    Or "or" { takes: Bits, gives: Same, eval: |x, y| (x != 0.0 || y != 0.0) as u8 as f64, int: Some(|x, y| x | y),
        grad: None, cuda: "({0} | {1})", lower: Native, commutes: true, domain: [(0.0, 100.0), (0.0, 100.0)] }
    /// Logical or bitwise exclusive or.
    Xor "xor" { takes: Bits, gives: Same, eval: |x, y| ((x != 0.0) != (y != 0.0)) as u8 as f64,
        int: Some(|x, y| x ^ y), grad: None, cuda: "({0} ^ {1})", lower: Native, commutes: true,
        domain: [(0.0, 100.0), (0.0, 100.0)] }
    /// Left shift of a `u32` by less than 32; a larger count gives 0.
    Shl "shl" { takes: U32, gives: Same, eval: |_, _| f64::NAN,
        int: Some(|x, y| if (0..32).contains(&y) { x << y } else { 0 }), grad: None, cuda: "bk_shl({0}, {1})",
        lower: Native, commutes: false, domain: [(0.0, 1e9), (0.0, 31.0)] }
    /// Logical right shift of a `u32` by less than 32; a larger count gives 0.
    Shr "shr" { takes: U32, gives: Same, eval: |_, _| f64::NAN,
        int: Some(|x, y| if (0..32).contains(&y) { x >> y } else { 0 }), grad: None, cuda: "bk_shr({0}, {1})",
        lower: Native, commutes: false, domain: [(0.0, 1e9), (0.0, 31.0)] }
}

impl UnaryFn {
    /// The function with the given name in the text form.
    pub fn parse(name: &str) -> Option<UnaryFn> {
        UnaryFn::ALL.iter().copied().find(|f| f.row().name == name)
    }
}

impl BinaryFn {
    /// The function with the given name in the text form.
    pub fn parse(name: &str) -> Option<BinaryFn> {
        BinaryFn::ALL.iter().copied().find(|f| f.row().name == name)
    }
}

/// The error function in `f64`: its Maclaurin series for small arguments, a continued fraction of `erfc` beyond.
fn erf(x: f64) -> f64 {
    let a = x.abs();
    if a.is_nan() {
        return a;
    }
    let value = if a < 2.5 {
        let (mut term, mut sum, mut n) = (a, a, 0.0);
        while term.abs() > 1e-17 * sum.abs() {
            n += 1.0;
            term *= -a * a / n;
            sum += term / (2.0 * n + 1.0);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    } else {
        let tail = (1..=60).rev().fold(0.0, |t, k| k as f64 / 2.0 / (a + t));
        1.0 - (-a * a).exp() / ((a + tail) * std::f64::consts::PI.sqrt())
    };
    value.copysign(x)
}

/// Coefficients of [`UnaryFn::Erfinv`], for arguments in the middle and near the ends, from the highest power down.
const ERFINV_CENTRE: [f64; 9] = [
    2.81022636e-08,
    3.43273939e-07,
    -3.5233877e-06,
    -4.39150654e-06,
    0.00021858087,
    -0.00125372503,
    -0.00417768164,
    0.246640727,
    1.50140941,
];
const ERFINV_TAIL: [f64; 9] = [
    -0.000200214257,
    0.000100950558,
    0.00134934322,
    -0.00367342844,
    0.00573950773,
    -0.0076224613,
    0.00943887047,
    1.00167406,
    2.83297682,
];

/// The inverse of [`erf`] in `f64`: a first guess, and Newton's steps.
fn erfinv(x: f64) -> f64 {
    if x.is_nan() || x.abs() > 1.0 {
        return f64::NAN;
    }
    if x.abs() == 1.0 {
        return x * f64::INFINITY;
    }
    // Winitzki's approximation is right to three digits everywhere.
    let (a, l) = (0.147, (1.0 - x * x).ln());
    let b = std::f64::consts::FRAC_2_PI / a + l / 2.0;
    let mut y = ((b * b - l / a).sqrt() - b).max(0.0).sqrt().copysign(x);
    for _ in 0..4 {
        y -= (erf(y) - x) / (std::f64::consts::FRAC_2_SQRT_PI * (-y * y).exp());
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_parse_back() {
        for f in UnaryFn::ALL {
            assert_eq!(UnaryFn::parse(f.row().name), Some(*f));
            assert_eq!(f.row().func, *f);
            assert!(BinaryFn::parse(f.row().name).is_none());
        }
        for f in BinaryFn::ALL {
            assert_eq!(BinaryFn::parse(f.row().name), Some(*f));
            assert_eq!(f.row().func, *f);
        }
        assert!(UnaryFn::ALL.len() + BinaryFn::ALL.len() >= 40);
    }

    #[test]
    fn erf_matches_known_values() {
        for (x, y) in [
            (0.0, 0.0),
            (0.5, 0.5204998778130465),
            (1.0, 0.8427007929497149),
            (2.4, 0.9993114861033549),
            (2.6, 0.9997639655834707),
            (4.0, 0.9999999845827421),
        ] {
            assert!((erf(x) - y).abs() < 1e-14, "erf({x}) = {}", erf(x));
            assert_eq!(erf(-x), -erf(x));
            assert!((erfinv(y) - x).abs() < 1e-7 * x.exp().powf(x), "erfinv({y}) = {}", erfinv(y));
        }
    }
}
