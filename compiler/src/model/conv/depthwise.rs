//! Convolutions of each channel for itself.

use serde::{Deserialize, Serialize};

use super::{ConvArguments, convolution};
use crate::diag::Problem;
use crate::ir::{Dim, Graph, NodeId, Shape};
use crate::model::activation::Activation;
use crate::model::call::CallCx;
use crate::model::constraint::Constraint;
use crate::model::initializer::Initializer;
use crate::model::layer::{BuildCx, Layer, LayerDef};
use crate::model::regularizer::Regularizer;
use crate::model::setters::setters;
use crate::model::window::{Extents, Windows, ranked};

/// Convolves each channel with `depth_multiplier` kernels of its own: items `[spatial..., channels]` become
/// `[positions..., channels * depth_multiplier]`. The kernel is `[window..., channels, depth_multiplier]`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default = "DepthwiseConv::default")]
pub struct DepthwiseConv<const N: usize> {
    #[serde(flatten)]
    conv: ConvArguments<N>,
    depth_multiplier: usize,
    activation: Activation,
    use_bias: bool,
    depthwise_initializer: Initializer,
    bias_initializer: Initializer,
    depthwise_regularizer: Option<Regularizer>,
    bias_regularizer: Option<Regularizer>,
    depthwise_constraint: Option<Constraint>,
    bias_constraint: Option<Constraint>,
}

/// A convolution of each channel of a sequence for itself.
pub type DepthwiseConv1D = DepthwiseConv<1>;
/// A convolution of each channel of an image for itself.
pub type DepthwiseConv2D = DepthwiseConv<2>;

impl<const N: usize> Default for DepthwiseConv<N> {
    fn default() -> DepthwiseConv<N> {
        DepthwiseConv {
            conv: ConvArguments::default(),
            depth_multiplier: 1,
            activation: Activation::Linear,
            use_bias: true,
            depthwise_initializer: Initializer::GlorotUniform,
            bias_initializer: Initializer::Zeros,
            depthwise_regularizer: None,
            bias_regularizer: None,
            depthwise_constraint: None,
            bias_constraint: None,
        }
    }
}

impl<const N: usize> DepthwiseConv<N> {
    pub fn new(kernel_size: impl Into<Extents<N>>) -> Layer<DepthwiseConv<N>> {
        Layer::new(DepthwiseConv { conv: ConvArguments::new(kernel_size), ..DepthwiseConv::default() })
    }
}

convolution!(DepthwiseConv => conv);

impl<const N: usize> Layer<DepthwiseConv<N>> {
    setters! {
        /// The number of results for each channel.
        depth_multiplier: usize;
        activation: Activation;
        use_bias: bool;
        depthwise_initializer: Initializer;
        bias_initializer: Initializer;
        depthwise_regularizer: some Regularizer;
        bias_regularizer: some Regularizer;
        depthwise_constraint: some Constraint;
        bias_constraint: some Constraint;
    }
}

impl<const N: usize> LayerDef for DepthwiseConv<N> {
    fn kind(&self) -> &'static str {
        ranked::<N>(["DepthwiseConv1D", "DepthwiseConv2D", "DepthwiseConv3D"])
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        cx.positive("depth_multiplier", self.depth_multiplier)?;
        let item = self.conv.data_format.item(cx, N)?;
        self.conv.windows().check(cx, "kernel_size", &item[..N])?;
        self.activation.check(cx)?;
        let channels = item[N] * self.depth_multiplier;
        self.activation.check_features(self.conv.features(&item[..N], channels))?;
        let shape = self.conv.kernel([item[N], self.depth_multiplier]);
        cx.param("kernel", shape, self.depthwise_initializer, self.depthwise_regularizer, &self.depthwise_constraint)?;
        if self.use_bias {
            cx.param("bias", [channels], self.bias_initializer, self.bias_regularizer, &self.bias_constraint)?;
        }
        Ok(())
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let x = self.conv.data_format.to_last(cx, x[0]);
        let kernel = cx.weight("kernel");
        let y = each_channel(cx, self.conv.windows(), x, kernel);
        vec![super::finish(cx, self.conv.data_format, y, &self.activation)]
    }
}

/// A depthwise convolution followed by one of single elements that mixes the channels: items `[spatial..., channels]`
/// become `[positions..., filters]`. The kernels are `[window..., channels, depth_multiplier]` and
/// `[1..., channels * depth_multiplier, filters]`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default = "SeparableConv::default")]
pub struct SeparableConv<const N: usize> {
    filters: usize,
    #[serde(flatten)]
    conv: ConvArguments<N>,
    depth_multiplier: usize,
    activation: Activation,
    use_bias: bool,
    depthwise_initializer: Initializer,
    pointwise_initializer: Initializer,
    bias_initializer: Initializer,
    depthwise_regularizer: Option<Regularizer>,
    pointwise_regularizer: Option<Regularizer>,
    bias_regularizer: Option<Regularizer>,
    depthwise_constraint: Option<Constraint>,
    pointwise_constraint: Option<Constraint>,
    bias_constraint: Option<Constraint>,
}

