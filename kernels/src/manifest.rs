//! The list of kernel entry points that generated code may call: the one place where a kernel gets its name and its
//! slot in the [`KernelTable`].
//!
//! Generated objects name no kernel symbol. They are handed a table of pointers for the instruction set level chosen
//! at load time and call through `table + 8 * slot`, so that link order never matters and one object serves every
//! level. Adding a kernel is one row here and one function per level.
//!
//! The crate is compiled twice: by its build script into an object that is optimised in every profile
//! (`cfg(bakelite_kernels_object)`), which exports one table a level, and as the crate that declares and links it.

use core::ffi::c_void;

pub use crate::level::best_level;

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

#[cfg(not(bakelite_kernels_object))]
impl core::fmt::Display for Level {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(self.name())
    }
}

/// `dst[i] = f(src[i])` for `i < n`. `dst` and `src` are equal or disjoint; neither need be aligned.
pub type StripFn = unsafe extern "C" fn(dst: *mut f32, src: *const f32, n: usize);
/// `dst[i] = f(x[i], y[i])` for `i < n`. `dst` equals or is disjoint from each operand.
pub type Strip2Fn = unsafe extern "C" fn(dst: *mut f32, x: *const f32, y: *const f32, n: usize);
/// Runs the calling thread's share of a contraction; see [`crate::contract`].
pub type ContractFn = unsafe extern "C" fn(call: *const crate::contract::ContractCall);

/// One level's functions and their table, which the object exports. `$arithmetic` is how the level multiplies and adds,
/// `$gemm` its microkernels.
#[cfg(bakelite_kernels_object)]
macro_rules! level {
    ($level:ident, $features:literal, $arithmetic:expr, $gemm:path, { $( $slot:ident: $kind:ident = $source:path ),+ }) => {
        mod $level {
            #[allow(unused_imports, reason = "a level uses one of the two")]
            use crate::vmath::{Fused, Separate};

            $( entry! { $kind, $slot, $source, $features, $arithmetic, $gemm } )+
            #[unsafe(export_name = concat!("bakelite_kernels_", stringify!($level)))]
            pub static TABLE: super::KernelTable = super::KernelTable { $( $slot, )+ };
        }
    };
}

/// The table of a level in the object.
#[cfg(not(bakelite_kernels_object))]
macro_rules! level {
    ($level:ident, $features:literal, $arithmetic:expr, $gemm:path, { $( $slot:ident: $kind:ident = $source:path ),+ }) => {
        mod $level {
            unsafe extern "C" {
                #[link_name = concat!("bakelite_kernels_", stringify!($level))]
                pub safe static TABLE: super::KernelTable;
            }
        }
    };
}

/// One level's function of a slot, by the type of the slot.
#[cfg(bakelite_kernels_object)]
macro_rules! entry {
    (StripFn, $slot:ident, $source:path, $features:literal, $arithmetic:expr, $gemm:path) => {
        #[target_feature(enable = $features)]
        unsafe extern "C" fn $slot(dst: *mut f32, src: *const f32, n: usize) {
            // SAFETY: forwarded.
            unsafe { crate::vmath::map(dst, src, n, |x| $source($arithmetic, x)) }
        }
    };
    (Strip2Fn, $slot:ident, $source:path, $features:literal, $arithmetic:expr, $gemm:path) => {
        #[target_feature(enable = $features)]
        unsafe extern "C" fn $slot(dst: *mut f32, x: *const f32, y: *const f32, n: usize) {
            // SAFETY: forwarded.
            unsafe { crate::vmath::map2(dst, x, y, n, |x, y| $source($arithmetic, x, y)) }
        }
    };
    (ContractFn, $slot:ident, $source:path, $features:literal, $arithmetic:expr, $gemm:path) => {
        unsafe extern "C" fn $slot(call: *const crate::contract::ContractCall) {
            // SAFETY: forwarded; the table is only handed out where the processor supports the level.
            unsafe { $source($gemm, &*call) }
        }
    };
}

