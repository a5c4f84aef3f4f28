//! Sliding windows over the spatial axes of channels-last items: what convolution and pooling share.

use serde::{Deserialize, Deserializer, Serialize};

use super::config;
use super::layer::BuildCx;
use crate::diag::Problem;
use crate::ir::{Graph, NodeId, Number, Op, PadAxis, WindowAxis};

/// What happens at the edges.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Padding {
    /// Windows stay inside.
    #[default]
    Valid,
    /// As many positions as the extent divided by the stride, rounded up. Where the padding is odd, the end gets the
    /// larger half, as in Keras.
    Same,
}

/// An extent for both spatial axes: `3`, `(3, 5)` or `[3, 5]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Pair(pub [usize; 2]);

impl<'de> Deserialize<'de> for Pair {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pair, D::Error> {
        config::extents(deserializer).map(Pair)
    }
}

impl From<usize> for Pair {
    fn from(n: usize) -> Pair {
        Pair([n, n])
    }
}

impl From<(usize, usize)> for Pair {
    fn from((a, b): (usize, usize)) -> Pair {
        Pair([a, b])
    }
}

impl From<[usize; 2]> for Pair {
    fn from(pair: [usize; 2]) -> Pair {
        Pair(pair)
    }
}

/// The windows of a layer, one entry per spatial axis.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Windows {
    pub size: Vec<usize>,
    pub strides: Vec<usize>,
    pub dilation: Vec<usize>,
    pub padding: Padding,
}

/// How spatial axes are called in messages.
fn axis_name(axis: usize, rank: usize) -> String {
    match (axis, rank) {
        (0, 2) => "rows".to_string(),
        (1, 2) => "columns".to_string(),
        _ => format!("elements on axis {}", axis + 1),
    }
}

impl Windows {
    /// Checks the arguments and that a window fits the spatial extents. `size` is the layer's word for the size of a
    /// window.
    pub fn check(&self, kind: &str, size: &str, cx: &BuildCx<'_>, extents: &[usize]) -> Result<(), Problem> {
        for (argument, values) in [(size, &self.size), ("strides", &self.strides), ("dilation_rate", &self.dilation)] {
            for &value in values {
                cx.positive(argument, value)?;
                if value > 1 << 20 {
                    return Err(Problem::value(format!("{kind} with {argument} {value}: larger than any image")));
                }
            }
        }
        if self.strides.iter().any(|&s| s > 1) && self.dilation.iter().any(|&d| d > 1) {
            return Err(Problem::value(format!("{kind} with strides and dilation_rate both above 1"))
                .help("use one of them, as in Keras"));
        }
        if self.padding == Padding::Same {
            return Ok(());
        }
        for (axis, (window, &extent)) in self.axes(0).iter().zip(extents).enumerate() {
            if window.span() > extent {
                let size: Vec<String> = self.size.iter().map(|n| n.to_string()).collect();
                let name = axis_name(axis, extents.len());
                let message = format!(
                    "{kind} {} with valid padding needs at least {} {name}, its input has {extent}",
                    size.join("x"),
                    window.span(),
                );
                return Err(Problem::shape(message)
                    .help("use padding(Same), a smaller window, or fewer layers that shrink the image"));
            }
        }
        Ok(())
    }

    /// The windowed axes, where the first spatial axis has the given number.
    pub fn axes(&self, first: usize) -> Vec<WindowAxis> {
        (0..self.size.len())
            .map(|i| WindowAxis {
                axis: first + i,
                size: self.size[i],
                stride: self.strides[i],
                dilation: self.dilation[i],
            })
            .collect()
    }

    /// Padding of each spatial axis.
    fn pads(&self, extents: &[usize]) -> Vec<PadAxis> {
        let pad = |(window, &extent): (&WindowAxis, &usize)| match self.padding {
            Padding::Valid => PadAxis::default(),
            Padding::Same => {
                let positions = extent.div_ceil(window.stride);
                let total = ((positions - 1) * window.stride + window.span()).saturating_sub(extent);
                PadAxis { low: total / 2, high: total - total / 2, interior: 0 }
            }
        };
        self.axes(0).iter().zip(extents).map(pad).collect()
    }

    /// Windows of `[batch, spatial..., channels]`: `[batch, positions..., channels, window...]`. The edges are padded
    /// with the given value.
    pub fn over(&self, g: &mut Graph, x: NodeId, padding: f64) -> NodeId {
        let shape = &g.ty(x).shape;
        let spatial: Vec<usize> = shape[1..1 + self.size.len()].iter().map(|d| d.scale).collect();
        let mut pads = vec![PadAxis::default(); shape.rank()];
        pads[1..1 + self.size.len()].copy_from_slice(&self.pads(&spatial));
        let padded = match pads.iter().all(|p| *p == PadAxis::default()) {
            true => x,
            false => g.push(Op::Pad { axes: pads, value: Number(padding) }, &[x]),
        };
        g.push(Op::Window(self.axes(1)), &[padded])
    }

    /// How many elements of a window lie inside along each axis, for each of its positions.
    pub fn counts(&self, extents: &[usize]) -> Vec<Vec<f64>> {
        let axis = |(window, (pad, &extent)): (&WindowAxis, (&PadAxis, &usize))| -> Vec<f64> {
            let inside = |position: usize| {
                let places = (0..window.size).map(|i| position * window.stride + i * window.dilation);
                places.filter(|place| (pad.low..pad.low + extent).contains(place)).count() as f64
            };
            (0..window.positions(pad.apply(extent))).map(inside).collect()
        };
        self.axes(0).iter().zip(self.pads(extents).iter().zip(extents)).map(axis).collect()
    }
}
