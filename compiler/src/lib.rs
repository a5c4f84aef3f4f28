#![deny(unsafe_code)]
pub mod ir;
