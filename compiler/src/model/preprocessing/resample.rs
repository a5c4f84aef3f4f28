use serde::{Deserialize, Serialize};

use crate::diag::Problem;
use crate::ir::{DType, Dim, Graph, NodeId, Op, Shape};
use crate::model::layer::{Layer, LayerDef};
use crate::model::numbers::finite;
use crate::model::setters::{Has, setters};

/// Elements that something between them is a mixture of: their indices, which may be outside, and their weights.
type Taps = Vec<(NodeId, NodeId)>;

/// What is outside an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FillMode {
    /// One value.
    Constant,
    /// The nearest pixel.
    Nearest,
    /// The image again.
    Wrap,
    /// The image's mirror, with the pixels at the edge twice.
    #[default]
    Reflect,
}

/// What is between pixels.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sampling {
    /// The nearest pixel.
    Nearest,
    /// A mixture of the neighbours.
    #[default]
    Bilinear,
}

/// The arguments of layers that read images at other places.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Resampling {
    fill_mode: FillMode,
    interpolation: Sampling,
    fill_value: f64,
}

impl Resampling {
    /// Fails unless what fills is finite.
    pub fn check(&self, kind: &str) -> Result<(), Problem> {
        finite(kind, "fill_value", self.fill_value)
    }
}

impl<D: LayerDef + Clone + Has<Resampling>> Layer<D> {
    setters! {
        in Has::<Resampling>::part;
        /// What comes in from outside.
        fill_mode: FillMode;
        interpolation: Sampling;
        /// The value of `FillMode::Constant`.
        fill_value: f64;
    }
}

/// How an axis is read anew, for every item: result element `i` is element `scale * i + shift` of the axis.
pub struct Reading {
    pub scale: NodeId,
    pub shift: NodeId,
}

/// Reads rows and columns of channels-last images anew. Both axes are independent of each other, so that each is one
/// contraction with the weights of its elements.
pub fn resample(g: &mut Graph, x: NodeId, [rows, columns]: [Reading; 2], by: &Resampling) -> NodeId {
    let Resampling { fill_mode: fill, interpolation: sampling, fill_value: value } = *by;
    let shape = g.ty(x).shape.clone();
    let (by_row, in_rows) = weights(g, rows, shape[0], shape[1].scale, fill, sampling);
    let (by_column, in_columns) = weights(g, columns, shape[0], shape[2].scale, fill, sampling);
    let y = g.contract(by_row, x, &[(0, 0)], &[(2, 1)]);
    let y = g.contract(by_column, y, &[(0, 0)], &[(2, 2)]);
    let y = g.permute(y, &[0, 2, 1, 3]);
    if fill != FillMode::Constant || value == 0.0 {
        return y;
    }
    let in_rows = g.broadcast(in_rows, &[0, 1], shape.clone());
    let in_columns = g.broadcast(in_columns, &[0, 2], shape);
    let inside = g.mul(in_rows, in_columns);
    let outside = g.s_sub(1.0, inside);
    let outside = g.mul_s(outside, value);
    g.add(y, outside)
}

/// The weight of each element of an axis in each result, `[batch, results, elements]`, and the sum of the weights.
fn weights(
    g: &mut Graph,
    Reading { scale, shift }: Reading,
    batch: Dim,
    extent: usize,
    fill: FillMode,
    sampling: Sampling,
) -> (NodeId, NodeId) {
    let line = Shape(vec![batch, Dim::fixed(extent)]);
    let square = Shape(vec![batch, Dim::fixed(extent), Dim::fixed(extent)]);
    let place = g.iota(1, DType::F32, line.clone());
    let (scale, shift) = (g.broadcast(scale, &[0], line.clone()), g.broadcast(shift, &[0], line));
    let place = g.mul(place, scale);
    let place = g.add(place, shift);
    let taps = taps(g, place, sampling);
    let element = g.iota(2, DType::I32, square.clone());
    let mut total = None;
    for (index, weight) in taps {
        let index = fix(g, index, extent, fill);
        let index = g.broadcast(index, &[0, 1], square.clone());
        let weight = g.broadcast(weight, &[0, 1], square.clone());
        let here = g.eq(index, element);
        let nothing = g.lit_like(weight, 0.0);
        let part = g.select(here, weight, nothing);
        total = Some(total.map_or(part, |sum| g.add(sum, part)));
    }
    let weights = total.unwrap_or(element);
    let sum = g.sum(weights, &[2]);
    (weights, sum)
}

