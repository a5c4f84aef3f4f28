//! Functions of numbers that are compositions of the rows of the scalar table.

use std::f64::consts::{FRAC_PI_2, LN_2, PI};

use super::Built;
use crate::ir::scalar::UnaryFn;
use crate::ir::{DType, Graph, NodeId, Op};

impl Graph {
    pub(crate) fn atan(&mut self, x: NodeId) -> NodeId {
        self.push(Op::Unary(UnaryFn::Atan), &[x])
    }

    /// `a / b`, both made of `x`: `f(1 - x, 1 + x)`.
    fn of_distances(&mut self, x: NodeId) -> (NodeId, NodeId) {
        (self.s_sub(1.0, x), self.add_s(x, 1.0))
    }

    /// The angle of a sine: `2 atan(x / (1 + sqrt(1 - x^2)))`.
    pub(crate) fn asin(&mut self, x: NodeId) -> NodeId {
        let (low, high) = self.of_distances(x);
        let square = self.mul(low, high);
        let cosine = self.sqrt(square);
        let down = self.add_s(cosine, 1.0);
        let half = self.div(x, down);
        let half = self.atan(half);
        self.mul_s(half, 2.0)
    }

    /// The angle of a cosine: `2 atan(sqrt((1 - x) / (1 + x)))`.
    pub(crate) fn acos(&mut self, x: NodeId) -> NodeId {
        let (low, high) = self.of_distances(x);
        let ratio = self.div(low, high);
        let tangent = self.sqrt(ratio);
        let half = self.atan(tangent);
        self.mul_s(half, 2.0)
    }

    /// The angle of the point `(x, y)`; that of the origin is 0.
    pub(crate) fn atan2(&mut self, y: NodeId, x: NodeId) -> NodeId {
        let zero = self.lit_like(x, 0.0);
        let (size_y, size_x) = (self.abs(y), self.abs(x));
        let steep = self.gt(size_y, size_x);
        let (up, down) = (self.select(steep, x, y), self.select(steep, y, x));
        let (origin, one) = (self.eq(down, zero), self.lit_like(x, 1.0));
        let down = self.select(origin, one, down);
        let slope = self.div(up, down);
        let angle = self.atan(slope);
        let above = self.lt(y, zero);
        let quarter = |g: &mut Graph, a: f64| {
            let (minus, plus) = (g.lit_like(x, -a), g.lit_like(x, a));
            g.select(above, minus, plus)
        };
        let right = quarter(self, FRAC_PI_2);
        let turned = self.sub(right, angle);
        let half = quarter(self, PI);
        let behind = self.add(angle, half);
        let left = self.lt(x, zero);
        let flat = self.select(left, behind, angle);
        self.select(steep, turned, flat)
    }

    pub(crate) fn sinh(&mut self, x: NodeId) -> NodeId {
        let minus = self.neg(x);
        let (up, down) = (self.expm1(x), self.expm1(minus));
        let twice = self.sub(up, down);
        self.mul_s(twice, 0.5)
    }

    pub(crate) fn cosh(&mut self, x: NodeId) -> NodeId {
        let minus = self.neg(x);
        let (up, down) = (self.exp(x), self.exp(minus));
        let twice = self.add(up, down);
        self.mul_s(twice, 0.5)
    }

    /// `sign(x) log(|x| + sqrt(x^2 + 1))`
    pub(crate) fn asinh(&mut self, x: NodeId) -> NodeId {
        const FAR: f64 = 1e9;
        let zero = self.lit_like(x, 0.0);
        let negative = self.lt(x, zero);
        let minus = self.neg(x);
        let size = self.select(negative, minus, x);
        let bound = self.lit_like(x, FAR);
        let (far, near) = (self.gt(size, bound), self.min_s(size, FAR));
        let square = self.square(near);
        let root = self.add_s(square, 1.0);
        let root = self.sqrt(root);
        let root = self.add_s(root, 1.0);
        let small = self.div(square, root);
        let small = self.add(near, small);
        let small = self.log1p(small);
        let one = self.lit_like(x, 1.0);
        let safe = self.select(far, size, one);
        let large = self.log(safe);
        let large = self.add_s(large, LN_2);
        let value = self.select(far, large, small);
        let minus = self.neg(value);
        self.select(negative, minus, value)
    }

