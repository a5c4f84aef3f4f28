//! Microkernels of `f32` matrix products: one generic register tile, instantiated per instruction set.
//!
//! A [`Block`] is a product of two affine operands. [`Gemm::block`] covers it with register tiles of up to
//! [`Gemm::ROWS`] rows and a few vectors of columns. Columns come in panels of [`PANEL`], whatever the vector width,
//! so that packed layouts do not depend on the level.
//!
//! Every element of the result is one chain of multiply-adds in the order of `k`, starting at zero, which is then
//! stored or added to C. Its bits therefore do not depend on the shape of the tile that computed it.

#[cfg(target_arch = "x86_64")]
pub mod avx2;
#[cfg(target_arch = "x86_64")]
pub mod avx512;
pub mod generic;
#[cfg(target_arch = "aarch64")]
pub mod neon;
mod tile;

/// Columns of a panel.
pub const PANEL: usize = 32;

/// Consecutive `k` of which A holds one element every `a_k`, beginning at `offset`.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    pub offset: isize,
    pub len: usize,
}

/// `C[r, n] = sum over k of A[r, k] * B[k, n]`, or that added to C.
///
/// `k` runs through the segments one after the other: the element of A in row `r` at position `i` of a segment is
/// `a[r * a_row + offset + i * a_k]`. Column `n` of B and C lies in panel `n / PANEL`, where columns are neighbours:
/// `b[k * b_k + n / PANEL * b_panel + n % PANEL]` and `c[r * c_row + n / PANEL * c_panel + n % PANEL]`. Nothing
/// outside of `rows`, `cols` and the segments is read or written.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    pub rows: usize,
    pub cols: usize,
    /// The sum of the lengths of the segments, none of which is empty.
    pub k: usize,
    pub segments: &'a [Segment],
    pub a: *const f32,
    pub a_row: isize,
    pub a_k: isize,
    pub b: *const f32,
    pub b_k: isize,
    pub b_panel: isize,
    pub c: *mut f32,
    pub c_row: isize,
    pub c_panel: isize,
    /// Whether the product is added to C.
    pub accumulate: bool,
}

/// The microkernels of one level.
pub trait Gemm {
    /// The most rows of a register tile; blocks of a multiple of this many rows are the most efficient.
    const ROWS: usize;
    /// The longest sum that one block computes efficiently.
    const DEPTH: usize;
    /// Rows from which copying B to contiguous panels pays, where its panels are not contiguous in place.
    const PACK_B_ROWS: usize;

    /// Computes a block.
    ///
    /// # Safety
    /// The processor supports the level, and the block's elements are valid: A and B for reads, C for writes (and
    /// for reads where `accumulate` is set); C overlaps neither A nor B.
    unsafe fn block(block: &Block);

    /// `dst[r * dst_ld + c] = src[r * src_ld + c]` for a matrix of `rows` by `cols`.
    ///
    /// # Safety
    /// The processor supports the level; source and destination are valid and do not overlap.
    unsafe fn copy(dst: *mut f32, dst_ld: isize, src: *const f32, src_ld: isize, rows: usize, cols: usize);

    /// `dst[c * dst_ld + r] = src[r * src_ld + c]` for a source of `rows` by `cols`.
    ///
    /// # Safety
    /// As for [`Gemm::copy`].
    unsafe fn transpose(dst: *mut f32, dst_ld: isize, src: *const f32, src_ld: isize, rows: usize, cols: usize);
}
