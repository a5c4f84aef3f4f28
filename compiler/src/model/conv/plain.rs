//! The convolution.

use serde::{Deserialize, Serialize};

use super::{ConvArguments, convolution};
use crate::diag::Problem;
use crate::ir::{DType, NodeId, TensorType};
use crate::model::activation::Activation;
use crate::model::affine::KernelAndBias;
use crate::model::call::CallCx;
use crate::model::layer::{BuildCx, Layer, LayerDef, floats};
use crate::model::lora::Lora;
use crate::model::setters::{has, setters};
use crate::model::window::{Extents, ranked};

/// `activation(windows(x) . kernel + bias)`: items `[spatial..., channels]` become `[positions..., filters]`. The
/// kernel is `[window..., channels / groups, filters]`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default = "Conv::default")]
pub struct Conv<const N: usize> {
    filters: usize,
    #[serde(flatten)]
    conv: ConvArguments<N>,
    groups: usize,
    activation: Activation,
    use_bias: bool,
    #[serde(flatten)]
    weights: KernelAndBias,
    #[serde(flatten)]
    lora: Lora,
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
            conv: ConvArguments::default(),
            groups: 1,
            activation: Activation::Linear,
            use_bias: true,
            weights: KernelAndBias::default(),
            lora: Lora::default(),
        }
    }
}

impl<const N: usize> Conv<N> {
    pub fn new(filters: usize, kernel_size: impl Into<Extents<N>>) -> Layer<Conv<N>> {
        Layer::new(Conv { filters, conv: ConvArguments::new(kernel_size), ..Conv::default() })
    }
}

convolution!(Conv => conv);
has!(const N: usize; Conv<N> => weights: KernelAndBias);
has!(const N: usize; Conv<N> => lora: Lora);

impl<const N: usize> Layer<Conv<N>> {
    setters! {
        /// Splits channels and filters into groups that do not see each other.
        groups: usize;
        activation: Activation;
        use_bias: bool;
    }
}

impl<const N: usize> LayerDef for Conv<N> {
    fn kind(&self) -> &'static str {
        ranked::<N>(["Conv1D", "Conv2D", "Conv3D"])
    }

    fn operands(&self, given: &[TensorType]) -> Vec<DType> {
        floats(given)
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        cx.positive("filters", self.filters)?;
        cx.positive("groups", self.groups)?;
        let item = self.conv.data_format.item(cx, N)?;
        let channels = item[N];
        self.conv.windows().check(cx, "kernel_size", &item[..N])?;
        self.conv.windows().strided_or_dilated(cx)?;
        self.activation.check(cx)?;
        self.activation.check_features(self.conv.features(&item[..N], self.filters))?;
        for (what, count) in [("channels of its input", channels), ("filters", self.filters)] {
            if count % self.groups != 0 {
                let (kind, groups) = (self.kind(), self.groups);
                return Err(Problem::value(format!("{kind} with groups {groups} does not divide the {count} {what}")));
            }
        }
        let shape = self.conv.kernel([channels / self.groups, self.filters]);
        let kernel = self.weights.kernel("kernel", shape);
        cx.weight(self.lora.kernel(kernel.clone()))?;
        if self.use_bias {
            cx.weight(self.weights.bias("bias", [self.filters]))?;
        }
        self.lora.declare(cx, &kernel)
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let kernel = self.lora.weight(cx, "kernel");
        let x = self.conv.data_format.to_last(cx, x[0]);
        let y = super::convolve(cx, self.conv.windows(), x, kernel, self.groups);
        vec![super::finish(cx, self.conv.data_format, y, &self.activation)]
    }
}