/// A separable convolution of sequences.
pub type SeparableConv1D = SeparableConv<1>;
/// A separable convolution of images.
pub type SeparableConv2D = SeparableConv<2>;

impl<const N: usize> Default for SeparableConv<N> {
    fn default() -> SeparableConv<N> {
        SeparableConv {
            filters: 0,
            conv: ConvArguments::default(),
            depth_multiplier: 1,
            activation: Activation::Linear,
            use_bias: true,
            depthwise_initializer: Initializer::GlorotUniform,
            pointwise_initializer: Initializer::GlorotUniform,
            bias_initializer: Initializer::Zeros,
            depthwise_regularizer: None,
            pointwise_regularizer: None,
            bias_regularizer: None,
            depthwise_constraint: None,
            pointwise_constraint: None,
            bias_constraint: None,
        }
    }
}

impl<const N: usize> SeparableConv<N> {
    pub fn new(filters: usize, kernel_size: impl Into<Extents<N>>) -> Layer<SeparableConv<N>> {
        Layer::new(SeparableConv { filters, conv: ConvArguments::new(kernel_size), ..SeparableConv::default() })
    }
}

convolution!(SeparableConv => conv);

impl<const N: usize> Layer<SeparableConv<N>> {
    setters! {
        /// The number of channels between the two convolutions for each channel of the input.
        depth_multiplier: usize;
        activation: Activation;
        use_bias: bool;
        depthwise_initializer: Initializer;
        pointwise_initializer: Initializer;
        bias_initializer: Initializer;
        depthwise_regularizer: some Regularizer;
        pointwise_regularizer: some Regularizer;
        bias_regularizer: some Regularizer;
        depthwise_constraint: some Constraint;
        pointwise_constraint: some Constraint;
        bias_constraint: some Constraint;
    }
}

impl<const N: usize> LayerDef for SeparableConv<N> {
    fn kind(&self) -> &'static str {
        ranked::<N>(["SeparableConv1D", "SeparableConv2D", "SeparableConv3D"])
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        cx.positive("filters", self.filters)?;
        cx.positive("depth_multiplier", self.depth_multiplier)?;
        let item = self.conv.data_format.item(cx, N)?;
        self.conv.windows().check(cx, "kernel_size", &item[..N])?;
        self.activation.check(cx)?;
        self.activation.check_features(self.conv.features(&item[..N], self.filters))?;
        let shape = self.conv.kernel([item[N], self.depth_multiplier]);
        cx.param(
            "depthwise_kernel",
            shape,
            self.depthwise_initializer,
            self.depthwise_regularizer,
            &self.depthwise_constraint,
        )?;
        let shape = [&[1; N][..], &[item[N] * self.depth_multiplier, self.filters]].concat();
        cx.param(
            "pointwise_kernel",
            shape,
            self.pointwise_initializer,
            self.pointwise_regularizer,
            &self.pointwise_constraint,
        )?;
        if self.use_bias {
            cx.param("bias", [self.filters], self.bias_initializer, self.bias_regularizer, &self.bias_constraint)?;
        }
        Ok(())
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let x = self.conv.data_format.to_last(cx, x[0]);
        let depthwise = cx.weight("depthwise_kernel");
        let y = each_channel(cx, self.conv.windows(), x, depthwise);
        let pointwise = cx.weight("pointwise_kernel");
        let matrix = Shape(cx.ty(pointwise).shape[N..].to_vec());
        let pointwise = cx.reshape(pointwise, matrix);
        let y = cx.contract(y, pointwise, &[], &[(N + 1, 0)]);
        vec![super::finish(cx, self.conv.data_format, y, &self.activation)]
    }
}

/// Contracts windows of channels-last items with a kernel `[window..., channels, depth_multiplier]`: as many groups as
/// there are channels.
pub(in crate::model) fn each_channel(g: &mut Graph, windows: Windows<'_>, x: NodeId, kernel: NodeId) -> NodeId {
    let rank = windows.size.len();
    let mut dims = g.ty(kernel).shape.0.clone();
    let channels = dims[rank].scale;
    dims[rank + 1] = Dim::fixed(channels * dims[rank + 1].scale);
    dims[rank] = Dim::ONE;
    let kernel = g.reshape(kernel, Shape(dims));
    super::convolve(g, windows, x, kernel, channels)
}
