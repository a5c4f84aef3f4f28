use serde::{Deserialize, Serialize};

use super::gamma_beta::{GammaBeta, scaled};
use super::{inverse_root, moments};
use crate::diag::Problem;
use crate::ir::{NodeId, Shape};
use crate::model::CallCx;
use crate::model::axes::Axes;
use crate::model::initializer::Initializer;
use crate::model::layer::{BuildCx, Layer, LayerDef, Weight};
use crate::model::numbers::positive;
use crate::model::setters::{has, setters};

/// Centres and scales each item along its last axis, or along others, by its own mean and variance.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct LayerNormalization {
    axis: Axes,
    epsilon: f64,
    #[serde(flatten)]
    weights: GammaBeta,
    rms_scaling: bool,
}

impl Default for LayerNormalization {
    fn default() -> LayerNormalization {
        LayerNormalization { axis: Axes::One(-1), epsilon: 1e-3, weights: GammaBeta::default(), rms_scaling: false }
    }
}

impl LayerNormalization {
    pub fn new() -> Layer<LayerNormalization> {
        Layer::new(LayerNormalization::default())
    }
}

has!(LayerNormalization => weights: GammaBeta);

impl Layer<LayerNormalization> {
    setters! {
        /// The axes that are normalised together, counted with the batch as 0 or from the back.
        axis: into Axes;
        /// What is added to the variance.
        epsilon: f64;
        /// Scales by the standard deviation without centring, and has no `beta`; `gamma` it always has. Keras keeps
        /// this for old models; for the root mean square see [`RMSNormalization`].
        rms_scaling: bool;
    }
}

/// The constant extents of some axes.
fn extents(shape: &Shape, axes: &[usize]) -> Vec<usize> {
    axes.iter().map(|&a| shape[a].scale).collect()
}

impl LayerDef for LayerNormalization {
    fn kind(&self) -> &'static str {
        "LayerNormalization"
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        cx.float()?;
        positive(self.kind(), "epsilon", self.epsilon)?;
        let axes = self.axis.resolve(self.kind(), &cx.input().shape)?;
        let extents = extents(&cx.input().shape, &axes);
        let mut weights = self.weights.clone();
        if self.rms_scaling {
            (weights.scale, weights.center) = (true, false);
        }
        weights.declare(cx, &extents)
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let x = x[0];
        let shape = cx.ty(x).shape.clone();
        let axes = self.axis.resolve(self.kind(), &shape).unwrap_or_else(|p| cx.fault(p.message));
        let (mean, variance) = moments(cx, x, &axes);
        let scale = inverse_root(cx, variance, self.epsilon);
        let scale = cx.unreduce(scale, &axes, &shape);
        let mut y = x;
        if !self.rms_scaling {
            let mean = cx.unreduce(mean, &axes, &shape);
            y = cx.sub(x, mean);
        }
        y = cx.mul(y, scale);
        vec![scaled(cx, y, &axes, &shape)]
    }
}

/// Scales each item by the inverse of the root mean square along its last axis, or along others, and by a trained
/// factor.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct RMSNormalization {
    axis: Axes,
    epsilon: f64,
}

impl Default for RMSNormalization {
    fn default() -> RMSNormalization {
        RMSNormalization { axis: Axes::One(-1), epsilon: 1e-6 }
    }
}

impl RMSNormalization {
    pub fn new() -> Layer<RMSNormalization> {
        Layer::new(RMSNormalization::default())
    }
}

impl Layer<RMSNormalization> {
    setters! {
        /// The axes that are normalised together, counted with the batch as 0 or from the back.
        axis: into Axes;
        /// What is added to the mean square.
        epsilon: f64;
    }
}

impl LayerDef for RMSNormalization {
    fn kind(&self) -> &'static str {
        "RMSNormalization"
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        cx.float()?;
        positive(self.kind(), "epsilon", self.epsilon)?;
        let axes = self.axis.resolve(self.kind(), &cx.input().shape)?;
        let extents = extents(&cx.input().shape, &axes);
        cx.weight(Weight::new("scale", extents, Initializer::Ones))
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let x = x[0];
        let shape = cx.ty(x).shape.clone();
        let axes = self.axis.resolve(self.kind(), &shape).unwrap_or_else(|p| cx.fault(p.message));
        let square = cx.square(x);
        let square = cx.mean(square, &axes);
        let inverse = inverse_root(cx, square, self.epsilon);
        let inverse = cx.unreduce(inverse, &axes, &shape);
        let scale = cx.weight("scale");
        let scale = cx.broadcast(scale, &axes, shape);
        let y = cx.mul(x, inverse);
        vec![cx.mul(y, scale)]
    }
}
