//! Hand-built programs, compiled in process, against a direct computation in `f64`.

pub mod build;
