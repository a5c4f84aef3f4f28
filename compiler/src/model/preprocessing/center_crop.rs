use serde::{Deserialize, Serialize};

use super::check_numbers;
use crate::diag::Problem;
use crate::ir::{DType, NodeId};
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
        check_extents(cx, "height", &[self.height])?;
        check_extents(cx, "width", &[self.width])?;
        check_numbers(cx, self.kind())?;
        self.data_format.any_item(cx, 2).map(drop)
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
