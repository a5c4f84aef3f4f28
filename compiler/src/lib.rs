//! # Bakelite: an ahead-of-time compiler for neural networks
//!
//! A model is described in Rust with Keras's vocabulary, usually in `build.rs`. The compiler checks shapes, derives
//! gradients, fuses, plans memory, and writes one object file that holds inference *and* whole training steps. What
//! is linked is that object and the small runtime `bakelite`; there is no framework, interpreter or allocation at run
//! time.
//!
//! ```no_run
//! use bakelite_compiler::prelude::*;
//!
//! fn main() -> Result<(), Diagnostics> {
//!     let m = Model::new("digits");
//!     let image = m.input("image", [8, 8, 1], F32);          // the batch axis is implicit
//!     let x = Conv2D::new(32, 3).activation(Relu).apply(&image);
//!     let x = Flatten.apply(&x);
//!     let digit = Dense::new(10).name("digit").apply(&x);
//!     m.output(&digit);
//!     m.compile(RMSprop::new(1e-3), SparseCategoricalCrossentropy::from_logits(), [Accuracy]);
//!     m.build()                                              // object, bindings and report into OUT_DIR
//! }
//! ```
//!
//! # One pipeline
//!
//! Each level is a data structure with its own file of semantics, a text form, a verifier and a reference
//! interpreter; each step between two levels is one module, and imports go one way.
//!
//! ```text
//!   model      layers, losses, optimizers: a layer graph with sites           model/  (import/: from Keras, export/: to it)
//!     |  lower: trace every entry point (init, predict, train_step, ...)
//!   ir         tensor graph: about twenty operations and a table of scalars   ir/op.rs, ir/scalar.rs
//!     |  grad: reverse mode, graph to graph                                   grad/
//!     |  pass: fold, simplify, cse, dce, loops, convolution, panels, ...      pass/mod.rs
//!   schedule   Program: fused loop nests and contractions, memory plan        schedule/program.rs
//!     |
//!   backend    cranelift: machine code around SIMD kernels; cuda: CUDA C++    backend/
//!     |
//!   emit       object file, Rust bindings, C header, build report             emit/
//! ```
//!
//! - [`model`]: what users write. Nothing below knows what a layer is.
//! - [`ir`]: the tensor graph. Start with [`ir::op`]; a new scalar function is one row of [`ir::scalar`].
//! - [`grad`]: gradients are graph too, so the optimizer and the passes see one graph for a whole training step.
//! - [`pass`]: one file a pass, in the order that [`pass::optimize`] lists.
//! - [`schedule`]: decides what is stored, fused, recomputed, in which order and where. [`schedule::program`] is the
//!   contract with the backends, which take verified programs only.
//! - [`backend`]: both backends print the same Program.
//! - `tool` (feature `cli`): what the `bakelite` command does with all this.
//! - [`check`](mod@check): a model's code against the interpreter, entry by entry, down to the first layer that differs.
//! - [`compile`]: the steps above in one function. [`build`], [`library`] and [`jit`] finish its result, [`inspect`] shows it.
//!
//! # Where a value comes from
//!
//! Every node and every kernel carries its *site*: the layer's path, the line of the user's build script, and what
//! derived it. Diagnostics, dumps and reports speak in sites.
//!
//! # Errors
//!
//! Mistakes of the user are data ([`diag`]), collected and rendered together, with lines and shapes. Broken rules
//! inside the compiler are bugs ([`compile::CompilerBug`]): they name the stage and the rule, and leave the graph in
//! a file. User input never panics.
#![deny(unsafe_code)]

pub mod backend;
pub mod build;
mod cargo;
pub mod check;
pub mod compile;
pub mod diag;
pub mod emit;
#[cfg(feature = "keras")]
pub mod export;
pub mod grad;
pub mod guide;
pub mod import;
pub mod inspect;
pub mod ir;
pub mod jit;
pub mod library;
pub mod limit;
pub mod model;
pub mod pass;
pub mod profile;
pub mod report;
pub mod schedule;
#[cfg(feature = "cli")]
pub mod tool;

pub use model::prelude;
