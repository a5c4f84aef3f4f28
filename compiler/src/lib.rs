#![deny(unsafe_code)]
pub mod backend;
pub mod ir;
pub mod schedule;
