use serde::{Deserialize, Serialize};

use crate::diag::Problem;
use crate::ir::{Graph, NodeId};
use crate::model::CallCx;
use crate::model::axes::Axes;
use crate::model::layer::{BuildCx, Layer, LayerDef};
use crate::model::setters::setters;

/// Scales items to length 1 along one axis or several.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct UnitNormalization {
    axis: Axes,
}

impl Default for UnitNormalization {
    fn default() -> UnitNormalization {
        UnitNormalization { axis: Axes::One(-1) }
    }
}

impl UnitNormalization {
    /// Along the last axis.
    pub fn new() -> Layer<UnitNormalization> {
        Layer::new(UnitNormalization::default())
    }
}

impl Layer<UnitNormalization> {
    setters! {
        /// The axes whose elements get the sum of squares 1, counted with the batch as 0 or from the back.
        axis: into Axes;
    }
}

impl LayerDef for UnitNormalization {
    fn kind(&self) -> &'static str {
        "UnitNormalization"
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        cx.float()?;
        self.axis.resolve("UnitNormalization", &cx.input().shape).map(drop)
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let axes = self.axis.resolve(self.kind(), &cx.ty(x[0]).shape).unwrap_or_else(|p| cx.fault(p.message));
        vec![unit(cx, x[0], &axes, 1e-12)]
    }
}

/// Scales to length 1 along axes; what is shorter than epsilon is multiplied by its inverse.
pub(crate) fn unit(g: &mut Graph, x: NodeId, axes: &[usize], epsilon: f64) -> NodeId {
    let shape = g.ty(x).shape.clone();
    let square = g.square(x);
    let square = g.sum(square, axes);
    let square = g.max_s(square, epsilon * epsilon);
    let scale = g.rsqrt(square);
    let scale = g.unreduce(scale, axes, &shape);
    g.mul(x, scale)
}
