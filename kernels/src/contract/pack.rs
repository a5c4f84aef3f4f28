//! Copies between strided views and the packed layouts of microkernels.

use super::walk::Walk;
use crate::f32_gemm::Gemm;

/// `dst[r * dst_row + c * dst_col] = src[r * src_row + c * src_col]`.
///
/// # Safety
/// All elements are valid and the two sides do not overlap; the processor supports the level of `G`.
pub unsafe fn move_matrix<G: Gemm>(
    dst: *mut f32,
    (dst_row, dst_col): (isize, isize),
    src: *const f32,
    (src_row, src_col): (isize, isize),
    rows: usize,
    cols: usize,
) {
    // SAFETY: forwarded; each arm addresses the same elements.
    unsafe {
        if dst_col == 1 && src_col == 1 {
            G::copy(dst, dst_row, src, src_row, rows, cols)
        } else if dst_row == 1 && src_row == 1 {
            G::copy(dst, dst_col, src, src_col, cols, rows)
        } else if dst_row == 1 && src_col == 1 {
            G::transpose(dst, dst_col, src, src_row, rows, cols)
        } else if dst_col == 1 && src_row == 1 {
            G::transpose(dst, dst_row, src, src_col, cols, rows)
        } else {
            for r in 0..rows as isize {
                for c in 0..cols as isize {
                    *dst.offset(r * dst_row + c * dst_col) = *src.offset(r * src_row + c * src_col);
                }
            }
        }
    }
}

/// A rectangle of flattened indices: rows `r0..r1`, columns `c0..c1`.
#[derive(Clone, Copy)]
pub struct Rect {
    pub r0: usize,
    pub r1: usize,
    pub c0: usize,
    pub c1: usize,
}

/// Copies the elements of `src` at the rectangle of two walks to a matrix with the given strides.
///
/// # Safety
/// As for [`move_matrix`].
pub unsafe fn gather<G: Gemm>(
    dst: *mut f32,
    dst_strides: (isize, isize),
    src: *const f32,
    rows: &Walk,
    cols: &Walk,
    rect: Rect,
) {
    // SAFETY: forwarded piece by piece.
    unsafe {
        for_pieces(rows, cols, rect, |r, c, at, strides, height, width| {
            let to = dst.offset(r as isize * dst_strides.0 + c as isize * dst_strides.1);
            move_matrix::<G>(to, dst_strides, src.offset(at), strides, height, width)
        })
    }
}

/// Copies a matrix with the given strides to the elements of `dst` at the rectangle of two walks.
///
/// # Safety
/// As for [`move_matrix`].
pub unsafe fn scatter<G: Gemm>(
    dst: *mut f32,
    rows: &Walk,
    cols: &Walk,
    rect: Rect,
    src: *const f32,
    src_strides: (isize, isize),
) {
    // SAFETY: forwarded piece by piece.
    unsafe {
        for_pieces(rows, cols, rect, |r, c, at, strides, height, width| {
            let from = src.offset(r as isize * src_strides.0 + c as isize * src_strides.1);
            move_matrix::<G>(dst.offset(at), strides, from, src_strides, height, width)
        })
    }
}

/// Cuts a rectangle into pieces that are affine in both directions and calls `f` with each piece's first row and
/// column relative to the rectangle, its address, strides, and size.
#[inline(always)]
fn for_pieces(
    rows: &Walk,
    cols: &Walk,
    rect: Rect,
    mut f: impl FnMut(usize, usize, isize, (isize, isize), usize, usize),
) {
    let mut r = rect.r0;
    while r < rect.r1 {
        let height = rows.run(r, rect.r1);
        let mut c = rect.c0;
        while c < rect.c1 {
            let width = cols.run(c, rect.c1);
            let at = height.offset + width.offset;
            f(r - rect.r0, c - rect.c0, at, (height.stride, width.stride), height.len, width.len);
            c += width.len;
        }
        r += height.len;
    }
}
