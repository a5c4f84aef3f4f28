//! Everything that a build script needs: `use bakelite_compiler::prelude::*`.

pub use super::activation::Activation::*;
pub use super::constraint::Constraint::*;
pub use super::initializer::Initializer::*;
pub use super::regularizer::Regularizer::*;
pub use super::resize::Interpolation::*;
pub use super::window::DataFormat::*;
pub use super::window::Padding::*;
pub use super::*;
// Layers with names that variants above have, too: `Softmax` as a value is the activation, as a type the layer.
pub use super::activation::Softmax;
pub use super::reshape::Identity;
pub use crate::diag::{Diagnostic, Diagnostics};
pub use crate::ir::DType::{self, *};
