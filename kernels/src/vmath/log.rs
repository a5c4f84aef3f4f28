//! Natural logarithms.

use super::arith::Arithmetic;
use super::{polynomial, split64};

/// Nine bits of ln 2, so that small multiples are exact, and the rest.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;

/// Natural logarithm.
#[inline(always)]
pub fn log(m: impl Arithmetic, x: f32) -> f32 {
    /// The bits of the square root of 1/2.
    const LOWEST: u32 = 0x3f35_04f3;
    /// 2^25 makes every denormal normal.
    const LIFT: f32 = 33_554_432.0;
    let denormal = x < f32::MIN_POSITIVE;
    let above = (if denormal { x * LIFT } else { x }).to_bits().wrapping_sub(LOWEST);
    let e = ((above as i32) >> 23) as f32 - if denormal { 25.0 } else { 0.0 };
    let f = f32::from_bits((above & 0x007f_ffff).wrapping_add(LOWEST)) - 1.0;

    let z = f * f;
    let p = polynomial(
        m,
        f,
        [
            3.333_331_3e-1,
            -2.500_001e-1,
            2.000_211_8e-1,
            -1.666_800_1e-1,
            1.421_957_9e-1,
            -1.240_550_4e-1,
            1.188_792_5e-1,
            -1.167_611e-1,
            6.747_663_8e-2,
        ],
    );
    let low = m.mul_add(e, LN2_LOW, p * f * z);
    let y = m.mul_add(e, LN2_HIGH, f + m.mul_add(-0.5, z, low));

    let y = if x > 0.0 { y } else { f32::NAN };
    let y = if x == 0.0 { f32::NEG_INFINITY } else { y };
    if x == f32::INFINITY { x } else { y }
}

/// `log(1 + x)`
#[inline(always)]
pub fn log1p(m: impl Arithmetic, x: f32) -> f32 {
    let wide = x as f64;
    let (e, mantissa) = split64(1.0 + wide);
    // Where 1 + x needs no scaling, x is more exact than what is left of it in the sum.
    let f = if e == 0.0 { wide } else { mantissa - 1.0 };
    let s = f / (2.0 + f);
    let z = s * s;
    let p = polynomial(
        m,
        z,
        [
            2.000_000_000_008_423_93,
            6.666_666_524_046_065_43e-1,
            4.000_038_586_837_317_28e-1,
            2.853_498_594_348_571_89e-1,
            2.361_746_581_898_352_68e-1,
        ],
    );
    let y = (m.mul_add(e, core::f64::consts::LN_2, s * p) as f32).copysign(x);

    let y = if x > -1.0 { y } else { f32::NAN };
    let y = if x == -1.0 { f32::NEG_INFINITY } else { y };
    if x == f32::INFINITY { x } else { y }
}
