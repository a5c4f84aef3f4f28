//! The fully connected layer.

use serde::{Deserialize, Serialize};

use super::CallCx;
use super::activation::Activation;
use super::affine::KernelAndBias;
use super::layer::{BuildCx, Layer, LayerDef, floats};
use super::lora::Lora;
use super::quantization::Quantization;
use super::setters::{has, setters};
use crate::diag::Problem;
use crate::ir::{DType, NodeId, TensorType};

/// `activation(x . kernel + bias)` along the last axis: items `[..., n]` become `[..., units]`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Dense {
    units: usize,
    activation: Activation,
    use_bias: bool,
    #[serde(flatten)]
    weights: KernelAndBias,
    #[serde(flatten)]
    lora: Lora,
    #[serde(flatten)]
    quantization: Quantization,
}

impl Default for Dense {
    fn default() -> Dense {
        Dense {
            units: 0,
            activation: Activation::Linear,
            use_bias: true,
            weights: KernelAndBias::default(),
            lora: Lora::default(),
            quantization: Quantization::default(),
        }
    }
}

impl Dense {
    pub fn new(units: usize) -> Layer<Dense> {
        Layer::new(Dense { units, ..Dense::default() })
    }
}

has!(Dense => weights: KernelAndBias);
has!(Dense => lora: Lora);
has!(Dense => quantization: Quantization);

impl Layer<Dense> {
    setters! {
        activation: Activation;
        use_bias: bool;
    }
}

impl LayerDef for Dense {
    fn kind(&self) -> &'static str {
        "Dense"
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn operands(&self, given: &[TensorType]) -> Vec<DType> {
        floats(given)
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        cx.positive("units", self.units)?;
        cx.float()?;
        self.activation.check(cx)?;
        self.activation.check_features(self.units)?;
        let Some(&features) = cx.any_item()?.last() else {
            return Err(Problem::shape("Dense takes items with at least 1 axis, its input has scalars as items")
                .help("give the item an axis: `Reshape::new([1]).apply(&x)`"));
        };
        let kernel = self.weights.kernel("kernel", [features, self.units]);
        cx.weight(self.quantization.kernel(self.lora.kernel(kernel.clone())))?;
        if self.use_bias {
            cx.weight(self.weights.bias("bias", [self.units]))?;
        }
        self.lora.declare(cx, &kernel)?;
        self.quantization.declare(cx, "kernel", vec![self.units], &self.lora)
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let last = cx.ty(x[0]).shape.rank() - 1;
        let kernel = self.lora.weight(cx, "kernel");
        let (x, scale) = self.quantization.inputs(cx, x[0], &[last]);
        let y = cx.contract(x, kernel, &[], &[(last, 0)]);
        let rows: Vec<usize> = (0..last).collect();
        let y = self.quantization.results(cx, y, (scale, &rows), ("kernel", &[last]));
        let y = cx.add_bias(y, "bias");
        vec![self.activation.on(cx, y)]
    }
}
