//! Discrete Fourier transforms of axes of constant extent.
//!
//! A transform of `n = m * k` points is two steps of sums over `m` and over `k` points with a rotation between them
//! (Cooley and Tukey, 1965), with `m` and `k` as near to each other as they can be: contractions with small constant
//! matrices.

use std::f64::consts::TAU;

use super::{Built, PadMode};
use crate::ir::{Dim, Graph, NodeId, Op, Shape, TensorType, WindowAxis};
use crate::limit::Limit;

/// The most points that are summed over in one step: a matrix of as many rows and columns is a constant.
const LARGEST: usize = 1 << 10;

/// The most samples of all frames of a signal that is put together from them.
const MOST_SAMPLES: usize = 1 << 24;

/// A complex tensor: real and imaginary parts of one shape.
pub(crate) type Complex = (NodeId, NodeId);

/// How a signal is cut into overlapping frames.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Frames {
    /// Samples between the beginnings of neighbouring frames.
    pub stride: usize,
    /// Samples of a frame: the length of the transform.
    pub length: usize,
    /// What each sample of a frame is multiplied by.
    pub window: Vec<f64>,
    /// Whether frames are centred on their place: the signal is mirrored at its ends by half a frame.
    pub center: bool,
}

impl Frames {
    /// A window of `sequence_length` samples in the middle of frames of `length`.
    pub(crate) fn new(
        sequence_length: usize,
        stride: usize,
        length: usize,
        window: Option<Vec<f64>>,
        center: bool,
    ) -> Built<Frames> {
        const LONGEST: usize = 1 << 20;
        if sequence_length == 0 || stride == 0 || length < sequence_length || length > LONGEST || stride > LONGEST {
            return Err(format!("frames of {sequence_length} samples in {length}, {stride} apart"));
        }
        let window = match window {
            None => vec![1.0; length],
            Some(window) if window.len() != sequence_length => {
                return Err(format!("a window of {} samples for frames of {sequence_length}", window.len()));
            }
            Some(window) => {
                let low = (length - sequence_length) / 2;
                let mut padded = vec![0.0; length];
                padded[low..low + sequence_length].copy_from_slice(&window);
                padded
            }
        };
        Ok(Frames { stride, length, window, center })
    }

    fn axis(&self, axis: usize) -> WindowAxis {
        WindowAxis { axis, size: self.length, stride: self.stride, dilation: 1 }
    }
}

/// SciPy's window of a name, periodic or symmetric.
pub(crate) fn window_called(name: &str, length: usize, periodic: bool) -> Option<Vec<f64>> {
    let (a, b) = match name {
        "hann" | "hanning" => (0.5, 0.5),
        "hamming" => (0.54, 0.46),
        "boxcar" | "ones" => (1.0, 0.0),
        _ => return None,
    };
    let steps = if periodic { length } else { length.saturating_sub(1) }.max(1) as f64;
    Some((0..length).map(|i| if length == 1 { 1.0 } else { a - b * (TAU * i as f64 / steps).cos() }).collect())
}

/// The larger of two factors of `n` that are as near to each other as they can be.
fn factor(n: usize) -> usize {
    let small = (1..).take_while(|m| m * m <= n).filter(|m| n.is_multiple_of(*m)).last().unwrap_or(1);
    n / small
}

impl Graph {
    /// A constant `[rows, columns]` of cosines and one of sines of `row * column / period` turns.
    fn turns(&mut self, like: NodeId, rows: usize, columns: usize, period: usize, sign: f64) -> Complex {
        let ty = TensorType::new(self.ty(like).dtype, Shape::fixed(&[rows, columns]));
        // Angles of whole turns are taken out exactly.
        let angle = |i: usize| ((i / columns) * (i % columns) % period) as f64 * TAU / period as f64;
        let cosines = self.dense(ty.clone(), (0..rows * columns).map(|i| angle(i).cos()));
        (cosines, self.dense(ty, (0..rows * columns).map(|i| sign * angle(i).sin())))
    }

    /// Sums over an axis with factors `[that axis, result]`; the result is a new last axis.
    fn turned(&mut self, (re, im): (NodeId, Option<NodeId>), axis: usize, (cos, sin): Complex) -> Complex {
        let mut times = |x: NodeId, factors: NodeId| self.contract(x, factors, &[], &[(axis, 0)]);
        let (rr, ri) = (times(re, cos), times(re, sin));
        let Some(im) = im else { return (rr, ri) };
        let (ir, ii) = (times(im, cos), times(im, sin));
        (self.sub(rr, ii), self.add(ri, ir))
    }

