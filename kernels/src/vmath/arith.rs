//! How multiply-adds are computed: the one respect in which levels differ.

use core::ops::{Add, Mul, Neg};

/// `a * b + c`, rounded once or twice. A value of such a type proves that the processor can do it that way.
pub trait MulAdd<T>: Copy {
    fn mul_add(self, a: T, b: T, c: T) -> T;
}

/// Multiply-adds of both floating types.
pub trait Arithmetic: MulAdd<f32> + MulAdd<f64> {}

impl<A: MulAdd<f32> + MulAdd<f64>> Arithmetic for A {}

/// The numbers of both floating types.
pub trait Number: Copy + Mul<Output = Self> + Add<Output = Self> + Neg<Output = Self> {}

impl Number for f32 {}
impl Number for f64 {}

/// Two operations, each rounded.
#[derive(Clone, Copy)]
pub struct Separate;

impl<T: Number> MulAdd<T> for Separate {
    #[inline(always)]
    fn mul_add(self, a: T, b: T, c: T) -> T {
        a * b + c
    }
}

/// One operation, rounded once.
#[derive(Clone, Copy)]
pub struct Fused(());

impl Fused {
    /// # Safety
    /// The processor has FMA instructions, and the caller enables them.
    #[inline(always)]
    pub unsafe fn new() -> Fused {
        Fused(())
    }
}

// The scalar intrinsics become plain fused operations, which the compiler vectorises like any other.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use core::arch::x86_64::*;

    use super::{Fused, MulAdd};

    impl MulAdd<f32> for Fused {
        #[inline(always)]
        fn mul_add(self, a: f32, b: f32, c: f32) -> f32 {
            // SAFETY: whoever made `self` vouched for the instructions.
            unsafe { _mm_cvtss_f32(_mm_fmadd_ss(_mm_set_ss(a), _mm_set_ss(b), _mm_set_ss(c))) }
        }
    }

    impl MulAdd<f64> for Fused {
        #[inline(always)]
        fn mul_add(self, a: f64, b: f64, c: f64) -> f64 {
            // SAFETY: whoever made `self` vouched for the instructions.
            unsafe { _mm_cvtsd_f64(_mm_fmadd_sd(_mm_set_sd(a), _mm_set_sd(b), _mm_set_sd(c))) }
        }
    }
}
