//! Models for elsewhere.
//!
//! A `.keras` file is a zip archive of a configuration (`config.json`), weights and optimizer state
//! (`model.weights.h5`), and a note of who wrote it (`metadata.json`). Keras opens what is written here with equal
//! predictions, and goes on with the training.
//!
//! ```text
//! KerasFile::save      a file that was read, with other weights      keras.rs
//! save_keras           a model that was described in Rust            keras.rs
//!   config             its configuration, from its layers            config.rs
//!   compile            its compile configuration                     compile.rs
//!   weights            the objects and numbers of Keras's files      weights.rs, h5.rs
//! ```

mod compile;
mod config;
mod h5;
mod keras;
mod weights;

pub use keras::{check_keras, save_keras, save_weights};
