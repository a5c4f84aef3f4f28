//! Which part of the result a thread computes.

use super::problem::{AccessA, AccessB, Problem};
use crate::f32_gemm::PANEL;

/// Ranges of flattened indices.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    pub batch: (usize, usize),
    pub rows: (usize, usize),
    pub cols: (usize, usize),
}

/// The share of one thread. The result is cut into a grid along the batch, rows and panels of columns; among all grids
/// of at most `threads` parts the one whose largest part has the least arithmetic and packing is taken.
pub fn share(p: &Problem, a: AccessA, b: AccessB, n_block: usize, unit: usize, thread: usize, threads: usize) -> Share {
    let panels = p.n.div_ceil(PANEL);
    let (mut best, mut grid) = (usize::MAX, (1, 1, 1));
    let mut parts_batch = 1;
    while parts_batch <= threads.min(p.batch) {
        let mut parts_m = 1;
        while parts_m <= (threads / parts_batch).min(p.m.div_ceil(unit)) {
            let parts_n = (threads / parts_batch / parts_m).min(panels);
            let batch = p.batch.div_ceil(parts_batch);
            let rows = p.m.div_ceil(unit).div_ceil(parts_m) * unit;
            let cols = panels.div_ceil(parts_n) * PANEL;
            // Units: multiply-adds per element of K. Moving an element costs a few; B is read even for one row.
            let arithmetic = rows.max(4) * cols;
            let pack_a = if matches!(a, AccessA::Direct { .. }) { rows } else { 4 * rows * cols.div_ceil(n_block) };
            let pack_b = if matches!(b, AccessB::Direct { .. }) { cols } else { 4 * cols };
            let cost = batch * (arithmetic + pack_a + pack_b);
            if cost < best {
                (best, grid) = (cost, (parts_batch, parts_m, parts_n));
            }
            parts_m += 1;
        }
        parts_batch += 1;
    }
    let (parts_batch, parts_m, parts_n) = grid;
    if thread >= parts_batch * parts_m * parts_n {
        return Share { batch: (0, 0), rows: (0, 0), cols: (0, 0) };
    }
    let (col0, col1) = cut(0, panels, thread % parts_n, parts_n, 1);
    Share {
        batch: cut(0, p.batch, thread / parts_n / parts_m, parts_batch, 1),
        rows: cut(0, p.m, thread / parts_n % parts_m, parts_m, unit),
        cols: (col0 * PANEL, (col1 * PANEL).min(p.n)),
    }
}

/// The range of part `i` when `start..end` is cut at multiples of `unit` into `parts` of nearly equal numbers of units.
#[inline(always)]
pub fn cut(start: usize, end: usize, i: usize, parts: usize, unit: usize) -> (usize, usize) {
    let first = start / unit;
    let units = end.div_ceil(unit) - first;
    let at = |i: usize| ((first + units * i / parts) * unit).max(start).min(end);
    (at(i), at(i + 1))
}
