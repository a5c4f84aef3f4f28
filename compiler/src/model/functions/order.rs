//! Sorting.
//!
//! The place of an element in the sorted order is the number of elements before it, which comparisons count: quadratic
//! in the extent, and nothing but comparisons and sums, which vectorise and need no memory. Equal elements keep their
//! order; NaN is larger than every number, as in JAX.

use super::Built;
use crate::ir::{DType, Dim, Graph, NodeId, Op, Shape};
use crate::limit::Limit;

/// The longest axis that is sorted: as many comparisons for each row as this, squared.
pub(crate) const LONGEST: usize = 1 << 12;

impl Graph {
    /// Whether `a` is less than `b`, where NaN is larger than every number.
    fn less(&mut self, a: NodeId, b: NodeId) -> NodeId {
        let less = self.lt(a, b);
        if !self.ty(a).dtype.is_float() {
            return less;
        }
        let (number, nan) = (self.eq(a, a), self.is_nan(b));
        let last = self.and(number, nan);
        self.or(less, last)
    }

    /// Integers in the order of numbers, in which `-0` comes before `0` and NaN behind everything.
    fn total_order(&mut self, x: NodeId) -> NodeId {
        let (nan, bits) = (self.is_nan(x), self.to_bits(x));
        let (places, top) = (self.lit_like(bits, 31.0), self.lit_like(bits, 2f64.powi(31)));
        let negative = self.shr(bits, places);
        let negative = self.cast(negative, DType::Bool);
        let (below, above) = (self.not(bits), self.or(bits, top));
        let key = self.select(negative, below, above);
        let last = self.lit_like(key, u32::MAX as f64);
        self.select(nan, last, key)
    }

    /// The place of each element among those along the last axis.
    fn places(&mut self, x: NodeId, descending: bool) -> Built {
        let x = if self.ty(x).dtype == DType::Bool { self.cast(x, DType::U8) } else { x };
        let axis = self.rank_of(x) - 1;
        let extent = self.extent_of(x, axis)?;
        if extent > LONGEST {
            return Err(Limit::Sorting.says(format!("it would sort {extent} elements, more than {LONGEST}")));
        }
        let x = if descending && self.ty(x).dtype == DType::F32 { self.total_order(x) } else { x };
        let mut wide = self.shape_of(x);
        wide.0.push(Dim::fixed(extent));
        let mine = self.unreduce(x, &[axis + 1], &wide);
        let other = self.unreduce(x, &[axis], &wide);
        let (first, second) = if descending { (mine, other) } else { (other, mine) };
        let before = self.less(first, second);
        let behind = self.less(second, first);
        let level = self.not(behind);
        let (here, there) = (self.iota(axis, DType::I32, wide.clone()), self.iota(axis + 1, DType::I32, wide));
        let earlier = self.lt(there, here);
        let tie = self.and(level, earlier);
        let before = self.or(before, tie);
        let before = self.cast(before, DType::I32);
        Ok(self.sum(before, &[axis + 1]))
    }

    /// The indices that sort an axis, as `i32`.
    pub(crate) fn argsort(&mut self, x: NodeId, axis: usize, descending: bool) -> Built {
        let x = self.axis_to_last(x, axis);
        let order = self.order(x, descending)?;
        Ok(self.axis_from_last(order, axis))
    }

    /// The indices that sort the last axis.
    fn order(&mut self, x: NodeId, descending: bool) -> Built {
        let places = self.places(x, descending)?;
        let (last, shape) = (self.rank_of(x) - 1, self.shape_of(x));
        let index = self.iota(last, DType::I32, shape.clone());
        Ok(self.push(Op::ScatterAdd { axis: last, batch: last, shape }, &[places, index]))
    }

    /// The elements of an axis in ascending order. A gradient goes to where each came from.
    pub(crate) fn sort(&mut self, x: NodeId, axis: usize) -> Built {
        let x = self.axis_to_last(x, axis);
        let order = self.order(x, false)?;
        let last = self.rank_of(x) - 1;
        let y = self.push(Op::Gather { axis: last, batch: last }, &[x, order]);
        Ok(self.axis_from_last(y, axis))
    }

    /// The `k` largest elements of the last axis from the largest down, and their indices.
    pub(crate) fn top_k(&mut self, x: NodeId, k: usize) -> Built<[NodeId; 2]> {
        let last = self.rank_of(x).checked_sub(1).ok_or("a scalar has no axis")?;
        let extent = self.extent_of(x, last)?;
        if !(1..=extent).contains(&k) {
            return Err(format!("the {k} largest of {extent} elements"));
        }
        let order = self.order(x, true)?;
        let order = self.slice_axis(order, last, 0, k);
        Ok([self.push(Op::Gather { axis: last, batch: last }, &[x, order]), order])
    }

    /// Whether fewer than `k` predictions are above that of the target: `targets` is `[...]`, `predictions`
    /// `[..., classes]`.
    pub(crate) fn in_top_k(&mut self, targets: NodeId, predictions: NodeId, k: usize) -> Built {
        let last = self.rank_of(predictions).checked_sub(1).ok_or("the predictions are a scalar")?;
        let classes = self.shape_of(predictions);
        let targets = self.expand(targets, self.rank_of(targets));
        let mine = self.take_along(predictions, targets, last, super::Fill::Missing)?;
        let nan = self.is_nan(mine);
        let lowest = self.lit_like(mine, f64::NEG_INFINITY);
        let mine = self.select(nan, lowest, mine);
        let mine = self.broadcast_to(mine, &classes);
        let above = self.gt(predictions, mine);
        let above = self.cast(above, DType::I32);
        let above = self.sum(above, &[last]);
        let k = self.lit_like(above, k.min(i32::MAX as usize) as f64);
        Ok(self.lt(above, k))
    }

    /// How many elements of a sorted row come before each value: those below it, and with `right` those equal to it.
    pub(crate) fn search_sorted(&mut self, sorted: NodeId, values: NodeId, right: bool) -> Built {
        let sorted_shape = self.shape_of(sorted);
        let [extent] = sorted_shape[..] else { return Err(format!("{sorted_shape} is no row")) };
        let axis = self.rank_of(values);
        let mut wide: Shape = self.shape_of(values);
        wide.0.push(extent);
        let value = self.unreduce(values, &[axis], &wide);
        let bound = self.broadcast(sorted, &[axis], wide);
        let before = if right {
            let behind = self.less(value, bound);
            self.not(behind)
        } else {
            self.less(bound, value)
        };
        let before = self.cast(before, DType::I32);
        Ok(self.sum(before, &[axis]))
    }
}
