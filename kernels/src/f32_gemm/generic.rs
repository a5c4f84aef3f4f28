//! Portable Rust on arrays of four elements, which every 64-bit processor has vectors for: tiles of up to 4 rows and
//! 8 columns. Products are rounded before they are added.

use super::tile::{Simd, Tile, TileFn, sweep, tile};
use super::{Block, Gemm};

#[derive(Clone, Copy)]
#[repr(C, align(16))]
struct F32x4([f32; 4]);

impl Simd for F32x4 {
    const LANES: usize = 4;
    type Mask = usize;

    #[inline(always)]
    unsafe fn mask(n: usize) -> usize {
        n
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> F32x4 {
        F32x4([x; 4])
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> F32x4 {
        // SAFETY: the elements are readable; nothing is assumed about alignment.
        F32x4(unsafe { p.cast::<[f32; 4]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn load_part(p: *const f32, n: usize) -> F32x4 {
        let mut x = [0.0; 4];
        for (i, x) in x.iter_mut().enumerate() {
            if i < n {
                // SAFETY: the first `n` elements are readable.
                *x = unsafe { *p.add(i) };
            }
        }
        F32x4(x)
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: the elements are writable; nothing is assumed about alignment.
        unsafe { p.cast::<[f32; 4]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn store_part(self, p: *mut f32, n: usize) {
        for (i, x) in self.0.into_iter().enumerate() {
            if i < n {
                // SAFETY: the first `n` elements are writable.
                unsafe { *p.add(i) = x };
            }
        }
    }
    #[inline(always)]
    unsafe fn add(self, other: F32x4) -> F32x4 {
        let (a, b) = (self.0, other.0);
        F32x4([a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]])
    }
    #[inline(always)]
    unsafe fn prefetch(_: *const f32) {}
    #[inline(always)]
    unsafe fn mul_add(self, x: F32x4, sum: F32x4) -> F32x4 {
        let (a, b, c) = (self.0, x.0, sum.0);
        F32x4([a[0] * b[0] + c[0], a[1] * b[1] + c[1], a[2] * b[2] + c[2], a[3] * b[3] + c[3]])
    }
}

unsafe fn run<const R: usize, const V: usize>(t: &Tile) {
    // SAFETY: forwarded.
    unsafe { if t.last == F32x4::LANES { tile::<F32x4, R, V, true>(t) } else { tile::<F32x4, R, V, false>(t) } }
}

/// The tile functions by rows and by the logarithm of vectors.
static TILES: [[Option<TileFn>; 4]; 4] = [
    [Some(run::<1, 1>), Some(run::<1, 2>), Some(run::<1, 4>), Some(run::<1, 8>)],
    [Some(run::<2, 1>), Some(run::<2, 2>), Some(run::<2, 4>), None],
    [Some(run::<3, 1>), Some(run::<3, 2>), None, None],
    [Some(run::<4, 1>), Some(run::<4, 2>), None, None],
];

/// The microkernels of [`crate::manifest::Level::Baseline`].
pub struct Generic;

impl Gemm for Generic {
    const ROWS: usize = 4;
    const DEPTH: usize = 256;
    const PACK_B_ROWS: usize = 32;

    unsafe fn block(block: &Block) {
        let group = |rows| match rows {
            1 => 8,
            2 => 4,
            _ => 2,
        };
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
            for c in 0..4 {
                let column = [0, 1, 2, 3].map(|r| {
                    // SAFETY: the caller owns the square.
                    unsafe { *from.offset(r * src_ld + c) }
                });
                // SAFETY: as above.
                unsafe { F32x4(column).store(to.offset(c * dst_ld)) }
            }
        };
        // SAFETY: forwarded.
        unsafe { super::tile::transpose::<4>(dst, dst_ld, src, src_ld, rows, cols, square) }
    }
}
