#![deny(unsafe_code)]
pub mod grad;
pub mod ir;
pub mod report;
pub mod schedule;
