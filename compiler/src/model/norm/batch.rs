use serde::{Deserialize, Serialize};

use super::gamma_beta::GammaBeta;
use super::{inverse_root, moments};
use crate::diag::{Code, Problem};
use crate::ir::{DType, NodeId, Shape, TensorType};
use crate::model::CallCx;
use crate::model::initializer::Initializer;
use crate::model::layer::{BuildCx, Layer, LayerDef, Weight, floats, resolve_axis};
use crate::model::numbers::{fraction, positive};
use crate::model::setters::{has, setters};

/// Centres and scales each channel: in training by the statistics of the batch, in prediction by their moving
/// averages. A frozen layer behaves as in prediction and keeps its averages. Steps that the input's mask leaves out
/// do not count towards the statistics.
///
/// With `renorm`, training corrects the statistics of the batch towards slowly moving ones, within the bounds of
/// `renorm_clipping` (batch renormalisation).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct BatchNormalization {
    axis: isize,
    momentum: f64,
    epsilon: f64,
    #[serde(flatten)]
    weights: GammaBeta,
    moving_mean_initializer: Initializer,
    moving_variance_initializer: Initializer,
    renorm: bool,
    renorm_clipping: Option<RenormClipping>,
    renorm_momentum: f64,
}

/// Bounds of the corrections of batch renormalisation: of the factor, and of the offset in magnitude.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RenormClipping {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rmin: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rmax: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dmax: Option<f64>,
}

impl Default for BatchNormalization {
    fn default() -> BatchNormalization {
        BatchNormalization {
            axis: -1,
            momentum: 0.99,
            epsilon: 1e-3,
            weights: GammaBeta::default(),
            moving_mean_initializer: Initializer::Zeros,
            moving_variance_initializer: Initializer::Ones,
            renorm: false,
            renorm_clipping: None,
            renorm_momentum: 0.99,
        }
    }
}

impl BatchNormalization {
    pub fn new() -> Layer<BatchNormalization> {
        Layer::new(BatchNormalization::default())
    }
}

has!(BatchNormalization => weights: GammaBeta);

impl Layer<BatchNormalization> {
    setters! {
        /// The axis of the channels, counted with the batch as 0 or from the back.
        axis: isize;
        /// How much of the moving averages each step keeps.
        momentum: f64;
        /// What is added to the variance.
        epsilon: f64;
        moving_mean_initializer: Initializer;
        moving_variance_initializer: Initializer;
        /// Batch renormalisation.
        renorm: bool;
        renorm_clipping: some RenormClipping;
        /// How much of the statistics that training corrects towards each step keeps.
        renorm_momentum: f64;
    }
}

impl LayerDef for BatchNormalization {
    fn kind(&self) -> &'static str {
        "BatchNormalization"
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn operands(&self, given: &[TensorType]) -> Vec<DType> {
        floats(given)
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        cx.float()?;
        let axis = cx.axis(self.axis)?;
        let Some(channels) = cx.input().shape[axis].as_fixed() else {
            let message = format!("BatchNormalization with axis {}, which is the batch", self.axis);
            return Err(Problem::new(Code::Axis, message).help("name the axis of the channels, usually -1"));
        };
        for (argument, momentum) in [("momentum", self.momentum), ("renorm_momentum", self.renorm_momentum)] {
            fraction(self.kind(), argument, momentum)?;
        }
        positive(self.kind(), "epsilon", self.epsilon)?;
        if let Some(mask) = cx.mask(0).filter(|mask| mask.shape.rank() + 1 != cx.input().shape.rank()) {
            let message = format!("BatchNormalization of {} cannot use a mask of {mask}", cx.input());
            return Err(Problem::shape(message).help("the mask must have every axis of its tensor but the last"));
        }
        self.weights.declare(cx, &[channels])?;
        cx.weight(Weight::state("moving_mean", [channels], self.moving_mean_initializer))?;
        cx.weight(Weight::state("moving_variance", [channels], self.moving_variance_initializer))?;
        if self.renorm {
            self.check_clipping()?;
            let stddev = self.stddev_initializer()?;
            cx.weight(Weight::state("moving_stddev", [channels], stddev))?;
            cx.weight(Weight::state("renorm_mean", [channels], self.moving_mean_initializer))?;
            cx.weight(Weight::state("renorm_stddev", [channels], stddev))?;
        }
        Ok(())
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let x = x[0];
        let shape = cx.ty(x).shape.clone();
        let axis = resolve_axis(self.kind(), self.axis, &shape).unwrap_or_else(|p| cx.fault(p.message));
        let (mut gamma, mut beta) = (cx.optional_weight("gamma"), cx.optional_weight("beta"));
        let (mean, variance) = if cx.training() && cx.trainable() {
            let (mean, variance) = batch_moments(cx, x, &shape, axis);
            match self.renorm {
                true => self.renormalize(cx, mean, variance, &mut gamma, &mut beta),
                false => {
                    track(cx, "moving_mean", mean, self.momentum);
                    track(cx, "moving_variance", variance, self.momentum);
                }
            }
            (mean, variance)
        } else {
            (cx.weight("moving_mean"), cx.weight("moving_variance"))
        };
        let mut factor = inverse_root(cx, variance, self.epsilon);
        if let Some(gamma) = gamma {
            factor = cx.mul(factor, gamma);
        }
        let shift = cx.mul(mean, factor);
        let offset = match beta {
            Some(beta) => cx.sub(beta, shift),
            None => cx.neg(shift),
        };
        let factor = cx.broadcast(factor, &[axis], shape.clone());
        let offset = cx.broadcast(offset, &[axis], shape);
        let scaled = cx.mul(x, factor);
        vec![cx.add(scaled, offset)]
    }
}

