#![deny(unsafe_code)]
pub mod grad;
pub mod ir;
pub mod pass;
pub mod report;
pub mod schedule;
