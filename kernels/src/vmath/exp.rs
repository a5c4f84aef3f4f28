//! The exponential function and its relatives.

use super::arith::{Arithmetic, MulAdd};
use super::{ROUND64, clamp, clamp64, polynomial, power_of_two};

/// Adding this to a small `f32` leaves the nearest integer in the low bits of the sum.
const ROUND: f32 = 12_582_912.0;
/// Nine bits of ln 2, so that small multiples are exact, and the rest.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;

/// `x` for `|x|` below 110 as `r + n ln 2`: `r`, and `n` in the low bits of a word.
#[inline(always)]
fn reduce(m: impl MulAdd<f32>, x: f32) -> (f32, u32) {
    let rounded = m.mul_add(x, core::f32::consts::LOG2_E, ROUND);
    let n = rounded - ROUND;
    let r = m.mul_add(-n, LN2_LOW, m.mul_add(-n, LN2_HIGH, x));
    (r, rounded.to_bits())
}

/// `e^r - 1` for `|r|` up to half of ln 2, with a small relative error.
#[inline(always)]
fn small_expm1(m: impl MulAdd<f32>, r: f32) -> f32 {
    let p = polynomial(m, r, [5.0e-1, 1.666_666_6e-1, 4.166_628e-2, 8.333_505e-3, 1.394_574_7e-3, 1.978_883_5e-4]);
    m.mul_add(p, r * r, r)
}

/// `2^n` for `n` from -126 to 127 in the low bits of a word.
#[inline(always)]
fn scale(n: u32) -> f32 {
    f32::from_bits(n.wrapping_add(127) << 23)
}

/// `e^x` for `x` from -87 to 88, where the result is normal.
#[inline(always)]
pub(super) fn exp_normal(m: impl MulAdd<f32>, x: f32) -> f32 {
    let (r, n) = reduce(m, x);
    (small_expm1(m, r) + 1.0) * scale(n)
}

/// `e^x`
#[inline(always)]
pub fn exp(m: impl Arithmetic, x: f32) -> f32 {
    // Beyond these limits the result is infinite or zero anyway.
    let (r, n) = reduce(m, clamp(x, -104.0, 89.0));
    // Two factors: the power itself can lie outside the range of normal numbers, and only the last product rounds.
    let n = n.wrapping_sub(ROUND.to_bits());
    let half = (n as i32 >> 1) as u32;
    (small_expm1(m, r) + 1.0) * scale(half) * scale(n.wrapping_sub(half))
}

/// `e^x - 1`
#[inline(always)]
pub fn expm1(m: impl Arithmetic, x: f32) -> f32 {
    let wide = clamp64(x as f64, -40.0, 100.0);
    let rounded = m.mul_add(wide, core::f64::consts::LOG2_E, ROUND64);
    let n = rounded - ROUND64;
    let r = m.mul_add(-n, core::f64::consts::LN_2, wide);
    let p = polynomial(
        m,
        r,
        [
            5.000_000_046_408_917_82e-1,
            1.666_666_681_783_999_24e-1,
            4.166_635_467_892_017_97e-2,
            8.333_272_931_829_258_06e-3,
            1.394_100_592_120_424_85e-3,
            1.991_421_477_208_129_04e-4,
        ],
    );
    let power = power_of_two(rounded);
    let y = m.mul_add(power, m.mul_add(p, r * r, r), power - 1.0);
    (y as f32).copysign(x)
}

/// Hyperbolic tangent.
#[inline(always)]
pub fn tanh(m: impl Arithmetic, x: f32) -> f32 {
    // The result is 1 from 9.02 on. Below, (e^2a - 1) / (e^2a + 1) with a numerator that keeps its relative accuracy.
    let (r, n) = reduce(m, 2.0 * clamp(x.abs(), 0.0, 10.0));
    let power = scale(n);
    let e = m.mul_add(power, small_expm1(m, r), power - 1.0);
    let sum = e + 2.0;
    let q = e / sum;
    // What rounding took from the sum, divided by it; where e is large it matters little and is found differently.
    let rest = if e < 2.0 { e - (sum - 2.0) } else { 0.0 };
    m.mul_add(-q, rest * m.mul_add(-0.5, q, 0.5), q).copysign(x)
}

/// `1 / (1 + e^-x)`
#[inline(always)]
pub fn sigmoid(m: impl Arithmetic, x: f32) -> f32 {
    let z = exp(m, -x.abs());
    let sum = 1.0 + z;
    let q = (if x < 0.0 { z } else { 1.0 }) / sum;
    // What rounding took from the sum, divided by it.
    m.mul_add(-q, (z - (sum - 1.0)) * (if x < 0.0 { 1.0 - q } else { q }), q)
}
