//! The rows of the op suite.

pub mod compose;
pub mod contract;
pub mod index;
pub mod reduce;
pub mod scalar;
pub mod scan;
pub mod through;
pub mod view;
