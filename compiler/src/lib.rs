#![deny(unsafe_code)]
pub mod ir;
pub mod schedule;
