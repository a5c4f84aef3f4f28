//! Windows over images as functions: convolutions whose kernel is a tensor, pooling, patches.

use super::Built;
use super::arrange::MOST_PLACES;
use crate::ir::{DType, Dim, Graph, NodeId, Op, Shape, TensorType, WindowAxis};
use crate::model::window::{DataFormat, Padding, Windows};
use crate::model::{conv, pool};

/// How windows lie over items.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Spatial {
    pub size: Vec<usize>,
    pub strides: Vec<usize>,
    pub dilation: Vec<usize>,
    pub padding: Padding,
    pub format: DataFormat,
}

impl Spatial {
    fn windows(&self) -> Windows<'_> {
        Windows { size: &self.size, strides: &self.strides, dilation: &self.dilation, padding: self.padding }
    }
}

impl Graph {
    /// Items with the channels last, whose spatial axes the windows fit.
    fn spatial(&mut self, x: NodeId, how: &Spatial) -> Built {
        let rank = how.size.len();
        let shape = self.shape_of(x);
        if shape.rank() != rank + 2 {
            return Err(format!("{shape} has not {rank} spatial axes between the batch and the channels"));
        }
        let x = how.format.to_last(self, x);
        for (i, window) in how.windows().axes(1).iter().enumerate() {
            let extent = self.extent_of(x, i + 1)?;
            const LARGEST: usize = 1 << 20;
            if [window.size, window.stride, window.dilation].iter().any(|n| !(1..=LARGEST).contains(n)) {
                return Err(format!(
                    "windows of {}, {} apart, dilated by {}",
                    window.size, window.stride, window.dilation
                ));
            }
            if how.padding == Padding::Valid && window.span() > extent {
                return Err(format!("a window of {} is larger than axis {} of {shape}", window.span(), i + 1));
            }
        }
        Ok(x)
    }

    /// The convolution with a kernel `[window..., channels / groups, filters]`.
    pub(crate) fn convolution(&mut self, x: NodeId, kernel: NodeId, how: &Spatial) -> Built {
        let x = self.spatial(x, how)?;
        let (rank, shape) = (how.size.len(), self.shape_of(x));
        let (channels, taken) = (self.extent_of(x, rank + 1)?, self.extent_of(kernel, rank)?);
        let filters = self.extent_of(kernel, rank + 1)?;
        if taken == 0 || !channels.is_multiple_of(taken) || !filters.is_multiple_of(channels / taken) {
            return Err(format!("a kernel {} does not fit {shape}", self.ty(kernel).shape));
        }
        let y = conv::convolve(self, how.windows(), x, kernel, channels / taken);
        Ok(how.format.restore(self, y))
    }

    /// The convolution of each channel for itself, with a kernel `[window..., channels, multiplier]`.
    pub(crate) fn depthwise_convolution(&mut self, x: NodeId, kernel: NodeId, how: &Spatial) -> Built {
        let x = self.spatial(x, how)?;
        let rank = how.size.len();
        if self.shape_of(kernel)[rank] != self.shape_of(x)[rank + 1] {
            return Err(format!("a kernel {} does not fit {}", self.ty(kernel).shape, self.ty(x).shape));
        }
        let y = conv::each_channel(self, how.windows(), x, kernel);
        Ok(how.format.restore(self, y))
    }

    /// The transpose of a convolution, with a kernel `[window..., filters, channels]`.
    pub(crate) fn transposed_convolution(
        &mut self,
        x: NodeId,
        kernel: NodeId,
        output_padding: Option<&[usize]>,
        how: &Spatial,
    ) -> Built {
        let x = self.spatial(x, &Spatial { padding: Padding::Same, ..how.clone() })?;
        let rank = how.size.len();
        if self.shape_of(kernel)[rank + 1] != self.shape_of(x)[rank + 1] {
            return Err(format!("a kernel {} does not fit {}", self.ty(kernel).shape, self.ty(x).shape));
        }
        let y = conv::transposed(self, how.windows(), output_padding, x, kernel)?;
        Ok(how.format.restore(self, y))
    }

    /// The largest element, or the mean, of each window.
    pub(crate) fn pooled(&mut self, x: NodeId, largest: bool, how: &Spatial) -> Built {
        let x = self.spatial(x, how)?;
        let y = if largest { pool::largest(self, how.windows(), x) } else { pool::mean(self, how.windows(), x) };
        Ok(how.format.restore(self, y))
    }

    /// The elements of each window one after the other, in the place of the channels: `[positions..., window * channels]`.
    pub(crate) fn patches(&mut self, x: NodeId, how: &Spatial) -> Built {
        let x = self.spatial(x, how)?;
        let rank = how.size.len();
        let windows = how.windows().over(self, x, 0.0);
        let order: Vec<usize> = (0..=rank).chain(rank + 2..2 * rank + 2).chain([rank + 1]).collect();
        let windows = self.permute(windows, &order);
        let mut dims = self.shape_of(windows).0;
        let inner: usize = dims.drain(rank + 1..).map(|d| d.scale).product();
        dims.push(Dim::fixed(inner));
        let y = self.reshape(windows, Shape(dims));
        Ok(how.format.restore(self, y))
    }

