//! Elements at indices.
//!
//! Indices count from the back where they are negative. One out of range has no element: see [`Fill`].

use super::Built;
use crate::ir::{DType, Dim, Graph, NodeId, Op, ReduceFn, Shape, TensorType};

/// What stands in the place of an element that does not exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fill {
    /// NaN, or the lowest number of an integer type (the highest of one without signs), as `jax.numpy.take` has it.
    Missing,
    /// The element at the nearest end.
    Nearest,
}

impl Fill {
    fn value(dtype: DType) -> f64 {
        match dtype {
            d if d.is_float() => f64::NAN,
            DType::Bool => 1.0,
            d => {
                let lowest = ReduceFn::Max.neutral(d);
                if lowest < 0.0 { lowest } else { ReduceFn::Min.neutral(d) }
            }
        }
    }
}

impl Graph {
    /// The elements of an axis at constant indices, one after the other.
    pub(crate) fn pick(&mut self, x: NodeId, axis: usize, places: &[usize]) -> NodeId {
        let ty = TensorType::new(DType::I32, Shape::fixed(&[places.len()]));
        let places = self.dense(ty, places.iter().map(|&i| i as f64));
        self.push(Op::Gather { axis, batch: 0 }, &[x, places])
    }

    /// The axis is replaced by the axes of `indices`.
    pub(crate) fn take(&mut self, x: NodeId, indices: NodeId, axis: usize, fill: Fill) -> NodeId {
        let extent = self.shape_of(x)[axis];
        let (indices, inside) = self.counted(indices, extent);
        let y = self.push(Op::Gather { axis, batch: 0 }, &[x, indices]);
        let axes: Vec<usize> = (axis..axis + self.rank_of(indices)).collect();
        self.filled_outside(y, inside, &axes, fill)
    }

    /// For each element of `indices`, the element of `x` at it along an axis, at the same place along the others,
    /// along which extents of 1 stretch.
    pub(crate) fn take_along(&mut self, x: NodeId, indices: NodeId, axis: usize, fill: Fill) -> Built {
        let last = self.rank_of(x) - 1;
        if self.rank_of(indices) != last + 1 {
            let (x, indices) = (&self.ty(x).shape, &self.ty(indices).shape);
            return Err(format!("indices {indices} have not as many axes as {x}"));
        }
        let (x, indices) = (self.axis_to_last(x, axis), self.axis_to_last(indices, axis));
        let (from, to) = (self.shape_of(x), self.shape_of(indices));
        let outer = crate::model::merge::broadcast_shape(&Shape(from[..last].to_vec()), &Shape(to[..last].to_vec()))
            .ok_or_else(|| format!("indices {to} do not fit {from}"))?;
        let wide = |extent: Dim| Shape(outer.iter().copied().chain([extent]).collect());
        let x = self.broadcast_to(x, &wide(from[last]));
        let indices = self.broadcast_to(indices, &wide(to[last]));
        let (indices, inside) = self.counted(indices, from[last]);
        let y = self.push(Op::Gather { axis: last, batch: last }, &[x, indices]);
        let axes: Vec<usize> = (0..=last).collect();
        let y = self.filled_outside(y, inside, &axes, fill);
        Ok(self.axis_from_last(y, axis))
    }

    /// Indices counted from the front, and whether each is in range.
    fn counted(&mut self, indices: NodeId, extent: Dim) -> (NodeId, NodeId) {
        let indices = self.cast(indices, DType::I32);
        let size = self.size(extent, DType::I32);
        let size = self.broadcast_like(size, indices);
        let zero = self.lit_like(indices, 0.0);
        let negative = self.lt(indices, zero);
        let from_back = self.add(indices, size);
        let indices = self.select(negative, from_back, indices);
        let (low, high) = (self.ge(indices, zero), self.lt(indices, size));
        (indices, self.and(low, high))
    }

    fn filled_outside(&mut self, y: NodeId, inside: NodeId, axes: &[usize], fill: Fill) -> NodeId {
        if fill == Fill::Nearest {
            return y;
        }
        let ty = self.ty(y).clone();
        let inside = self.broadcast(inside, axes, ty.shape.clone());
        let missing = self.splat_of(Fill::value(ty.dtype), ty);
        self.select(inside, y, missing)
    }

    /// `1` at each index along a new axis and `0` elsewhere; nothing is `1` for an index out of range.
    pub(crate) fn one_hot(&mut self, indices: NodeId, classes: usize, axis: usize, dtype: DType) -> NodeId {
        let indices = self.cast(indices, DType::I32);
        let mut wide = self.shape_of(indices);
        wide.0.insert(axis, Dim::fixed(classes));
        let index = self.unreduce(indices, &[axis], &wide);
        let class = self.iota(axis, DType::I32, wide);
        let hit = self.eq(index, class);
        self.cast(hit, dtype)
    }

    /// Sums the rows of `data` (its first axes, as many as `segments` has) into the segments that they name. A row of a
    /// segment that does not exist is left out.
    pub(crate) fn segment_sum(&mut self, data: NodeId, segments: NodeId, count: usize) -> NodeId {
        let inner = self.ty(data).shape[self.rank_of(segments)..].iter().copied();
        let shape = Shape(std::iter::once(Dim::fixed(count)).chain(inner).collect());
        let segments = self.cast(segments, DType::I32);
        self.push(Op::ScatterAdd { axis: 0, batch: 0, shape }, &[segments, data])
    }

    /// The largest or smallest row of each segment along the first axis; the neutral value where a segment has none.
    pub(crate) fn segment_extreme(&mut self, f: ReduceFn, data: NodeId, segments: NodeId, count: usize) -> NodeId {
        // [segment, row, inner...]
        let mut wide = self.shape_of(data);
        wide.0.insert(0, Dim::fixed(count));
        let segments = self.cast(segments, DType::I32);
        let segments = self.broadcast(segments, &[1], wide.clone());
        let own = self.iota(0, DType::I32, wide.clone());
        let hit = self.eq(segments, own);
        let data = self.unreduce(data, &[0], &wide);
        let neutral = f.neutral(self.ty(data).dtype);
        let neutral = self.lit_like(data, neutral);
        let rows = self.select(hit, data, neutral);
        self.reduce(f, rows, &[1])
    }
}
