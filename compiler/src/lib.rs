#![deny(unsafe_code)]
pub mod diag;
pub mod grad;
pub mod ir;
pub mod model;
pub mod schedule;
pub use model::prelude;
