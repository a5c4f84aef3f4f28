//! The error function.

use super::arith::Arithmetic;
use super::exp::exp_normal;
use super::{clamp, polynomial};

/// Error function.
#[inline(always)]
pub fn erf(m: impl Arithmetic, x: f32) -> f32 {
    let a = x.abs();
    let small = polynomial(
        m,
        a * a,
        [
            1.283_791_7e-1,
            -3.761_263_8e-1,
            1.128_378_2e-1,
            -2.686_540_1e-2,
            5.220_946e-3,
            -8.482_833e-4,
            1.125_696e-4,
            -9.641_507e-6,
        ],
    );
    let small = m.mul_add(a, small, a);
    // The logarithm of 1 - erf; the result is 1 from 3.92 on.
    let q = polynomial(
        m,
        clamp(a, 1.0, 4.0) - 1.0,
        [
            -1.849_605_6,
            -2.638_967_5,
            -8.431_070_4e-1,
            -4.156_355_2e-2,
            1.004_658_8e-2,
            -2.012_098e-3,
            2.895_890_2e-4,
            -2.169_755_9e-5,
        ],
    );
    let large = 1.0 - exp_normal(m, q);
    (if a < 1.0 { small } else { large }).copysign(x)
}
