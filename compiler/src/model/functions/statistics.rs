//! Statistics of parts of a tensor.

use super::Built;
use crate::ir::{DType, Graph, NodeId};

impl Graph {
    /// Mean and variance along axes, which disappear.
    pub(crate) fn mean_and_variance(&mut self, x: NodeId, axes: &[usize]) -> (NodeId, NodeId) {
        let shape = self.shape_of(x);
        let mean = self.mean(x, axes);
        let wide = self.unreduce(mean, axes, &shape);
        let apart = self.sub(x, wide);
        let square = self.square(apart);
        (mean, self.mean(square, axes))
    }

    /// The mean of the elements that are not NaN along axes.
    pub(crate) fn mean_of_numbers(&mut self, x: NodeId, axes: &[usize]) -> NodeId {
        let nan = self.is_nan(x);
        self.mean_where_not(x, nan, axes)
    }

    fn mean_where_not(&mut self, x: NodeId, left_out: NodeId, axes: &[usize]) -> NodeId {
        let zero = self.lit_like(x, 0.0);
        let rest = self.select(left_out, zero, x);
        let sum = self.sum(rest, axes);
        let counted = self.not(left_out);
        let dtype = self.ty(x).dtype;
        let counted = self.cast(counted, dtype);
        let count = self.sum(counted, axes);
        self.div(sum, count)
    }

    /// The variance of the elements that are not NaN along axes.
    pub(crate) fn variance_of_numbers(&mut self, x: NodeId, axes: &[usize]) -> NodeId {
        let (nan, shape) = (self.is_nan(x), self.shape_of(x));
        let mean = self.mean_where_not(x, nan, axes);
        let mean = self.unreduce(mean, axes, &shape);
        let apart = self.sub(x, mean);
        // A NaN has no distance, and must not reach the gradient of the square either.
        let zero = self.lit_like(x, 0.0);
        let apart = self.select(nan, zero, apart);
        let square = self.square(apart);
        self.mean_where_not(square, nan, axes)
    }

    /// How many elements fall between neighbouring edges, where the last one takes in its upper edge: `i32[bins]`, and
    /// the edges. Without a range it is that of the elements.
    pub(crate) fn histogram(&mut self, x: NodeId, bins: usize, range: Option<(f64, f64)>) -> Built<[NodeId; 2]> {
        let x = self.ravel(x)?;
        let dtype = self.ty(x).dtype;
        let (low, high) = match range {
            Some((low, high)) => (self.scalar(dtype, low), self.scalar(dtype, high)),
            None => (self.reduce(crate::ir::ReduceFn::Min, x, &[0]), self.reduce(crate::ir::ReduceFn::Max, x, &[0])),
        };
        // A range of nothing is one of width 1 around its only number.
        let one_number = self.eq(low, high);
        let (wider_low, wider_high) = (self.add_s(low, -0.5), self.add_s(high, 0.5));
        let (low, high) = (self.select(one_number, wider_low, low), self.select(one_number, wider_high, high));
        let edges = self.line(low, high, bins + 1, true)?;
        let place = self.search_sorted(edges, x, true)?;
        let top = self.slice_axis(edges, 0, bins, bins + 1);
        let shape = self.shape_of(x);
        let top = self.broadcast_to(top, &shape);
        let last = self.eq(x, top);
        let (n, place) = (self.lit_like(place, bins as f64), place);
        let place = self.select(last, n, place);
        let place = self.add_s(place, -1.0);
        // What is below the first edge is at -1 and what is above the last at `bins`: no bin takes them.
        let hit = self.one_hot(place, bins, 1, DType::I32);
        Ok([self.sum(hit, &[0]), edges])
    }

    /// `count` numbers from one to another along a new first axis; the last is the end itself unless that is left out.
    pub(crate) fn line(&mut self, from: NodeId, to: NodeId, count: usize, with_end: bool) -> Built {
        if count == 0 {
            return Err("a line of no numbers".into());
        }
        let mut shape = self.shape_of(from);
        shape.0.insert(0, crate::ir::Dim::fixed(count));
        let dtype = self.ty(from).dtype;
        let steps = if with_end { count.saturating_sub(1).max(1) } else { count };
        let ty = crate::ir::TensorType::new(dtype, crate::ir::Shape::fixed(&[count]));
        let share = self.dense(ty.clone(), (0..count).map(|i| i as f64 / steps as f64));
        let rest = self.dense(ty, (0..count).map(|i| 1.0 - i as f64 / steps as f64));
        let (share, rest) = (self.broadcast(share, &[0], shape.clone()), self.broadcast(rest, &[0], shape.clone()));
        let (from, to) = (self.unreduce(from, &[0], &shape), self.unreduce(to, &[0], &shape));
        let (a, b) = (self.mul(from, rest), self.mul(to, share));
        Ok(self.add(a, b))
    }
}
