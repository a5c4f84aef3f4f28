#![deny(unsafe_code)]
pub mod backend;
pub mod grad;
pub mod ir;
pub mod pass;
pub mod report;
pub mod schedule;