    /// The transform of the last axis, without a factor. The inverse turns the other way.
    pub(crate) fn fourier(&mut self, (re, im): (NodeId, Option<NodeId>), inverse: bool) -> Built<Complex> {
        let axis = self.rank_of(re).checked_sub(1).ok_or("a scalar has no transform")?;
        let n = self.extent_of(re, axis)?;
        let k = factor(n.max(1));
        let m = n.max(1) / k;
        if k > LARGEST || n == 0 {
            return Err(Limit::Spectra.says(format!("a transform of {n} points, {k} of them in one step")));
        }
        let sign = if inverse { 1.0 } else { -1.0 };
        // Sample k a + b, frequency p + m q: [..., a, b] to [..., b, p] to [..., p, q].
        let shape = self.shape_of(re);
        let split = Shape(shape[..axis].iter().copied().chain([m, k].map(Dim::fixed)).collect());
        let (re, im) = (self.reshape(re, split.clone()), im.map(|im| self.reshape(im, split)));
        let factors = self.turns(re, m, m, m, sign);
        let (re, im) = self.turned((re, im), axis, factors);
        let (cos, sin) = self.turns(re, k, m, n, sign);
        let wide = self.shape_of(re);
        let (cos, sin) = (self.broadcast_to(cos, &wide), self.broadcast_to(sin, &wide));
        let (rr, ii, ri, ir) = (self.mul(re, cos), self.mul(im, sin), self.mul(re, sin), self.mul(im, cos));
        let (re, im) = (self.sub(rr, ii), self.add(ri, ir));
        let factors = self.turns(re, k, k, k, sign);
        let (re, im) = self.turned((re, Some(im)), axis, factors);
        let mut flat = |x: NodeId| {
            let x = self.axis_to_last(x, axis);
            self.reshape(x, shape.clone())
        };
        Ok((flat(re), flat(im)))
    }

    /// The transform of an axis.
    pub(crate) fn fourier_along(&mut self, (re, im): Complex, axis: usize, inverse: bool) -> Built<Complex> {
        let (re, im) = (self.axis_to_last(re, axis), self.axis_to_last(im, axis));
        let n = self.extent_of(re, self.rank_of(re) - 1)?;
        let (mut re, mut im) = self.fourier((re, Some(im)), inverse)?;
        if inverse {
            (re, im) = (self.mul_s(re, 1.0 / n as f64), self.mul_s(im, 1.0 / n as f64));
        }
        Ok((self.axis_from_last(re, axis), self.axis_from_last(im, axis)))
    }

    /// The last axis cut, or filled with zeros, to an extent.
    fn fitted(&mut self, x: NodeId, extent: usize) -> Built {
        let axis = self.rank_of(x).checked_sub(1).ok_or("a scalar has no transform")?;
        let have = self.extent_of(x, axis)?;
        if have >= extent {
            return Ok(if have == extent { x } else { self.slice_axis(x, axis, 0, extent) });
        }
        let mut edges = vec![(0, 0); axis + 1];
        edges[axis] = (0, extent - have);
        self.padded(x, &edges, PadMode::Constant(0.0))
    }

    /// The frequencies from 0 to one half of real samples, cut or filled to `length`.
    pub(crate) fn real_fourier(&mut self, x: NodeId, length: usize) -> Built<Complex> {
        if !(1..=LARGEST * LARGEST).contains(&length) {
            return Err(Limit::Spectra.says(format!("a transform of {length} points")));
        }
        let x = self.fitted(x, length)?;
        let axis = self.rank_of(x) - 1;
        let (re, im) = self.fourier((x, None), false)?;
        let bins = length / 2 + 1;
        Ok((self.slice_axis(re, axis, 0, bins), self.slice_axis(im, axis, 0, bins)))
    }

