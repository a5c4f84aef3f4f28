//! Texts that go with a compiled object: bindings for Rust and for C.

pub mod bindings;
pub mod header;
mod names;
#[cfg(test)]
mod tests;
mod text;
