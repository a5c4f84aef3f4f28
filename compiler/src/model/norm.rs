//! Normalisation.

use serde::{Deserialize, Serialize};

use super::CallCx;
use super::initializer::Initializer;
use super::layer::{BuildCx, Layer, LayerDef, Weight, resolve_axis};
use super::regularizer::Regularizer;
use crate::diag::{Code, Problem};
use crate::ir::NodeId;

/// Centres and scales each channel: in training by the statistics of the batch, in prediction by their moving
/// averages. A frozen layer behaves as in prediction and keeps its averages.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct BatchNormalization {
    axis: isize,
    momentum: f64,
    epsilon: f64,
    center: bool,
    scale: bool,
    beta_initializer: Initializer,
    gamma_initializer: Initializer,
    moving_mean_initializer: Initializer,
    moving_variance_initializer: Initializer,
    beta_regularizer: Option<Regularizer>,
    gamma_regularizer: Option<Regularizer>,
}

impl Default for BatchNormalization {
    fn default() -> BatchNormalization {
        BatchNormalization {
            axis: -1,
            momentum: 0.99,
            epsilon: 1e-3,
            center: true,
            scale: true,
            beta_initializer: Initializer::Zeros,
            gamma_initializer: Initializer::Ones,
            moving_mean_initializer: Initializer::Zeros,
            moving_variance_initializer: Initializer::Ones,
            beta_regularizer: None,
            gamma_regularizer: None,
        }
    }
}

impl BatchNormalization {
    pub fn new() -> Layer<BatchNormalization> {
        Layer::new(BatchNormalization::default())
    }
}

impl Layer<BatchNormalization> {
    /// The axis of the channels, counted with the batch as 0 or from the back.
    pub fn axis(self, axis: isize) -> Layer<BatchNormalization> {
        self.with(|b| b.axis = axis)
    }

    pub fn momentum(self, momentum: f64) -> Layer<BatchNormalization> {
        self.with(|b| b.momentum = momentum)
    }

    pub fn epsilon(self, epsilon: f64) -> Layer<BatchNormalization> {
        self.with(|b| b.epsilon = epsilon)
    }

    /// Whether there is a trained offset `beta`.
    pub fn center(self, center: bool) -> Layer<BatchNormalization> {
        self.with(|b| b.center = center)
    }

    /// Whether there is a trained factor `gamma`.
    pub fn scale(self, scale: bool) -> Layer<BatchNormalization> {
        self.with(|b| b.scale = scale)
    }

    pub fn beta_initializer(self, initializer: Initializer) -> Layer<BatchNormalization> {
        self.with(|b| b.beta_initializer = initializer)
    }

    pub fn gamma_initializer(self, initializer: Initializer) -> Layer<BatchNormalization> {
        self.with(|b| b.gamma_initializer = initializer)
    }

    pub fn moving_mean_initializer(self, initializer: Initializer) -> Layer<BatchNormalization> {
        self.with(|b| b.moving_mean_initializer = initializer)
    }

    pub fn moving_variance_initializer(self, initializer: Initializer) -> Layer<BatchNormalization> {
        self.with(|b| b.moving_variance_initializer = initializer)
    }

    pub fn beta_regularizer(self, regularizer: Regularizer) -> Layer<BatchNormalization> {
        self.with(|b| b.beta_regularizer = Some(regularizer))
    }

    pub fn gamma_regularizer(self, regularizer: Regularizer) -> Layer<BatchNormalization> {
        self.with(|b| b.gamma_regularizer = Some(regularizer))
    }
}

impl LayerDef for BatchNormalization {
    fn kind(&self) -> &'static str {
        "BatchNormalization"
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        cx.float()?;
        let axis = cx.axis(self.axis)?;
        let Some(channels) = cx.input().shape[axis].as_fixed() else {
            let message = format!("BatchNormalization with axis {}, which is the batch", self.axis);
            return Err(Problem::new(Code::Axis, message).help("name the axis of the channels, usually -1"));
        };
        if !(0.0..=1.0).contains(&self.momentum) {
            let message = format!("BatchNormalization with momentum {}: must be between 0 and 1", self.momentum);
            return Err(Problem::value(message));
        }
        if !(self.epsilon > 0.0 && self.epsilon.is_finite()) {
            let message = format!("BatchNormalization with epsilon {}: must be positive", self.epsilon);
            return Err(Problem::value(message));
        }
        if self.scale {
            let gamma = Weight::new("gamma", [channels], self.gamma_initializer);
            cx.weight(gamma.regularizer(self.gamma_regularizer))?;
        }
        if self.center {
            let beta = Weight::new("beta", [channels], self.beta_initializer);
            cx.weight(beta.regularizer(self.beta_regularizer))?;
        }
        cx.weight(Weight::state("moving_mean", [channels], self.moving_mean_initializer))?;
        cx.weight(Weight::state("moving_variance", [channels], self.moving_variance_initializer))
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let x = x[0];
        let shape = cx.ty(x).shape.clone();
        let axis = resolve_axis(self.kind(), self.axis, &shape).unwrap_or_else(|p| cx.fault(p.message));
        let (mean, variance) = if cx.training() && cx.trainable() {
            let others: Vec<usize> = (0..shape.rank()).filter(|a| *a != axis).collect();
            let mean = cx.mean(x, &others);
            let wide = cx.broadcast(mean, &[axis], shape.clone());
            let centred = cx.sub(x, wide);
            let square = cx.square(centred);
            let variance = cx.mean(square, &others);
            self.track(cx, "moving_mean", mean);
            self.track(cx, "moving_variance", variance);
            (mean, variance)
        } else {
            (cx.weight("moving_mean"), cx.weight("moving_variance"))
        };
        let v = cx.add_s(variance, self.epsilon);
        let mut factor = cx.rsqrt(v);
        if let Some(gamma) = cx.optional_weight("gamma") {
            factor = cx.mul(factor, gamma);
        }
        let shift = cx.mul(mean, factor);
        let offset = match cx.optional_weight("beta") {
            Some(beta) => cx.sub(beta, shift),
            None => cx.neg(shift),
        };
        let factor = cx.broadcast(factor, &[axis], shape.clone());
        let offset = cx.broadcast(offset, &[axis], shape);
        let scaled = cx.mul(x, factor);
        vec![cx.add(scaled, offset)]
    }
}

impl BatchNormalization {
    /// Moves an average towards the value of this batch.
    fn track(&self, cx: &mut CallCx<'_>, name: &str, value: NodeId) {
        let old = cx.weight(name);
        let kept = cx.mul_s(old, self.momentum);
        let added = cx.mul_s(value, 1.0 - self.momentum);
        let new = cx.add(kept, added);
        cx.update(name, new);
    }
}
