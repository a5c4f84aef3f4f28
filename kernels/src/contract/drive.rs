//! The driver: blocks, packing, epilogue.

use core::mem::MaybeUninit;
use core::ptr::null_mut;

use super::pack::{Rect, gather, scatter};
use super::partition::{Share, cut, share};
use super::problem::{AccessA, AccessB, AccessC, Blocking, MAX_SEGMENTS, Problem};
use super::small::small;
use super::walk::Walk;
use super::{ContractCall, Tile};
use crate::f32_gemm::{Block, Gemm, PANEL, Segment};

/// Runs the calling thread's share of a contraction with the microkernels of `G`.
///
/// # Safety
/// The call keeps the promises of [`ContractCall`], and the processor supports the level of `G`.
pub unsafe fn drive<G: Gemm>(_level: G, call: &ContractCall) {
    // SAFETY: the plan is valid for the whole call.
    let plan = unsafe { &*call.plan };
    // SAFETY: forwarded.
    if unsafe { small::<G>(call, plan) } {
        return;
    }
    let p = Problem::new(plan, call.batch);
    if p.batch == 0 || p.m == 0 || p.n == 0 {
        return;
    }
    let (access_a, access_b) = (p.access_a(), p.access_b::<G>());
    let blocking = Blocking::new::<G>(p.m, p.n, p.k, access_a);
    let unit = p.row_unit(access_a, blocking.m);
    let part = if call.threads > 1 {
        share(&p, access_a, access_b, blocking.n, unit, call.thread, call.threads)
    } else {
        Share { batch: (0, p.batch), rows: (0, p.m), cols: (0, p.n) }
    };

    let scratch = call.scratch.cast::<f32>();
    let packed_a = scratch.wrapping_add(blocking.c_elements().next_multiple_of(16));
    let mut driver = Driver {
        call,
        blocking,
        access_a,
        access_b,
        access_c: if call.epilogue.is_some() { AccessC::Copied } else { p.access_c() },
        part,
        unit,
        packed_c: scratch,
        packed_a,
        packed_b: packed_a.wrapping_add(blocking.a_elements(access_a)),
        p: &p,
        index: 0,
        a: call.a,
        b: call.b,
        c: call.c,
    };
    let walk_a = Walk::new(&plan.batch, call.batch, |x| x.a);
    let walk_b = Walk::new(&plan.batch, call.batch, |x| x.b);
    let walk_c = Walk::new(&plan.batch, call.batch, |x| x.c);
    for index in part.batch.0..part.batch.1 {
        driver.index = index;
        driver.a = call.a.wrapping_offset(walk_a.offset(index));
        driver.b = call.b.wrapping_offset(walk_b.offset(index));
        driver.c = if call.c.is_null() { null_mut() } else { call.c.wrapping_offset(walk_c.offset(index)) };
        // SAFETY: forwarded.
        unsafe { driver.matrix::<G>() }
    }
}

/// One matrix product of the batch.
struct Driver<'a> {
    call: &'a ContractCall,
    p: &'a Problem,
    blocking: Blocking,
    access_a: AccessA,
    access_b: AccessB,
    access_c: AccessC,
    part: Share,
    /// Blocks of rows are cut at multiples of this.
    unit: usize,
    packed_a: *mut f32,
    packed_b: *mut f32,
    packed_c: *mut f32,
    /// Flattened index of the batch group, and the operands there.
    index: usize,
    a: *const f32,
    b: *const f32,
    c: *mut f32,
}

