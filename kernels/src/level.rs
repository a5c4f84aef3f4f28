//! Which instruction set levels this processor has.

use crate::manifest::Level;

/// Whether the processor, and the operating system where it must save registers, supports a level.
pub fn supported(level: Level) -> bool {
    match level {
        Level::Baseline => true,
        Level::V3 | Level::V4 => x86_level() >= Some(level),
        Level::Neon => cfg!(target_arch = "aarch64"),
    }
}

/// The strongest level of this processor.
pub fn best_level() -> Level {
    if cfg!(target_arch = "aarch64") {
        return Level::Neon;
    }
    x86_level().unwrap_or(Level::Baseline)
}

#[cfg(not(target_arch = "x86_64"))]
fn x86_level() -> Option<Level> {
    None
}

/// The strongest of the levels of the x86-64 psABI beyond the baseline.
#[cfg(target_arch = "x86_64")]
fn x86_level() -> Option<Level> {
    use core::arch::x86_64::{__cpuid, __cpuid_count};

    // SSE3, SSSE3, FMA, CMPXCHG16B, SSE4.1, SSE4.2, MOVBE, POPCNT, OSXSAVE, AVX, F16C of leaf 1 (ecx).
    const LEAF1: u32 =
        1 | 1 << 9 | 1 << 12 | 1 << 13 | 1 << 19 | 1 << 20 | 1 << 22 | 1 << 23 | 1 << 27 | 1 << 28 | 1 << 29;
    // BMI1, AVX2, BMI2 of leaf 7 (ebx), and AVX-512 F, DQ, CD, BW, VL.
    const LEAF7: u32 = 1 << 3 | 1 << 5 | 1 << 8;
    const LEAF7_V4: u32 = 1 << 16 | 1 << 17 | 1 << 28 | 1 << 30 | 1 << 31;
    // LAHF, LZCNT of extended leaf 1 (ecx).
    const EXTENDED: u32 = 1 | 1 << 5;
    // Registers that the operating system saves: xmm, ymm; and mask registers, upper halves, upper sixteen.
    const SAVED: u64 = 0x06;
    const SAVED_V4: u64 = 0xe6;

    let has = |word: u32, bits: u32| word & bits == bits;
    if __cpuid(0).eax < 7 || __cpuid(0x8000_0000).eax < 0x8000_0001 {
        return None;
    }
    let leaf7 = __cpuid_count(7, 0).ebx;
    if !has(__cpuid(1).ecx, LEAF1) || !has(leaf7, LEAF7) || !has(__cpuid(0x8000_0001).ecx, EXTENDED) {
        return None;
    }
    // SAFETY: the OSXSAVE bit, checked above, says that the instruction is available.
    let saved = unsafe { saved_registers() };
    if saved & SAVED != SAVED {
        None
    } else if has(leaf7, LEAF7_V4) && saved & SAVED_V4 == SAVED_V4 {
        Some(Level::V4)
    } else {
        Some(Level::V3)
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "xsave")]
fn saved_registers() -> u64 {
    // SAFETY: register 0 exists wherever the instruction does.
    unsafe { core::arch::x86_64::_xgetbv(0) }
}
