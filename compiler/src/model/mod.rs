//! The language that models are described in.
//!
//! A [`Model`] is a graph of calls of layers. Layers ([`LayerDef`]), losses ([`Loss`]), metrics ([`Metric`]),
//! optimizers ([`Optimizer`]), initializers and regularizers are compositions of graph operations, one file each,
//! and nothing below this module knows them. [`Model::lower`] turns the description into an
//! [`ir::Module`](crate::ir::Module): storage cells, and one tensor graph for every entry point.
//!
//! # Adding a layer
//!
//! A file with a struct, its builder methods and its [`LayerDef`]; its line in the list below; its row in
//! `tests/common/rows.rs`.

mod activation;
mod builder;
mod call;
mod check;
mod compile;
pub mod config;
mod conv;
mod dense;
mod dropout;
mod embedding;
mod entry;
pub(crate) mod graph;
mod initializer;
mod layer;
mod loss;
mod lower;
mod mask;
mod merge;
mod metric;
mod norm;
mod objective;
mod ops;
mod optimizer;
mod pool;
pub mod prelude;
mod random;
pub mod registry;
mod regularizer;
mod reshape;
mod sequential;
mod store;
mod tensor;
mod window;

pub use activation::{Activation, ELU, LeakyReLU, PReLU, ReLU, Swish};
pub use builder::{DEFAULT_MAX_BATCH, IntoShape, Model, SubModel};
pub use call::{CallCx, Masked};
pub use compile::{Losses, Metrics};
pub use conv::Conv2D;
pub use dense::Dense;
pub use dropout::Dropout;
pub use embedding::Embedding;
pub use entry::Entry;
pub use initializer::{Distribution, Fan, Initializer};
pub use layer::{AnyLayer, Apply, BuildCx, IntoLayer, Layer, LayerDef, Weight};
pub use loss::{
    BinaryCrossentropy, CategoricalCrossentropy, Loss, MeanAbsoluteError, MeanSquaredError,
    SparseCategoricalCrossentropy,
};
pub use mask::Masking;
pub use merge::{Add, Average, Concatenate, Maximum, Minimum, Multiply};
pub use metric::{Accuracy, Metric};
pub use norm::BatchNormalization;
pub use optimizer::{Adam, Optimizer, RMSprop, SGD, StepCx, Update};
pub use pool::{AveragePooling2D, GlobalAveragePooling2D, GlobalMaxPooling2D, MaxPooling2D};
pub use random::Key;
pub use regularizer::Regularizer;
pub use reshape::{Flatten, Rescaling, Reshape};
pub use sequential::Sequential;
pub use tensor::Tensor;
pub use window::{Padding, Pair};
