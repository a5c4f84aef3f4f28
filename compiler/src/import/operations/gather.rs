//! Elements at indices, and what is added up at them.

use serde_json::Value;

use super::elementwise::Built;
use super::{Call, Class};
use crate::ir::{DType, Dim, NodeId, Op, ReduceFn, Shape};
use crate::limit::Limit;
use crate::model::functions::Fill;

pub(super) const CLASSES: &[Class] = &[
    ("Take", |c| c.take()),
    ("TakeAlongAxis", |c| {
        let (x, indices) = (c.x()?, c.tensor(1, "indices")?);
        match c.plain(2, "axis")? {
            None => {
                let (x, indices) = (c.graph.ravel(x)?, c.graph.ravel(indices)?);
                c.graph.take_along(x, indices, 0, Fill::Missing).map(|y| vec![y])
            }
            Some(_) => {
                let axis = c.axis_at(2, "axis", 0, c.shape(x).rank())?;
                c.graph.take_along(x, indices, axis, Fill::Missing).map(|y| vec![y])
            }
        }
    }),
    ("OneHot", |c| {
        let x = c.x()?;
        let (axis, dtype) = (c.axis_at(2, "axis", -1, c.shape(x).rank() + 1)?, c.result_dtype(3)?);
        let classes = c.classes()?;
        Ok(vec![c.graph.one_hot(x, classes, axis, dtype)])
    }),
    ("MultiHot", |c| {
        let x = c.tensor(0, "inputs")?;
        let rank = c.shape(x).rank();
        let (axis, dtype) = (c.axis_at(2, "axis", -1, rank + 1)?, c.result_dtype(3)?);
        let classes = c.classes()?;
        // The axis that disappears is counted in the tensor that has the classes as well.
        let lost = usize::from(rank > 1);
        if axis <= lost {
            return Err(format!("the classes along axis {axis}"));
        }
        let hot = c.graph.one_hot(x, classes, axis, DType::F32);
        let any = c.graph.reduce(ReduceFn::Max, hot, &[lost]);
        Ok(vec![c.graph.cast(any, dtype)])
    }),
    ("SegmentSum", |c| {
        let (data, segments, count) = c.segments()?;
        Ok(vec![c.graph.segment_sum(data, segments, count)])
    }),
    ("SegmentMax", |c| {
        let (data, segments, count) = c.segments()?;
        Ok(vec![c.graph.segment_extreme(ReduceFn::Max, data, segments, count)])
    }),
    ("SegmentMin", |c| {
        let (data, segments, count) = c.segments()?;
        Ok(vec![c.graph.segment_extreme(ReduceFn::Min, data, segments, count)])
    }),
    ("Scatter", |c| {
        let shape: Vec<usize> = c.numbers(2, "shape")?.ok_or("`shape` is missing")?;
        let (indices, values) = (c.tensor(0, "indices")?, c.tensor(1, "values")?);
        c.scattered(indices, values, &shape).map(|y| vec![y])
    }),
    ("ScatterUpdate", |c| {
        if c.value::<String>(3, "reduction")?.as_deref() != Some("add") {
            return Err(
                "it is supported with the reduction `add`, for which the order of updates does not matter".into()
            );
        }
        let (x, indices) = (c.tensor(0, "inputs")?, c.tensor(1, "indices")?);
        let updates = c.tensor(2, "updates")?;
        let (dtype, shape) = (
            c.ty(x).dtype,
            c.shape(x).as_fixed().ok_or_else(|| Limit::Operations.says("the batch cannot be updated at indices"))?,
        );
        let updates = c.graph.cast(updates, dtype);
        let added = c.scattered(indices, updates, &shape)?;
        Ok(vec![c.graph.add(x, added)])
    }),
    ("UnravelIndex", |c| {
        let shape: Vec<usize> = c.numbers(1, "shape")?.ok_or("`shape` is missing")?;
        let x = c.tensor(0, "indices")?;
        let total = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|n| *n < 1 << 31);
        let total = total.filter(|n| *n > 0).ok_or("the shape has no elements, or too many")?;
        let size = c.graph.lit_like(x, total as f64);
        let zero = c.graph.lit_like(x, 0.0);
        let (negative, from_back) = (c.graph.lt(x, zero), c.graph.add(x, size));
        let x = c.graph.select(negative, from_back, x);
        let x = c.graph.max_s(x, 0.0);
        let x = c.graph.min_s(x, (total - 1) as f64);
        let (mut inner, mut found) = (total, Vec::new());
        for extent in shape {
            inner /= extent;
            let (by, size) = (c.graph.lit_like(x, inner as f64), c.graph.lit_like(x, extent as f64));
            let place = c.graph.div(x, by);
            found.push(c.graph.rem(place, size));
        }
        Ok(found)
    }),
];

