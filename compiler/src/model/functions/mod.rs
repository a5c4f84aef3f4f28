//! Functions of tensors beyond single operations: sorting, running sums, einsum, padding, spectra, images.
//!
//! Each is a method of [`Graph`] that builds graph from the structural operations, so that gradients, passes and
//! backends know nothing of it. The operations of Keras files (`import::operations`) and the functions of
//! [`super::Tensor`] are written in them.
//!
//! What a user can get wrong is an error in words; what has no extent that is known when the model is built, such as
//! the batch, is refused where an extent is needed.

mod arrange;
mod bits;
mod einsum;
mod elementary;
pub(crate) mod express;
mod images;
mod index;
mod matrix;
mod order;
mod quantile;
mod running;
mod spatial;
mod spectrum;
mod statistics;

pub(crate) use arrange::{Edge, PadMode};
pub(crate) use index::Fill;
pub(crate) use matrix::Order;
pub(crate) use quantile::Method;
pub(crate) use spatial::Spatial;
pub(crate) use spectrum::{Frames, window_called};

use crate::ir::{Dim, Graph, NodeId, Op, Shape, SliceAxis};
use crate::limit::Limit;

/// What a function gives, or why it cannot.
pub(crate) type Built<T = NodeId> = Result<T, String>;

impl Graph {
    /// The shape of a node, as a value of its own.
    pub(crate) fn shape_of(&self, x: NodeId) -> Shape {
        self.ty(x).shape.clone()
    }

    /// The number of axes.
    pub(crate) fn rank_of(&self, x: NodeId) -> usize {
        self.ty(x).shape.rank()
    }

    /// A constant extent.
    pub(crate) fn extent_of(&self, x: NodeId, axis: usize) -> Built<usize> {
        let shape = &self.ty(x).shape;
        shape[axis].as_fixed().ok_or_else(|| {
            let why = format!("axis {axis} of {shape} is the batch, whose extent is not known when the model is built");
            Limit::Operations.says(why)
        })
    }

    /// Swaps in a view in which one axis comes last. [`Graph::axis_from_last`] undoes it.
    pub(crate) fn axis_to_last(&mut self, x: NodeId, axis: usize) -> NodeId {
        let order: Vec<usize> = (0..self.rank_of(x)).filter(|a| *a != axis).chain([axis]).collect();
        self.permute(x, &order)
    }

    /// Puts the last axis where it came from.
    pub(crate) fn axis_from_last(&mut self, x: NodeId, axis: usize) -> NodeId {
        let last = self.rank_of(x) - 1;
        let order: Vec<usize> = (0..axis).chain([last]).chain(axis..last).collect();
        self.permute(x, &order)
    }

    /// All elements along one axis.
    pub(crate) fn ravel(&mut self, x: NodeId) -> Built {
        let all = self.ty(x).shape.elements().ok_or("it has too many elements")?;
        Ok(self.reshape(x, Shape(vec![all])))
    }

    /// The same elements with an axis of extent 1 in a place.
    pub(crate) fn expand(&mut self, x: NodeId, axis: usize) -> NodeId {
        let mut dims = self.shape_of(x).0;
        dims.insert(axis, Dim::ONE);
        self.reshape(x, Shape(dims))
    }

    /// The same elements without an axis of extent 1.
    pub(crate) fn squeeze(&mut self, x: NodeId, axis: usize) -> NodeId {
        let shape = self.ty(x).shape.without(&[axis]);
        self.reshape(x, shape)
    }

    /// A part of a tensor. All of it is the tensor itself.
    pub(crate) fn part(&mut self, x: NodeId, places: Vec<SliceAxis>) -> NodeId {
        let whole = |(place, &count): (&SliceAxis, &Dim)| *place == SliceAxis { start: 0, step: 1, count };
        match places.iter().zip(self.ty(x).shape.iter()).all(whole) {
            true => x,
            false => self.push(Op::Slice(places), &[x]),
        }
    }

    /// Elements of one axis of constant extent: `count` from `start` on, `step` apart.
    pub(crate) fn strided(&mut self, x: NodeId, axis: usize, start: usize, step: isize, count: usize) -> NodeId {
        let shape = self.shape_of(x);
        let mut places: Vec<SliceAxis> = shape.iter().map(|&count| SliceAxis { start: 0, step: 1, count }).collect();
        places[axis] = SliceAxis { start, step, count: Dim::fixed(count) };
        self.push(Op::Slice(places), &[x])
    }

    /// The elements in the opposite order along some axes, the batch included.
    pub(crate) fn reversed(&mut self, x: NodeId, axes: &[usize]) -> NodeId {
        let shape = self.shape_of(x);
        let mut places: Vec<SliceAxis> = shape.iter().map(|&count| SliceAxis { start: 0, step: 1, count }).collect();
        for &axis in axes {
            places[axis] = SliceAxis { start: shape[axis].scale.saturating_sub(1), step: -1, count: shape[axis] };
        }
        self.push(Op::Slice(places), &[x])
    }

    /// Joins tensors along a new axis.
    pub(crate) fn stacked(&mut self, xs: &[NodeId], axis: usize) -> NodeId {
        let wide: Vec<NodeId> = xs.iter().map(|&x| self.expand(x, axis)).collect();
        self.concat(&wide, axis)
    }
}