macro_rules! kernels {
    ($( $(#[doc = $doc:literal])+ $slot:ident: $kind:ident = $source:path ),+ $(,)?) => {
        /// Pointers to the kernels of one level. Every slot is one pointer wide.
        #[repr(C)]
        pub struct KernelTable {
            $( $(#[doc = $doc])+ pub $slot: $kind, )+
        }

        /// The names of all slots in table order.
        pub const SLOTS: &[&str] = &[ $( stringify!($slot), )+ ];

        #[cfg(target_arch = "x86_64")]
        level! { baseline, "sse2", Separate, crate::f32_gemm::generic::Generic, { $( $slot: $kind = $source ),+ } }
        #[cfg(target_arch = "x86_64")]
        level! { v3, "avx2,fma", Fused::new(), crate::f32_gemm::avx2::Avx2, { $( $slot: $kind = $source ),+ } }
        #[cfg(target_arch = "x86_64")]
        level! {
            v4, "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma", Fused::new(), crate::f32_gemm::avx512::Avx512,
            { $( $slot: $kind = $source ),+ }
        }
        #[cfg(target_arch = "aarch64")]
        level! { baseline, "neon", Separate, crate::f32_gemm::generic::Generic, { $( $slot: $kind = $source ),+ } }
        #[cfg(target_arch = "aarch64")]
        level! { neon, "neon", Separate, crate::f32_gemm::neon::Neon, { $( $slot: $kind = $source ),+ } }
    };
}

kernels! {
    /// `e^x`
    exp: StripFn = crate::vmath::exp,
    /// `e^x - 1`
    expm1: StripFn = crate::vmath::expm1,
    /// Natural logarithm.
    log: StripFn = crate::vmath::log,
    /// `log(1 + x)`
    log1p: StripFn = crate::vmath::log1p,
    /// Hyperbolic tangent.
    tanh: StripFn = crate::vmath::tanh,
    /// `1 / (1 + e^-x)`
    sigmoid: StripFn = crate::vmath::sigmoid,
    /// Error function.
    erf: StripFn = crate::vmath::erf,
    /// Sine.
    sin: StripFn = crate::vmath::sin,
    /// Cosine.
    cos: StripFn = crate::vmath::cos,
    /// `x^y`
    pow: Strip2Fn = crate::vmath::pow,
    /// The contraction driver.
    contract: ContractFn = crate::contract::drive,
}

const _: () = assert!(size_of::<KernelTable>() == SLOTS.len() * size_of::<*const c_void>());

/// The byte offset of a slot in the table, by name.
pub fn slot_offset(name: &str) -> Option<usize> {
    SLOTS.iter().position(|s| *s == name).map(|i| i * size_of::<*const c_void>())
}

/// [`table`] by the number of the level, for programs in other languages that link the object; null where there is none.
#[cfg(bakelite_kernels_object)]
#[unsafe(no_mangle)]
extern "C" fn bakelite_kernels_table(level: usize) -> *const KernelTable {
    match Level::ALL.get(level).and_then(|level| table(*level)) {
        Some(table) => table,
        None => core::ptr::null(),
    }
}

/// The kernels of a level, or nothing where this processor or architecture lacks it.
pub fn table(level: Level) -> Option<&'static KernelTable> {
    if !crate::level::supported(level) {
        return None;
    }
    match level {
        Level::Baseline => Some(&baseline::TABLE),
        #[cfg(target_arch = "x86_64")]
        Level::V3 => Some(&v3::TABLE),
        #[cfg(target_arch = "x86_64")]
        Level::V4 => Some(&v4::TABLE),
        #[cfg(target_arch = "aarch64")]
        Level::Neon => Some(&neon::TABLE),
        #[allow(unreachable_patterns, reason = "the levels of other architectures")]
        _ => None,
    }
}
