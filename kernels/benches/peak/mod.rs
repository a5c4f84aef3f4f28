//! What the arithmetic units of one core can do: multiply-adds in independent chains, more than the latency of any
//! processor needs.

use bakelite_kernels::manifest::Level;

/// Multiply-adds at one level.
pub struct Work {
    run: unsafe fn(f32) -> f32,
    /// Floating-point operations of a run.
    pub flops: u64,
}

impl Work {
    /// Runs them from a start value; the result keeps the optimiser from dropping them.
    pub fn run(&self, x: f32) -> f32 {
        // SAFETY: `work` gives this function for a level that the processor supports.
        unsafe { (self.run)(x) }
    }
}

/// The work of a level, `None` where this processor lacks it or nothing is known about it.
pub fn work(level: Level) -> Option<Work> {
    bakelite_kernels::manifest::table(level)?;
    #[cfg(target_arch = "x86_64")]
    return x86::work(level);
    #[cfg(not(target_arch = "x86_64"))]
    None
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Level, Work};

    const STEPS: usize = 1000;
    const CHAINS: usize = 12;

    pub fn work(level: Level) -> Option<Work> {
        let (run, lanes): (unsafe fn(f32) -> f32, usize) = match level {
            Level::Baseline => (baseline, 4),
            Level::V3 => (v3, 8),
            Level::V4 => (v4, 16),
            Level::Neon => return None,
        };
        Some(Work { run, flops: (STEPS * CHAINS * lanes * 2) as u64 })
    }

    macro_rules! chains {
        ($name:ident, $features:literal, $vector:ty, $splat:ident, $step:expr, $first:ident) => {
            #[target_feature(enable = $features)]
            fn $name(x: f32) -> f32 {
                let mut sums = [$splat(x); CHAINS];
                let y = $splat(1.0 - x);
                for _ in 0..STEPS {
                    for sum in &mut sums {
                        *sum = $step(*sum, y);
                    }
                }
                sums.into_iter().map(|s: $vector| $first(s)).sum()
            }
        };
    }

    chains!(baseline, "sse2", __m128, _mm_set1_ps, |s, y| _mm_add_ps(_mm_mul_ps(s, y), y), _mm_cvtss_f32);
    chains!(v3, "avx2,fma", __m256, _mm256_set1_ps, |s, y| _mm256_fmadd_ps(s, y, y), _mm256_cvtss_f32);
    chains!(v4, "avx512f", __m512, _mm512_set1_ps, |s, y| _mm512_fmadd_ps(s, y, y), _mm512_cvtss_f32);
}
