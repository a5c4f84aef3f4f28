//! Operations along axes: reductions, other shapes, parts and joins, products.

use serde_json::Value;

use super::elementwise::filled;
use super::{Call, Class};
use crate::import::dtype_called;
use crate::ir::{DType, Dim, NodeId, Op, ReduceFn, Shape, SliceAxis};
use crate::limit::Limit;
use crate::model::config::{Config, excerpt};

type Built = Result<Vec<NodeId>, String>;

pub(super) const CLASSES: &[Class] = &[
    ("Sum", |c| c.reduction(Fold::Of(ReduceFn::Sum))),
    ("Mean", |c| c.reduction(Fold::Mean)),
    ("Var", |c| c.reduction(Fold::Variance)),
    ("Std", |c| {
        let variance = c.reduction(Fold::Variance)?;
        Ok(vec![c.graph.sqrt(variance[0])])
    }),
    ("Max", |c| c.reduction(Fold::Of(ReduceFn::Max))),
    ("Amax", |c| c.reduction(Fold::Of(ReduceFn::Max))),
    ("Min", |c| c.reduction(Fold::Of(ReduceFn::Min))),
    ("Amin", |c| c.reduction(Fold::Of(ReduceFn::Min))),
    ("Any", |c| c.reduction(Fold::Truth(ReduceFn::Max))),
    ("All", |c| c.reduction(Fold::Truth(ReduceFn::Min))),
    ("Reshape", |c| c.reshaped()),
    ("Transpose", |c| {
        let x = c.x()?;
        let rank = c.shape(x).rank();
        let axes: Option<Vec<i64>> = c.value(1, "axes")?;
        let order = match axes {
            Some(axes) => axes.iter().map(|&a| c.axis(a, rank)).collect::<Result<Vec<_>, _>>()?,
            None => (0..rank).rev().collect(),
        };
        c.permuted(x, &order)
    }),
    ("Swapaxes", |c| {
        let x = c.x()?;
        let mut order: Vec<usize> = (0..c.shape(x).rank()).collect();
        let [a, b] = [(1, "axis1"), (2, "axis2")].map(|(place, name)| c.value::<i64>(place, name));
        let (a, b) = (a?.ok_or("`axis1` is missing")?, b?.ok_or("`axis2` is missing")?);
        let (a, b) = (c.axis(a, order.len())?, c.axis(b, order.len())?);
        order.swap(a, b);
        c.permuted(x, &order)
    }),
    ("ExpandDims", |c| {
        let x = c.x()?;
        let mut dims = c.shape(x).0;
        for axis in c.list_of_axes(1, "axis")?.ok_or("`axis` is missing")? {
            let axis = c.axis(axis, dims.len() + 1)?;
            dims.insert(axis, Dim::ONE);
        }
        Ok(vec![c.graph.reshape(x, Shape(dims))])
    }),
    ("Squeeze", |c| {
        let x = c.x()?;
        let shape = c.shape(x);
        let ones = (0..shape.rank()).filter(|&a| shape[a] == Dim::ONE).collect::<Vec<_>>();
        let axes = match c.list_of_axes(1, "axis")? {
            Some(axes) => axes.iter().map(|&a| c.axis(a, shape.rank())).collect::<Result<Vec<_>, _>>()?,
            None => ones.clone(),
        };
        match axes.iter().find(|axis| !ones.contains(axis)) {
            Some(axis) => Err(format!("axis {axis} of {shape} has not the extent 1")),
            None => Ok(vec![c.graph.reshape(x, shape.without(&axes))]),
        }
    }),
    ("Ravel", |c| {
        let x = c.x()?;
        let all = c.shape(x).elements().ok_or("too many elements")?;
        Ok(vec![c.graph.reshape(x, Shape(vec![all]))])
    }),
    ("Concatenate", |c| {
        let xs = c.list(0, "xs")?;
        let rank = c.shape(xs[0]).rank();
        let axis = c.value::<i64>(1, "axis")?.unwrap_or(0);
        let axis = c.axis(axis, rank)?;
        Ok(vec![c.graph.concat(&xs, axis)])
    }),
    ("Stack", |c| {
        let xs = c.list(0, "x")?;
        let mut dims = c.shape(xs[0]).0;
        let axis = c.value::<i64>(1, "axis")?.unwrap_or(0);
        let axis = c.axis(axis, dims.len() + 1)?;
        dims.insert(axis, Dim::ONE);
        let wide: Vec<NodeId> = xs.iter().map(|&x| c.graph.reshape(x, Shape(dims.clone()))).collect();
        Ok(vec![c.graph.concat(&wide, axis)])
    }),
    ("Split", |c| c.split()),
    ("GetItem", |c| c.item()),
    ("Flip", |c| {
        let x = c.x()?;
        let shape = c.shape(x);
        let mut places: Vec<SliceAxis> = shape.iter().map(|&count| SliceAxis { start: 0, step: 1, count }).collect();
        for axis in c.axes(x)? {
            places[axis] = SliceAxis { start: shape[axis].scale.saturating_sub(1), step: -1, count: shape[axis] };
        }
        Ok(vec![c.graph.push(Op::Slice(places), &[x])])
    }),
    ("ZerosLike", |c| c.constant_like(0.0)),
    ("OnesLike", |c| c.constant_like(1.0)),
];

