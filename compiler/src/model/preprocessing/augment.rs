use serde::{Deserialize, Serialize};

use super::resample::{Reading, Resampling, resample};
use super::{Factor, check_numbers, draw};
use crate::diag::Problem;
use crate::ir::{DType, Graph, NodeId, Op, SliceAxis};
use crate::model::CallCx;
use crate::model::layer::{BuildCx, Layer, LayerDef};
use crate::model::setters::{has, setters};
use crate::model::window::DataFormat;

/// Which way images are flipped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlipMode {
    Horizontal,
    Vertical,
    /// Both at once.
    #[default]
    HorizontalAndVertical,
}

/// In training, flips every other image, by chance.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RandomFlip {
    mode: FlipMode,
    seed: Option<u64>,
    data_format: DataFormat,
}

impl RandomFlip {
    pub fn new(mode: FlipMode) -> Layer<RandomFlip> {
        Layer::new(RandomFlip { mode, ..RandomFlip::default() })
    }
}

impl Layer<RandomFlip> {
    setters! {
        /// A seed of the layer's own: its draws no longer depend on the seed of the model.
        seed: some u64;
        data_format: DataFormat;
    }
}

/// The elements of an axis in reverse order.
fn reverse(g: &mut Graph, x: NodeId, axis: usize) -> NodeId {
    let shape = g.ty(x).shape.clone();
    let whole = shape.iter().map(|&count| SliceAxis { start: 0, step: 1, count });
    let mut axes: Vec<SliceAxis> = whole.collect();
    axes[axis] = SliceAxis { start: shape[axis].scale - 1, step: -1, count: shape[axis] };
    g.push(Op::Slice(axes), &[x])
}

impl LayerDef for RandomFlip {
    fn kind(&self) -> &'static str {
        "RandomFlip"
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        check_numbers(cx, self.kind())?;
        self.data_format.any_item(cx, 2).map(drop)
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let x = cx.cast(x[0], DType::F32);
        if !cx.training() {
            return vec![x];
        }
        cx.seed(self.seed);
        let coin = draw(cx, x, 0.0, 1.0);
        let half = cx.lit_like(coin, 0.5);
        let flips = cx.le(coin, half);
        let shape = cx.ty(x).shape.clone();
        let flips = cx.broadcast(flips, &[0], shape);
        let rows = if self.data_format == DataFormat::ChannelsLast { 1 } else { 2 };
        let mut flipped = x;
        if self.mode != FlipMode::Vertical {
            flipped = reverse(cx, flipped, rows + 1);
        }
        if self.mode != FlipMode::Horizontal {
            flipped = reverse(cx, flipped, rows);
        }
        vec![cx.select(flips, flipped, x)]
    }
}

/// In training, moves each image by random fractions of its height and width.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct RandomTranslation {
    height_factor: Factor,
    width_factor: Factor,
    #[serde(flatten)]
    resampling: Resampling,
    seed: Option<u64>,
    data_format: DataFormat,
}

impl Default for RandomTranslation {
    fn default() -> RandomTranslation {
        RandomTranslation {
            height_factor: Factor::Within(0.0),
            width_factor: Factor::Within(0.0),
            resampling: Resampling::default(),
            seed: None,
            data_format: DataFormat::ChannelsLast,
        }
    }
}

impl RandomTranslation {
    pub fn new(height_factor: impl Into<Factor>, width_factor: impl Into<Factor>) -> Layer<RandomTranslation> {
        let (height_factor, width_factor) = (height_factor.into(), width_factor.into());
        Layer::new(RandomTranslation { height_factor, width_factor, ..RandomTranslation::default() })
    }
}

has!(RandomTranslation => resampling: Resampling);

impl Layer<RandomTranslation> {
    setters! {
        /// A seed of the layer's own: its draws no longer depend on the seed of the model.
        seed: some u64;
        data_format: DataFormat;
    }
}

impl LayerDef for RandomTranslation {
    fn kind(&self) -> &'static str {
        "RandomTranslation"
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        self.height_factor.check(self.kind(), "height_factor", -1.0, 1.0)?;
        self.width_factor.check(self.kind(), "width_factor", -1.0, 1.0)?;
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
            let mut reading = |factor: Factor, axis: usize| {
                let extent = cx.ty(x).shape[axis].scale as f64;
                let (low, high) = factor.ends(-1.0);
                let shift = draw(cx, x, -high * extent, -low * extent);
                Reading { scale: cx.lit_like(shift, 1.0), shift }
            };
            let readings = [reading(self.height_factor, 1), reading(self.width_factor, 2)];
            resample(cx, x, readings, &self.resampling)
        })]
    }
}

/// In training, shrinks each image by a random fraction, or enlarges it where that is negative, about its centre.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct RandomZoom {
    height_factor: Factor,
    width_factor: Option<Factor>,
    #[serde(flatten)]
    resampling: Resampling,
    seed: Option<u64>,
    data_format: DataFormat,
}

impl Default for RandomZoom {
    fn default() -> RandomZoom {
        RandomZoom {
            height_factor: Factor::Within(0.0),
            width_factor: None,
            resampling: Resampling::default(),
            seed: None,
            data_format: DataFormat::ChannelsLast,
        }
    }
}

impl RandomZoom {
    /// With the same factor for height and width.
    pub fn new(height_factor: impl Into<Factor>) -> Layer<RandomZoom> {
        Layer::new(RandomZoom { height_factor: height_factor.into(), ..RandomZoom::default() })
    }
}

has!(RandomZoom => resampling: Resampling);

impl Layer<RandomZoom> {
    setters! {
        /// A factor of its own for the width.
        width_factor: some into Factor;
        /// A seed of the layer's own: its draws no longer depend on the seed of the model.
        seed: some u64;
        data_format: DataFormat;
    }
}

impl LayerDef for RandomZoom {
    fn kind(&self) -> &'static str {
        "RandomZoom"
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        self.height_factor.check(self.kind(), "height_factor", -1.0, 1.0)?;
        self.width_factor.map_or(Ok(()), |factor| factor.check(self.kind(), "width_factor", -1.0, 1.0))?;
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
            let zoom = |cx: &mut CallCx<'_>, factor: Factor| {
                let (low, high) = factor.ends(-1.0);
                draw(cx, x, 1.0 + low, 1.0 + high)
            };
            let by_height = zoom(cx, self.height_factor);
            let by_width = self.width_factor.map_or(by_height, |factor| zoom(cx, factor));
            let mut reading = |scale: NodeId, axis: usize| {
                let centre = (cx.ty(x).shape[axis].scale as f64 - 1.0) / 2.0;
                let rest = cx.s_sub(1.0, scale);
                Reading { scale, shift: cx.mul_s(rest, centre) }
            };
            let readings = [reading(by_height, 1), reading(by_width, 2)];
            resample(cx, x, readings, &self.resampling)
        })]
    }
}
