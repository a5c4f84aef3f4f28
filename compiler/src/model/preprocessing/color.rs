use serde::{Deserialize, Serialize};

use super::{Factor, check_numbers, draw};
use crate::diag::Problem;
use crate::ir::{DType, NodeId};
use crate::model::CallCx;
use crate::model::layer::{BuildCx, Layer, LayerDef};
use crate::model::setters::setters;
use crate::model::window::DataFormat;

/// The least and the largest value of images.
const BYTES: [f64; 2] = [0.0, 255.0];

/// Keeps numbers in a range.
fn clip(cx: &mut CallCx<'_>, x: NodeId, [low, high]: [f64; 2]) -> NodeId {
    let x = cx.max_s(x, low.min(high));
    cx.min_s(x, low.max(high))
}

/// Fails unless a range has two finite ends.
fn check_range(kind: &str, [low, high]: [f64; 2]) -> Result<(), Problem> {
    match low.is_finite() && high.is_finite() && low != high {
        true => Ok(()),
        false => Err(Problem::value(format!("{kind} with value_range {low} to {high}: must be two finite numbers"))),
    }
}

/// In training, adds a random amount to each image: a fraction within `factor` of the value range.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct RandomBrightness {
    factor: Factor,
    value_range: [f64; 2],
    seed: Option<u64>,
}

impl Default for RandomBrightness {
    fn default() -> RandomBrightness {
        RandomBrightness { factor: Factor::Within(0.0), value_range: BYTES, seed: None }
    }
}

impl RandomBrightness {
    pub fn new(factor: impl Into<Factor>) -> Layer<RandomBrightness> {
        Layer::new(RandomBrightness { factor: factor.into(), ..RandomBrightness::default() })
    }
}

impl Layer<RandomBrightness> {
    setters! {
        /// The range of the images' values, by default 0 to 255.
        value_range: [f64; 2];
        /// A seed of the layer's own: its draws no longer depend on the seed of the model.
        seed: some u64;
    }
}

impl LayerDef for RandomBrightness {
    fn kind(&self) -> &'static str {
        "RandomBrightness"
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        self.factor.check(self.kind(), "factor", -1.0, 1.0)?;
        check_range(self.kind(), self.value_range)?;
        check_numbers(cx, self.kind())?;
        DataFormat::ChannelsLast.any_item(cx, 2).map(drop)
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let x = cx.cast(x[0], DType::F32);
        if !cx.training() {
            return vec![x];
        }
        let (low, high) = self.factor.ends(-1.0);
        let width = (self.value_range[1] - self.value_range[0]).abs();
        cx.seed(self.seed);
        let amount = draw(cx, x, low * width, high * width);
        let shape = cx.ty(x).shape.clone();
        let amount = cx.broadcast(amount, &[0], shape);
        let y = cx.add(x, amount);
        vec![clip(cx, y, self.value_range)]
    }
}

/// In training, moves the values of each image away from the mean of their channel, or towards it, by a random factor.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct RandomContrast {
    factor: Factor,
    value_range: [f64; 2],
    seed: Option<u64>,
}

impl Default for RandomContrast {
    fn default() -> RandomContrast {
        RandomContrast { factor: Factor::Within(0.0), value_range: BYTES, seed: None }
    }
}

impl RandomContrast {
    /// With factors between `1 - low` and `1 + high` for the pair `(low, high)`, and between 1 and `1 + x` for a single
    /// number, as in Keras.
    pub fn new(factor: impl Into<Factor>) -> Layer<RandomContrast> {
        Layer::new(RandomContrast { factor: factor.into(), ..RandomContrast::default() })
    }
}

impl Layer<RandomContrast> {
    setters! {
        /// The range of the images' values, by default 0 to 255.
        value_range: [f64; 2];
        /// A seed of the layer's own: its draws no longer depend on the seed of the model.
        seed: some u64;
    }
}

impl LayerDef for RandomContrast {
    fn kind(&self) -> &'static str {
        "RandomContrast"
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        self.factor.check(self.kind(), "factor", 0.0, 1.0)?;
        check_range(self.kind(), self.value_range)?;
        check_numbers(cx, self.kind())?;
        DataFormat::ChannelsLast.any_item(cx, 2).map(drop)
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let x = cx.cast(x[0], DType::F32);
        if !cx.training() {
            return vec![x];
        }
        let (low, high) = self.factor.ends(0.0);
        cx.seed(self.seed);
        let factor = draw(cx, x, 1.0 - low, 1.0 + high);
        let shape = cx.ty(x).shape.clone();
        let factor = cx.broadcast(factor, &[0], shape.clone());
        let mean = cx.mean(x, &[1, 2]);
        let mean = cx.unreduce(mean, &[1, 2], &shape);
        let y = cx.sub(x, mean);
        let y = cx.mul(y, factor);
        let y = cx.add(y, mean);
        vec![clip(cx, y, self.value_range)]
    }
}
