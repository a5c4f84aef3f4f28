//! The CPU backend: Programs to machine code through Cranelift.
//!
//! A kernel is first *planned* ([`PlannedEntry`]), then printed once for every [`Variant`] of the target:
//!
//! 1. [`decompose`] writes out scalar functions that are compositions;
//! 2. [`coalesce`] merges loop axes;
//! 3. [`contract`] takes out contractions for the matrix kernels;
//! 4. [`plan`] chooses the axis that fills the lanes of vectors;
//! 5. [`strips`] cuts the rest at calls of vector math kernels into regions ([`nest`]);
//! 6. [`loops`], [`emitter`], [`memory`] and [`scalar`] print regions as instructions;
//! 7. [`entry`] ties the kernels together, and [`threads`] estimates how many threads they are worth.
//!
//! Code names no symbol outside its own object: kernels of `bakelite-kernels` are called through the table that the
//! caller passes, and nothing may become a library call.

mod coalesce;
mod compile;
mod contract;
mod decompose;
mod emitter;
pub(crate) mod entry;
mod facts;
mod function;
mod lanes;
mod loops;
mod memory;
mod nest;
mod plan;
mod scalar;
mod strips;
pub mod target;
#[cfg(test)]
mod tests;
pub(crate) mod threads;

pub use compile::{Compiler, Listing, PlannedEntry};
pub use target::{Products, TargetCpu, Variant, variants};
