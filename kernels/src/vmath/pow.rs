//! Powers.

use super::arith::Arithmetic;
use super::{ROUND64, clamp64, polynomial, power_of_two, split64};

/// `x^y`
#[inline(always)]
pub fn pow(m: impl Arithmetic, x: f32, y: f32) -> f32 {
    let a = x.abs();
    let (e, mantissa) = split64(a as f64);
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let p = polynomial(
        m,
        s * s,
        [
            2.885_390_081_777_927_22,
            9.617_966_939_243_245_42e-1,
            5.770_780_172_502_898_43e-1,
            4.121_984_014_733_683_37e-1,
            3.206_164_258_354_944_90e-1,
            2.614_431_099_330_379_32e-1,
            2.429_289_962_625_861_00e-1,
        ],
    );
    let log2 = m.mul_add(s, p, e);
    let log2 = if a == 0.0 { f64::NEG_INFINITY } else { log2 };
    let log2 = if a == f32::INFINITY { f64::INFINITY } else { log2 };

    // Beyond these limits the result is infinite or zero anyway.
    let exponent = clamp64(y as f64 * log2, -200.0, 200.0);
    let rounded = exponent + ROUND64;
    let r = exponent - (rounded - ROUND64);
    let p = polynomial(
        m,
        r,
        [
            9.999_999_999_616_885_35e-1,
            6.931_471_807_285_144_45e-1,
            2.402_265_119_809_433_58e-1,
            5.550_410_353_096_556_92e-2,
            9.618_027_260_055_528_67e-3,
            1.333_392_288_094_695_75e-3,
            1.546_928_962_079_712_81e-4,
            1.520_184_697_325_225_90e-5,
        ],
    );
    let power = (p * power_of_two(rounded)) as f32;

    // From 2^24 on every number is an even integer; NaN becomes one, too.
    const EVEN: f32 = 16_777_216.0;
    let limited = if y < EVEN { y } else { EVEN };
    let limited = if limited > -EVEN { limited } else { -EVEN };
    // SAFETY: the value is finite and well inside the range of i32.
    let integer = unsafe { limited.to_int_unchecked::<i32>() };
    let whole = integer as f32 == limited;
    let odd = whole & (integer & 1 != 0);

    let sign = if odd { x.to_bits() & 0x8000_0000 } else { 0 };
    let result = f32::from_bits(power.to_bits() | sign);
    let result = if (x < 0.0) & (a < f32::INFINITY) & !whole { f32::NAN } else { result };
    let result = if (x.is_nan()) | (y.is_nan()) { x + y } else { result };
    let result = if (a == 1.0) & (y.abs() == f32::INFINITY) { 1.0 } else { result };
    if (x == 1.0) | (y == 0.0) { 1.0 } else { result }
}
