//! Runtime for models compiled by `bakelite-compiler`.
//!
//! A compiled model is code and constant data; this crate gives it memory, threads and names. [`Model::open`] takes
//! either an object that is linked into the program (through [`include_model!`]) or code that was compiled in
//! process, and both give the same handle.
//!
//! - `abi`: the binary interface, shared with the compiler and with C.
//! - `signature`: the descriptor, read, checked and owned.
//! - `model`, `memory`: opening a model and calling its entry points.
//! - `pool`, `seat`, `forks`: the threads of a model, how they wait, and what becomes of them in a forked process.
//! - `environment`: rounding and subnormal numbers.
//! - `range`: inputs that are indices, checked before a call.
//! - `params`: parameters and state by name.
//! - `weights` (feature `safetensors`): saving and loading them; `file`: files that are replaced as a whole.
//! - `text` (feature `text`): inputs that are made of text.
//! - `fit` (feature `fit`): the training loop, evaluation, and prediction over many batches.
//!
//! Results never depend on the number of threads. NaN and infinity in inputs pass through like any other value.

pub mod abi;
mod dtype;
mod environment;
mod error;
#[cfg(feature = "safetensors")]
mod file;
#[cfg(feature = "fit")]
mod fit;
mod forks;
pub mod level;
mod memory;
mod model;
#[doc(hidden)]
pub mod names;
mod params;
mod pool;
mod range;
mod seat;
mod signature;
mod tempo;
#[cfg(feature = "text")]
pub mod text;
#[cfg(feature = "safetensors")]
mod weights;

pub use dtype::{DType, Element, Input, Output};
pub use environment::Subnormals;
pub use error::Error;
#[cfg(feature = "safetensors")]
pub use file::{check_writable, write_atomically};
#[cfg(feature = "fit")]
pub use fit::{
    Callback, CallbackResult, Data, Fit, History, Lbfgs, Logs, Minimum, Moment, Predictions, Rows, Values, shuffle,
};
pub use level::Level;
pub use model::{EntryId, Model, Options};
pub use params::{LEARNING_RATE, Param};
pub use signature::{Cell, CellKind, Entry, Extent, Port};
#[cfg(feature = "safetensors")]
pub use weights::Contents;

/// What it holds, where the feature `text` is on: bindings are written without knowing.
#[doc(hidden)]
#[cfg(feature = "text")]
#[macro_export]
macro_rules! with_text {
    ($($item:tt)*) => { $($item)* };
}

#[doc(hidden)]
#[cfg(not(feature = "text"))]
#[macro_export]
macro_rules! with_text {
    ($($item:tt)*) => {};
}

/// Includes the bindings that `bakelite-compiler` wrote for a model while the build script ran: a module of the
/// model's name.
///
/// ```ignore
/// bakelite::include_model!("digits");
/// let mut model = digits::Model::init(42)?;
/// ```
#[macro_export]
macro_rules! include_model {
    ($name:literal) => {
        include!(env!(
            concat!("BAKELITE_MODEL_", $name),
            concat!(
                "the build script has built no model `",
                $name,
                "`: describe it in build.rs with `Model::new(\"",
                $name,
                "\")`, and return from `main` what its `build()` returns"
            )
        ));
    };
}
