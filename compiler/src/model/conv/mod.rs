//! Convolutions over one, two and three spatial axes.
//!
//! Each class is one definition for every number of axes `N`; `Conv2D` is `Conv<2>`. All of them are a contraction of
//! sliding windows with a kernel ([`super::window`]), or the transpose of that.

mod arguments;
mod depthwise;
mod plain;
mod transpose;

pub(crate) use arguments::convolution;
pub use arguments::{ConvArguments, Convolution};
pub(in crate::model) use depthwise::each_channel;
pub use depthwise::{DepthwiseConv1D, DepthwiseConv2D, SeparableConv1D, SeparableConv2D};
pub use plain::{Conv1D, Conv2D, Conv3D};
pub(in crate::model) use transpose::transposed;
pub use transpose::{Conv1DTranspose, Conv2DTranspose, Conv3DTranspose};

use super::activation::Activation;
use super::call::CallCx;
use super::window::{DataFormat, Windows};
use crate::ir::{Dim, Graph, NodeId, Shape};

/// Contracts windows of channels-last items `[batch, spatial..., channels]` with a kernel
/// `[window..., channels / groups, filters]`: `[batch, positions..., filters]`. Groups of channels and filters do not
/// see each other.
pub(super) fn convolve(g: &mut Graph, windows: Windows<'_>, x: NodeId, kernel: NodeId, groups: usize) -> NodeId {
    let rank = windows.size.len();
    let mut sum: Vec<(usize, usize)> = (0..rank).map(|i| (rank + 2 + i, i)).collect();
    if groups == 1 {
        sum.push((rank + 1, rank));
        let windows = windows.over(g, x, 0.0);
        return g.contract(windows, kernel, &[], &sum);
    }
    // The channels of x and the filters of the kernel, each as [groups, of one group].
    let split = |g: &mut Graph, x: NodeId| {
        let mut dims = g.ty(x).shape.0.clone();
        let last = dims.pop().map_or(1, |d| d.scale);
        dims.extend([groups, last / groups].map(Dim::fixed));
        g.reshape(x, Shape(dims))
    };
    let x = split(g, x);
    let windows = windows.over(g, x, 0.0);
    let kernel = split(g, kernel);
    sum.iter_mut().for_each(|p| p.0 += 1);
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

/// Adds the bias, if there is one, to channels-last items, gives them the layer's layout, and applies the activation.
fn finish(cx: &mut CallCx<'_>, format: DataFormat, y: NodeId, activation: &Activation) -> NodeId {
    let y = cx.add_bias(y, "bias");
    let y = format.restore(cx, y);
    activation.on(cx, y)
}
