//! Windows of images, in the middle or at a random place.

use serde::{Deserialize, Serialize};

use super::check_numbers;
use crate::diag::Problem;
use crate::ir::{DType, NodeId, Op, Shape};
use crate::model::CallCx;
use crate::model::layer::{BuildCx, Layer, LayerDef};
use crate::model::resize::resize_to_fit;
use crate::model::setters::setters;
use crate::model::window::{DataFormat, check_extents};

/// The window in the middle of each image. Where an image is smaller, the result is the largest window with the same
/// proportions, resized.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CenterCrop {
    height: usize,
    width: usize,
    data_format: DataFormat,
}

impl CenterCrop {
    pub fn new(height: usize, width: usize) -> Layer<CenterCrop> {
        Layer::new(CenterCrop { height, width, ..CenterCrop::default() })
    }
}

impl Layer<CenterCrop> {
    setters! {
        data_format: DataFormat;
    }
}

impl LayerDef for CenterCrop {
    fn kind(&self) -> &'static str {
        "CenterCrop"
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        check(cx, self.height, self.width, self.data_format)
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let x = cx.cast(x[0], DType::F32);
        vec![self.data_format.apply(cx, x, |cx, x| {
            let (rows, columns) = (cx.ty(x).shape[1].scale, cx.ty(x).shape[2].scale);
            match (rows.checked_sub(self.height), columns.checked_sub(self.width)) {
                (Some(above), Some(left)) => {
                    let x = cx.slice_axis(x, 1, above / 2, above / 2 + self.height);
                    cx.slice_axis(x, 2, left / 2, left / 2 + self.width)
                }
                _ => resize_to_fit(cx, x, self.height, self.width),
            }
        })]
    }
}

/// In training, cuts a window at a random place, the same for all images of a batch. In prediction, and where an image
/// is not larger than the window both ways, the result is the largest window in the middle with the same proportions,
/// resized.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RandomCrop {
    height: usize,
    width: usize,
    seed: Option<u64>,
    data_format: DataFormat,
}

impl RandomCrop {
    pub fn new(height: usize, width: usize) -> Layer<RandomCrop> {
        Layer::new(RandomCrop { height, width, ..RandomCrop::default() })
    }
}

impl Layer<RandomCrop> {
    setters! {
        /// A seed of the layer's own: its draws no longer depend on the seed of the model.
        seed: some u64;
        data_format: DataFormat;
    }
}

impl LayerDef for RandomCrop {
    fn kind(&self) -> &'static str {
        "RandomCrop"
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        check(cx, self.height, self.width, self.data_format)
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let x = cx.cast(x[0], DType::F32);
        cx.seed(self.seed);
        vec![self.data_format.apply(cx, x, |cx, x| {
            let (rows, columns) = (cx.ty(x).shape[1].scale, cx.ty(x).shape[2].scale);
            if !cx.training() || rows <= self.height || columns <= self.width {
                return resize_to_fit(cx, x, self.height, self.width);
            }
            let x = window(cx, x, 1, self.height);
            window(cx, x, 2, self.width)
        })]
    }
}

fn check(cx: &BuildCx<'_>, height: usize, width: usize, format: DataFormat) -> Result<(), Problem> {
    check_extents(cx, "height", &[height])?;
    check_extents(cx, "width", &[width])?;
    check_numbers(cx, cx.kind())?;
    format.any_item(cx, 2).map(drop)
}

/// Some elements along an axis, from a random one on.
fn window(cx: &mut CallCx<'_>, x: NodeId, axis: usize, count: usize) -> NodeId {
    let places = cx.ty(x).shape[axis].scale - count + 1;
    let start = cx.random_uniform(&Shape::scalar(), 0.0, places as f64);
    let start = cx.cast(start, DType::I32);
    let index = cx.iota(0, DType::I32, Shape::fixed(&[count]));
    let start = cx.broadcast_like(start, index);
    let index = cx.add(start, index);
    cx.push(Op::Gather { axis, batch: 0 }, &[x, index])
}
