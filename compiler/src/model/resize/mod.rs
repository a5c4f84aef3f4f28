//! Layers that change the number of rows and columns: repetition, and interpolation ([`interpolate`]).

mod interpolate;
mod resizing;
mod upsampling;

pub use interpolate::Interpolation;
pub use resizing::Resizing;
pub(crate) use resizing::resize_to_fit;
pub use upsampling::{UpSampling1D, UpSampling2D, UpSampling3D};
