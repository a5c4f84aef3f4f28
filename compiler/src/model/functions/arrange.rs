//! Elements in other places: edges, rolls, tiles, repetitions, triangles.

use super::Built;
use crate::ir::scalar::BinaryFn;
use crate::ir::{DType, Dim, Graph, NodeId, Number, Op, PadAxis, ReduceFn, Shape, TensorType};
use crate::limit::Limit;

/// The most elements of an axis whose places are listed.
pub(super) const MOST_PLACES: usize = 1 << 24;

/// Elements before and behind an axis.
pub(crate) type Edge = (usize, usize);

/// What the edges of a padded tensor hold. The names are NumPy's.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum PadMode {
    Constant(f64),
    /// Mirrored at the outermost element.
    Reflect,
    /// Mirrored behind the outermost element.
    Symmetric,
    /// The outermost element.
    Edge,
    /// The elements from the other end.
    Wrap,
    /// The largest, smallest or mean element of the axis.
    Maximum,
    Minimum,
    Mean,
    Median,
    /// A straight line from the outermost element down to 0.
    LinearRamp,
}

impl PadMode {
    pub(crate) fn parse(name: &str, value: f64) -> Option<PadMode> {
        Some(match name {
            "constant" => PadMode::Constant(value),
            // What NumPy leaves undefined JAX fills with zeros.
            "empty" => PadMode::Constant(0.0),
            "reflect" => PadMode::Reflect,
            "symmetric" => PadMode::Symmetric,
            "edge" => PadMode::Edge,
            "wrap" | "circular" => PadMode::Wrap,
            "maximum" => PadMode::Maximum,
            "minimum" => PadMode::Minimum,
            "mean" => PadMode::Mean,
            "median" => PadMode::Median,
            "linear_ramp" => PadMode::LinearRamp,
            _ => return None,
        })
    }

    /// The place that each element of the result comes from, for modes in which there is one.
    fn source(self, extent: usize, edge: Edge) -> Option<Vec<usize>> {
        let n = extent as i64;
        let place = move |i: i64| match self {
            PadMode::Edge => i.clamp(0, n - 1),
            PadMode::Wrap => i.rem_euclid(n),
            PadMode::Symmetric => {
                let r = i.rem_euclid(2 * n);
                r.min(2 * n - 1 - r)
            }
            PadMode::Reflect => {
                let period = (2 * n - 2).max(1);
                let r = i.rem_euclid(period);
                r.min(period - r).min(n - 1)
            }
            _ => 0,
        };
        let known = matches!(self, PadMode::Edge | PadMode::Wrap | PadMode::Symmetric | PadMode::Reflect);
        known.then(|| (-(edge.0 as i64)..n + edge.1 as i64).map(|i| place(i) as usize).collect())
    }
}

impl Graph {
    /// Adds edges to every axis, one axis after the other.
    pub(crate) fn padded(&mut self, x: NodeId, edges: &[Edge], mode: PadMode) -> Built {
        if let PadMode::Constant(value) = mode {
            let axes = edges.iter().map(|&(low, high)| PadAxis { low, high, interior: 0 }).collect();
            return Ok(self.push(Op::Pad { axes, value: Number(value) }, &[x]));
        }
        let mut y = x;
        for (axis, &edge) in edges.iter().enumerate().filter(|(_, edge)| **edge != (0, 0)) {
            let extent = self.extent_of(y, axis)?;
            let total = extent.checked_add(edge.0).and_then(|n| n.checked_add(edge.1));
            if total.is_none_or(|n| n > MOST_PLACES) {
                return Err(format!("axis {axis} with {extent} elements and edges of {} and {}", edge.0, edge.1));
            }
            if extent == 0 {
                return Err(format!("axis {axis} has no elements to pad with"));
            }
            y = match mode.source(extent, edge) {
                Some(places) => self.pick(y, axis, &places),
                None => self.padded_with(y, axis, extent, edge, mode)?,
            };
        }
        Ok(y)
    }

