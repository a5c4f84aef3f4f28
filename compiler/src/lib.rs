#![deny(unsafe_code)]
pub mod grad;
pub mod ir;
pub mod schedule;
