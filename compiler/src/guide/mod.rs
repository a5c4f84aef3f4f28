//! Pages for users: what is computed how, and what is not supported.

#[doc = include_str!("numerics.md")]
pub mod numerics {}

#[doc = include_str!("limits.md")]
pub mod limits {}
