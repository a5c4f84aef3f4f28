//! Layers that are random in training.

use serde::{Deserialize, Serialize};

use super::CallCx;
use super::layer::{BuildCx, Layer, LayerDef};
use crate::diag::Problem;
use crate::ir::NodeId;

/// In training, sets a fraction of the elements to zero and scales up the others, so that the sum stays; in
/// prediction, does nothing.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Dropout {
    rate: f64,
}

impl Dropout {
    pub fn new(rate: f64) -> Layer<Dropout> {
        Layer::new(Dropout { rate })
    }
}

impl LayerDef for Dropout {
    fn kind(&self) -> &'static str {
        "Dropout"
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        if !(0.0..=1.0).contains(&self.rate) {
            return Err(Problem::value(format!("Dropout with rate {}: must be between 0 and 1", self.rate))
                .help("the rate is the fraction that is dropped"));
        }
        cx.float()
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let x = x[0];
        if !cx.training() || self.rate == 0.0 {
            return vec![x];
        }
        let zero = cx.lit_like(x, 0.0);
        if self.rate == 1.0 {
            return vec![zero];
        }
        let shape = cx.ty(x).shape.clone();
        let bits = cx.random_bits(&shape);
        let limit = ((1.0 - self.rate) * 2f64.powi(32)).round().min(u32::MAX as f64);
        let limit = cx.lit_like(bits, limit);
        let keep = cx.lt(bits, limit);
        let scaled = cx.mul_s(x, 1.0 / (1.0 - self.rate));
        vec![cx.select(keep, scaled, zero)]
    }
}
