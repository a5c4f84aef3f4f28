//! A plan at one run-time batch: how each operand is reached, and the sizes of blocks.

use super::walk::{Walk, elements};
use super::{AxisGroup, ContractPlan};
use crate::f32_gemm::{Gemm, PANEL};

/// The longest block of K at any level.
pub const K_BLOCK: usize = 384;
/// Elements of a block of C, which stays in cache while K is summed and the epilogue reads it.
pub const C_BLOCK: usize = 8 * 1024;
/// The same where K is long, as in gradients of weights: A and B come from memory then, and the fewer blocks the result
/// is cut into, the less often they come.
const C_BLOCK_DEEP: usize = 32 * 1024;
/// From this length on, K is long.
const DEEP: usize = 4 * K_BLOCK;
/// The most columns of a block of C.
pub const C_COLUMNS: usize = 128;
/// The most elements of a packed block of A.
const A_BLOCK: usize = 64 * 1024;
/// The most elements of B that are packed for all of K at once.
const B_BLOCK: usize = 256 * 1024;
/// Packed rows are this much longer than they need be, so that they do not fall into the same cache sets.
const SKEW: usize = 16;

/// The shortest runs of rows and of `k` in A that are worth reading in place.
const MIN_ROWS: usize = 6;
const MIN_K: usize = 3;
/// The most runs of `k` in a block of K that is read in place.
pub const MAX_SEGMENTS: usize = K_BLOCK / MIN_K + 2;

/// Rows of B this far apart, in elements, share so few cache sets that a panel does not stay in the first level, where
/// it has more rows than [`FEW_ROWS_OF_B`]. It is copied where at least [`MIN_REUSE`] rows of A meet it.
const PAGE: isize = 512;
const FEW_ROWS_OF_B: usize = 32;
const MIN_REUSE: usize = 64;

/// How the microkernel reaches A.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessA {
    /// In place, with one stride inside of runs of rows and one inside of runs of `k`.
    Direct { row: isize, k: isize },
    /// Packed as rows with `k` contiguous.
    Rows,
    /// Packed as slices of `k` with rows contiguous.
    Slices,
}

/// How the microkernel reaches B.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessB {
    /// In place: panels of contiguous columns.
    Direct { panel: isize, k: isize },
    /// Packed to panels.
    Packed,
}

/// How the microkernel reaches C where there is no epilogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessC {
    /// In place: panels of contiguous columns.
    Direct { row: isize, panel: isize },
    /// Computed in scratch and copied.
    Copied,
}

/// A contraction at one run-time batch.
pub struct Problem {
    pub batch: usize,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub m_a: Walk,
    pub k_a: Walk,
    pub k_b: Walk,
    pub n_b: Walk,
    pub m_c: Walk,
    pub n_c: Walk,
}

impl Problem {
    #[inline(always)]
    pub fn new(plan: &ContractPlan, batch: usize) -> Problem {
        Problem {
            batch: elements(&plan.batch, batch),
            m: elements(&plan.m, batch),
            n: elements(&plan.n, batch),
            k: elements(&plan.k, batch),
            m_a: Walk::new(&plan.m, batch, |x| x.a),
            k_a: Walk::new(&plan.k, batch, |x| x.a),
            k_b: Walk::new(&plan.k, batch, |x| x.b),
            n_b: Walk::new(&plan.n, batch, |x| x.b),
            m_c: Walk::new(&plan.m, batch, |x| x.c),
            n_c: Walk::new(&plan.n, batch, |x| x.c),
        }
    }

    #[inline(always)]
    pub fn access_a(&self) -> AccessA {
        let (row, k) = (self.m_a.innermost(), self.k_a.innermost());
        if (self.m_a.is_affine() || row.1 >= MIN_ROWS) && (self.k_a.is_affine() || k.1 >= MIN_K) {
            return AccessA::Direct { row: row.0, k: k.0 };
        }
        if row.0 == 1 && (k.0 != 1 || row.1 > k.1) { AccessA::Slices } else { AccessA::Rows }
    }

    /// What numbers of rows are best cut at, so that runs of rows in place stay whole.
    #[inline(always)]
    pub fn row_unit(&self, a: AccessA, m_block: usize) -> usize {
        let run = self.m_a.innermost().1;
        if matches!(a, AccessA::Direct { .. }) && !self.m_a.is_affine() && run <= m_block { run } else { 1 }
    }

