//! The `bakelite` command, used as its users do: real processes over real files.

mod check;
mod data;
mod interrupted;
mod memory;
mod mistakes;
mod models;
mod npz;
mod polite;
mod replay;
mod run;
mod untrained;
mod work;
