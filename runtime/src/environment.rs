//! The floating-point environment of calls: the same on every thread, and the thread's own again afterwards.
//!
//! Rounding is to nearest and nothing traps, whatever the program has set up for itself. Subnormal numbers, those
//! nearer to zero than the smallest normal one (about 1.2e-38), are taken for zero and become zero, unless they are to
//! be kept: processors take many times as long over them, and what decays, such as the moments of an optimizer for
//! weights that no longer change, stays among them for thousands of steps.

/// What calls do with subnormal numbers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Subnormals {
    /// Arithmetic takes them for zero, and its results are zero instead. Numbers that are only moved stay as they are.
    #[default]
    Flush,
    /// As IEEE 754 has them, at the speed at which the processor does that.
    Keep,
}

/// Runs a call in its environment.
#[inline]
pub(crate) fn with<T>(subnormals: Subnormals, run: impl FnOnce() -> T) -> T {
    let before = control::read();
    control::write(match subnormals {
        Subnormals::Flush => control::FLUSH,
        Subnormals::Keep => control::KEEP,
    });
    let result = run();
    control::write(before);
    result
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod control {
    use std::arch::asm;

    /// The register MXCSR at the start of a process: every exception masked.
    pub const KEEP: u32 = 0x1f80;
    /// With flush-to-zero and denormals-are-zero.
    pub const FLUSH: u32 = KEEP | 1 << 15 | 1 << 6;

    #[inline]
    pub fn read() -> u32 {
        let mut word = 0u32;
        // SAFETY: stores the register at the address of a word.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut word, options(nostack, preserves_flags)) };
        word
    }

    #[inline]
    pub fn write(word: u32) {
        // SAFETY: loads the register from a word that it once held or one of the constants above. No floating-point
        // arithmetic of this crate lies between a change and its return.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const word, options(nostack, preserves_flags)) };
    }
}

#[cfg(all(target_arch = "aarch64", not(miri)))]
mod control {
    use std::arch::asm;

    /// The register FPCR at the start of a process.
    pub const KEEP: u64 = 0;
    /// With flush-to-zero.
    pub const FLUSH: u64 = 1 << 24;

    #[inline]
    pub fn read() -> u64 {
        let word;
        // SAFETY: copies the register.
        unsafe { asm!("mrs {}, fpcr", out(reg) word, options(nostack, preserves_flags)) };
        word
    }

    #[inline]
    pub fn write(word: u64) {
        // SAFETY: sets the register to a value that it once held or to one of the constants above. No floating-point
        // arithmetic of this crate lies between a change and its return.
        unsafe { asm!("msr fpcr, {}", in(reg) word, options(nostack, preserves_flags)) };
    }
}

/// Where there is no machine code to run, or none whose environment is known.
#[cfg(not(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri))))]
mod control {
    pub const KEEP: () = ();
    pub const FLUSH: () = ();

    pub fn read() {}

    pub fn write(_word: ()) {}
}
