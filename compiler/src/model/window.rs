//! Spatial axes: one number per axis, the layout of items, and the windows that convolution and pooling slide.

use serde::{Deserialize, Serialize};

use super::call::CallCx;
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
    /// As many positions as with [`Padding::Same`], and no window sees what comes after its position: all padding is
    /// at the beginning. For `Conv1D`.
    Causal,
}

/// Where an item has its channels.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataFormat {
    /// `[rows, columns, channels]`
    #[default]
    ChannelsLast,
    /// `[channels, rows, columns]`
    ChannelsFirst,
}

/// One number for each of `N` spatial axes: `3` for all of them, `(3, 5)` or `[3, 5]` for each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extents<const N: usize>(pub [usize; N]);

impl<const N: usize> From<usize> for Extents<N> {
    fn from(n: usize) -> Extents<N> {
        Extents([n; N])
    }
}

impl<const N: usize> From<[usize; N]> for Extents<N> {
    fn from(extents: [usize; N]) -> Extents<N> {
        Extents(extents)
    }
}

impl From<(usize, usize)> for Extents<2> {
    fn from((a, b): (usize, usize)) -> Extents<2> {
        Extents([a, b])
    }
}

impl From<(usize, usize, usize)> for Extents<3> {
    fn from((a, b, c): (usize, usize, usize)) -> Extents<3> {
        Extents([a, b, c])
    }
}

/// The name of a class that exists for one, two and three spatial axes.
pub(super) const fn ranked<const N: usize>(names: [&'static str; 3]) -> &'static str {
    names[N - 1]
}

/// The names of spatial axes, as messages call them.
fn axis_names(rank: usize) -> &'static [&'static str] {
    match rank {
        1 => &["steps"],
        2 => &["rows", "columns"],
        _ => &["planes", "rows", "columns"],
    }
}

/// The name of one spatial axis.
pub(super) fn axis_name(axis: usize, rank: usize) -> &'static str {
    axis_names(rank)[axis]
}

impl DataFormat {
    /// The extents of one item of the first input, channels last. The input must be `f32` and have this many spatial
    /// axes.
    pub(super) fn item(self, cx: &BuildCx<'_>, rank: usize) -> Result<Vec<usize>, Problem> {
        cx.float()?;
        self.any_item(cx, rank)
    }

    /// The same for any element type.
    pub(crate) fn any_item(self, cx: &BuildCx<'_>, rank: usize) -> Result<Vec<usize>, Problem> {
        let names = axis_names(rank).join(", ");
        let mut item = match self {
            DataFormat::ChannelsLast => cx.ranked_item(rank + 1, &format!("{names}, channels"))?,
            DataFormat::ChannelsFirst => cx.ranked_item(rank + 1, &format!("channels, {names}"))?,
        };
        if self == DataFormat::ChannelsFirst {
            item.rotate_left(1);
        }
        Ok(item)
    }

    /// A batch of items with the channels last.
    pub(super) fn to_last(self, g: &mut Graph, x: NodeId) -> NodeId {
        let rank = g.ty(x).shape.rank();
        match self {
            DataFormat::ChannelsLast => x,
            DataFormat::ChannelsFirst => {
                let perm: Vec<usize> = [0].into_iter().chain(2..rank).chain([1]).collect();
                g.permute(x, &perm)
            }
        }
    }

    /// The extent of the last axis of an item.
    pub(super) fn last(self, spatial: &[usize], channels: usize) -> usize {
        match self {
            DataFormat::ChannelsLast => channels,
            DataFormat::ChannelsFirst => spatial.last().copied().unwrap_or(channels),
        }
    }

    /// Undoes [`DataFormat::to_last`].
    pub(super) fn restore(self, g: &mut Graph, x: NodeId) -> NodeId {
        let rank = g.ty(x).shape.rank();
        match self {
            DataFormat::ChannelsLast => x,
            DataFormat::ChannelsFirst => {
                let perm: Vec<usize> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
                g.permute(x, &perm)
            }
        }
    }

    /// Applies a function of channels-last items.
    pub(crate) fn apply(
        self,
        cx: &mut CallCx<'_>,
        x: NodeId,
        f: impl FnOnce(&mut CallCx<'_>, NodeId) -> NodeId,
    ) -> NodeId {
        let x = self.to_last(cx, x);
        let y = f(cx, x);
        self.restore(cx, y)
    }
}

/// The windows of a layer, one entry per spatial axis.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Windows<'a> {
    pub size: &'a [usize],
    pub strides: &'a [usize],
    pub dilation: &'a [usize],
    pub padding: Padding,
}

