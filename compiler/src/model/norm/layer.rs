use serde::{Deserialize, Serialize};

use super::{check_epsilon, inverse_root, moments};
use crate::diag::Problem;
use crate::ir::{NodeId, Shape};
use crate::model::CallCx;
use crate::model::axes::Axes;
use crate::model::constraint::Constraint;
use crate::model::initializer::Initializer;
use crate::model::layer::{BuildCx, Layer, LayerDef, Weight};
use crate::model::regularizer::Regularizer;
use crate::model::setters::setters;

/// Centres and scales each item along its last axis, or along others, by its own mean and variance.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct LayerNormalization {
    axis: Axes,
    epsilon: f64,
    center: bool,
    scale: bool,
    rms_scaling: bool,
    beta_initializer: Initializer,
    gamma_initializer: Initializer,
    beta_regularizer: Option<Regularizer>,
    gamma_regularizer: Option<Regularizer>,
    beta_constraint: Option<Constraint>,
    gamma_constraint: Option<Constraint>,
}

impl Default for LayerNormalization {
    fn default() -> LayerNormalization {
        LayerNormalization {
            axis: Axes::One(-1),
            epsilon: 1e-3,
            center: true,
            scale: true,
            rms_scaling: false,
            beta_initializer: Initializer::Zeros,
            gamma_initializer: Initializer::Ones,
            beta_regularizer: None,
            gamma_regularizer: None,
            beta_constraint: None,
            gamma_constraint: None,
        }
    }
}

impl LayerNormalization {
    pub fn new() -> Layer<LayerNormalization> {
        Layer::new(LayerNormalization::default())
    }
}

impl Layer<LayerNormalization> {
    setters! {
        /// The axes that are normalised together, counted with the batch as 0 or from the back.
        axis: into Axes;
        /// What is added to the variance.
        epsilon: f64;
        /// Whether there is a trained offset `beta`.
        center: bool;
        /// Whether there is a trained factor `gamma`.
        scale: bool;
        /// Scales by the standard deviation without centring, and has no `beta`; `gamma` it always has. Keras keeps
        /// this for old models; for the root mean square see [`RMSNormalization`].
        rms_scaling: bool;
        beta_initializer: Initializer;
        gamma_initializer: Initializer;
        beta_regularizer: some Regularizer;
        gamma_regularizer: some Regularizer;
        beta_constraint: some Constraint;
        gamma_constraint: some Constraint;
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
        check_epsilon(self.kind(), self.epsilon)?;
        let axes = self.axis.resolve(self.kind(), &cx.input().shape)?;
        let extents = extents(&cx.input().shape, &axes);
        if self.scale || self.rms_scaling {
            cx.param("gamma", extents.clone(), self.gamma_initializer, self.gamma_regularizer, &self.gamma_constraint)?;
        }
        if self.center && !self.rms_scaling {
            cx.param("beta", extents, self.beta_initializer, self.beta_regularizer, &self.beta_constraint)?;
        }
        Ok(())
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
        if let Some(gamma) = cx.optional_weight("gamma") {
            let gamma = cx.broadcast(gamma, &axes, shape.clone());
            y = cx.mul(y, gamma);
        }
        if let Some(beta) = cx.optional_weight("beta") {
            let beta = cx.broadcast(beta, &axes, shape);
            y = cx.add(y, beta);
        }
        vec![y]
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
        check_epsilon(self.kind(), self.epsilon)?;
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