    /// The real samples, `length` of them, that have the given frequencies from 0 to one half.
    pub(crate) fn real_fourier_inverse(&mut self, (re, im): Complex, length: usize) -> Built {
        if !(1..=LARGEST * LARGEST).contains(&length) {
            return Err(Limit::Spectra.says(format!("a transform of {length} points")));
        }
        let bins = length / 2 + 1;
        let (re, im) = (self.fitted(re, bins)?, self.fitted(im, bins)?);
        let axis = self.rank_of(re) - 1;
        // The frequencies above one half are those below, mirrored; the ends have no imaginary part.
        let mirrored = (length - 1) / 2;
        let ty = TensorType::new(self.ty(im).dtype, Shape::fixed(&[bins]));
        let real_end = |i: usize| i == 0 || 2 * i == length;
        let inner = self.dense(ty, (0..bins).map(|i| if real_end(i) { 0.0 } else { 1.0 }));
        let inner = self.broadcast_like(inner, im);
        let im = self.mul(im, inner);
        let mut whole = |x: NodeId, sign: f64| {
            if mirrored == 0 {
                return x;
            }
            let upper = self.strided(x, axis, mirrored, -1, mirrored);
            let upper = if sign < 0.0 { self.neg(upper) } else { upper };
            self.concat(&[x, upper], axis)
        };
        let (re, im) = (whole(re, 1.0), whole(im, -1.0));
        let (samples, _) = self.fourier((re, Some(im)), true)?;
        Ok(self.mul_s(samples, 1.0 / length as f64))
    }

    /// The frequencies of each frame of the signals along the last axis: `[..., frames, frequencies]`.
    pub(crate) fn short_time_fourier(&mut self, x: NodeId, frames: &Frames) -> Built<Complex> {
        let axis = self.rank_of(x).checked_sub(1).ok_or("a scalar is no signal")?;
        let x = if frames.center {
            let mut edges = vec![(0, 0); axis + 1];
            edges[axis] = (frames.length / 2, frames.length / 2);
            self.padded(x, &edges, PadMode::Reflect)?
        } else {
            x
        };
        let samples = self.extent_of(x, axis)?;
        if samples < frames.length {
            return Err(format!("{samples} samples are shorter than a frame of {}", frames.length));
        }
        let cut = self.push(Op::Window(vec![frames.axis(axis)]), &[x]);
        let window = self.window_like(cut, frames);
        let cut = self.mul(cut, window);
        self.real_fourier(cut, frames.length)
    }

    /// The signals `[..., samples]` that frames of frequencies come from, each sample the mean of the frames over it.
    pub(crate) fn short_time_fourier_inverse(
        &mut self,
        (re, im): Complex,
        frames: &Frames,
        factor: f64,
        length: Option<usize>,
    ) -> Built {
        let axis = self.rank_of(re).checked_sub(2).ok_or("frames have two axes at least")?;
        let count = self.extent_of(re, axis)?;
        let cut = self.real_fourier_inverse((re, im), frames.length)?;
        let window = self.window_like(cut, frames);
        let cut = self.mul(cut, window);
        let total = (count.max(1) - 1).saturating_mul(frames.stride).saturating_add(frames.length);
        let mut shape = self.shape_of(re);
        shape.0.truncate(axis);
        shape.0.push(Dim::fixed(total));
        let sum = self.push(Op::Fold { axes: vec![frames.axis(axis)], shape: shape.clone() }, &[cut]);
        if count.checked_mul(frames.length).is_none_or(|n| n > MOST_SAMPLES) {
            return Err(Limit::Spectra.says(format!("{count} frames of {} samples", frames.length)));
        }
        let mut weight = vec![0.0; total];
        for frame in 0..count {
            frames.window.iter().enumerate().for_each(|(i, w)| weight[frame * frames.stride + i] += w * w);
        }
        let ty = TensorType::new(self.ty(sum).dtype, Shape::fixed(&[total]));
        let scale = self.dense(ty, weight.into_iter().map(|w| if w > 1e-10 { factor / w } else { factor }));
        let scale = self.broadcast_to(scale, &shape);
        let sum = self.mul(sum, scale);
        let start = if frames.center { frames.length / 2 } else { 0 };
        let end = match (length, frames.center) {
            (Some(length), _) => start.saturating_add(length).min(total),
            (None, true) => total - frames.length / 2,
            (None, false) => total,
        };
        if start >= end {
            return Err("nothing is left between the halves of the first and the last frame".into());
        }
        Ok(self.slice_axis(sum, axis, start, end))
    }

    fn window_like(&mut self, cut: NodeId, frames: &Frames) -> NodeId {
        let ty = TensorType::new(self.ty(cut).dtype, Shape::fixed(&[frames.length]));
        let window = self.dense(ty, frames.window.iter().copied());
        self.broadcast_like(window, cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_near_each_other() {
        for (n, larger) in [(1, 1), (2, 2), (7, 7), (12, 4), (16, 4), (2048, 64), (1000, 40)] {
            assert_eq!(factor(n), larger, "{n}");
        }
    }
}
