//! AVX2 and FMA: tiles of up to 3 rows and 32 columns, which is a whole panel: half of its columns would lie in half of
//! the cache's sets. One row takes two panels.

use core::arch::x86_64::*;

use super::tile::{Simd, Tile, TileFn, sweep, tile};
use super::{Block, Gemm};

#[derive(Clone, Copy)]
struct F32x8(__m256);

// Each method only forwards to one instruction.
impl Simd for F32x8 {
    const LANES: usize = 8;
    type Mask = __m256i;

    #[inline(always)]
    unsafe fn mask(n: usize) -> __m256i {
        static ONES: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
        // SAFETY: callers of this trait have AVX2; the window lies inside the table for n from 0 to 8.
        unsafe { _mm256_loadu_si256(ONES.as_ptr().add(8 - n).cast()) }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> F32x8 {
        // SAFETY: callers of this trait have AVX2.
        unsafe { F32x8(_mm256_set1_ps(x)) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> F32x8 {
        // SAFETY: as above, and the elements are readable.
        unsafe { F32x8(_mm256_loadu_ps(p)) }
    }
    #[inline(always)]
    unsafe fn load_part(p: *const f32, mask: __m256i) -> F32x8 {
        // SAFETY: as above; masked elements are not accessed.
        unsafe { F32x8(_mm256_maskload_ps(p, mask)) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: as above, and the elements are writable.
        unsafe { _mm256_storeu_ps(p, self.0) }
    }
    #[inline(always)]
    unsafe fn store_part(self, p: *mut f32, mask: __m256i) {
        // SAFETY: as above; masked elements are not accessed.
        unsafe { _mm256_maskstore_ps(p, mask, self.0) }
    }
    #[inline(always)]
    unsafe fn add(self, other: F32x8) -> F32x8 {
        // SAFETY: callers of this trait have AVX2.
        unsafe { F32x8(_mm256_add_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn prefetch(p: *const f32) {
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }
    #[inline(always)]
    unsafe fn mul_add(self, x: F32x8, sum: F32x8) -> F32x8 {
        // SAFETY: callers of this trait have AVX2 and FMA.
        unsafe { F32x8(_mm256_fmadd_ps(self.0, x.0, sum.0)) }
    }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn run<const R: usize, const V: usize>(t: &Tile) {
    // SAFETY: forwarded.
    unsafe { if t.last == F32x8::LANES { tile::<F32x8, R, V, true>(t) } else { tile::<F32x8, R, V, false>(t) } }
}

/// The tile functions by rows and by the logarithm of vectors.
static TILES: [[Option<TileFn>; 4]; 3] = [
    [Some(run::<1, 1>), Some(run::<1, 2>), Some(run::<1, 4>), Some(run::<1, 8>)],
    [Some(run::<2, 1>), Some(run::<2, 2>), Some(run::<2, 4>), None],
    [Some(run::<3, 1>), Some(run::<3, 2>), Some(run::<3, 4>), None],
];

/// The microkernels of [`crate::manifest::Level::V3`].
pub struct Avx2;

impl Gemm for Avx2 {
    const ROWS: usize = 3;
    const DEPTH: usize = 128;
    const PACK_B_ROWS: usize = 32;

    unsafe fn block(block: &Block) {
        let group = |rows| if rows == 1 { 8 } else { 4 };
        // SAFETY: the caller vouches for the block and the processor; `group` never asks for an absent shape.
        unsafe {
            sweep::<F32x8>(block, Self::ROWS, group, |rows, vectors, t| {
                TILES.get_unchecked(rows - 1).get_unchecked(vectors.ilog2() as usize).unwrap_unchecked()(t)
            })
        }
    }

    unsafe fn copy(dst: *mut f32, dst_ld: isize, src: *const f32, src_ld: isize, rows: usize, cols: usize) {
        // SAFETY: forwarded.
        unsafe { copy(dst, dst_ld, src, src_ld, rows, cols) }
    }

    unsafe fn transpose(dst: *mut f32, dst_ld: isize, src: *const f32, src_ld: isize, rows: usize, cols: usize) {
        // SAFETY: forwarded.
        unsafe { transpose(dst, dst_ld, src, src_ld, rows, cols) }
    }
}

#[target_feature(enable = "avx2")]
unsafe fn copy(dst: *mut f32, dst_ld: isize, src: *const f32, src_ld: isize, rows: usize, cols: usize) {
    // SAFETY: forwarded.
    unsafe { super::tile::copy::<F32x8>(dst, dst_ld, src, src_ld, rows, cols) }
}

#[target_feature(enable = "avx2")]
unsafe fn transpose(dst: *mut f32, dst_ld: isize, src: *const f32, src_ld: isize, rows: usize, cols: usize) {
    // SAFETY: forwarded; `transpose_square` moves the square that it is given.
    unsafe {
        super::tile::transpose::<8>(dst, dst_ld, src, src_ld, rows, cols, |d, s| transpose_square(d, dst_ld, s, src_ld))
    }
}

/// Transposes 8 by 8 elements.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn transpose_square(dst: *mut f32, dst_ld: isize, src: *const f32, src_ld: isize) {
    // SAFETY: the caller owns eight rows of eight elements on both sides.
    unsafe {
        let row = |r: isize| _mm256_loadu_ps(src.offset(r * src_ld));
        // Rows 0..4 beside rows 4..8 of the left half, then of the right half: 4x4 transposes finish the work.
        let half = |r: isize, right: bool| {
            let (low, high) = (row(r), row(r + 4));
            if right { _mm256_permute2f128_ps(low, high, 0x31) } else { _mm256_permute2f128_ps(low, high, 0x20) }
        };
        for right in [false, true] {
            let rows = [half(0, right), half(1, right), half(2, right), half(3, right)];
            let (a, b) = (_mm256_unpacklo_ps(rows[0], rows[1]), _mm256_unpackhi_ps(rows[0], rows[1]));
            let (c, d) = (_mm256_unpacklo_ps(rows[2], rows[3]), _mm256_unpackhi_ps(rows[2], rows[3]));
            let columns = [
                _mm256_shuffle_ps(a, c, 0x44),
                _mm256_shuffle_ps(a, c, 0xee),
                _mm256_shuffle_ps(b, d, 0x44),
                _mm256_shuffle_ps(b, d, 0xee),
            ];
            for (i, column) in columns.into_iter().enumerate() {
                _mm256_storeu_ps(dst.offset((i as isize + if right { 4 } else { 0 }) * dst_ld), column);
            }
        }
    }
}
