//! Sine and cosine.

use super::arith::Arithmetic;
use super::{ROUND64, clamp64, polynomial};

/// pi / 2 in three parts; the first two have 24 bits, so that their multiples are exact up to 2^29.
const PIO2_HIGH: f64 = 1.570_796_251_296_997;
const PIO2_MIDDLE: f64 = 7.549_789_415_861_596e-8;
const PIO2_LOW: f64 = 5.390_302_858_158_119e-15;

/// The sine of `x + quarter * pi / 2`.
#[inline(always)]
fn sin_quarter(m: impl Arithmetic, x: f32, quarter: u64) -> f32 {
    let wide = x as f64;
    let rounded = m.mul_add(wide, core::f64::consts::FRAC_2_PI, ROUND64);
    let n = rounded - ROUND64;
    let r = m.mul_add(-n, PIO2_LOW, m.mul_add(-n, PIO2_MIDDLE, m.mul_add(-n, PIO2_HIGH, wide)));
    // Where the reduction is not exact any more, the result shall at least stay between -1 and 1.
    let r = clamp64(r, -0.79, 0.79);
    let z = r * r;
    let sin = polynomial(
        m,
        z,
        [
            1.0,
            -1.666_666_664_079_887_17e-1,
            8.333_329_304_378_292_10e-3,
            -1.983_931_198_555_376_00e-4,
            2.718_118_150_952_351_17e-6,
        ],
    ) * r;
    let cos = polynomial(
        m,
        z,
        [
            1.0,
            -0.5,
            4.166_666_661_947_313_06e-2,
            -1.388_888_349_846_418_56e-3,
            2.479_945_972_512_011_16e-5,
            -2.720_571_859_296_749_56e-7,
        ],
    );
    let quadrant = rounded.to_bits().wrapping_add(quarter);
    let y = if quadrant & 1 != 0 { cos } else { sin };
    f64::from_bits(y.to_bits() ^ ((quadrant & 2) << 62)) as f32
}

/// Sine.
#[inline(always)]
pub fn sin(m: impl Arithmetic, x: f32) -> f32 {
    sin_quarter(m, x, 0)
}

/// Cosine.
#[inline(always)]
pub fn cos(m: impl Arithmetic, x: f32) -> f32 {
    sin_quarter(m, x, 1)
}
