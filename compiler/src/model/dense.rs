//! The fully connected layer.

use serde::{Deserialize, Serialize};

use super::CallCx;
use super::activation::Activation;
use super::constraint::Constraint;
use super::initializer::Initializer;
use super::layer::{BuildCx, Layer, LayerDef};
use super::regularizer::Regularizer;
use super::setters::setters;
use crate::diag::Problem;
use crate::ir::NodeId;

/// `activation(x . kernel + bias)` along the last axis: items `[..., n]` become `[..., units]`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Dense {
    units: usize,
    activation: Activation,
    use_bias: bool,
    kernel_initializer: Initializer,
    bias_initializer: Initializer,
    kernel_regularizer: Option<Regularizer>,
    bias_regularizer: Option<Regularizer>,
    kernel_constraint: Option<Constraint>,
    bias_constraint: Option<Constraint>,
}

impl Default for Dense {
    fn default() -> Dense {
        Dense {
            units: 0,
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

impl Dense {
    pub fn new(units: usize) -> Layer<Dense> {
        Layer::new(Dense { units, ..Dense::default() })
    }
}

impl Layer<Dense> {
    setters! {
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

impl LayerDef for Dense {
    fn kind(&self) -> &'static str {
        "Dense"
    }

    fn supports_masking(&self) -> bool {
        true
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
        cx.param(
            "kernel",
            [features, self.units],
            self.kernel_initializer,
            self.kernel_regularizer,
            &self.kernel_constraint,
        )?;
        if self.use_bias {
            cx.param("bias", [self.units], self.bias_initializer, self.bias_regularizer, &self.bias_constraint)?;
        }
        Ok(())
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let last = cx.ty(x[0]).shape.rank() - 1;
        let kernel = cx.weight("kernel");
        let mut y = cx.contract(x[0], kernel, &[], &[(last, 0)]);
        if let Some(bias) = cx.optional_weight("bias") {
            let bias = cx.broadcast_like(bias, y);
            y = cx.add(y, bias);
        }
        let y = self.activation.on(cx, y);
        vec![y]
    }
}