/// Mean and variance of each channel over everything that counts in the batch.
fn batch_moments(cx: &mut CallCx<'_>, x: NodeId, shape: &Shape, axis: usize) -> (NodeId, NodeId) {
    /// Keeps the means over nothing finite.
    const FUZZ: f64 = 1e-7;
    let others: Vec<usize> = (0..shape.rank()).filter(|a| *a != axis).collect();
    let Some(mask) = cx.mask(0) else { return moments(cx, x, &others) };
    let counts = cx.unreduce(mask, &[shape.rank() - 1], shape);
    let zero = cx.lit_like(x, 0.0);
    let weight = cx.cast(counts, DType::F32);
    let weight = cx.sum(weight, &others);
    let weight = cx.add_s(weight, FUZZ);
    let kept = cx.select(counts, x, zero);
    let sum = cx.sum(kept, &others);
    let mean = cx.div(sum, weight);
    let wide = cx.broadcast(mean, &[axis], shape.clone());
    let centred = cx.sub(x, wide);
    let centred = cx.select(counts, centred, zero);
    let square = cx.square(centred);
    let sum = cx.sum(square, &others);
    (mean, cx.div(sum, weight))
}

/// Moves an average towards the value of this batch, and returns where it is then.
fn track(cx: &mut CallCx<'_>, name: &str, value: NodeId, momentum: f64) -> NodeId {
    let old = cx.weight(name);
    let kept = cx.mul_s(old, momentum);
    let added = cx.mul_s(value, 1.0 - momentum);
    let new = cx.add(kept, added);
    cx.update(name, new);
    new
}

impl BatchNormalization {
    fn check_clipping(&self) -> Result<(), Problem> {
        let RenormClipping { rmin, rmax, dmax } = self.renorm_clipping.unwrap_or_default();
        let fail = |what: String| Err(Problem::value(format!("BatchNormalization with renorm_clipping {what}")));
        if let (Some(low), Some(high)) = (rmin, rmax)
            && high < low
        {
            return fail(format!("rmin {low} above rmax {high}"));
        }
        if let Some(bad) = [rmin, rmax, dmax].into_iter().flatten().find(|x| !x.is_finite()) {
            return fail(format!("{bad}: must be finite"));
        }
        match dmax {
            Some(d) if d < 0.0 => fail(format!("dmax {d}: must not be negative")),
            _ => Ok(()),
        }
    }

    /// Standard deviations begin as the root of what variances begin as.
    fn stddev_initializer(&self) -> Result<Initializer, Problem> {
        match self.moving_variance_initializer {
            same @ (Initializer::Ones | Initializer::Zeros) => Ok(same),
            Initializer::Constant(c) if c >= 0.0 => Ok(Initializer::Constant(c.sqrt())),
            other => {
                Err(Problem::value(format!("BatchNormalization with renorm and variances that begin as {other:?}"))
                    .help("use Ones, Zeros or a Constant that is not negative"))
            }
        }
    }

    /// Turns gamma and beta into those that normalise the batch as if by the moving statistics, as far as clipping
    /// lets them, and moves these.
    fn renormalize(
        &self,
        cx: &mut CallCx<'_>,
        mean: NodeId,
        variance: NodeId,
        gamma: &mut Option<NodeId>,
        beta: &mut Option<NodeId>,
    ) {
        let v = cx.add_s(variance, self.epsilon);
        let stddev = cx.sqrt(v);
        let (old_mean, old_stddev) = (cx.weight("renorm_mean"), cx.weight("renorm_stddev"));
        let old_stddev = cx.max_s(old_stddev, self.epsilon.sqrt());
        let RenormClipping { rmin, rmax, dmax } = self.renorm_clipping.unwrap_or_default();
        let mut r = cx.div(stddev, old_stddev);
        let d = cx.sub(mean, old_mean);
        let mut d = cx.div(d, old_stddev);
        if let Some(low) = rmin {
            r = cx.max_s(r, low);
        }
        if let Some(high) = rmax {
            r = cx.min_s(r, high);
        }
        if let Some(most) = dmax {
            d = cx.max_s(d, -most);
            d = cx.min_s(d, most);
        }
        let (r, d) = (cx.stop_gradient(r), cx.stop_gradient(d));
        let (factor, offset) = match *gamma {
            Some(gamma) => (cx.mul(r, gamma), cx.mul(d, gamma)),
            None => (r, d),
        };
        *gamma = Some(factor);
        *beta = Some(beta.map_or(offset, |beta| cx.add(offset, beta)));
        track(cx, "renorm_mean", mean, self.renorm_momentum);
        track(cx, "renorm_stddev", stddev, self.renorm_momentum);
        track(cx, "moving_mean", mean, self.momentum);
        let moving = track(cx, "moving_stddev", stddev, self.momentum);
        let square = cx.square(moving);
        let square = cx.add_s(square, -self.epsilon);
        let variance = cx.relu(square);
        cx.update("moving_variance", variance);
    }
}
