//! Convolutions over one, two and three spatial axes.
//!
//! Each class is one definition for every number of axes `N`; `Conv2D` is `Conv<2>`. All of them are a contraction of
//! sliding windows with a kernel ([`super::window`]), or the transpose of that.

mod depthwise;
mod plain;
mod transpose;

pub use depthwise::{DepthwiseConv1D, DepthwiseConv2D, SeparableConv1D, SeparableConv2D};
pub use plain::{Conv1D, Conv2D, Conv3D};
pub use transpose::{Conv1DTranspose, Conv2DTranspose, Conv3DTranspose};

use super::activation::Activation;
use super::call::CallCx;
use super::window::DataFormat;
use crate::ir::{Dim, Graph, NodeId, Shape};

/// Contracts windows `[batch, positions..., channels, window...]` with a kernel `[window..., channels, filters]`.
pub(super) fn contract(g: &mut Graph, windows: NodeId, kernel: NodeId) -> NodeId {
    let rank = spatial_rank(g, kernel);
    let mut sum: Vec<(usize, usize)> = (0..rank).map(|i| (rank + 2 + i, i)).collect();
    sum.push((rank + 1, rank));
    g.contract(windows, kernel, &[], &sum)
}

/// The same where channels and filters are split into groups that do not see each other; the kernel is
/// `[window..., channels / groups, filters]`.
fn contract_groups(g: &mut Graph, windows: NodeId, kernel: NodeId, groups: usize) -> NodeId {
    if groups == 1 {
        return contract(g, windows, kernel);
    }
    let rank = spatial_rank(g, kernel);
    let split = |shape: &Shape| {
        let mut dims = shape.0.clone();
        dims[rank + 1] = Dim::fixed(shape[rank + 1].scale / groups);
        dims.insert(rank + 1, Dim::fixed(groups));
        Shape(dims)
    };
    let (left, right) = (split(&g.ty(windows).shape), split(&g.ty(kernel).shape));
    let windows = g.reshape(windows, left);
    let kernel = g.reshape(kernel, right);
    let mut sum: Vec<(usize, usize)> = (0..rank).map(|i| (rank + 3 + i, i)).collect();
    sum.push((rank + 2, rank));
    // [groups, batch, positions..., filters / groups]
    let y = g.contract(windows, kernel, &[(rank + 1, rank + 1)], &sum);
    let order: Vec<usize> = (1..rank + 2).chain([0, rank + 2]).collect();
    let y = g.permute(y, &order);
    let mut dims = g.ty(y).shape.0.clone();
    let filters = dims.pop().map_or(1, |d| d.scale);
    dims[rank + 1] = Dim::fixed(groups * filters);
    g.reshape(y, Shape(dims))
}

/// The number of spatial axes of a kernel `[window..., in, out]`.
fn spatial_rank(g: &Graph, kernel: NodeId) -> usize {
    g.ty(kernel).shape.rank() - 2
}

/// Adds the bias, if there is one, to channels-last items, gives them the layer's layout and applies the activation.
fn finish(cx: &mut CallCx<'_>, format: DataFormat, mut y: NodeId, activation: &Activation) -> NodeId {
    if let Some(bias) = cx.optional_weight("bias") {
        let bias = cx.broadcast_like(bias, y);
        y = cx.add(y, bias);
    }
    let y = format.restore(cx, y);
    activation.on(cx, y)
}
