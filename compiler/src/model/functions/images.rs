//! Functions of images with the channels last: `[..., rows, columns, channels]`.

use super::{Built, PadMode};
use crate::ir::{Dim, Graph, NodeId, Op, Shape, TensorType, WindowAxis};

/// The shares of red, green and blue in what the eye sees.
const LUMINANCE: [f64; 3] = [0.2989, 0.5870, 0.1140];

impl Graph {
    /// The channels of an image of red, green and blue, or of hue, saturation and value.
    fn channels(&mut self, x: NodeId) -> Built<[NodeId; 3]> {
        let axis = self.rank_of(x).checked_sub(1).ok_or("a scalar is no image")?;
        match self.extent_of(x, axis)? {
            3 => Ok([0, 1, 2].map(|i| {
                let plane = self.slice_axis(x, axis, i, i + 1);
                self.squeeze(plane, axis)
            })),
            n => Err(format!("an image has 3 channels, not {n}")),
        }
    }

    /// One grey channel in the place of red, green and blue.
    pub(crate) fn grey(&mut self, x: NodeId) -> Built {
        let axis = self.rank_of(x).checked_sub(1).ok_or("a scalar is no image")?;
        if self.extent_of(x, axis)? == 1 {
            return Ok(x);
        }
        let [r, g, b] = self.channels(x)?;
        let [r, g, b] =
            [(r, LUMINANCE[0]), (g, LUMINANCE[1]), (b, LUMINANCE[2])].map(|(x, share)| self.mul_s(x, share));
        let sum = self.add(r, g);
        let sum = self.add(sum, b);
        Ok(self.expand(sum, axis))
    }

    /// Hue, saturation and value of red, green and blue.
    pub(crate) fn hue_of(&mut self, x: NodeId) -> Built {
        let size = self.abs(x);
        let (tiny, zeros) = (self.lit_like(x, f32::EPSILON as f64), self.lit_like(x, 0.0));
        let nothing = self.lt(size, tiny);
        let x = self.select(nothing, zeros, x);
        let [r, g, b] = self.channels(x)?;
        let (zero, one) = (self.lit_like(r, 0.0), self.lit_like(r, 1.0));
        let (high, low) = (self.max(r, g), self.min(r, g));
        let (value, low) = (self.max(high, b), self.min(low, b));
        let range = self.sub(value, low);
        let (lit, coloured) = (self.gt(value, zero), self.gt(range, zero));
        let (safe_value, safe_range) = (self.select(lit, value, one), self.select(coloured, range, one));
        let saturation = self.div(range, safe_value);
        let saturation = self.select(lit, saturation, zero);
        let six = self.mul_s(safe_range, 6.0);
        let norm = self.recip(six);
        let mut sector = |p: NodeId, q: NodeId, offset: f64| {
            let apart = self.sub(p, q);
            let turned = self.mul(norm, apart);
            self.add_s(turned, offset)
        };
        let (at_r, at_g, at_b) = (sector(g, b, 0.0), sector(b, r, 2.0 / 6.0), sector(r, g, 4.0 / 6.0));
        let (green, red) = (self.eq(value, g), self.eq(value, r));
        let hue = self.select(green, at_g, at_b);
        let hue = self.select(red, at_r, hue);
        let positive = self.select(coloured, hue, zero);
        let negative = self.lt(hue, zero);
        let turn = self.select(negative, one, zero);
        let hue = self.add(positive, turn);
        Ok(self.stacked(&[hue, saturation, value], self.rank_of(value)))
    }