impl Call<'_> {
    /// One number in the shape of the first tensor, and in the element type that is named or that of the tensor.
    fn constant_like(&mut self, value: f64) -> Built {
        let x = self.x()?;
        let dtype = match self.value::<String>(1, "dtype")? {
            Some(name) => dtype_called(&name).ok_or_else(|| format!("`dtype` is {}", excerpt(&name.into())))?,
            None => self.graph.ty(x).dtype,
        };
        let constant = filled(self.graph, x, value);
        Ok(vec![self.graph.cast(constant, dtype)])
    }
}

/// The most parts that a tensor is split into.
const MOST_PIECES: usize = 1 << 10;

/// The number of tensors that a `Split` gives, at least 1.
pub(super) fn pieces(config: &Config) -> usize {
    let count = match config.get("indices_or_sections") {
        Some(Value::Array(places)) => places.len() + 1,
        Some(sections) => sections.as_u64().map_or(1, |n| n as usize),
        None => 1,
    };
    count.clamp(1, MOST_PIECES)
}

/// What becomes of the elements along axes.
enum Fold {
    Of(ReduceFn),
    /// Of what is not zero.
    Truth(ReduceFn),
    Mean,
    Variance,
}

impl Call<'_> {
    /// An argument that is one axis or several.
    pub(super) fn list_of_axes(&self, place: usize, name: &str) -> Result<Option<Vec<i64>>, String> {
        match self.plain(place, name)? {
            None => Ok(None),
            Some(Value::Array(_)) => self.value(place, name),
            Some(_) => Ok(self.value::<i64>(place, name)?.map(|axis| vec![axis])),
        }
    }

    /// The argument `axis` of a reduction, in order and once each: all axes where there is none.
    pub(super) fn axes(&self, x: NodeId) -> Result<Vec<usize>, String> {
        let rank = self.shape(x).rank();
        let Some(axes) = self.list_of_axes(1, "axis")? else { return Ok((0..rank).collect()) };
        let mut axes = axes.iter().map(|&a| self.axis(a, rank)).collect::<Result<Vec<_>, _>>()?;
        axes.sort_unstable();
        axes.dedup();
        Ok(axes)
    }

    /// A reduced tensor, with axes of 1 in the place of those that are gone where `keepdims` says so.
    pub(super) fn kept(&mut self, x: NodeId, y: NodeId, axes: &[usize]) -> Built {
        if !self.flag(2, "keepdims")? {
            return Ok(vec![y]);
        }
        let mut shape = self.shape(x);
        axes.iter().for_each(|&axis| shape.0[axis] = Dim::ONE);
        Ok(vec![self.graph.reshape(y, shape)])
    }

    fn reduction(&mut self, fold: Fold) -> Built {
        let x = self.x()?;
        let axes = self.axes(x)?;
        let y = match fold {
            Fold::Of(f) => {
                let x = if self.ty(x).dtype == DType::Bool { self.graph.cast(x, DType::I32) } else { x };
                self.graph.reduce(f, x, &axes)
            }
            Fold::Truth(f) => {
                let x = self.graph.cast(x, DType::Bool);
                self.graph.reduce(f, x, &axes)
            }
            Fold::Mean => {
                let x = self.real(x);
                self.graph.mean(x, &axes)
            }
            Fold::Variance => {
                let x = self.real(x);
                let shape = self.shape(x);
                let mean = self.graph.mean(x, &axes);
                let mean = self.graph.unreduce(mean, &axes, &shape);
                let distance = self.graph.sub(x, mean);
                let square = self.graph.square(distance);
                self.graph.mean(square, &axes)
            }
        };
        self.kept(x, y, &axes)
    }

    pub(super) fn permuted(&mut self, x: NodeId, order: &[usize]) -> Built {
        Ok(vec![self.graph.permute(x, order)])
    }

    /// Another shape of the same elements: -1 is what remains, null the batch.
    fn reshaped(&mut self) -> Built {
        let x = self.x()?;
        let shape: Vec<Option<i64>> = self.value(1, "newshape")?.ok_or("`newshape` is missing")?;
        let all = self.shape(x).elements().ok_or("too many elements")?;
        let known = |extent: &Option<i64>| match extent {
            None => Ok(Some(Dim::BATCH)),
            Some(-1) => Ok(None),
            Some(n) => usize::try_from(*n).map(|n| Some(Dim::fixed(n))).map_err(|_| format!("an extent is {n}")),
        };
        let dims = shape.iter().map(known).collect::<Result<Vec<_>, _>>()?;
        let product = dims.iter().flatten().try_fold(Dim::ONE, |n, d| n.times(*d)).ok_or("too many elements")?;
        let rest = all.div(product).ok_or_else(|| {
            let extents: Vec<String> = shape.iter().map(|n| n.map_or("batch".to_string(), |n| n.to_string())).collect();
            format!("{} has no shape [{}]", self.shape(x), extents.join(", "))
        })?;
        let dims = dims.into_iter().map(|d| d.unwrap_or(rest)).collect();
        Ok(vec![self.graph.reshape(x, Shape(dims))])
    }

    fn split(&mut self) -> Built {
        let x = self.x()?;
        let shape = self.shape(x);
        let axis = self.axis(self.value::<i64>(2, "axis")?.unwrap_or(0), shape.rank())?;
        let extent = shape[axis].as_fixed().ok_or_else(|| Limit::Operations.says("the batch cannot be split"))?;
        let mut ends: Vec<usize> = match self.plain(1, "indices_or_sections")? {
            Some(Value::Array(_)) => self.value(1, "indices_or_sections")?.unwrap_or_default(),
            _ => match self.value::<usize>(1, "indices_or_sections")? {
                Some(n) if n > 0 && extent.is_multiple_of(n) => (1..n).map(|i| i * (extent / n)).collect(),
                _ => return Err(format!("axis {axis} with {extent} elements has no such parts")),
            },
        };
        ends.push(extent);
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let ranges: Vec<(usize, usize)> = starts.zip(ends.iter().copied()).collect();
        if ranges.iter().any(|(start, end)| start >= end || *end > extent) || ranges.len() > MOST_PIECES {
            return Err(format!("axis {axis} with {extent} elements has no such parts"));
        }
        Ok(ranges.into_iter().map(|(start, end)| self.graph.slice_axis(x, axis, start, end)).collect())
    }

    /// `x[key]`: whole numbers, slices, new axes and one ellipsis.
    fn item(&mut self) -> Built {
        let x = self.x()?;
        let key = self.plain(1, "key")?.ok_or("`key` is missing")?;
        let parts = match key {
            Value::Array(parts) => parts,
            one => vec![one],
        };
        let is = |part: &Value, class: &str| part.get("class_name").and_then(Value::as_str) == Some(class);
        let shape = self.shape(x);
        let taken = parts.iter().filter(|part| !part.is_null() && !is(part, "__ellipsis__")).count();
        let rest = shape.rank().checked_sub(taken).ok_or_else(|| format!("{shape} has fewer axes"))?;
        let whole = |axis: usize| SliceAxis { start: 0, step: 1, count: shape[axis] };
        // The places that are read, and the shape that they get; axes with one place given disappear.
        let (mut places, mut dims): (Vec<SliceAxis>, Vec<Dim>) = (Vec::new(), Vec::new());
        for part in &parts {
            let axis = places.len();
            if part.is_null() {
                dims.push(Dim::ONE);
            } else if is(part, "__ellipsis__") {
                (axis..(axis + rest).min(shape.rank())).for_each(|axis| {
                    places.push(whole(axis));
                    dims.push(shape[axis]);
                });
            } else if let Some(index) = part.as_i64() {
                let extent = shape
                    .get(axis)
                    .and_then(|d| d.as_fixed())
                    .ok_or_else(|| Limit::Operations.says("the batch has no element of its own"))?;
                let index = self.axis(index, extent).map_err(|_| format!("there is no element {index} of {extent}"))?;
                places.push(SliceAxis { start: index, step: 1, count: Dim::ONE });
            } else if is(part, "__slice__") {
                let place = slice(part, *shape.get(axis).ok_or("too many axes")?)?;
                places.push(place);
                dims.push(place.count);
            } else {
                return Err(format!("`key` holds {}", excerpt(part)));
            }
        }
        (places.len()..shape.rank()).for_each(|axis| {
            places.push(whole(axis));
            dims.push(shape[axis]);
        });
        let y = self.graph.part(x, places);
        Ok(vec![self.graph.reshape(y, Shape(dims))])
    }
}

