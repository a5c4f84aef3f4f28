//! The convolution.

use serde::{Deserialize, Serialize};

use crate::diag::Problem;
use crate::ir::NodeId;
use crate::model::activation::Activation;
use crate::model::call::CallCx;
use crate::model::constraint::Constraint;
use crate::model::initializer::Initializer;
use crate::model::layer::{BuildCx, Layer, LayerDef};
use crate::model::regularizer::Regularizer;
use crate::model::setters::setters;
use crate::model::window::{DataFormat, Extents, Padding, Windows, ranked};

/// `activation(windows(x) . kernel + bias)`: items `[spatial..., channels]` become `[positions..., filters]`. The
/// kernel is `[window..., channels / groups, filters]`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default = "Conv::default")]
pub struct Conv<const N: usize> {
    filters: usize,
    kernel_size: Extents<N>,
    strides: Extents<N>,
    padding: Padding,
    data_format: DataFormat,
    dilation_rate: Extents<N>,
    groups: usize,
    activation: Activation,
    use_bias: bool,
    kernel_initializer: Initializer,
    bias_initializer: Initializer,
    kernel_regularizer: Option<Regularizer>,
    bias_regularizer: Option<Regularizer>,
    kernel_constraint: Option<Constraint>,
    bias_constraint: Option<Constraint>,
}

/// A convolution over one axis, such as time; the only one with causal padding.
pub type Conv1D = Conv<1>;
/// A convolution of images.
pub type Conv2D = Conv<2>;
/// A convolution of volumes.
pub type Conv3D = Conv<3>;

impl<const N: usize> Default for Conv<N> {
    fn default() -> Conv<N> {
        Conv {
            filters: 0,
            kernel_size: Extents([0; N]),
            strides: Extents([1; N]),
            padding: Padding::Valid,
            data_format: DataFormat::ChannelsLast,
            dilation_rate: Extents([1; N]),
            groups: 1,
            activation: Activation::Linear,
            use_bias: true,
            kernel_initializer: Initializer::GlorotUniform,
            bias_initializer: Initializer::Zeros,
            kernel_regularizer: None,
            bias_regularizer: None,
            kernel_constraint: None,
            bias_constraint: None,
        }
    }
}

impl<const N: usize> Conv<N> {
    pub fn new(filters: usize, kernel_size: impl Into<Extents<N>>) -> Layer<Conv<N>> {
        Layer::new(Conv { filters, kernel_size: kernel_size.into(), ..Conv::default() })
    }

    fn windows(&self) -> Windows<'_> {
        Windows {
            size: &self.kernel_size.0,
            strides: &self.strides.0,
            dilation: &self.dilation_rate.0,
            padding: self.padding,
        }
    }
}

impl<const N: usize> Layer<Conv<N>> {
    setters! {
        strides: into Extents<N>;
        padding: Padding;
        data_format: DataFormat;
        dilation_rate: into Extents<N>;
        /// Splits channels and filters into groups that do not see each other.
        groups: usize;
        activation: Activation;
        use_bias: bool;
        kernel_initializer: Initializer;
        bias_initializer: Initializer;
        kernel_regularizer: some Regularizer;
        bias_regularizer: some Regularizer;
        kernel_constraint: some Constraint;
        bias_constraint: some Constraint;
    }
}

impl<const N: usize> LayerDef for Conv<N> {
    fn kind(&self) -> &'static str {
        ranked::<N>(["Conv1D", "Conv2D", "Conv3D"])
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        cx.positive("filters", self.filters)?;
        cx.positive("groups", self.groups)?;
        let item = self.data_format.item(cx, N)?;
        let channels = item[N];
        self.windows().check(cx, "kernel_size", &item[..N])?;
        self.windows().strided_or_dilated(cx)?;
        self.activation.check(cx)?;
        self.activation.check_features(self.data_format.last(&self.windows().positions(&item[..N]), self.filters))?;
        for (what, count) in [("channels of its input", channels), ("filters", self.filters)] {
            if count % self.groups != 0 {
                let (kind, groups) = (self.kind(), self.groups);
                return Err(Problem::value(format!("{kind} with groups {groups} does not divide the {count} {what}")));
            }
        }
        let shape = [&self.kernel_size.0[..], &[channels / self.groups, self.filters]].concat();
        cx.param("kernel", shape, self.kernel_initializer, self.kernel_regularizer, &self.kernel_constraint)?;
        if self.use_bias {
            cx.param("bias", [self.filters], self.bias_initializer, self.bias_regularizer, &self.bias_constraint)?;
        }
        Ok(())
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let kernel = cx.weight("kernel");
        let x = self.data_format.to_last(cx, x[0]);
        let y = super::convolve(cx, self.windows(), x, kernel, self.groups);
        vec![super::finish(cx, self.data_format, y, &self.activation)]
    }
}
