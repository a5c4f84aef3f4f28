//! ABI
pub mod abi;
