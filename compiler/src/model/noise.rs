//! Layers that add noise in training and do nothing in prediction.

use serde::{Deserialize, Serialize};

use super::CallCx;
use super::dropout::check_rate;
use super::layer::{BuildCx, Layer, LayerDef};
use super::numbers::fraction;
use super::setters::setters;
use crate::diag::Problem;
use crate::ir::NodeId;

/// In training, adds normal noise with mean 0.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GaussianNoise {
    stddev: f64,
    seed: Option<u64>,
}

impl GaussianNoise {
    pub fn new(stddev: f64) -> Layer<GaussianNoise> {
        Layer::new(GaussianNoise { stddev, seed: None })
    }
}

impl Layer<GaussianNoise> {
    setters! {
        /// A seed of the layer's own: its noise no longer depends on the seed of the model.
        seed: some u64;
    }
}

impl LayerDef for GaussianNoise {
    fn kind(&self) -> &'static str {
        "GaussianNoise"
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        fraction(self.kind(), "stddev", self.stddev)?;
        cx.float()
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        if !cx.training() || self.stddev == 0.0 {
            return x.to_vec();
        }
        let shape = cx.ty(x[0]).shape.clone();
        cx.seed(self.seed);
        let noise = cx.random_normal(&shape, 0.0, self.stddev);
        vec![cx.add(x[0], noise)]
    }
}

/// In training, multiplies by normal noise with mean 1 and variance `rate / (1 - rate)`, the variance of dropout.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GaussianDropout {
    rate: f64,
    seed: Option<u64>,
}

impl GaussianDropout {
    pub fn new(rate: f64) -> Layer<GaussianDropout> {
        Layer::new(GaussianDropout { rate, seed: None })
    }
}

impl Layer<GaussianDropout> {
    setters! {
        /// A seed of the layer's own: its noise no longer depends on the seed of the model.
        seed: some u64;
    }
}

impl LayerDef for GaussianDropout {
    fn kind(&self) -> &'static str {
        "GaussianDropout"
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        check_rate(self.kind(), self.rate, true)?;
        cx.float()
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        if !cx.training() || self.rate == 0.0 {
            return x.to_vec();
        }
        let shape = cx.ty(x[0]).shape.clone();
        let stddev = (self.rate / (1.0 - self.rate)).sqrt();
        cx.seed(self.seed);
        let noise = cx.random_normal(&shape, 1.0, stddev);
        vec![cx.mul(x[0], noise)]
    }
}
