//! Hand-built programs and random modules, compiled in process for every level of this machine and for several
//! threads, against the reference interpreters.

pub mod build;
mod contractions;
mod kernels;
mod modules;
mod run;
