//! The trained factor and offset of a normalisation.

use serde::{Deserialize, Serialize};

use crate::diag::Problem;
use crate::ir::{NodeId, Shape};
use crate::model::call::CallCx;
use crate::model::constraint::Constraint;
use crate::model::initializer::Initializer;
use crate::model::layer::{BuildCx, Layer, LayerDef};
use crate::model::regularizer::Regularizer;
use crate::model::setters::{Has, setters};

/// Whether there are a factor `gamma` and an offset `beta`, how they begin, what is added to the loss for them, and what
/// they are held to.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct GammaBeta {
    pub center: bool,
    pub scale: bool,
    beta_initializer: Initializer,
    gamma_initializer: Initializer,
    beta_regularizer: Option<Regularizer>,
    gamma_regularizer: Option<Regularizer>,
    beta_constraint: Option<Constraint>,
    gamma_constraint: Option<Constraint>,
}

impl Default for GammaBeta {
    fn default() -> GammaBeta {
        GammaBeta {
            center: true,
            scale: true,
            beta_initializer: Initializer::Zeros,
            gamma_initializer: Initializer::Ones,
            beta_regularizer: None,
            gamma_regularizer: None,
            beta_constraint: None,
            gamma_constraint: None,
        }
    }
}

impl<D: LayerDef + Clone + Has<GammaBeta>> Layer<D> {
    setters! {
        in Has::<GammaBeta>::part;
        /// Whether there is a trained offset `beta`.
        center: bool;
        /// Whether there is a trained factor `gamma`.
        scale: bool;
        beta_initializer: Initializer;
        gamma_initializer: Initializer;
        beta_regularizer: some Regularizer;
        gamma_regularizer: some Regularizer;
        beta_constraint: some Constraint;
        gamma_constraint: some Constraint;
    }
}

impl GammaBeta {
    /// Declares what there is, of some extents.
    pub fn declare(&self, cx: &mut BuildCx<'_>, extents: &[usize]) -> Result<(), Problem> {
        if self.scale {
            cx.param("gamma", extents, self.gamma_initializer, self.gamma_regularizer, &self.gamma_constraint)?;
        }
        if self.center {
            cx.param("beta", extents, self.beta_initializer, self.beta_regularizer, &self.beta_constraint)?;
        }
        Ok(())
    }
}

/// `y * gamma + beta`, as far as the layer has them, for items along some axes.
pub fn scaled(cx: &mut CallCx<'_>, mut y: NodeId, axes: &[usize], shape: &Shape) -> NodeId {
    if let Some(gamma) = cx.optional_weight("gamma") {
        let gamma = cx.broadcast(gamma, axes, shape.clone());
        y = cx.mul(y, gamma);
    }
    if let Some(beta) = cx.optional_weight("beta") {
        let beta = cx.broadcast(beta, axes, shape.clone());
        y = cx.add(y, beta);
    }
    y
}
