use serde::{Deserialize, Serialize};

use crate::diag::Problem;
use crate::ir::{DType, NodeId, TensorType};
use crate::model::CallCx;
use crate::model::initializer::Initializer;
use crate::model::layer::{BuildCx, Layer, LayerDef, floats};

/// A scale for each channel, as in ConvNeXt: the input times a trained vector along its last axis.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct LayerScale {
    init_values: f64,
    projection_dim: usize,
}

impl Default for LayerScale {
    fn default() -> LayerScale {
        LayerScale { init_values: 1e-6, projection_dim: 1 }
    }
}

impl LayerScale {
    /// Scales that begin at a value, for an input with this many channels.
    pub fn new(init_values: f64, projection_dim: usize) -> Layer<LayerScale> {
        Layer::new(LayerScale { init_values, projection_dim })
    }
}

impl LayerDef for LayerScale {
    fn kind(&self) -> &'static str {
        "LayerScale"
    }

    fn operands(&self, given: &[TensorType]) -> Vec<DType> {
        floats(given)
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        cx.float()?;
        let channels = cx.any_item()?.last().copied();
        if channels != Some(self.projection_dim) {
            let message = format!("LayerScale of {} channels, its input is {}", self.projection_dim, cx.input());
            return Err(Problem::shape(message).help("the last axis of the input has the channels"));
        }
        cx.param("gamma", [self.projection_dim], Initializer::Constant(self.init_values), None, &None)
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let (gamma, rank) = (cx.weight("gamma"), cx.ty(x[0]).shape.rank());
        let shape = cx.ty(x[0]).shape.clone();
        let gamma = cx.broadcast(gamma, &[rank - 1], shape);
        vec![cx.mul(x[0], gamma)]
    }
}
