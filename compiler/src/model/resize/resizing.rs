//! Resizing of images.

use serde::{Deserialize, Serialize};

use super::Interpolation;
use crate::diag::{Code, Problem};
use crate::ir::{DType, Dim, Graph, NodeId, Number, Op, PadAxis, SliceAxis};
use crate::model::call::CallCx;
use crate::model::layer::{BuildCx, Layer, LayerDef};
use crate::model::numbers::finite;
use crate::model::setters::setters;
use crate::model::window::{DataFormat, check_extents};

/// Images of another size. Integers stay integers: interpolated values are rounded.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Resizing {
    height: usize,
    width: usize,
    interpolation: Interpolation,
    crop_to_aspect_ratio: bool,
    pad_to_aspect_ratio: bool,
    fill_mode: FillMode,
    fill_value: f64,
    antialias: bool,
    data_format: DataFormat,
}

/// What padding is filled with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FillMode {
    #[default]
    Constant,
}

impl Default for Resizing {
    fn default() -> Resizing {
        Resizing {
            height: 0,
            width: 0,
            interpolation: Interpolation::Bilinear,
            crop_to_aspect_ratio: false,
            pad_to_aspect_ratio: false,
            fill_mode: FillMode::Constant,
            fill_value: 0.0,
            antialias: false,
            data_format: DataFormat::ChannelsLast,
        }
    }
}

impl Resizing {
    pub fn new(height: usize, width: usize) -> Layer<Resizing> {
        Layer::new(Resizing { height, width, ..Resizing::default() })
    }
}

impl Layer<Resizing> {
    setters! {
        interpolation: Interpolation;
        /// Cuts the image to the proportions of the result instead of distorting it.
        crop_to_aspect_ratio: bool;
        /// Pads the image to the proportions of the result instead of distorting it.
        pad_to_aspect_ratio: bool;
        /// The value of the padding.
        fill_value: f64;
        /// Averages over all elements that a smaller result stands for.
        antialias: bool;
        data_format: DataFormat;
    }
}

impl LayerDef for Resizing {
    fn kind(&self) -> &'static str {
        "Resizing"
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        self.data_format.any_item(cx, 2)?;
        if matches!(cx.input().dtype, DType::F64 | DType::Bool) {
            let message = format!("Resizing takes f32 or integers, its input is {}", cx.input().dtype);
            return Err(Problem::new(Code::DType, message));
        }
        check_extents(cx, "height", &[self.height])?;
        check_extents(cx, "width", &[self.width])?;
        if self.crop_to_aspect_ratio && self.pad_to_aspect_ratio {
            return Err(Problem::value("Resizing with crop_to_aspect_ratio and pad_to_aspect_ratio")
                .help("either cut the image or pad it"));
        }
        finite(self.kind(), "fill_value", self.fill_value)
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        vec![self.data_format.apply(cx, x[0], |cx, x| self.resized(cx, x))]
    }
}

/// The largest window in the middle of channels-last images that has the proportions of the result, interpolated to its
/// size.
pub(crate) fn resize_to_fit(g: &mut Graph, x: NodeId, height: usize, width: usize) -> NodeId {
    let how = Resizing { height, width, ..Resizing::default() };
    let x = how.crop(g, x);
    how.resize(g, x)
}

impl Resizing {
    /// Channels-last images of another size.
    pub(crate) fn resized(&self, g: &mut Graph, x: NodeId) -> NodeId {
        let x = match (self.crop_to_aspect_ratio, self.pad_to_aspect_ratio) {
            (true, _) => self.crop(g, x),
            (_, true) => self.pad(g, x),
            _ => x,
        };
        let dtype = g.ty(x).dtype;
        if self.interpolation == Interpolation::Nearest {
            return self.resize(g, x);
        }
        let x = g.cast(x, DType::F32);
        let mut y = self.resize(g, x);
        if dtype.is_int() {
            y = g.round(y);
        }
        g.cast(y, dtype)
    }

    fn resize(&self, g: &mut Graph, x: NodeId) -> NodeId {
        let y = self.interpolation.axis(g, x, 1, self.height, self.antialias);
        self.interpolation.axis(g, y, 2, self.width, self.antialias)
    }

    /// The rows and columns that an image would have with the proportions of the result, if its columns, or its rows,
    /// stayed as they are.
    fn proportions(&self, rows: usize, columns: usize) -> (usize, usize) {
        let scaled = |n: usize, a: usize, b: usize| ((n * a) as f64 / b as f64) as usize;
        (scaled(columns, self.height, self.width), scaled(rows, self.width, self.height))
    }

    /// The largest window in the middle that has the proportions of the result.
    fn crop(&self, g: &mut Graph, x: NodeId) -> NodeId {
        let shape = g.ty(x).shape.clone();
        let (rows, columns) = (shape[1].scale, shape[2].scale);
        let wanted = self.proportions(rows, columns);
        let mut axes: Vec<SliceAxis> = shape.iter().map(|&count| SliceAxis { start: 0, step: 1, count }).collect();
        for (axis, extent, wanted) in [(1, rows, wanted.0), (2, columns, wanted.1)] {
            let count = wanted.min(extent).max(1);
            axes[axis] = SliceAxis { start: (extent - count) / 2, step: 1, count: Dim::fixed(count) };
        }
        g.push(Op::Slice(axes), &[x])
    }

    /// The image in the middle of the smallest one that has the proportions of the result, up to an odd element.
    fn pad(&self, g: &mut Graph, x: NodeId) -> NodeId {
        let shape = g.ty(x).shape.clone();
        let (rows, columns) = (shape[1].scale, shape[2].scale);
        let wanted = self.proportions(rows, columns);
        let margins = [wanted.0.saturating_sub(rows) / 2, wanted.1.saturating_sub(columns) / 2];
        let mut axes = vec![PadAxis::default(); shape.rank()];
        if let Some(axis) = margins.iter().position(|m| *m > 0) {
            axes[axis + 1] = PadAxis { low: margins[axis], high: margins[axis], interior: 0 };
        }
        g.push(Op::Pad { axes, value: Number(self.fill_value) }, &[x])
    }
}
