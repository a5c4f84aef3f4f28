//! Elementwise functions of `f32` over strips.
//!
//! Each function is one branch-free Rust function of scalars: a range reduction, a polynomial, and selections for
//! special values. The strip loops inline it under each instruction set, where the compiler vectorises it. Only
//! multiplications, additions and the like are used and never fused, so that every level gives the same bits, and an
//! element's bits depend neither on its position nor on the length of the strip.
//!
//! Errors are below 2 units in the last place on the whole domain, denormals included; special values are those of
//! IEEE 754 and C99. Functions whose result can be much smaller than intermediate values (`expm1`, `log1p`, `sin`,
//! `cos`, `pow`) compute in `f64`, whose rounding then does not show. `sin` and `cos` reduce exactly up to `|x|` of
//! 8e8; beyond that they return some value between -1 and 1.

#![allow(clippy::excessive_precision, clippy::approx_constant, reason = "coefficients are printed as they were fitted")]

mod arith;
mod erf;
mod exp;
mod log;
mod pow;
mod trig;

pub use arith::{Arithmetic, Fused, Separate};
use arith::{MulAdd, Number};
pub use erf::erf;
pub use exp::{exp, expm1, sigmoid, tanh};
pub use log::{log, log1p};
pub use pow::pow;
pub use trig::{cos, sin};

/// Elements that the inner loop handles at once: a few vectors of the widest level.
const CHUNK: usize = 64;
/// Elements of the last chunk, which is padded.
const TAIL: usize = 16;

/// `dst[i] = f(src[i])`.
///
/// # Safety
/// `n` elements are valid on both sides, which are equal or disjoint.
#[inline(always)]
pub(crate) unsafe fn map(dst: *mut f32, src: *const f32, n: usize, f: impl Fn(f32) -> f32) {
    // SAFETY: forwarded.
    unsafe { map2(dst, src, src, n, |x, _| f(x)) }
}

/// `dst[i] = f(x[i], y[i])`.
///
/// # Safety
/// `n` elements are valid everywhere; the destination equals or is disjoint from each operand.
#[inline(always)]
pub(crate) unsafe fn map2(dst: *mut f32, x: *const f32, y: *const f32, n: usize, f: impl Fn(f32, f32) -> f32) {
    // SAFETY: every access is below `n`, or inside the padded buffers.
    unsafe {
        let mut i = 0;
        while i + CHUNK <= n {
            chunk::<CHUNK>(dst.add(i), x.add(i), y.add(i), &f);
            i += CHUNK;
        }
        while i + TAIL <= n {
            chunk::<TAIL>(dst.add(i), x.add(i), y.add(i), &f);
            i += TAIL;
        }
        if i < n {
            let (mut a, mut b) = ([1.0_f32; TAIL], [1.0_f32; TAIL]);
            let rest = n - i;
            a.as_mut_ptr().copy_from_nonoverlapping(x.add(i), rest);
            b.as_mut_ptr().copy_from_nonoverlapping(y.add(i), rest);
            chunk::<TAIL>(a.as_mut_ptr(), a.as_ptr(), b.as_ptr(), &f);
            dst.add(i).copy_from_nonoverlapping(a.as_ptr(), rest);
        }
    }
}

/// A chunk of constant length, loaded before anything is stored.
#[inline(always)]
unsafe fn chunk<const N: usize>(dst: *mut f32, x: *const f32, y: *const f32, f: &impl Fn(f32, f32) -> f32) {
    // SAFETY: the caller owns `N` elements everywhere.
    unsafe {
        let a = x.cast::<[f32; N]>().read_unaligned();
        let b = y.cast::<[f32; N]>().read_unaligned();
        let mut r = [0.0; N];
        for i in 0..N {
            r[i] = f(a[i], b[i]);
        }
        dst.cast::<[f32; N]>().write_unaligned(r);
    }
}

/// `c[0] + c[1] x + c[2] x^2 + ...` for at least two terms. Even and odd powers apart: half as long a chain of dependent
/// operations as Horner's.
#[inline(always)]
fn polynomial<T: Number, const N: usize>(m: impl MulAdd<T>, x: T, c: [T; N]) -> T {
    let square = x * x;
    let (mut this, mut other) = (c[N - 2], c[N - 1]);
    for i in (0..N - 2).rev() {
        (this, other) = (m.mul_add(other, square, c[i]), this);
    }
    m.mul_add(other, x, this)
}

/// `x` limited to a range. NaN stays NaN.
#[inline(always)]
fn clamp(x: f32, low: f32, high: f32) -> f32 {
    let x = if x > high { high } else { x };
    if x < low { low } else { x }
}

/// `x` limited to a range. NaN stays NaN.
#[inline(always)]
fn clamp64(x: f64, low: f64, high: f64) -> f64 {
    let x = if x > high { high } else { x };
    if x < low { low } else { x }
}

/// Adding this to a small `f64` leaves the nearest integer in the low bits of the sum.
const ROUND64: f64 = 6_755_399_441_055_744.0;

/// `2^n`, where `rounded` is `n` plus [`ROUND64`] and the power is a normal `f64`.
#[inline(always)]
fn power_of_two(rounded: f64) -> f64 {
    f64::from_bits(rounded.to_bits().wrapping_add(1023) << 52)
}

/// The positive `x` as `2^e * m` with `m` between the square roots of 1/2 and 2.
#[inline(always)]
fn split64(x: f64) -> (f64, f64) {
    /// The bits of the square root of 1/2.
    const LOWEST: u64 = 0x3fe6_a09e_667f_3bcd;
    const MANTISSA: u64 = (1 << 52) - 1;
    let above = x.to_bits().wrapping_sub(LOWEST);
    let biased = above.wrapping_add(1023 << 52) >> 52;
    // The exponent becomes the low bits of a number of known magnitude, which is then taken away.
    let e = f64::from_bits(0x4330_0000_0000_0000 | biased) - (4_503_599_627_370_496.0 + 1023.0);
    let m = f64::from_bits((above & MANTISSA).wrapping_add(LOWEST));
    (e, m)
}
