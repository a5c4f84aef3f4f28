//! The list of kernel entry points that generated code may call: the one place where a kernel gets its name and its
//! slot in the [`KernelTable`].
//!
//! Generated objects name no kernel symbol. They are handed a table of pointers for the instruction set level chosen
//! at load time and call through `table + 8 * slot`, so that link order never matters and one object serves every
//! level. Adding a kernel is one row here and one function per level.

use core::ffi::c_void;

/// Instruction set levels, weakest first. The numeric value is the index into per-level tables.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
#[repr(u32)]
pub enum Level {
    /// Portable Rust for the architecture's baseline (SSE2 on x86-64).
    Baseline = 0,
    /// x86-64-v3: AVX2 and FMA.
    V3 = 1,
    /// x86-64-v4: AVX-512 F, BW, CD, DQ, VL.
    V4 = 2,
    /// AArch64 Advanced SIMD.
    Neon = 3,
}

impl Level {
    /// Every level.
    pub const ALL: [Level; 4] = [Level::Baseline, Level::V3, Level::V4, Level::Neon];
    /// Number of levels.
    pub const COUNT: usize = 4;

    /// The name in reports and in `target_cpu`.
    pub const fn name(self) -> &'static str {
        match self {
            Level::Baseline => "baseline",
            Level::V3 => "x86-64-v3",
            Level::V4 => "x86-64-v4",
            Level::Neon => "neon",
        }
    }
}

/// `dst[i] = f(src[i])` for `i < n`. `dst` and `src` are equal or disjoint; neither need be aligned.
pub type StripFn = unsafe extern "C" fn(dst: *mut f32, src: *const f32, n: usize);
/// `dst[i] = f(x[i], y[i])` for `i < n`. `dst` equals or is disjoint from each operand.
pub type Strip2Fn = unsafe extern "C" fn(dst: *mut f32, x: *const f32, y: *const f32, n: usize);
/// Runs the calling thread's share of a contraction; see [`crate::contract`].
pub type ContractFn = unsafe extern "C" fn(call: *const crate::contract::ContractCall);

macro_rules! kernel_table {
    ($( $(#[doc = $doc:literal])+ $slot:ident: $ty:ty ),+ $(,)?) => {
        /// Pointers to the kernels of one level. Every slot is one pointer wide.
        #[repr(C)]
        pub struct KernelTable {
            $( $(#[doc = $doc])+ pub $slot: $ty, )+
        }

        /// The names of all slots in table order.
        pub const SLOTS: &[&str] = &[ $( stringify!($slot), )+ ];
    };
}

kernel_table! {
    /// `e^x`
    exp: StripFn,
    /// `e^x - 1`
    expm1: StripFn,
    /// Natural logarithm.
    log: StripFn,
    /// `log(1 + x)`
    log1p: StripFn,
    /// Hyperbolic tangent.
    tanh: StripFn,
    /// `1 / (1 + e^-x)`
    sigmoid: StripFn,
    /// Error function.
    erf: StripFn,
    /// Sine.
    sin: StripFn,
    /// Cosine.
    cos: StripFn,
    /// `x^y`
    pow: Strip2Fn,
    /// The contraction driver.
    contract: ContractFn,
}

const _: () = assert!(size_of::<KernelTable>() == SLOTS.len() * size_of::<*const c_void>());

/// The byte offset of a slot in the table, by name.
pub fn slot_offset(name: &str) -> Option<usize> {
    SLOTS.iter().position(|s| *s == name).map(|i| i * size_of::<*const c_void>())
}