    #[inline(always)]
    pub fn access_b<G: Gemm>(&self) -> AccessB {
        match (self.n_b.panels(PANEL), self.k_b.affine()) {
            (_, Some(k)) if k != PANEL as isize && self.m >= G::PACK_B_ROWS => AccessB::Packed,
            (_, Some(k)) if k % PAGE == 0 && self.k >= FEW_ROWS_OF_B && self.m >= MIN_REUSE => AccessB::Packed,
            (Some(panel), Some(k)) => AccessB::Direct { panel, k },
            _ => AccessB::Packed,
        }
    }

    #[inline(always)]
    pub fn access_c(&self) -> AccessC {
        match (self.n_c.panels(PANEL), self.m_c.affine()) {
            (Some(panel), Some(row)) => AccessC::Direct { row, panel },
            _ => AccessC::Copied,
        }
    }
}

/// Elements of a block of C, at most, where sums have this length.
#[inline(always)]
fn c_block(k: usize) -> usize {
    if k >= DEEP { C_BLOCK_DEEP } else { C_BLOCK }
}

/// Sizes of blocks.
#[derive(Clone, Copy, Debug)]
pub struct Blocking {
    /// Elements of K summed in one chain: a function of K alone, so that the order of a sum is too.
    pub k: usize,
    /// Rows and columns of a block of C, at most.
    pub m: usize,
    pub n: usize,
    /// Whether B is packed for all of K before the first block of rows.
    pub b_whole: bool,
}

impl Blocking {
    #[inline(always)]
    pub fn new<G: Gemm>(m: usize, n: usize, k: usize, a: AccessA) -> Blocking {
        const { assert!(G::DEPTH <= K_BLOCK) };
        let k_block = k.div_ceil(k.div_ceil(G::DEPTH).max(1)).next_multiple_of(8).max(8);
        let n_block = n.next_multiple_of(PANEL).min(C_COLUMNS);
        let rows_of_a = match a {
            AccessA::Direct { .. } if k >= DEEP => usize::MAX,
            _ => A_BLOCK / k_block.saturating_add(SKEW),
        };
        let m_block = m.min(c_block(k) / n_block.max(PANEL)).min(rows_of_a).max(1);
        Blocking { k: k_block, m: m_block, n: n_block, b_whole: n_block * k <= B_BLOCK }
    }

    /// Distance between rows of packed A.
    #[inline(always)]
    pub fn row_ld(&self) -> usize {
        self.k + SKEW
    }

    /// Distance between slices of packed A.
    #[inline(always)]
    pub fn slice_ld(&self) -> usize {
        self.m.next_multiple_of(16) + SKEW
    }

    /// Elements of scratch for a block of C.
    #[inline(always)]
    pub fn c_elements(&self) -> usize {
        self.m * self.n
    }

    /// Elements of scratch for packed A.
    #[inline(always)]
    pub fn a_elements(&self, access: AccessA) -> usize {
        if matches!(access, AccessA::Direct { .. }) {
            return 0;
        }
        (self.m * self.row_ld()).max(self.k * self.slice_ld()).next_multiple_of(16)
    }

    /// `k` extent of packed panels.
    #[inline(always)]
    pub fn panel_k(&self, k: usize) -> usize {
        if self.b_whole { k } else { self.k }
    }
}

/// An upper bound of the scratch elements of one thread at every batch from 1 to `max_batch`.
pub fn scratch_elements(plan: &ContractPlan, max_batch: usize) -> usize {
    let p = Problem::new(plan, max_batch);
    let k_block = p.k.min(K_BLOCK) + 8;
    let n_block = p.n.next_multiple_of(PANEL).min(C_COLUMNS);
    // Each term bounds its block whatever the other extents are at a smaller batch.
    let c = (p.m * n_block).min(c_block(p.k));
    let rows = p.m.min(c_block(p.k) / PANEL);
    let a_rows = (rows * (k_block + SKEW)).min(A_BLOCK);
    let a_slices = (k_block * (rows + 15 + SKEW)).min(A_BLOCK + k_block * (15 + SKEW));
    let b = (n_block * p.k).min(B_BLOCK.max(n_block * k_block));

    // Where only the outermost axis of a group grows with the batch, an operand that is read in place at the largest
    // batch is read in place at every batch.
    let steady = |g: &AxisGroup| g.axes.iter().take(g.len).skip(1).all(|x| x.batch == 0);
    let a_in_place = steady(&plan.m) && steady(&plan.k) && matches!(p.access_a(), AccessA::Direct { .. });
    let b_in_place =
        steady(&plan.n) && steady(&plan.k) && p.n_b.panels(PANEL).is_some() && p.k_b.affine() == Some(PANEL as isize);
    let a = if a_in_place { 0 } else { a_rows.max(a_slices) };
    let b = if b_in_place { 0 } else { b };
    [c, a, b].map(|x| x.next_multiple_of(16)).iter().sum()
}
