//! AVX-512: tiles of up to 14 rows and 32 columns; few rows take more columns, so that enough sums are in flight.

use core::arch::x86_64::*;

use super::tile::{Simd, Tile, TileFn, sweep, tile};
use super::{Block, Gemm, avx2};

#[derive(Clone, Copy)]
struct F32x16(__m512);

// Each method only forwards to one instruction.
impl Simd for F32x16 {
    const LANES: usize = 16;
    type Mask = __mmask16;

    #[inline(always)]
    unsafe fn mask(n: usize) -> __mmask16 {
        (0xffff_u32 >> (16 - n)) as __mmask16
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> F32x16 {
        // SAFETY: callers of this trait have AVX-512.
        unsafe { F32x16(_mm512_set1_ps(x)) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> F32x16 {
        // SAFETY: as above, and the elements are readable.
        unsafe { F32x16(_mm512_loadu_ps(p)) }
    }
    #[inline(always)]
    unsafe fn load_part(p: *const f32, mask: __mmask16) -> F32x16 {
        // SAFETY: as above; masked elements are not accessed.
        unsafe { F32x16(_mm512_maskz_loadu_ps(mask, p)) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: as above, and the elements are writable.
        unsafe { _mm512_storeu_ps(p, self.0) }
    }
    #[inline(always)]
    unsafe fn store_part(self, p: *mut f32, mask: __mmask16) {
        // SAFETY: as above; masked elements are not accessed.
        unsafe { _mm512_mask_storeu_ps(p, mask, self.0) }
    }
    #[inline(always)]
    unsafe fn add(self, other: F32x16) -> F32x16 {
        // SAFETY: callers of this trait have AVX-512.
        unsafe { F32x16(_mm512_add_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn prefetch(p: *const f32) {
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }
    #[inline(always)]
    unsafe fn mul_add(self, x: F32x16, sum: F32x16) -> F32x16 {
        // SAFETY: callers of this trait have AVX-512.
        unsafe { F32x16(_mm512_fmadd_ps(self.0, x.0, sum.0)) }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")]
unsafe fn run<const R: usize, const V: usize>(t: &Tile) {
    // SAFETY: forwarded; partial loads cost nothing extra here.
    unsafe { tile::<F32x16, R, V, false>(t) }
}

/// The tile functions by rows and by the logarithm of vectors.
static TILES: [[Option<TileFn>; 4]; 14] = [
    [Some(run::<1, 1>), Some(run::<1, 2>), Some(run::<1, 4>), Some(run::<1, 8>)],
    [Some(run::<2, 1>), Some(run::<2, 2>), Some(run::<2, 4>), None],
    [Some(run::<3, 1>), Some(run::<3, 2>), Some(run::<3, 4>), None],
    [Some(run::<4, 1>), Some(run::<4, 2>), Some(run::<4, 4>), None],
    [Some(run::<5, 1>), Some(run::<5, 2>), Some(run::<5, 4>), None],
    [Some(run::<6, 1>), Some(run::<6, 2>), Some(run::<6, 4>), None],
    [Some(run::<7, 1>), Some(run::<7, 2>), None, None],
    [Some(run::<8, 1>), Some(run::<8, 2>), None, None],
    [Some(run::<9, 1>), Some(run::<9, 2>), None, None],
    [Some(run::<10, 1>), Some(run::<10, 2>), None, None],
    [Some(run::<11, 1>), Some(run::<11, 2>), None, None],
    [Some(run::<12, 1>), Some(run::<12, 2>), None, None],
    [Some(run::<13, 1>), Some(run::<13, 2>), None, None],
    [Some(run::<14, 1>), Some(run::<14, 2>), None, None],
];

/// The microkernels of [`crate::manifest::Level::V4`].
pub struct Avx512;

impl Gemm for Avx512 {
    const ROWS: usize = 14;
    const DEPTH: usize = 384;
    const PACK_B_ROWS: usize = usize::MAX;

    unsafe fn block(block: &Block) {
        let group = |rows| match rows {
            1 => 8,
            2..=6 => 4,
            _ => 2,
        };
        // SAFETY: the caller vouches for the block and the processor; `group` never asks for an absent shape.
        unsafe {
            sweep::<F32x16>(block, Self::ROWS, group, |rows, vectors, t| {
                TILES.get_unchecked(rows - 1).get_unchecked(vectors.ilog2() as usize).unwrap_unchecked()(t)
            })
        }
    }

    unsafe fn copy(dst: *mut f32, dst_ld: isize, src: *const f32, src_ld: isize, rows: usize, cols: usize) {
        // SAFETY: forwarded.
        unsafe { copy(dst, dst_ld, src, src_ld, rows, cols) }
    }

    unsafe fn transpose(dst: *mut f32, dst_ld: isize, src: *const f32, src_ld: isize, rows: usize, cols: usize) {
        // SAFETY: forwarded; every processor with AVX-512 has AVX2.
        unsafe { avx2::Avx2::transpose(dst, dst_ld, src, src_ld, rows, cols) }
    }
}

#[target_feature(enable = "avx512f")]
unsafe fn copy(dst: *mut f32, dst_ld: isize, src: *const f32, src_ld: isize, rows: usize, cols: usize) {
    // SAFETY: forwarded.
    unsafe { super::tile::copy::<F32x16>(dst, dst_ld, src, src_ld, rows, cols) }
}
