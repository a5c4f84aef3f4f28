//! What the tests and benches of Bakelite share: the rows of the op suite and the runtimes that they run on, Keras's
//! answers, and networks written in other ways.

#[cfg(feature = "peers")]
pub mod candle;
pub mod fixture;
pub mod host_cuda;
pub mod jit;
pub mod keras;
pub mod naive;
pub mod networks;
pub mod row;
pub mod rows;
pub mod runtime;
pub mod suite;
pub mod workloads;