impl Call<'_> {
    /// Elements at indices, which may be constants.
    fn take(&mut self) -> Built {
        let x = self.x()?;
        let (x, axis) = match self.plain(2, "axis")? {
            None => (self.graph.ravel(x)?, 0),
            Some(_) => (x, self.axis_at(2, "axis", 0, self.shape(x).rank())?),
        };
        if let Some(constant) = self.constant(1, "indices")?
            && let (Some(extent), Some(indices)) = (self.shape(x)[axis].as_fixed(), constant.whole_numbers())
        {
            let counted = |i: i64| if i < 0 { i.checked_add(extent as i64) } else { Some(i) };
            let places = indices.iter().map(|&i| usize::try_from(counted(i)?).ok().filter(|i| *i < extent));
            if let Some(places) = places.collect::<Option<Vec<usize>>>()
                && !places.is_empty()
            {
                let y = self.graph.pick(x, axis, &places);
                let mut dims = self.shape(y).0;
                dims.splice(axis..axis + 1, constant.shape.iter().map(|&n| Dim::fixed(n)));
                return Ok(vec![self.graph.reshape(y, Shape(dims))]);
            }
        }
        let indices = self.tensor(1, "indices")?;
        if !self.ty(indices).dtype.is_int() {
            return Err(format!("the indices are {}", self.ty(indices).dtype));
        }
        Ok(vec![self.graph.take(x, indices, axis, Fill::Missing)])
    }

    fn classes(&self) -> Result<usize, String> {
        let classes: usize = self.value(1, "num_classes")?.ok_or("`num_classes` is missing")?;
        self.without(4, "sparse")?;
        match classes {
            1..=0xff_ffff => Ok(classes),
            _ => Err(format!("{classes} classes")),
        }
    }

    /// The element type of the result, by default `f32`.
    fn result_dtype(&self, place: usize) -> Result<DType, String> {
        match self.plain(place, "dtype")? {
            Some(Value::String(name)) => self.dtype(&name),
            _ => Ok(DType::F32),
        }
    }

    /// Data, the segment of each row, and the number of segments.
    fn segments(&mut self) -> Result<(NodeId, NodeId, usize), String> {
        let count: usize = self.value(2, "num_segments")?.ok_or("it needs `num_segments`")?;
        let (data, segments) = (self.tensor(0, "data")?, self.tensor(1, "segment_ids")?);
        if !(1..=1 << 20).contains(&count) {
            return Err(format!("{count} segments"));
        }
        if self.shape(segments).rank() != 1 || self.shape(data).first() != self.shape(segments).first() {
            return Err("each row of the first axis has a segment".into());
        }
        Ok((data, segments, count))
    }

    /// One index for each of the first axes of a shape as one index of all of them: `[..., axes]` becomes `[...]`.
    fn row_major(&mut self, indices: NodeId, outer: &[usize]) -> Result<NodeId, String> {
        let indices = self.graph.cast(indices, DType::I32);
        let axis = self.shape(indices).rank().checked_sub(1).ok_or("the indices are a scalar")?;
        if self.shape(indices)[axis] != Dim::fixed(outer.len()) {
            return Err(format!("indices of {} for {} axes", self.shape(indices), outer.len()));
        }
        let mut flat: Option<NodeId> = None;
        for (i, &extent) in outer.iter().enumerate() {
            let part = self.graph.slice_axis(indices, axis, i, i + 1);
            let part = self.graph.squeeze(part, axis);
            flat = Some(match flat {
                None => part,
                Some(flat) => {
                    let scaled = self.graph.mul_s(flat, extent as f64);
                    self.graph.add(scaled, part)
                }
            });
        }
        flat.ok_or_else(|| "the indices name no axis".into())
    }

    /// A tensor of zeros with `values` added at indices `[..., axes]`, each one for one of the first axes.
    pub(super) fn scattered(&mut self, indices: NodeId, values: NodeId, shape: &[usize]) -> Result<NodeId, String> {
        let depth = self.shape(indices).last().and_then(|d| d.as_fixed()).filter(|d| (1..=shape.len()).contains(d));
        let depth = depth.ok_or_else(|| format!("indices of {}", self.shape(indices)))?;
        let flat = self.row_major(indices, &shape[..depth])?;
        let outer = shape[..depth].iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|n| *n < 1 << 31);
        let outer = outer.ok_or("the shape has too many elements")?;
        let merged = Shape(std::iter::once(outer).chain(shape[depth..].iter().copied()).map(Dim::fixed).collect());
        let y = self.graph.push(Op::ScatterAdd { axis: 0, batch: 0, shape: merged }, &[flat, values]);
        Ok(self.graph.reshape(y, Shape::fixed(shape)))
    }
}
