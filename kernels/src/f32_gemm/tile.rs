//! The register tile and the sweep over a block, generic over the vector type. Everything here is inlined into
//! functions that enable the instruction set of the vector type.

use super::{Block, PANEL};

/// A vector of `f32`. All methods require that the processor supports the vector's instruction set.
pub(super) trait Simd: Copy {
    /// Elements; divides [`PANEL`].
    const LANES: usize;
    /// Selects the first elements of a vector.
    type Mask: Copy;

    /// Selects the first `n` elements, `1 <= n <= LANES`.
    unsafe fn mask(n: usize) -> Self::Mask;
    unsafe fn splat(x: f32) -> Self;
    unsafe fn load(p: *const f32) -> Self;
    /// Reads the selected elements only; the others are zero.
    unsafe fn load_part(p: *const f32, mask: Self::Mask) -> Self;
    unsafe fn store(self, p: *mut f32);
    /// Writes the selected elements only.
    unsafe fn store_part(self, p: *mut f32, mask: Self::Mask);
    unsafe fn add(self, other: Self) -> Self;
    /// Hints that an address, valid or not, may be read soon.
    unsafe fn prefetch(p: *const f32);
    /// `self * x + sum`, rounded once where the instruction set can.
    unsafe fn mul_add(self, x: Self, sum: Self) -> Self;
}

/// One register tile's place in a block. Its rows and vectors are parameters of the function that runs it.
pub(super) struct Tile<'a> {
    pub block: &'a Block<'a>,
    pub a: *const f32,
    pub b: *const f32,
    pub c: *mut f32,
    /// Columns of the last vector.
    pub last: usize,
}

/// How many rows below its own elements of A a tile prefetches: the ones of the next tiles, which no hardware prefetcher
/// finds where rows are neighbours and steps of `k` are pages apart.
const AHEAD: isize = 32;

/// A register tile of known shape.
pub(super) type TileFn = unsafe fn(&Tile);

/// A register tile of `R` rows and `V` vectors of columns. `WHOLE` promises that the last vector is complete, for
/// instruction sets where partial loads are expensive.
///
/// # Safety
/// As for [`super::Gemm::block`].
#[inline(always)]
pub(super) unsafe fn tile<S: Simd, const R: usize, const V: usize, const WHOLE: bool>(t: &Tile) {
    // SAFETY: the caller vouches for the block, and the tile lies inside of it.
    unsafe {
        let &Block { k, a_row, a_k, b_k, b_panel, c_row, c_panel, accumulate, .. } = t.block;
        let last = S::mask(t.last);
        let at = |v: usize, panel: isize| (v * S::LANES / PANEL) as isize * panel + (v * S::LANES % PANEL) as isize;
        let whole = |v: usize| WHOLE || v + 1 < V;

        let ahead = if a_row == 1 { AHEAD } else { 0 };
        let mut acc = [[S::splat(0.0); V]; R];
        let mut b = t.b;
        // One loop over all of k that steps from segment to segment: with two nested loops the compiler moves the sums
        // between registers.
        let mut segments = t.block.segments.iter();
        let (mut a, mut left) = (t.a, 0);
        for _ in 0..k {
            if left == 0 {
                let segment = segments.next().unwrap_unchecked();
                (a, left) = (t.a.wrapping_offset(segment.offset), segment.len);
            }
            // The shorter side stays in registers, the longer one passes by.
            let load = |v: usize| {
                let p = b.wrapping_offset(at(v, b_panel));
                if whole(v) { S::load(p) } else { S::load_part(p, last) }
            };
            let splat = |r: usize| S::splat(*a.wrapping_offset(r as isize * a_row));
            if V <= R {
                let mut row = [S::splat(0.0); V];
                for v in 0..V {
                    row[v] = load(v);
                }
                for r in 0..R {
                    let x = splat(r);
                    for v in 0..V {
                        acc[r][v] = x.mul_add(row[v], acc[r][v]);
                    }
                }
            } else {
                let mut column = [S::splat(0.0); R];
                for r in 0..R {
                    column[r] = splat(r);
                }
                for v in 0..V {
                    let x = load(v);
                    for r in 0..R {
                        acc[r][v] = column[r].mul_add(x, acc[r][v]);
                    }
                }
            }
            S::prefetch(a.wrapping_offset(ahead));
            a = a.wrapping_offset(a_k);
            b = b.wrapping_offset(b_k);
            left -= 1;
        }

        for r in 0..R {
            for v in 0..V {
                let p = t.c.wrapping_offset(r as isize * c_row + at(v, c_panel));
                let mut sum = acc[r][v];
                if whole(v) {
                    if accumulate {
                        sum = sum.add(S::load(p));
                    }
                    sum.store(p);
                } else {
                    if accumulate {
                        sum = sum.add(S::load_part(p, last));
                    }
                    sum.store_part(p, last);
                }
            }
        }
    }
}