    /// The windows of images `[batch, channels, rows, columns]`: `[batch, channels, window..., positions...]`.
    pub(crate) fn unfolded(&mut self, x: NodeId, how: &Spatial) -> Built {
        self.spatial(x, how)?;
        let windows = self.push(Op::Window(how.windows().axes(2)), &[x]);
        Ok(self.permute(windows, &[0, 1, 4, 5, 2, 3]))
    }

    /// Sums windows `[batch, channels * window, positions]` into images of rows and columns, less some of those at their
    /// edges: the transpose of [`Graph::unfolded`].
    pub(crate) fn folded(&mut self, x: NodeId, how: &Spatial, size: [usize; 2], edges: [usize; 2]) -> Built {
        let shape = self.shape_of(x);
        if size.iter().chain(&edges).any(|n| *n > MOST_PLACES) {
            return Err(format!("images of {size:?} with edges of {edges:?}"));
        }
        let whole = [size[0] + 2 * edges[0], size[1] + 2 * edges[1]];
        let axes = how.windows().axes(2);
        if axes.iter().any(|w| w.size == 0 || w.stride == 0 || w.dilation == 0) || shape.rank() != 3 {
            return Err(format!("{shape} is no list of windows of {:?}", how.size));
        }
        let positions = [axes[0].positions(whole[0]), axes[1].positions(whole[1])];
        let window = how.size[0] * how.size[1];
        let (inner, count) = (self.extent_of(x, 1)?, self.extent_of(x, 2)?);
        if !inner.is_multiple_of(window) || count != positions[0] * positions[1] || count == 0 {
            return Err(format!("{shape} is no list of windows of {:?} that make images of {size:?}", how.size));
        }
        let split = [inner / window, how.size[0], how.size[1], positions[0], positions[1]];
        let x = self.reshape(x, Shape(std::iter::once(shape[0]).chain(split.map(Dim::fixed)).collect()));
        let x = self.permute(x, &[0, 1, 4, 5, 2, 3]);
        let image = [shape[0], Dim::fixed(split[0]), Dim::fixed(whole[0]), Dim::fixed(whole[1])];
        let mut y = self.push(Op::Fold { axes, shape: Shape(image.to_vec()) }, &[x]);
        for (axis, (edge, size)) in edges.into_iter().zip(size).enumerate().filter(|(_, (edge, _))| *edge > 0) {
            y = self.slice_axis(y, axis + 2, edge, edge + size);
        }
        Ok(y)
    }

    /// Pools each spatial axis of channels-last items to an extent: the window of each result begins and ends in
    /// proportion, so that neighbours may overlap.
    pub(crate) fn pooled_to(&mut self, x: NodeId, output: &[usize], largest: bool, format: DataFormat) -> Built {
        let shape = self.shape_of(x);
        if shape.rank() != output.len() + 2 {
            return Err(format!("{shape} has not {} spatial axes between the batch and the channels", output.len()));
        }
        let mut y = format.to_last(self, x);
        for (i, &count) in output.iter().enumerate() {
            let extent = self.extent_of(y, i + 1)?;
            if count == 0 || extent == 0 || count.max(extent) > MOST_PLACES / 4 {
                return Err(format!("{extent} elements pooled to {count}"));
            }
            y = self.pooled_axis(y, i + 1, extent, count, largest);
        }
        Ok(format.restore(self, y))
    }

    fn pooled_axis(&mut self, x: NodeId, axis: usize, extent: usize, count: usize, largest: bool) -> NodeId {
        let window = |o: usize| (o * extent / count, ((o + 1) * extent).div_ceil(count));
        let size = (0..count).map(|o| window(o).1 - window(o).0).max().unwrap_or(1);
        if (0..count).all(|o| window(o) == (o * size, (o + 1) * size)) {
            let axes = vec![WindowAxis { axis, size, stride: size, dilation: 1 }];
            let windows = self.push(Op::Window(axes), &[x]);
            let last = self.rank_of(x);
            return if largest { pool::largest_of(self, windows, &[last]) } else { self.mean(windows, &[last]) };
        }
        // The elements of each window side by side; a shorter one has its last again, which does not count.
        let places = (0..count).flat_map(|o| (0..size).map(move |i| (window(o).0 + i).min(window(o).1 - 1)));
        let ty = TensorType::new(DType::I32, Shape::fixed(&[count, size]));
        let places = self.dense(ty, places.map(|i| i as f64));
        let picked = self.push(Op::Gather { axis, batch: 0 }, &[x, places]);
        if largest {
            return pool::largest_of(self, picked, &[axis + 1]);
        }
        let share = (0..count).flat_map(|o| {
            let inside = window(o).1 - window(o).0;
            (0..size).map(move |i| if i < inside { 1.0 / inside as f64 } else { 0.0 })
        });
        let ty = TensorType::new(self.ty(picked).dtype, Shape::fixed(&[count, size]));
        let share = self.dense(ty, share);
        let shape = self.shape_of(picked);
        let share = self.broadcast(share, &[axis, axis + 1], shape);
        let weighted = self.mul(picked, share);
        self.sum(weighted, &[axis + 1])
    }
}
