//! The exponential function and its relatives.

use super::{ROUND64, clamp, clamp64, polynomial, polynomial64, power_of_two};

/// Adding this to a small `f32` leaves the nearest integer in the low bits of the sum.
const ROUND: f32 = 12_582_912.0;
/// Nine bits of ln 2, so that small multiples are exact, and the rest.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;

/// `e^x` as `(y, n)` for `y * 2^n`, with `y` near 1 and `|x|` below 110.
#[inline(always)]
fn exp_parts(x: f32) -> (f32, i32) {
    let rounded = x * core::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let high = x - n * LN2_HIGH;
    let r = high - n * LN2_LOW;
    // What rounding took from r; exp and everything made of it would lose a quarter of a unit without it.
    let rest = (high - r) - n * LN2_LOW;
    let p = polynomial(r, [5.0e-1, 1.666_666_6e-1, 4.166_628e-2, 8.333_505e-3, 1.394_574_7e-3, 1.978_883_5e-4]);
    let y = ((p * (r * r) + rest) + r) + 1.0;
    (y, (rounded.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32))
}

/// `2^n` for `n` from -126 to 127.
#[inline(always)]
fn scale(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// `e^x` for `x` from -87 to 88, where the result is normal.
#[inline(always)]
pub(super) fn exp_normal(x: f32) -> f32 {
    let (y, n) = exp_parts(x);
    y * scale(n)
}

/// `e^x`
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Beyond these limits the result is infinite or zero anyway.
    let (y, n) = exp_parts(clamp(x, -104.0, 89.0));
    // Two factors: the power itself can lie outside the range of normal numbers, and only the last product rounds.
    let half = n >> 1;
    y * scale(half) * scale(n.wrapping_sub(half))
}

/// `e^x - 1`
#[inline(always)]
pub fn expm1(x: f32) -> f32 {
    let wide = clamp64(x as f64, -40.0, 100.0);
    let rounded = wide * core::f64::consts::LOG2_E + ROUND64;
    let n = rounded - ROUND64;
    let r = wide - n * core::f64::consts::LN_2;
    let p = polynomial64(
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
    let y = power * (r + r * r * p) + (power - 1.0);
    (y as f32).copysign(x)
}

/// Hyperbolic tangent.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let a = x.abs();
    let z = a * a;
    let small = a + a
        * z
        * polynomial(
            z,
            [-3.333_333_1e-1, 1.333_320_6e-1, -5.394_678e-2, 2.170_077_5e-2, -8.177_535e-3, 2.143_056_4e-3],
        );
    // The result is 1 from 9.02 on.
    let e = exp_normal(2.0 * clamp(a, 0.0, 10.0));
    let large = 1.0 - 2.0 / (e + 1.0);
    (if a < 0.625 { small } else { large }).copysign(x)
}

/// `1 / (1 + e^-x)`
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    let z = exp(-x.abs());
    let sum = 1.0 + z;
    let q = (if x < 0.0 { z } else { 1.0 }) / sum;
    // What rounding took from the sum, divided by it.
    q - q * (z - (sum - 1.0)) * (if x < 0.0 { 1.0 - q } else { q })
}
