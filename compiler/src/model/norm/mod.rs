//! Normalisation: of channels over the batch, and of items by their own statistics.

mod batch;
mod gamma_beta;
mod group;
mod layer;
mod scale;
mod spectral;
mod unit;

pub use batch::{BatchNormalization, RenormClipping};
pub use group::GroupNormalization;
pub use layer::{LayerNormalization, RMSNormalization};
pub use scale::LayerScale;
pub use spectral::SpectralNormalization;
pub use unit::UnitNormalization;

pub(crate) use unit::unit;

use crate::ir::{Graph, NodeId};

/// Mean and variance along axes, which disappear.
fn moments(g: &mut Graph, x: NodeId, axes: &[usize]) -> (NodeId, NodeId) {
    let shape = g.ty(x).shape.clone();
    let mean = g.mean(x, axes);
    let wide = g.unreduce(mean, axes, &shape);
    let centred = g.sub(x, wide);
    let square = g.square(centred);
    (mean, g.mean(square, axes))
}

/// `1 / sqrt(x + epsilon)`
fn inverse_root(g: &mut Graph, x: NodeId, epsilon: f64) -> NodeId {
    let x = g.add_s(x, epsilon);
    g.rsqrt(x)
}