/// Covers a block with register tiles: column groups outside, rows inside, the rows in tiles of nearly equal height.
/// A group has as many vectors as `group` (of the rows of a tile) allows, always a power of two, so that no group
/// straddles the end of a panel in its middle. `run` executes a tile of some rows and vectors.
///
/// # Safety
/// As for [`super::Gemm::block`]; `run` handles up to `max_rows` rows and `group` vectors.
#[inline(always)]
pub(super) unsafe fn sweep<S: Simd>(
    block: &Block,
    max_rows: usize,
    group: impl Fn(usize) -> usize,
    run: impl Fn(usize, usize, &Tile),
) {
    let tiles = block.rows.div_ceil(max_rows);
    if tiles == 0 {
        return;
    }
    let (height, taller) = if tiles == 1 { (block.rows, 0) } else { (block.rows / tiles, block.rows % tiles) };
    let most = group(height + usize::from(taller > 0));
    let mut col = 0;
    while col < block.cols {
        let left = block.cols - col;
        let needed = left.div_ceil(S::LANES);
        let vectors = 1 << needed.min(most).ilog2();
        let last = if vectors == needed { left - (vectors - 1) * S::LANES } else { S::LANES };
        let panel = (col / PANEL) as isize;
        let inside = (col % PANEL) as isize;
        let mut row = 0;
        for i in 0..tiles {
            let rows = height + usize::from(i < taller);
            let tile = Tile {
                block,
                a: block.a.wrapping_offset(row as isize * block.a_row),
                b: block.b.wrapping_offset(panel * block.b_panel + inside),
                c: block.c.wrapping_offset(row as isize * block.c_row + panel * block.c_panel + inside),
                last,
            };
            run(rows, vectors, &tile);
            row += rows;
        }
        col += (vectors - 1) * S::LANES + last;
    }
}

/// See [`super::Gemm::copy`].
///
/// # Safety
/// As for [`super::Gemm::copy`].
#[inline(always)]
pub(super) unsafe fn copy<S: Simd>(
    dst: *mut f32,
    dst_ld: isize,
    src: *const f32,
    src_ld: isize,
    rows: usize,
    cols: usize,
) {
    // SAFETY: the caller owns both matrices; every access below is inside of one row.
    unsafe {
        let whole = cols / S::LANES * S::LANES;
        let rest = cols - whole;
        let mask = S::mask(rest.max(1));
        for r in 0..rows as isize {
            let (to, from) = (dst.offset(r * dst_ld), src.offset(r * src_ld));
            let mut i = 0;
            while i < whole {
                S::load(from.add(i)).store(to.add(i));
                i += S::LANES;
            }
            if rest > 0 {
                S::load_part(from.add(whole), mask).store_part(to.add(whole), mask);
            }
        }
    }
}

/// See [`super::Gemm::transpose`]: `square` transposes `N` by `N` elements, the edges go one by one.
///
/// # Safety
/// As for [`super::Gemm::transpose`].
#[inline(always)]
pub(super) unsafe fn transpose<const N: usize>(
    dst: *mut f32,
    dst_ld: isize,
    src: *const f32,
    src_ld: isize,
    rows: usize,
    cols: usize,
    square: impl Fn(*mut f32, *const f32),
) {
    let (inner_rows, inner_cols) = (rows / N * N, cols / N * N);
    let to = |r: usize, c: usize| dst.wrapping_offset(c as isize * dst_ld + r as isize);
    let from = |r: usize, c: usize| src.wrapping_offset(r as isize * src_ld + c as isize);
    // SAFETY: the caller owns both matrices; every access below is inside of them.
    unsafe {
        for c in (0..inner_cols).step_by(N) {
            for r in (0..inner_rows).step_by(N) {
                square(to(r, c), from(r, c));
            }
        }
        for r in 0..rows {
            for c in (if r < inner_rows { inner_cols } else { 0 })..cols {
                *to(r, c) = *from(r, c);
            }
        }
    }
}