    /// `log(x + sqrt(x^2 - 1))`
    pub(crate) fn acosh(&mut self, x: NodeId) -> NodeId {
        let (above, sum) = (self.add_s(x, -1.0), self.add_s(x, 1.0));
        let (a, b) = (self.sqrt(above), self.sqrt(sum));
        let root = self.mul(a, b);
        let sum = self.add(above, root);
        self.log1p(sum)
    }

    pub(crate) fn atanh(&mut self, x: NodeId) -> NodeId {
        let minus = self.neg(x);
        let (up, down) = (self.log1p(x), self.log1p(minus));
        let twice = self.sub(up, down);
        self.mul_s(twice, 0.5)
    }

    /// `2^x`
    pub(crate) fn exp2(&mut self, x: NodeId) -> NodeId {
        let two = self.lit_like(x, 2.0);
        self.pow(two, x)
    }

    pub(crate) fn cbrt(&mut self, x: NodeId) -> NodeId {
        let (size, sign) = (self.abs(x), self.sign(x));
        let third = self.lit_like(x, 1.0 / 3.0);
        let root = self.pow(size, third);
        self.mul(root, sign)
    }

    /// `sin(pi x) / (pi x)`, 1 at 0.
    pub(crate) fn sinc(&mut self, x: NodeId) -> NodeId {
        let zero = self.lit_like(x, 0.0);
        let one = self.lit_like(x, 1.0);
        let nothing = self.eq(x, zero);
        let safe = self.select(nothing, one, x);
        let angle = self.mul_s(safe, PI);
        let sine = self.sin(angle);
        let value = self.div(sine, angle);
        self.select(nothing, one, value)
    }

    /// `log(e^a + e^b)`: `a + softplus(b - a)`, with the gradient of both where they are equal.
    pub(crate) fn log_add_exp(&mut self, a: NodeId, b: NodeId) -> NodeId {
        let apart = self.sub(b, a);
        let rise = self.softplus(apart);
        let sum = self.add(a, rise);
        // Two infinities of one sign have no distance; where the second is the only infinity, so is the sum.
        let (level, plain) = (self.is_nan(apart), self.add(a, b));
        let level = self.select(level, plain, sum);
        let lowest = self.lit_like(a, f64::NEG_INFINITY);
        let none = self.eq(a, lowest);
        self.select(none, b, level)
    }

    /// `sqrt(a^2 + b^2)`
    pub(crate) fn hypot(&mut self, a: NodeId, b: NodeId) -> NodeId {
        let (a, b) = (self.square(a), self.square(b));
        let sum = self.add(a, b);
        self.sqrt(sum)
    }

    /// Python's remainder, with the sign of the divisor.
    pub(crate) fn modulo(&mut self, x: NodeId, y: NodeId) -> NodeId {
        let rest = self.rem(x, y);
        let wrong = self.wrong_side(rest, y);
        let moved = self.add(rest, y);
        self.select(wrong, moved, rest)
    }

    /// Python's quotient, rounded down.
    pub(crate) fn floor_div(&mut self, x: NodeId, y: NodeId) -> NodeId {
        let rest = self.rem(x, y);
        let wrong = self.wrong_side(rest, y);
        let one = self.lit_like(x, 1.0);
        let quotient = if self.ty(x).dtype.is_float() {
            let whole = self.sub(x, rest);
            let quotient = self.div(whole, y);
            self.round(quotient)
        } else {
            self.div(x, y)
        };
        let less = self.sub(quotient, one);
        self.select(wrong, less, quotient)
    }

