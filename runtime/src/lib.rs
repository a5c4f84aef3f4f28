//! Runtime for models compiled by `bakelite-compiler`.

pub mod abi;