    /// Red, green and blue of hue, saturation and value.
    pub(crate) fn colour_of(&mut self, x: NodeId) -> Built {
        let [hue, saturation, value] = self.channels(x)?;
        let one = self.lit_like(hue, 1.0);
        let hue = self.modulo(hue, one);
        let hue = self.mul_s(hue, 6.0);
        let rest = self.s_sub(1.0, saturation);
        let mut planes = Vec::new();
        for (sign, centre, offset) in [(1.0, 3.0, -1.0), (-1.0, 2.0, 2.0), (-1.0, 4.0, 2.0)] {
            let apart = self.add_s(hue, -centre);
            let apart = self.abs(apart);
            let ramp = self.mul_s(apart, sign);
            let ramp = self.add_s(ramp, offset);
            let ramp = self.max_s(ramp, 0.0);
            let ramp = self.min_s(ramp, 1.0);
            let share = self.mul(saturation, ramp);
            let share = self.add(rest, share);
            planes.push(self.mul(value, share));
        }
        Ok(self.stacked(&planes, self.rank_of(value)))
    }

    /// Weighted sums of neighbours along an axis, at each place where all of them are.
    fn weighed(&mut self, x: NodeId, axis: usize, weights: &[f64]) -> Built {
        let extent = self.extent_of(x, axis)?;
        if weights.len() > extent {
            return Err(format!("a window of {} is larger than axis {axis} of {}", weights.len(), self.ty(x).shape));
        }
        let axes = vec![WindowAxis { axis, size: weights.len(), stride: 1, dilation: 1 }];
        let windows = self.push(Op::Window(axes), &[x]);
        let ty = TensorType::new(self.ty(x).dtype, Shape::fixed(&[weights.len()]));
        let weights = self.dense(ty, weights.iter().copied());
        let last = self.rank_of(x);
        let shape = self.shape_of(windows);
        let weights = self.broadcast(weights, &[last], shape);
        let terms = self.mul(windows, weights);
        Ok(self.sum(terms, &[last]))
    }

    /// Weighed along rows and columns, with zeros around, so that the size stays.
    fn weighed_in_place(&mut self, x: NodeId, along: [&[f64]; 2]) -> Built {
        let rank = self.rank_of(x);
        let mut y = x;
        for (axis, weights) in [rank - 3, rank - 2].into_iter().zip(along) {
            let mut edges = vec![(0, 0); rank];
            edges[axis] = ((weights.len() - 1) / 2, weights.len() / 2);
            y = self.padded(y, &edges, PadMode::Constant(0.0))?;
            y = self.weighed(y, axis, weights)?;
        }
        Ok(y)
    }

    /// Blurred by a Gaussian of so many elements along rows and columns.
    pub(crate) fn blurred(&mut self, x: NodeId, size: [usize; 2], sigma: [f64; 2]) -> Built {
        let [rows, columns] = [gaussian(size[0], sigma[0])?, gaussian(size[1], sigma[1])?];
        self.weighed_in_place(x, [&rows, &columns])
    }

    /// How steeply an image rises along rows and columns, by Sobel's filters: a new last axis of 2.
    pub(crate) fn sobel(&mut self, x: NodeId) -> Built {
        let (smooth, slope) = ([1.0, 2.0, 1.0], [-1.0, 0.0, 1.0]);
        let along_rows = self.weighed_in_place(x, [&slope, &smooth])?;
        let along_columns = self.weighed_in_place(x, [&smooth, &slope])?;
        Ok(self.stacked(&[along_rows, along_columns], self.rank_of(x)))
    }