/// The elements that are mixed at places along an axis.
fn taps(g: &mut Graph, place: NodeId, sampling: Sampling) -> Taps {
    let taps = match sampling {
        Sampling::Nearest => {
            let nearest = g.round(place);
            let all = g.lit_like(place, 1.0);
            vec![(nearest, all)]
        }
        Sampling::Bilinear => {
            let low = g.floor(place);
            let high = g.add_s(low, 1.0);
            let above = g.sub(place, low);
            let below = g.s_sub(1.0, above);
            vec![(low, below), (high, above)]
        }
    };
    taps.into_iter().map(|(index, weight)| (g.cast(index, DType::I32), weight)).collect()
}

/// Reads channels-last images at places `[rows, columns]` of their own, each `f32[batch, height, width]`: the result has
/// a pixel for each place.
///
/// Rows and columns depend on each other here, so that every neighbour is gathered from the image's pixels.
pub fn sample(g: &mut Graph, x: NodeId, [rows, columns]: [NodeId; 2], by: &Resampling) -> NodeId {
    let Resampling { fill_mode: fill, interpolation: sampling, fill_value: value } = *by;
    let shape = g.ty(x).shape.clone();
    let (height, width) = (shape[1].scale, shape[2].scale);
    let pixels = g.reshape(x, Shape(vec![shape[0], Dim::fixed(height * width), shape[3]]));
    let along = |g: &mut Graph, place: NodeId, extent: usize| -> Vec<(NodeId, NodeId, NodeId)> {
        let taps = taps(g, place, sampling);
        let neighbour = |(index, weight): (NodeId, NodeId)| {
            let inside = within(g, index, extent);
            // What a constant stands for is read from somewhere all the same.
            let index = fix(g, index, extent, if fill == FillMode::Constant { FillMode::Nearest } else { fill });
            (index, weight, inside)
        };
        taps.into_iter().map(neighbour).collect()
    };
    let (rows, columns) = (along(g, rows, height), along(g, columns, width));
    let mut total = None;
    for &(row, by_row, in_rows) in &rows {
        let first = g.mul_s(row, width as f64);
        for &(column, by_column, in_columns) in &columns {
            let index = g.add(first, column);
            let mut pixel = g.push(Op::Gather { axis: 1, batch: 1 }, &[pixels, index]);
            if fill == FillMode::Constant {
                let inside = g.and(in_rows, in_columns);
                let inside = g.broadcast(inside, &[0, 1, 2], shape.clone());
                let constant = g.lit_like(pixel, value);
                pixel = g.select(inside, pixel, constant);
            }
            let weight = g.mul(by_row, by_column);
            let weight = g.broadcast(weight, &[0, 1, 2], shape.clone());
            let part = g.mul(pixel, weight);
            total = Some(total.map_or(part, |sum| g.add(sum, part)));
        }
    }
    total.unwrap_or(x)
}

/// Whether an index is in `0..extent`.
fn within(g: &mut Graph, index: NodeId, extent: usize) -> NodeId {
    let (zero, end) = (g.lit_like(index, 0.0), g.lit_like(index, extent as f64));
    let (low, high) = (g.ge(index, zero), g.lt(index, end));
    g.and(low, high)
}

/// The element that stands for an index outside `0..extent`; with a constant there is none.
fn fix(g: &mut Graph, index: NodeId, extent: usize, fill: FillMode) -> NodeId {
    let n = extent as f64;
    match fill {
        FillMode::Constant => index,
        FillMode::Nearest => {
            let index = g.max_s(index, 0.0);
            g.min_s(index, n - 1.0)
        }
        FillMode::Wrap => modulo(g, index, n),
        FillMode::Reflect => {
            // One period is the image and its mirror.
            let index = modulo(g, index, 2.0 * n);
            let mirrored = g.s_sub(2.0 * n - 1.0, index);
            g.min(index, mirrored)
        }
    }
}

/// The remainder that is not negative.
fn modulo(g: &mut Graph, x: NodeId, n: f64) -> NodeId {
    let n = g.lit_like(x, n);
    let r = g.rem(x, n);
    let r = g.add(r, n);
    g.rem(r, n)
}