    /// Edges that are computed from the elements of an axis.
    fn padded_with(&mut self, x: NodeId, axis: usize, extent: usize, edge: Edge, mode: PadMode) -> Built {
        if mode == PadMode::LinearRamp {
            let mut parts = Vec::new();
            let (first, last) = (self.slice_axis(x, axis, 0, 1), self.slice_axis(x, axis, extent - 1, extent));
            if edge.0 > 0 {
                parts.push(self.ramp(first, axis, (0..edge.0).map(|i| i as f64 / edge.0 as f64)));
            }
            parts.push(x);
            if edge.1 > 0 {
                parts.push(self.ramp(last, axis, (0..edge.1).rev().map(|i| i as f64 / edge.1 as f64)));
            }
            return Ok(self.concat(&parts, axis));
        }
        let whole = !self.ty(x).dtype.is_float();
        let value = match mode {
            PadMode::Maximum => self.reduce(ReduceFn::Max, x, &[axis]),
            PadMode::Minimum => self.reduce(ReduceFn::Min, x, &[axis]),
            _ if whole => return Err("the mean of integers is not supported as an edge".into()),
            PadMode::Mean => self.mean(x, &[axis]),
            _ => self.median(x, &[axis])?,
        };
        let value = self.expand(value, axis);
        let mut edge_of = |count: usize| {
            let mut shape = self.shape_of(x);
            shape.0[axis] = Dim::fixed(count);
            (count > 0).then(|| self.broadcast_to(value, &shape))
        };
        let (low, high) = (edge_of(edge.0), edge_of(edge.1));
        let parts: Vec<NodeId> = low.into_iter().chain([x]).chain(high).collect();
        Ok(self.concat(&parts, axis))
    }

    /// Multiples of one element along an axis.
    fn ramp(&mut self, end: NodeId, axis: usize, factors: impl ExactSizeIterator<Item = f64>) -> NodeId {
        let mut shape = self.shape_of(end);
        shape.0[axis] = Dim::fixed(factors.len());
        let ty = TensorType::new(self.ty(end).dtype, Shape::fixed(&[factors.len()]));
        let factors = self.dense(ty, factors);
        let factors = self.broadcast(factors, &[axis], shape.clone());
        let end = self.broadcast_to(end, &shape);
        self.mul(end, factors)
    }

    /// Moves the elements along an axis by a number of places; those that leave come in at the other end.
    pub(crate) fn rolled(&mut self, x: NodeId, shift: i64, axis: usize) -> Built {
        if shift == 0 {
            return Ok(x);
        }
        let extent = self.extent_of(x, axis)?;
        let shift = shift.rem_euclid(extent.max(1) as i64) as usize;
        if shift == 0 {
            return Ok(x);
        }
        let head = self.slice_axis(x, axis, extent - shift, extent);
        let tail = self.slice_axis(x, axis, 0, extent - shift);
        Ok(self.concat(&[head, tail], axis))
    }

    /// The whole tensor again and again along each axis. Repeats belong to the last axes; there may be more of them than
    /// axes.
    pub(crate) fn tiled(&mut self, x: NodeId, repeats: &[usize]) -> Built {
        let rank = self.rank_of(x).max(repeats.len());
        let mut dims = vec![Dim::ONE; rank - self.rank_of(x)];
        dims.extend(self.shape_of(x).0);
        let repeats: Vec<usize> = vec![1; rank - repeats.len()].into_iter().chain(repeats.iter().copied()).collect();
        // [repeat, extent] for each axis that repeats.
        let (mut wide, mut axes, mut merged) = (Vec::new(), Vec::new(), Vec::new());
        for (&dim, &n) in dims.iter().zip(&repeats) {
            if n != 1 {
                wide.push(Dim::fixed(n));
            }
            axes.push(wide.len());
            wide.push(dim);
            merged.push(dim.times(Dim::fixed(n)).ok_or("it would have too many elements")?);
            if dim.batch && n != 1 {
                return Err(Limit::Operations.says("the batch cannot be repeated as a whole"));
            }
        }
        let x = self.reshape(x, Shape(dims));
        let x = self.broadcast(x, &axes, Shape(wide));
        Ok(self.reshape(x, Shape(merged)))
    }

