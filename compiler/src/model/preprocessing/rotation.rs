use serde::{Deserialize, Serialize};

use super::resample::{Resampling, sample};
use super::{Factor, check_numbers, draw};
use crate::diag::Problem;
use crate::ir::{DType, Graph, NodeId, Shape};
use crate::model::CallCx;
use crate::model::layer::{BuildCx, Layer, LayerDef};
use crate::model::setters::{has, setters};
use crate::model::window::DataFormat;

/// In training, turns each image about its centre by a random fraction of a full turn, counter-clockwise where that is
/// positive.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct RandomRotation {
    factor: Factor,
    #[serde(flatten)]
    resampling: Resampling,
    seed: Option<u64>,
    data_format: DataFormat,
}

impl Default for RandomRotation {
    fn default() -> RandomRotation {
        RandomRotation {
            factor: Factor::Within(0.0),
            resampling: Resampling::default(),
            seed: None,
            data_format: DataFormat::ChannelsLast,
        }
    }
}

impl RandomRotation {
    pub fn new(factor: impl Into<Factor>) -> Layer<RandomRotation> {
        Layer::new(RandomRotation { factor: factor.into(), ..RandomRotation::default() })
    }
}

has!(RandomRotation => resampling: Resampling);

impl Layer<RandomRotation> {
    setters! {
        /// A seed of the layer's own: its draws no longer depend on the seed of the model.
        seed: some u64;
        data_format: DataFormat;
    }
}

impl LayerDef for RandomRotation {
    fn kind(&self) -> &'static str {
        "RandomRotation"
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        self.factor.check(self.kind(), "factor", -1.0, 1.0)?;
        self.resampling.check(self.kind())?;
        check_numbers(cx, self.kind())?;
        self.data_format.any_item(cx, 2).map(drop)
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let x = cx.cast(x[0], DType::F32);
        if !cx.training() {
            return vec![x];
        }
        cx.seed(self.seed);
        vec![self.data_format.apply(cx, x, |cx, x| {
            let (low, high) = self.factor.ends(-1.0);
            let angle = draw(cx, x, low * std::f64::consts::TAU, high * std::f64::consts::TAU);
            let places = turned(cx, x, angle);
            sample(cx, x, places, &self.resampling)
        })]
    }
}

/// Where each pixel of images that are turned by angles comes from: rows and columns.
fn turned(g: &mut Graph, x: NodeId, angle: NodeId) -> [NodeId; 2] {
    let plane = Shape(g.ty(x).shape[..3].to_vec());
    let from_centre = |g: &mut Graph, axis: usize| {
        let place = g.iota(axis, DType::F32, plane.clone());
        let centre = (plane[axis].scale as f64 - 1.0) / 2.0;
        (g.add_s(place, -centre), centre)
    };
    let ((row, middle_row), (column, middle_column)) = (from_centre(g, 1), from_centre(g, 2));
    let (sine, cosine) = (g.sin(angle), g.cos(angle));
    let (sine, cosine) = (g.broadcast(sine, &[0], plane.clone()), g.broadcast(cosine, &[0], plane.clone()));
    let (down, across) = (g.mul(row, cosine), g.mul(column, sine));
    let from_row = g.add(down, across);
    let (across, up) = (g.mul(column, cosine), g.mul(row, sine));
    let from_column = g.sub(across, up);
    [g.add_s(from_row, middle_row), g.add_s(from_column, middle_column)]
}
