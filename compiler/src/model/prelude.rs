//! Everything that a build script needs: `use bakelite_compiler::prelude::*`.

pub use super::activation::Activation::*;
// The layer, next to the activation of this name, which is a value.
pub use super::activation::Softmax;
pub use super::constraint::Constraint::*;
pub use super::initializer::Initializer::*;
pub use super::regularizer::Regularizer::*;
pub use super::resize::Interpolation::*;
pub use super::window::DataFormat::*;
pub use super::window::Padding::*;
pub use super::*;
pub use crate::diag::{Diagnostic, Diagnostics};
pub use crate::ir::DType::{self, *};