    /// Each element of an axis several times.
    pub(crate) fn repeated(&mut self, x: NodeId, repeats: usize, axis: usize) -> Built {
        let mut merged = self.shape_of(x);
        let mut wide = merged.clone();
        wide.0.insert(axis + 1, Dim::fixed(repeats));
        merged.0[axis] = merged[axis].times(Dim::fixed(repeats)).ok_or("it would have too many elements")?;
        let x = self.unreduce(x, &[axis + 1], &wide);
        Ok(self.reshape(x, merged))
    }

    /// The elements on one side of a diagonal of the last two axes: those where `column - row` compares with `k` as `f`
    /// says. The others are zero.
    pub(crate) fn triangle(&mut self, x: NodeId, f: BinaryFn, k: i64) -> Built {
        let rank = self.rank_of(x);
        if rank < 2 {
            return Err(format!("{} is no matrix", self.ty(x).shape));
        }
        let kept = self.off_diagonal(&self.shape_of(x), rank - 2, rank - 1, f, k);
        let zero = self.lit_like(x, 0.0);
        Ok(self.select(kept, x, zero))
    }

    /// Whether `column - row` compares with `k`, for each element of a shape.
    fn off_diagonal(&mut self, shape: &Shape, row: usize, column: usize, f: BinaryFn, k: i64) -> NodeId {
        let row = self.iota(row, DType::I32, shape.clone());
        let column = self.iota(column, DType::I32, shape.clone());
        let row = self.add_s(row, k.clamp(-(1 << 30), 1 << 30) as f64);
        self.push(Op::Binary(f), &[column, row])
    }

    /// The last axis on a diagonal of a square of two axes.
    pub(crate) fn on_diagonal(&mut self, x: NodeId, k: i64) -> Built {
        let axis = self.rank_of(x).checked_sub(1).ok_or("a scalar is on no diagonal")?;
        let extent = self.extent_of(x, axis)?;
        let far =
            usize::try_from(k.unsigned_abs()).ok().filter(|far| *far < 1 << 20).ok_or("the diagonal is too far off")?;
        let mut edges = vec![(0, 0); axis + 1];
        edges[axis] = (0, far);
        let x = self.padded(x, &edges, PadMode::Constant(0.0))?;
        let mut wide = self.shape_of(x);
        wide.0.push(Dim::fixed(extent + far));
        // Above the diagonal an element's place is its row, below it is its column.
        let other = if k < 0 { axis } else { axis + 1 };
        let spread = self.unreduce(x, &[other], &wide);
        let kept = self.off_diagonal(&wide, axis, axis + 1, BinaryFn::Eq, k);
        let zero = self.lit_like(spread, 0.0);
        Ok(self.select(kept, spread, zero))
    }

    /// The diagonal of two axes, as a new last axis.
    pub(crate) fn diagonal(&mut self, x: NodeId, offset: i64, rows: usize, columns: usize) -> Built {
        if rows == columns {
            return Err(format!("the diagonal of axis {rows} and itself"));
        }
        let order: Vec<usize> =
            (0..self.rank_of(x)).filter(|a| *a != rows && *a != columns).chain([rows, columns]).collect();
        let x = self.permute(x, &order);
        let axis = order.len() - 2;
        let (rows, columns) = (self.extent_of(x, axis)?, self.extent_of(x, axis + 1)?);
        let far = usize::try_from(offset.unsigned_abs()).unwrap_or(usize::MAX);
        let (start, count) = match offset {
            0.. => (far, rows.min(columns.saturating_sub(far))),
            _ => (far.saturating_mul(columns), rows.saturating_sub(far).min(columns)),
        };
        if count == 0 {
            return Err(format!("a matrix of {rows} by {columns} has no diagonal {offset}"));
        }
        let mut dims = self.shape_of(x).0;
        dims.truncate(axis);
        dims.push(Dim::fixed(rows * columns));
        let flat = self.reshape(x, Shape(dims));
        Ok(self.strided(flat, axis, start, columns as isize + 1, count))
    }
}