/// The largest number that a spatial argument may have.
const MAX_ARGUMENT: usize = 1 << 20;

/// Fails unless every number of a spatial argument is at least 1 and not absurd.
pub(super) fn check_extents(cx: &BuildCx<'_>, argument: &str, values: &[usize]) -> Result<(), Problem> {
    for &value in values {
        cx.positive(argument, value)?;
        check_size(cx, argument, value)?;
    }
    Ok(())
}

/// Fails where a number is absurd, before arithmetic on it could overflow.
pub(super) fn check_size(cx: &BuildCx<'_>, argument: &str, value: usize) -> Result<(), Problem> {
    match value > MAX_ARGUMENT {
        true => Err(Problem::value(format!("{} with {argument} {value}: larger than any image", cx.kind()))),
        false => Ok(()),
    }
}

/// `3x3`
fn product_sign(size: &[usize]) -> String {
    let size: Vec<String> = size.iter().map(|n| n.to_string()).collect();
    size.join("x")
}

impl Windows<'_> {
    /// Checks the arguments and that a window fits the spatial extents. `size` is the layer's word for the size of a
    /// window.
    pub fn check(&self, cx: &BuildCx<'_>, size: &str, extents: &[usize]) -> Result<(), Problem> {
        self.check_arguments(cx, size)?;
        if self.padding != Padding::Valid {
            return Ok(());
        }
        for (axis, (window, &extent)) in self.axes(0).iter().zip(extents).enumerate() {
            if window.span() > extent {
                let message = format!(
                    "{} {} with valid padding needs at least {} {}, its input has {extent}",
                    cx.kind(),
                    product_sign(self.size),
                    window.span(),
                    axis_name(axis, extents.len()),
                );
                return Err(Problem::shape(message)
                    .help("use padding(Same), a smaller window, or fewer layers that shrink the image"));
            }
        }
        Ok(())
    }

    /// Checks the arguments alone.
    pub fn check_arguments(&self, cx: &BuildCx<'_>, size: &str) -> Result<(), Problem> {
        check_extents(cx, size, self.size)?;
        check_extents(cx, "strides", self.strides)?;
        check_extents(cx, "dilation_rate", self.dilation)?;
        if self.padding == Padding::Causal && cx.kind() != "Conv1D" {
            return Err(Problem::value(format!("{} with causal padding", cx.kind()))
                .help("only Conv1D has it; use padding(Same) or padding(Valid)"));
        }
        Ok(())
    }

    /// Fails where windows are both strided and dilated, as Keras does for some layers.
    pub fn strided_or_dilated(&self, cx: &BuildCx<'_>) -> Result<(), Problem> {
        if self.strides.iter().any(|&s| s > 1) && self.dilation.iter().any(|&d| d > 1) {
            let message = format!("{} with strides and dilation_rate both above 1", cx.kind());
            return Err(Problem::value(message).help("use one of them, as in Keras"));
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
            Padding::Causal => PadAxis { low: window.span() - 1, high: 0, interior: 0 },
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

    /// The number of positions along each spatial axis.
    pub fn positions(&self, extents: &[usize]) -> Vec<usize> {
        let windows = self.axes(0).into_iter().zip(self.pads(extents)).zip(extents);
        windows.map(|((window, pad), &extent)| window.positions(pad.apply(extent))).collect()
    }

    /// How many elements of a window lie inside along each axis, for each of its positions.
    pub fn counts(&self, extents: &[usize]) -> Vec<Vec<f64>> {
        let axis = |(window, (pad, &extent)): (&WindowAxis, (&PadAxis, &usize))| -> Vec<f64> {
            let inside = |position: usize| {
                // Those before the first place that lies inside, and those from the first one behind it on.
                let before = |place: usize| {
                    place.saturating_sub(position * window.stride).div_ceil(window.dilation).min(window.size)
                };
                (before(pad.low + extent) - before(pad.low)) as f64
            };
            (0..window.positions(pad.apply(extent))).map(inside).collect()
        };
        self.axes(0).iter().zip(self.pads(extents).iter().zip(extents)).map(axis).collect()
    }
}

impl<const N: usize> Serialize for Extents<N> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Extents<N> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Extents<N>, D::Error> {
        config::extents(deserializer).map(Extents)
    }
}
