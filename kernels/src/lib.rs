//! SIMD microkernels that generated code calls.
//!
//! The crate is freestanding: it neither allocates nor panics. [`manifest`] is the list of entry points and the
//! table of pointers that generated code is handed. [`mod@contract`] drives matrix products of any layout over the
//! microkernels of [`f32_gemm`]; [`vmath`] is elementwise functions over strips.
#![no_std]
#![cfg_attr(not(bakelite_kernels_object), allow(dead_code, reason = "what runs is compiled into the object"))]

pub mod contract;
pub mod cuda;
pub mod f32_gemm;
mod level;
pub mod manifest;
pub mod vmath;

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("bakelite-kernels supports x86-64 and AArch64");