/// The places of a slice `start:stop:step` along an axis.
fn slice(part: &Value, extent: Dim) -> Result<SliceAxis, String> {
    let end = |name: &str| match part.pointer(&format!("/config/{name}")) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_i64().map(Some).ok_or_else(|| format!("a slice has {name} {}", excerpt(value))),
    };
    let (start, stop, step) = (end("start")?, end("stop")?, end("step")?.unwrap_or(1));
    if (start, stop) == (None, None) && (step == 1 || step == -1) {
        let start = if step == 1 { 0 } else { extent.scale.saturating_sub(1) };
        return Ok(SliceAxis { start, step: step as isize, count: extent });
    }
    let n = extent.as_fixed().ok_or_else(|| Limit::Operations.says("the batch cannot be sliced"))? as i64;
    // Python's rule: ends count from the back where they are negative, and are moved into range.
    let (lowest, highest) = if step > 0 { (0, n) } else { (-1, n - 1) };
    let place = |end: Option<i64>, default: i64| {
        end.map_or(default, |e| (if e < 0 { e.saturating_add(n) } else { e }).clamp(lowest, highest))
    };
    let (start, stop) = match step {
        0 => return Err("a slice has step 0".into()),
        1.. => (place(start, 0), place(stop, n)),
        _ => (place(start, n - 1), place(stop, -1)),
    };
    let count = if step > 0 { (stop - start + step - 1) / step } else { (start - stop - step - 1) / -step };
    let step = isize::try_from(step).map_err(|_| "a slice has a step that is too large")?;
    match usize::try_from(count) {
        Ok(count) if count > 0 => Ok(SliceAxis { start: start as usize, step, count: Dim::fixed(count) }),
        _ => Err("a slice of nothing".into()),
    }
}
