//! The short way for small plain products, whose arithmetic takes no longer than the general case's bookkeeping.

use super::pack::move_matrix;
use super::problem::{C_BLOCK, C_COLUMNS};
use super::walk::extent;
use super::{AxisGroup, ContractAxis, ContractCall, ContractPlan, Tile};
use crate::f32_gemm::{Block, Gemm, PANEL, Segment};

/// Multiply-adds up to which one thread alone is faster than several that share the work.
const ALONE: usize = 32 * 1024;

/// Computes a product of two small matrices on one thread as one block; says whether this was one. The columns may lie
/// in panels.
///
/// # Safety
/// As for [`super::drive`].
#[inline(always)]
pub unsafe fn small<G: Gemm>(call: &ContractCall, plan: &ContractPlan) -> bool {
    if plan.batch.len != 0 {
        return false;
    }
    let (Some((m, m_axis)), Some((k, k_axis))) = (single(&plan.m, call.batch), single(&plan.k, call.batch)) else {
        return false;
    };
    let Some((n, panel, n_axis)) = columns(&plan.n, call.batch) else { return false };
    if m == 0 || n == 0 || k > G::DEPTH || n > C_COLUMNS || m > C_BLOCK / C_COLUMNS {
        return false;
    }
    if call.epilogue.is_none() && n_axis.c != 1 && n > 1 {
        return false;
    }
    if call.threads > 1 {
        if m * n * k > ALONE {
            return false;
        }
        if call.thread != 0 {
            return true;
        }
    }

    let ld = n.next_multiple_of(PANEL);
    let scratch = call.scratch.cast::<f32>();
    let (c, c_row, c_panel) =
        if call.epilogue.is_some() { (scratch, ld as isize, PANEL as isize) } else { (call.c, m_axis.c, panel.c) };
    let (mut b, mut b_k, mut b_panel) = (call.b, k_axis.b, panel.b);
    // SAFETY: the caller vouches for the operands; scratch has room for C and B.
    unsafe {
        if n_axis.b != 1 && n > 1 {
            let packed = scratch.add(m * ld);
            for n0 in (0..n).step_by(PANEL) {
                let src = call.b.offset((n0 / PANEL) as isize * panel.b);
                let width = (n - n0).min(PANEL);
                move_matrix::<G>(packed.add(n0 * k), (PANEL as isize, 1), src, (k_axis.b, n_axis.b), k, width);
            }
            (b, b_k, b_panel) = (packed, PANEL as isize, (k * PANEL) as isize);
        }
        G::block(&Block {
            rows: m,
            cols: n,
            k,
            segments: &[Segment { offset: 0, len: k }],
            a: call.a,
            a_row: m_axis.a,
            a_k: k_axis.a,
            b,
            b_k,
            b_panel,
            c,
            c_row,
            c_panel,
            accumulate: false,
        });
        if let Some(epilogue) = call.epilogue {
            epilogue(call.context, &Tile { acc: c, ld, index: 0, m0: 0, m1: m, n0: 0, n1: n });
        }
    }
    true
}

/// The extent and the axis of a group of at most one axis.
#[inline(always)]
fn single(group: &AxisGroup, batch: usize) -> Option<(usize, &ContractAxis)> {
    match group.len {
        0 => Some((1, &group.axes[0])),
        1 => Some((extent(&group.axes[0], batch), &group.axes[0])),
        _ => None,
    }
}

/// Distances between panels in B and C.
struct Panel {
    b: isize,
    c: isize,
}

/// The number of columns, the distances between panels, and the axis inside of a panel.
#[inline(always)]
fn columns(group: &AxisGroup, batch: usize) -> Option<(usize, Panel, &ContractAxis)> {
    if let Some((n, axis)) = single(group, batch) {
        return Some((n, Panel { b: PANEL as isize * axis.b, c: PANEL as isize }, axis));
    }
    let [outer, inner, ..] = &group.axes;
    if group.len == 2 && extent(inner, batch) == PANEL {
        return Some((extent(outer, batch) * PANEL, Panel { b: outer.b, c: outer.c }, inner));
    }
    None
}
