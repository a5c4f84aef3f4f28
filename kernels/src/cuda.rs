//! Device code that the CUDA backend writes its kernels in.

/// The text that precedes the kernels of every generated module.
pub const PRELUDE: &str = include_str!("../cuda/prelude.cuh");
