//! AArch64 Advanced SIMD: tiles of up to 6 rows and 16 columns in 24 of the 32 registers.

use core::arch::aarch64::*;

use super::tile::{Simd, Tile, TileFn, sweep, tile};
use super::{Block, Gemm};

#[derive(Clone, Copy)]
struct F32x4(float32x4_t);

// Advanced SIMD is part of the architecture's baseline, so that every processor can run these methods.
impl Simd for F32x4 {
    const LANES: usize = 4;
    type Mask = usize;

    #[inline(always)]
    unsafe fn mask(n: usize) -> usize {
        n
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> F32x4 {
        // SAFETY: baseline instruction.
        unsafe { F32x4(vdupq_n_f32(x)) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> F32x4 {
        // SAFETY: the elements are readable.
        unsafe { F32x4(vld1q_f32(p)) }
    }
    #[inline(always)]
    unsafe fn load_part(p: *const f32, n: usize) -> F32x4 {
        let mut x = [0.0_f32; 4];
        for (i, x) in x.iter_mut().enumerate() {
            if i < n {
                // SAFETY: the first `n` elements are readable.
                *x = unsafe { *p.add(i) };
            }
        }
        // SAFETY: the array has four elements.
        unsafe { F32x4(vld1q_f32(x.as_ptr())) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: the elements are writable.
        unsafe { vst1q_f32(p, self.0) }
    }
    #[inline(always)]
    unsafe fn store_part(self, p: *mut f32, n: usize) {
        let mut x = [0.0_f32; 4];
        // SAFETY: the array has four elements.
        unsafe { vst1q_f32(x.as_mut_ptr(), self.0) }
        for (i, x) in x.into_iter().enumerate() {
            if i < n {
                // SAFETY: the first `n` elements are writable.
                unsafe { *p.add(i) = x };
            }
        }
    }
    #[inline(always)]
    unsafe fn add(self, other: F32x4) -> F32x4 {
        // SAFETY: baseline instruction.
        unsafe { F32x4(vaddq_f32(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn prefetch(_: *const f32) {}
    #[inline(always)]
    unsafe fn mul_add(self, x: F32x4, sum: F32x4) -> F32x4 {
        // SAFETY: baseline instruction.
        unsafe { F32x4(vfmaq_f32(sum.0, self.0, x.0)) }
    }
}

unsafe fn run<const R: usize, const V: usize>(t: &Tile) {
    // SAFETY: forwarded.
    unsafe { if t.last == F32x4::LANES { tile::<F32x4, R, V, true>(t) } else { tile::<F32x4, R, V, false>(t) } }
}

/// The tile functions by rows and by the logarithm of vectors.
static TILES: [[Option<TileFn>; 4]; 6] = [
    [Some(run::<1, 1>), Some(run::<1, 2>), Some(run::<1, 4>), Some(run::<1, 8>)],
    [Some(run::<2, 1>), Some(run::<2, 2>), Some(run::<2, 4>), Some(run::<2, 8>)],
    [Some(run::<3, 1>), Some(run::<3, 2>), Some(run::<3, 4>), None],
    [Some(run::<4, 1>), Some(run::<4, 2>), Some(run::<4, 4>), None],
    [Some(run::<5, 1>), Some(run::<5, 2>), Some(run::<5, 4>), None],
    [Some(run::<6, 1>), Some(run::<6, 2>), Some(run::<6, 4>), None],
];

/// The microkernels of [`crate::manifest::Level::Neon`].
pub struct Neon;

impl Gemm for Neon {
    const ROWS: usize = 6;
    const DEPTH: usize = 256;
    const PACK_B_ROWS: usize = 32;

    unsafe fn block(block: &Block) {
        let group = |rows| if rows <= 2 { 8 } else { 4 };
        // SAFETY: the caller vouches for the block; `group` never asks for an absent shape.
        unsafe {
            sweep::<F32x4>(block, Self::ROWS, group, |rows, vectors, t| {
                TILES.get_unchecked(rows - 1).get_unchecked(vectors.ilog2() as usize).unwrap_unchecked()(t)
            })
        }
    }

    unsafe fn copy(dst: *mut f32, dst_ld: isize, src: *const f32, src_ld: isize, rows: usize, cols: usize) {
        // SAFETY: forwarded.
        unsafe { super::tile::copy::<F32x4>(dst, dst_ld, src, src_ld, rows, cols) }
    }

    unsafe fn transpose(dst: *mut f32, dst_ld: isize, src: *const f32, src_ld: isize, rows: usize, cols: usize) {
        let square = |to: *mut f32, from: *const f32| {
            // SAFETY: the caller owns the square of four by four elements.
            unsafe {
                let row = |r: isize| vld1q_f32(from.offset(r * src_ld));
                let (a, b) = (vzipq_f32(row(0), row(2)), vzipq_f32(row(1), row(3)));
                let (low, high) = (vzipq_f32(a.0, b.0), vzipq_f32(a.1, b.1));
                for (c, column) in [low.0, low.1, high.0, high.1].into_iter().enumerate() {
                    vst1q_f32(to.offset(c as isize * dst_ld), column);
                }
            }
        };
        // SAFETY: forwarded.
        unsafe { super::tile::transpose::<4>(dst, dst_ld, src, src_ld, rows, cols, square) }
    }
}
