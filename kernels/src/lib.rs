//! SIMD microkernels that generated code calls.
#![no_std]

pub mod contract;
pub mod cuda;
pub mod manifest;