    /// Whether a remainder and its divisor have different signs.
    fn wrong_side(&mut self, rest: NodeId, y: NodeId) -> NodeId {
        let zero = self.lit_like(rest, 0.0);
        let some = self.ne(rest, zero);
        let (a, b) = (self.lt(rest, zero), self.lt(y, zero));
        let differ = self.xor(a, b);
        self.and(some, differ)
    }

    /// `x / y`, and 0 where `y` is.
    pub(crate) fn div_no_nan(&mut self, x: NodeId, y: NodeId) -> NodeId {
        let (zero, one) = (self.lit_like(y, 0.0), self.lit_like(y, 1.0));
        let none = self.eq(y, zero);
        let safe = self.select(none, one, y);
        let quotient = self.div(x, safe);
        self.select(none, zero, quotient)
    }

    /// 0 below 0, `y` at 0, 1 above; NaN stays NaN.
    pub(crate) fn heaviside(&mut self, x: NodeId, y: NodeId) -> NodeId {
        let (zero, one) = (self.lit_like(x, 0.0), self.lit_like(x, 1.0));
        let (below, above, at) = (self.lt(x, zero), self.gt(x, zero), self.eq(x, zero));
        let value = self.select(at, y, x);
        let value = self.select(above, one, value);
        self.select(below, zero, value)
    }

    /// Whether two numbers are near each other: `|a - b| <= atol + rtol |b|`, or equal.
    pub(crate) fn is_close(&mut self, a: NodeId, b: NodeId, rtol: f64, atol: f64, equal_nan: bool) -> NodeId {
        let apart = self.sub(a, b);
        let apart = self.abs(apart);
        let size = self.abs(b);
        let slack = self.mul_s(size, rtol);
        let slack = self.add_s(slack, atol);
        let infinity = self.lit_like(a, f64::INFINITY);
        let (near, finite, equal) = (self.le(apart, slack), self.ne(size, infinity), self.eq(a, b));
        let near = self.and(near, finite);
        let near = self.or(near, equal);
        if !equal_nan {
            return near;
        }
        let (a, b) = (self.is_nan(a), self.is_nan(b));
        let both = self.and(a, b);
        self.or(near, both)
    }

    /// Numbers in the place of NaN and of the infinities.
    pub(crate) fn nan_to_num(&mut self, x: NodeId, nan: f64, high: f64, low: f64) -> NodeId {
        let mut y = x;
        for (from, to) in [(f64::INFINITY, high), (f64::NEG_INFINITY, low)] {
            let (from, to) = (self.lit_like(x, from), self.lit_like(x, to));
            let hit = self.eq(x, from);
            y = self.select(hit, to, y);
        }
        let (hit, to) = (self.is_nan(x), self.lit_like(x, nan));
        self.select(hit, to, y)
    }

    pub(crate) fn is_infinite(&mut self, x: NodeId) -> NodeId {
        let size = self.abs(x);
        let infinity = self.lit_like(x, f64::INFINITY);
        self.eq(size, infinity)
    }

    pub(crate) fn is_finite(&mut self, x: NodeId) -> NodeId {
        let size = self.abs(x);
        let infinity = self.lit_like(x, f64::INFINITY);
        self.lt(size, infinity)
    }

    /// Rounded to a number of decimals, ties to even.
    pub(crate) fn rounded(&mut self, x: NodeId, decimals: i32) -> NodeId {
        if decimals == 0 {
            return self.round(x);
        }
        let factor = 10f64.powi(decimals);
        let factor = self.lit_like(x, factor);
        let scaled = self.mul(x, factor);
        let whole = self.round(scaled);
        self.div(whole, factor)
    }

    /// Whether the sign bit of a number is set, that of a negative zero too.
    pub(crate) fn sign_bit(&mut self, x: NodeId) -> Built {
        let dtype = self.ty(x).dtype;
        if dtype == DType::F32 {
            let bits = self.to_bits(x);
            let places = self.lit_like(bits, 31.0);
            let top = self.shr(bits, places);
            return Ok(self.cast(top, DType::Bool));
        }
        let zero = self.lit_like(x, 0.0);
        Ok(self.lt(x, zero))
    }
}
