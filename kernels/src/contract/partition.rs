//! Which part of the result a thread computes.

use core::num::NonZeroUsize;

use super::problem::{AccessA, AccessB, Problem};
use crate::f32_gemm::PANEL;

/// Ranges of flattened indices.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    pub batch: (usize, usize),
    pub rows: (usize, usize),
    pub cols: (usize, usize),
}

/// The share of one thread. The result is cut into a grid along the batch, rows (at multiples of `unit`) and panels of
/// columns; among all grids of at most `threads` parts the one whose largest part has the least arithmetic and
/// packing is taken.
pub fn share(p: &Problem, a: AccessA, b: AccessB, n_block: usize, unit: usize, thread: usize, threads: usize) -> Share {
    let panels = p.n.div_ceil(PANEL);
    let units = p.m.div_ceil(at_least_1(unit).get());
    let cost = |grid: [usize; 3]| {
        let [batch, rows, cols] = [(p.batch, grid[0], 1), (units, grid[1], unit), (panels, grid[2], PANEL)]
            .map(|(total, parts, size)| total.div_ceil(at_least_1(parts).get()) * size);
        // Units: multiply-adds per element of K. Moving an element costs a few; B is read even for one row.
        let arithmetic = rows.max(4) * cols;
        let repeats = cols.div_ceil(at_least_1(n_block).get());
        let pack_a = if matches!(a, AccessA::Direct { .. }) { rows } else { 4 * rows * repeats };
        let pack_b = if matches!(b, AccessB::Direct { .. }) { cols } else { 4 * cols };
        batch * (arithmetic + pack_a + pack_b)
    };
    let (mut best, mut grid) = (usize::MAX, [1; 3]);
    for parts_batch in 1..=threads.min(p.batch) {
        for parts_m in 1..=(threads / parts_batch).min(units) {
            let candidate = [parts_batch, parts_m, (threads / parts_batch / parts_m).min(panels)];
            let cost = cost(candidate);
            if cost < best {
                (best, grid) = (cost, candidate);
            }
        }
    }
    let [parts_batch, parts_m, parts_n] = grid.map(at_least_1);
    if thread / parts_n / parts_m >= parts_batch.get() {
        return Share { batch: (0, 0), rows: (0, 0), cols: (0, 0) };
    }
    let (col0, col1) = cut(0, panels, thread % parts_n, parts_n.get(), 1);
    Share {
        batch: cut(0, p.batch, thread / parts_n / parts_m, parts_batch.get(), 1),
        rows: cut(0, p.m, thread / parts_n % parts_m, parts_m.get(), unit),
        cols: (col0 * PANEL, (col1 * PANEL).min(p.n)),
    }
}

/// The range of part `i` when `start..end` is cut at multiples of `unit` into `parts` of nearly equal numbers of units.
#[inline(always)]
pub fn cut(start: usize, end: usize, i: usize, parts: usize, unit: usize) -> (usize, usize) {
    let (parts, unit) = (at_least_1(parts), at_least_1(unit));
    let first = start / unit;
    let units = end.div_ceil(unit.get()) - first;
    let at = |i: usize| ((first + units * i / parts) * unit.get()).max(start).min(end);
    (at(i), at(i + 1))
}

/// A divisor whose type proves that it is one: the crate must not contain panics, reachable or not.
#[inline(always)]
fn at_least_1(x: usize) -> NonZeroUsize {
    NonZeroUsize::MIN.saturating_add(x.saturating_sub(1))
}