impl Driver<'_> {
    /// The thread's rows and columns, block by block.
    unsafe fn matrix<G: Gemm>(&self) {
        let (r0, r1) = self.part.rows;
        let (c0, c1) = self.part.cols;
        let mut n0 = c0;
        while n0 < c1 {
            let n1 = (n0 + self.blocking.n).min(c1);
            if self.access_b == AccessB::Packed && self.blocking.b_whole {
                // SAFETY: forwarded.
                unsafe { self.pack_b::<G>(0, self.p.k, n0, n1) }
            }
            // Blocks of rows of nearly equal height.
            let (unit, most) = (self.unit.max(1), self.blocking.m);
            let blocks = (r1.div_ceil(unit) - r0 / unit).div_ceil((most / unit).max(1));
            for i in 0..blocks {
                let (m0, m1) = cut(r0, r1, i, blocks, self.unit);
                // SAFETY: forwarded.
                unsafe { self.block::<G>(m0, m1, n0, n1) }
            }
            n0 = n1;
        }
    }

    /// One block of C: all of K, then the epilogue or the copy.
    unsafe fn block<G: Gemm>(&self, m0: usize, m1: usize, n0: usize, n1: usize) {
        let (k, step) = (self.p.k, self.blocking.k);
        let (c, c_row, c_panel) = match self.access_c {
            AccessC::Direct { row, panel } => {
                let at = m0 as isize * row + (n0 / PANEL) as isize * panel;
                (self.c.wrapping_offset(at), row, panel)
            }
            AccessC::Copied => (self.packed_c, self.blocking.n as isize, PANEL as isize),
        };
        let mut k0 = 0;
        loop {
            let k1 = (k0 + step).min(k);
            // SAFETY: the caller vouches for the operands; scratch has room for every packed block.
            unsafe {
                let (b, b_panel, b_k) = self.operand_b::<G>(k0, k1, n0, n1);
                let block = Block {
                    rows: m1 - m0,
                    cols: n1 - n0,
                    k: k1 - k0,
                    segments: &[Segment { offset: 0, len: k1 - k0 }],
                    a: self.packed_a,
                    a_row: 1,
                    a_k: 1,
                    b,
                    b_k,
                    b_panel,
                    c,
                    c_row,
                    c_panel,
                    accumulate: k0 > 0,
                };
                let rect = Rect { r0: m0, r1: m1, c0: k0, c1: k1 };
                match self.access_a {
                    AccessA::Direct { row, k } => self.rows_in_place::<G>(Block { a_row: row, a_k: k, ..block }, rect),
                    AccessA::Rows => {
                        let ld = self.blocking.row_ld() as isize;
                        gather::<G>(self.packed_a, (ld, 1), self.a, &self.p.m_a, &self.p.k_a, rect);
                        G::block(&Block { a_row: ld, ..block });
                    }
                    AccessA::Slices => {
                        let ld = self.blocking.slice_ld() as isize;
                        gather::<G>(self.packed_a, (1, ld), self.a, &self.p.m_a, &self.p.k_a, rect);
                        G::block(&Block { a_k: ld, ..block });
                    }
                }
            }
            k0 = k1;
            if k0 >= k {
                break;
            }
        }
        let ld = self.blocking.n;
        if let Some(epilogue) = self.call.epilogue {
            let tile = Tile { acc: c, ld, index: self.index, m0, m1, n0, n1 };
            // SAFETY: the tile is complete, and the caller vouches for the epilogue and its context.
            unsafe { epilogue(self.call.context, &tile) }
        } else if self.access_c == AccessC::Copied {
            let rect = Rect { r0: m0, r1: m1, c0: n0, c1: n1 };
            // SAFETY: the caller vouches for C.
            unsafe { scatter::<G>(self.c, &self.p.m_c, &self.p.n_c, rect, c, (ld as isize, 1)) }
        }
    }

    /// A block whose A is read in place, one run of rows after the other.
    unsafe fn rows_in_place<G: Gemm>(&self, block: Block, rect: Rect) {
        let mut list = [const { MaybeUninit::uninit() }; MAX_SEGMENTS];
        let (mut count, mut k) = (0, rect.c0);
        for slot in &mut list {
            if k >= rect.c1 {
                break;
            }
            let run = self.p.k_a.run(k, rect.c1);
            slot.write(Segment { offset: run.offset, len: run.len });
            count += 1;
            k += run.len;
        }
        // SAFETY: the first `count` elements were written.
        let segments = unsafe { core::slice::from_raw_parts(list.as_ptr().cast::<Segment>(), count) };
        let mut r = rect.r0;
        while r < rect.r1 {
            let run = self.p.m_a.run(r, rect.r1);
            let a = self.a.wrapping_offset(run.offset);
            let c = block.c.wrapping_offset((r - rect.r0) as isize * block.c_row);
            // SAFETY: forwarded.
            unsafe { G::block(&Block { rows: run.len, segments, a, c, ..block }) }
            r += run.len;
        }
    }

    /// Address and strides (panel, k) of a block of B, packed if need be.
    unsafe fn operand_b<G: Gemm>(&self, k0: usize, k1: usize, n0: usize, n1: usize) -> (*const f32, isize, isize) {
        match self.access_b {
            AccessB::Direct { panel, k } => {
                let at = (n0 / PANEL) as isize * panel + k0 as isize * k;
                (self.b.wrapping_offset(at), panel, k)
            }
            AccessB::Packed => {
                let panel = self.blocking.panel_k(self.p.k) * PANEL;
                if self.blocking.b_whole {
                    return (self.packed_b.wrapping_add(k0 * PANEL), panel as isize, PANEL as isize);
                }
                // SAFETY: forwarded.
                unsafe { self.pack_b::<G>(k0, k1, n0, n1) }
                (self.packed_b, panel as isize, PANEL as isize)
            }
        }
    }

    /// Packs `k0..k1` of the panels that hold columns `n0..n1`.
    unsafe fn pack_b<G: Gemm>(&self, k0: usize, k1: usize, n0: usize, n1: usize) {
        let panel = self.blocking.panel_k(self.p.k) * PANEL;
        let mut c0 = n0;
        while c0 < n1 {
            let rect = Rect { r0: k0, r1: k1, c0, c1: (c0 + PANEL).min(n1) };
            let dst = self.packed_b.wrapping_add((c0 - n0) / PANEL * panel);
            // SAFETY: the caller vouches for B; scratch has room for the panels.
            unsafe { gather::<G>(dst, (PANEL as isize, 1), self.b, &self.p.k_b, &self.p.n_b, rect) };
            c0 += PANEL;
        }
    }
}