    /// The structural similarity of images (Wang and others, 2004), one number for each.
    pub(crate) fn similarity(&mut self, a: NodeId, b: NodeId, max: f64, size: usize, sigma: f64, k: [f64; 2]) -> Built {
        let weights = gaussian(size, sigma)?;
        let rank = self.rank_of(a);
        let local = |g: &mut Graph, x: NodeId| -> Built {
            let y = g.weighed(x, rank - 3, &weights)?;
            g.weighed(y, rank - 2, &weights)
        };
        let (mean_a, mean_b) = (local(self, a)?, local(self, b)?);
        let products = [(a, a), (b, b), (a, b)].map(|(x, y)| self.mul(x, y));
        let of_means = [(mean_a, mean_a), (mean_b, mean_b), (mean_a, mean_b)].map(|(x, y)| self.mul(x, y));
        let mut spread = [of_means[0]; 3];
        for i in 0..3 {
            let mean = local(self, products[i])?;
            spread[i] = self.sub(mean, of_means[i]);
        }
        let [c1, c2] = k.map(|k| (k * max).powi(2));
        let mut twice = |x: NodeId, c: f64| {
            let x = self.mul_s(x, 2.0);
            self.add_s(x, c)
        };
        let (over_means, over_spread) = (twice(of_means[2], c1), twice(spread[2], c2));
        let over = self.mul(over_means, over_spread);
        let mut both = |x: NodeId, y: NodeId, c: f64| {
            let sum = self.add(x, y);
            self.add_s(sum, c)
        };
        let (under_means, under_spread) = (both(of_means[0], of_means[1], c1), both(spread[0], spread[1], c2));
        let under = self.mul(under_means, under_spread);
        let map = self.div(over, under);
        Ok(self.mean(map, &[rank - 3, rank - 2, rank - 1]))
    }

    /// Blocks of channels laid out as rows and columns of images `[batch, rows, columns, channels]`.
    pub(crate) fn depth_to_space(&mut self, x: NodeId, block: usize) -> Built {
        let [batch, rows, columns, channels] = self.image(x)?;
        if block == 0 || !channels.scale.is_multiple_of(block * block) {
            return Err(format!("{channels} channels are no blocks of {block} by {block}"));
        }
        let (n, rest) = (Dim::fixed(block), Dim::fixed(channels.scale / (block * block)));
        let y = self.reshape(x, Shape(vec![batch, rows, columns, n, n, rest]));
        let y = self.permute(y, &[0, 1, 3, 2, 4, 5]);
        let times = |d: Dim| Dim::fixed(d.scale * block);
        Ok(self.reshape(y, Shape(vec![batch, times(rows), times(columns), rest])))
    }

    /// Blocks of rows and columns laid out as channels.
    pub(crate) fn space_to_depth(&mut self, x: NodeId, block: usize) -> Built {
        let [batch, rows, columns, channels] = self.image(x)?;
        if block == 0 || !rows.scale.is_multiple_of(block) || !columns.scale.is_multiple_of(block) {
            return Err(format!("{rows} rows and {columns} columns are no blocks of {block} by {block}"));
        }
        let (n, by) = (Dim::fixed(block), |d: Dim| Dim::fixed(d.scale / block));
        let y = self.reshape(x, Shape(vec![batch, by(rows), n, by(columns), n, channels]));
        let y = self.permute(y, &[0, 1, 3, 2, 4, 5]);
        let deep = Dim::fixed(channels.scale * block * block);
        Ok(self.reshape(y, Shape(vec![batch, by(rows), by(columns), deep])))
    }

    fn image(&self, x: NodeId) -> Built<[Dim; 4]> {
        let shape = &self.ty(x).shape;
        let image = <[Dim; 4]>::try_from(&shape[..]).ok().filter(|dims| dims[1..].iter().all(|d| !d.batch));
        image.ok_or_else(|| format!("{shape} is no batch of images"))
    }
}

/// A Gaussian of a number of elements whose sum is 1.
fn gaussian(size: usize, sigma: f64) -> Built<Vec<f64>> {
    const LARGEST: usize = 1 << 12;
    if size == 0 || size > LARGEST || !(sigma > 0.0 && sigma.is_finite()) {
        return Err(format!("a Gaussian of {size} elements and width {sigma}"));
    }
    let centre = (size - 1) as f64 / 2.0;
    let weights: Vec<f64> = (0..size).map(|i| (-0.5 * ((i as f64 - centre) / sigma).powi(2)).exp()).collect();
    let sum: f64 = weights.iter().sum();
    Ok(weights.into_iter().map(|w| w / sum).collect())
}
