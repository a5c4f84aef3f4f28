//! Passes over the tensor graph.

pub mod panels;
pub mod split;
