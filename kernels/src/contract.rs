//! The contract of the contraction driver: `C[b, m, n] = sum over k of A[b, m, k] * B[b, k, n]` on `f32`.
//!
//! `b`, `m`, `n`, `k` are products of axes, and every operand is addressed by one constant stride per axis, so that
//! matrices, transposed matrices, convolution windows and their gradients are all the same call. The compiler writes
//! a [`ContractPlan`] into the object's read-only data; at run time generated code fills a [`ContractCall`] and every
//! thread calls the driver with it. The driver decides blocking and packing, runs microkernels, and hands each
//! finished block to the epilogue, which is generated code.
//!
//! Each element of C is summed by one thread in the order of `k` (blocked by a constant), so the result does not
//! depend on the number of threads nor on where an element falls in a tile.

mod drive;
mod pack;
mod partition;
mod problem;
mod small;
mod walk;

use core::ffi::c_void;

#[cfg(bakelite_kernels_object)]
pub(crate) use drive::drive;

/// The most axes in one of the four groups.
pub const MAX_AXES: usize = 4;

/// One axis: its extent and the distance in elements between neighbours in each operand (0 where it is absent).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContractAxis {
    /// Extent, or factor of the run-time batch.
    pub extent: usize,
    /// 1 where the extent is multiplied by the run-time batch, else 0.
    pub batch: usize,
    pub a: isize,
    pub b: isize,
    pub c: isize,
}

/// A group of axes, outermost first; the rest of the array is unused. An empty group has one element.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AxisGroup {
    pub len: usize,
    pub axes: [ContractAxis; MAX_AXES],
}

/// What is known when the model is compiled.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContractPlan {
    pub batch: AxisGroup,
    pub m: AxisGroup,
    pub n: AxisGroup,
    pub k: AxisGroup,
}

/// A finished block of C that the epilogue consumes: rows `m0..m1` and columns `n0..n1` of the flattened groups, for
/// one flattened index of the batch group. Element `(m, n)` lies at `acc[(m - m0) * ld + (n - n0)]`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Tile {
    pub acc: *mut f32,
    pub ld: usize,
    pub index: usize,
    pub m0: usize,
    pub m1: usize,
    pub n0: usize,
    pub n1: usize,
}

/// The epilogue: generated code that reads the tile and stores what the kernel's consumers need. `context` is the
/// `Call` of the entry point. It may be called for any tile of the result, each element in exactly one tile.
pub type EpilogueFn = unsafe extern "C" fn(context: *const c_void, tile: *const Tile);

/// One call. Pointers are valid for every element that the plan addresses at this batch; A and B do not overlap C.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ContractCall {
    pub plan: *const ContractPlan,
    pub a: *const f32,
    pub b: *const f32,
    /// Where results go without an epilogue, addressed by the axes' `c` strides; null with an epilogue.
    pub c: *mut f32,
    /// Null function pointer (`None`) where results go to `c`.
    pub epilogue: Option<EpilogueFn>,
    pub context: *const c_void,
    /// The run-time batch.
    pub batch: usize,
    /// This thread's index and the number of threads that make the same call.
    pub thread: usize,
    pub threads: usize,
    /// At least [`scratch_bytes`] of memory for this thread alone, aligned to 64 bytes.
    pub scratch: *mut u8,
}

/// Bytes of scratch that one thread needs for a plan at every batch from 1 to `max_batch`, a multiple of 64.
pub fn scratch_bytes(plan: &ContractPlan, max_batch: usize) -> usize {
    problem::scratch_elements(plan, max_batch) * size_of::<f32>()
}
