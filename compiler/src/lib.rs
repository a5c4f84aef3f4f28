#![deny(unsafe_code)]
pub mod grad;
pub mod ir;
pub mod pass;
pub mod schedule;
