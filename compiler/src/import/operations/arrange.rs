//! Elements in other places: edges, tiles, rolls, diagonals, joins and parts.

use serde_json::Value;

use super::elementwise::Built;
use super::{Call, Class};
use crate::ir::scalar::BinaryFn;
use crate::ir::{DType, Dim, NodeId, Op, Shape, SliceAxis};
use crate::limit::Limit;
use crate::model::functions::{Edge, PadMode};

pub(super) const CLASSES: &[Class] = &[
    ("Pad", |c| c.pad()),
    ("Tile", |c| {
        let x = c.x()?;
        let repeats: Vec<usize> = c.numbers(1, "repeats")?.ok_or("`repeats` is missing")?;
        c.graph.tiled(x, &repeats).map(|y| vec![y])
    }),
    ("Repeat", |c| c.repeat()),
    ("Roll", |c| c.roll()),
    ("Moveaxis", |c| {
        let x = c.x()?;
        let rank = c.shape(x).rank();
        let mut places = [Vec::new(), Vec::new()];
        for (found, (place, name)) in places.iter_mut().zip([(1, "source"), (2, "destination")]) {
            let axes: Vec<i64> = c.numbers(place, name)?.ok_or_else(|| format!("`{name}` is missing"))?;
            *found = axes.iter().map(|&a| c.axis(a, rank)).collect::<Result<Vec<usize>, _>>()?;
        }
        let [from, to] = places;
        let mut pairs: Vec<(usize, usize)> = to.iter().copied().zip(from.iter().copied()).collect();
        if from.len() != to.len() {
            return Err("as many axes are to be moved as there are places for them".into());
        }
        pairs.sort_unstable();
        let mut order: Vec<usize> = (0..rank).filter(|a| !from.contains(a)).collect();
        pairs.iter().for_each(|&(to, from)| order.insert(to.min(order.len()), from));
        c.permuted(x, &order)
    }),
    ("BroadcastTo", |c| {
        let x = c.x()?;
        let shape: Vec<Option<i64>> = c.value(1, "shape")?.ok_or("`shape` is missing")?;
        let own = c.shape(x);
        let lead = shape.len().checked_sub(own.rank()).ok_or_else(|| format!("{own} has more axes"))?;
        let extent = |(i, extent): (usize, &Option<i64>)| match extent {
            // -1 and null leave an extent as it is.
            None | Some(-1) => i.checked_sub(lead).map(|i| own[i]).ok_or("an extent is open".to_string()),
            Some(_) if i.checked_sub(lead).is_some_and(|i| own[i].as_fixed().is_none()) => {
                Err(Limit::Operations.says("it gives the batch an extent"))
            }
            Some(n) => usize::try_from(*n).map(Dim::fixed).map_err(|_| format!("an extent is {n}")),
        };
        let shape = shape.iter().enumerate().map(extent).collect::<Result<Vec<Dim>, String>>()?;
        Ok(vec![c.graph.broadcast_to(x, &Shape(shape))])
    }),
    ("Unstack", |c| {
        let x = c.x()?;
        let axis = c.axis_at(2, "axis", 0, c.shape(x).rank())?;
        let extent = c.graph.extent_of(x, axis)?;
        if c.value::<usize>(1, "num")?.is_some_and(|n| n != extent) || extent > MOST_PARTS {
            return Err(format!("axis {axis} has {extent} elements"));
        }
        let part = |i: usize| {
            let part = c.graph.slice_axis(x, axis, i, i + 1);
            c.graph.squeeze(part, axis)
        };
        Ok((0..extent).map(part).collect())
    }),
    ("Hstack", |c| {
        let xs = c.at_least(1)?;
        let axis = usize::from(c.shape(xs[0]).rank() > 1);
        Ok(vec![c.graph.concat(&xs, axis)])
    }),
    ("Vstack", |c| {
        let xs = c.at_least(2)?;
        Ok(vec![c.graph.concat(&xs, 0)])
    }),
    ("Dstack", |c| {
        let xs = c.at_least(3)?;
        Ok(vec![c.graph.concat(&xs, 2)])
    }),
    ("Append", |c| {
        let [a, b] = c.pair([(0, "x1"), (1, "x2")], false)?;
        match c.plain(2, "axis")? {
            None => {
                let (a, b) = (c.graph.ravel(a)?, c.graph.ravel(b)?);
                Ok(vec![c.graph.concat(&[a, b], 0)])
            }
            Some(_) => {
                let axis = c.axis_at(2, "axis", 0, c.shape(a).rank())?;
                Ok(vec![c.graph.concat(&[a, b], axis)])
            }
        }
    }),
    ("ArraySplit", |c| {
        let axis = c.axis_at(2, "axis", 0, c.shape(c.first()?).rank())?;
        c.parts(axis, true)
    }),
    ("Hsplit", |c| {
        let axis = usize::from(c.shape(c.first()?).rank() > 1);
        c.parts(axis, false)
    }),
    ("Vsplit", |c| c.parts(0, false)),
    ("Dsplit", |c| c.parts(2, false)),
    ("Flip", |c| {
        let x = c.x()?;
        let axes = c.axes(x)?;
        Ok(vec![c.graph.reversed(x, &axes)])
    }),
    ("Flipud", |c| c.mirrored(0)),
    ("Fliplr", |c| c.mirrored(1)),
    ("Rot90", |c| c.turned()),
    ("Tril", |c| {
        let (x, k) = (c.x()?, c.value(1, "k")?.unwrap_or(0));
        c.graph.triangle(x, BinaryFn::Le, k).map(|y| vec![y])
    }),
    ("Triu", |c| {
        let (x, k) = (c.x()?, c.value(1, "k")?.unwrap_or(0));
        c.graph.triangle(x, BinaryFn::Ge, k).map(|y| vec![y])
    }),
    ("Diag", |c| {
        let (x, k) = (c.x()?, c.value(1, "k")?.unwrap_or(0));
        match c.shape(x).rank() {
            1 => c.graph.on_diagonal(x, k).map(|y| vec![y]),
            2 => c.graph.diagonal(x, k, 0, 1).map(|y| vec![y]),
            _ => Err(format!("{} is neither a row nor a matrix", c.shape(x))),
        }
    }),
    ("Diagflat", |c| {
        let (x, k) = (c.x()?, c.value(1, "k")?.unwrap_or(0));
        let x = c.graph.ravel(x)?;
        c.graph.on_diagonal(x, k).map(|y| vec![y])
    }),
    ("Diagonal", |c| c.diagonal().map(|y| vec![y])),
    ("Trace", |c| {
        let y = c.diagonal()?;
        let last = c.shape(y).rank() - 1;
        let y = if c.ty(y).dtype == DType::Bool { c.graph.cast(y, DType::I32) } else { y };
        Ok(vec![c.graph.sum(y, &[last])])
    }),
    ("Meshgrid", |c| c.grid()),
    ("Slice", |c| {
        let x = c.tensor(0, "inputs")?;
        let starts: Vec<i64> = c.numbers(1, "start_indices")?.ok_or("`start_indices` is missing")?;
        let counts: Vec<Option<i64>> = c.value(2, "shape")?.ok_or("`shape` is missing")?;
        let shape = c.shape(x);
        if starts.len() != shape.rank() || counts.len() != shape.rank() {
            return Err(format!("{shape} has {} axes", shape.rank()));
        }
        let places = shape.iter().zip(starts.iter().zip(&counts)).map(|(&extent, (&start, count))| {
            let (Some(n), Some(count)) = (extent.as_fixed(), count) else {
                let whole = start == 0 && count.is_none_or(|n| n == -1);
                return whole
                    .then_some(SliceAxis { start: 0, step: 1, count: extent })
                    .ok_or_else(|| Limit::Operations.says("it takes a part of the batch"));
            };
            // As JAX does, a part that would reach beyond the end begins earlier.
            let start = if start < 0 { start.saturating_add(n as i64) } else { start };
            let rest = (n as i64).saturating_sub(start);
            let count = if *count == -1 { rest } else { *count };
            let count = usize::try_from(count).ok().filter(|count| (1..=n).contains(count)).ok_or("no such part");
            let count = count.map_err(String::from)?;
            let start = start.clamp(0, (n - count) as i64) as usize;
            Ok(SliceAxis { start, step: 1, count: Dim::fixed(count) })
        });
        let places = places.collect::<Result<Vec<SliceAxis>, String>>()?;
        Ok(vec![c.graph.push(Op::Slice(places), &[x])])
    }),
    ("SliceUpdate", |c| {
        let (x, part) = (c.tensor(0, "inputs")?, c.tensor(2, "updates")?);
        let starts: Vec<i64> = c.numbers(1, "start_indices")?.ok_or("`start_indices` is missing")?;
        let (shape, inner) = (c.shape(x), c.shape(part));
        if starts.len() != shape.rank() || inner.rank() != shape.rank() {
            return Err(format!("{shape} has {} axes", shape.rank()));
        }
        let mut edges: Vec<Edge> = Vec::new();
        for ((&extent, &count), &start) in shape.iter().zip(inner.iter()).zip(&starts) {
            let (Some(n), Some(count)) = (extent.as_fixed(), count.as_fixed()) else {
                if extent != count || start != 0 {
                    return Err(Limit::Operations.says("it takes a part of the batch"));
                }
                edges.push((0, 0));
                continue;
            };
            let room = n.checked_sub(count).ok_or_else(|| format!("{inner} is larger than {shape}"))?;
            let start = start.clamp(0, room as i64) as usize;
            edges.push((start, room - start));
        }
        let dtype = c.ty(x).dtype;
        let part = c.graph.cast(part, dtype);
        let ones = c.graph.lit_like(part, 1.0);
        let ones = c.graph.cast(ones, DType::Bool);
        let inside = c.graph.padded(ones, &edges, PadMode::Constant(0.0))?;
        let part = c.graph.padded(part, &edges, PadMode::Constant(0.0))?;
        Ok(vec![c.graph.select(inside, part, x)])
    }),
    ("Diff", |c| {
        let x = c.tensor(0, "a")?;
        let n: usize = c.value(1, "n")?.unwrap_or(1);
        let axis = c.axis_at(2, "axis", -1, c.shape(x).rank())?;
        c.graph.difference(x, n, axis).map(|y| vec![y])
    }),
    ("Cumsum", |c| {
        let x = c.number_x()?;
        c.running(x, BinaryFn::Add, 0.0)
    }),
    ("Cumprod", |c| {
        let x = c.number_x()?;
        c.running(x, BinaryFn::Mul, 1.0)
    }),
    ("Nancumsum", |c| {
        let x = c.without_nan(0.0)?;
        c.running(x, BinaryFn::Add, 0.0)
    }),
    ("Nancumprod", |c| {
        let x = c.without_nan(1.0)?;
        c.running(x, BinaryFn::Mul, 1.0)
    }),
    ("Trapezoid", |c| c.trapezoid()),
    ("Vander", |c| {
        let x = c.number_x()?;
        let n: usize = c.value(1, "N")?.ok_or("it needs `N`")?;
        if c.shape(x).rank() != 1 || !(1..=MOST_PARTS).contains(&n) {
            return Err(format!("{} with {n} powers", c.shape(x)));
        }
        let mut powers = vec![c.graph.lit_like(x, 1.0)];
        for i in 1..n {
            powers.push(c.graph.mul(powers[i - 1], x));
        }
        if !c.flag(2, "increasing")? {
            powers.reverse();
        }
        Ok(vec![c.graph.stacked(&powers, 1)])
    }),
];

/// The most tensors that one is taken apart into.
const MOST_PARTS: usize = 1 << 10;

impl Call<'_> {
    /// The first tensor, without making a constant of it.
    fn first(&self) -> Result<NodeId, String> {
        self.tensors.first().copied().ok_or_else(|| "it is given no tensor".into())
    }

    fn pad(&mut self) -> Built {
        let x = self.x()?;
        let rank = self.shape(x).rank();
        let pair = |value: &Value| -> Option<Edge> {
            let end = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
            match value {
                Value::Array(ends) => match &ends[..] {
                    [both] => Some((end(both)?, end(both)?)),
                    [low, high] => Some((end(low)?, end(high)?)),
                    _ => None,
                },
                both => Some((end(both)?, end(both)?)),
            }
        };
        let width = self.plain(1, "pad_width")?.ok_or("`pad_width` is missing")?;
        // One number, one pair, or a pair for each axis.
        let edges: Option<Vec<Edge>> = match &width {
            Value::Array(pairs) if pairs.iter().any(Value::is_array) && pairs.len() != 1 => {
                pairs.iter().map(pair).collect()
            }
            Value::Array(pairs) if pairs.len() == 1 && rank != 1 => Some(vec![pair(&pairs[0]).unwrap_or((0, 0)); rank]),
            Value::Array(pairs) if pairs.iter().any(Value::is_array) => pairs.iter().map(pair).collect(),
            one => pair(one).map(|edge| vec![edge; rank]),
        };
        let edges = edges.filter(|edges| edges.len() == rank).ok_or_else(|| format!("`pad_width` is {width}"))?;
        let name: String = self.value(2, "mode")?.unwrap_or_else(|| "constant".into());
        let value: f64 = match self.constant(1, "constant_values")? {
            Some(constant) if name == "constant" && constant.values.len() == 1 => constant.values[0],
            Some(_) if name == "constant" => return Err("`constant_values` is not one number".into()),
            _ => 0.0,
        };
        let mode = PadMode::parse(&name, value).ok_or_else(|| format!("the mode `{}`", name.escape_debug()))?;
        self.graph.padded(x, &edges, mode).map(|y| vec![y])
    }

    fn repeat(&mut self) -> Built {
        let x = self.x()?;
        let repeats: Vec<usize> = self.numbers(1, "repeats")?.ok_or("`repeats` is missing")?;
        let (x, axis) = match self.plain(2, "axis")? {
            None => (self.graph.ravel(x)?, 0),
            Some(_) => (x, self.axis_at(2, "axis", 0, self.shape(x).rank())?),
        };
        if let [n] = repeats[..] {
            return self.graph.repeated(x, n, axis).map(|y| vec![y]);
        }
        let extent = self.graph.extent_of(x, axis)?;
        let total = repeats.iter().try_fold(0usize, |n, &r| n.checked_add(r)).filter(|n| *n <= 1 << 24);
        if extent != repeats.len() || total.is_none_or(|n| n == 0) {
            return Err(format!("{} repeats of {extent} elements", repeats.len()));
        }
        let places: Vec<usize> = repeats.iter().enumerate().flat_map(|(i, &n)| std::iter::repeat_n(i, n)).collect();
        Ok(vec![self.graph.pick(x, axis, &places)])
    }

    fn roll(&mut self) -> Built {
        let mut x = self.x()?;
        let shifts: Vec<i64> = self.numbers(1, "shift")?.ok_or("`shift` is missing")?;
        let shape = self.shape(x);
        let Some(axes) = self.list_of_axes(2, "axis")? else {
            let flat = self.graph.ravel(x)?;
            let y = self.graph.rolled(flat, shifts.iter().fold(0, |n, s| n.saturating_add(*s)), 0)?;
            return Ok(vec![self.graph.reshape(y, shape)]);
        };
        for (i, &axis) in axes.iter().enumerate() {
            let axis = self.axis(axis, shape.rank())?;
            let shift = if let [one] = shifts[..] { Some(one) } else { shifts.get(i).copied() };
            x = self.graph.rolled(x, shift.ok_or("as many shifts as axes")?, axis)?;
        }
        Ok(vec![x])
    }

    /// A list of tensors with a number of axes at least: a row becomes a matrix of one row, a matrix a stack of
    /// columns.
    fn at_least(&mut self, rank: usize) -> Built {
        let xs = self.list(0, "xs")?;
        let lifted = |x: NodeId| {
            let mut dims = self.shape(x).0;
            while dims.len() < rank.min(2) {
                dims.insert(0, Dim::ONE);
            }
            if dims.len() < rank {
                dims.push(Dim::ONE);
            }
            self.graph.reshape(x, Shape(dims))
        };
        Ok(xs.into_iter().map(lifted).collect())
    }

    /// Parts of an axis: so many, of which the first ones may be larger by one, or those between some places.
    fn parts(&mut self, axis: usize, uneven: bool) -> Built {
        let x = self.x()?;
        if axis >= self.shape(x).rank() {
            return Err(format!("{} has no axis {axis}", self.shape(x)));
        }
        let extent = self.graph.extent_of(x, axis)?;
        let ends: Vec<usize> = match self.plain(1, "indices_or_sections")? {
            Some(Value::Array(_)) => {
                let inner: Vec<usize> = self.value(1, "indices_or_sections")?.unwrap_or_default();
                inner.into_iter().chain([extent]).collect()
            }
            _ => match self.value::<usize>(1, "indices_or_sections")? {
                Some(n) if n > 0 && n <= MOST_PARTS && (uneven || extent.is_multiple_of(n)) => {
                    (1..=n).map(|i| i * (extent / n) + i.min(extent % n)).collect()
                }
                _ => return Err(format!("axis {axis} with {extent} elements has no such parts")),
            },
        };
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let ranges: Vec<(usize, usize)> = starts.zip(ends.iter().copied()).collect();
        if ranges.iter().any(|(start, end)| start >= end || *end > extent) || ranges.len() > MOST_PARTS {
            return Err(format!("axis {axis} with {extent} elements has no such parts"));
        }
        Ok(ranges.into_iter().map(|(start, end)| self.graph.slice_axis(x, axis, start, end)).collect())
    }

    fn mirrored(&mut self, axis: usize) -> Built {
        let x = self.x()?;
        match axis < self.shape(x).rank() {
            true => Ok(vec![self.graph.reversed(x, &[axis])]),
            false => Err(format!("{} has no axis {axis}", self.shape(x))),
        }
    }

    /// Quarter turns of the plane of two axes.
    fn turned(&mut self) -> Built {
        let x = self.tensor(0, "array")?;
        let rank = self.shape(x).rank();
        let axes: Vec<i64> = self.numbers(2, "axes")?.unwrap_or_else(|| vec![0, 1]);
        let [a, b] = axes[..] else { return Err("it turns two axes".into()) };
        let (a, b) = (self.axis(a, rank)?, self.axis(b, rank)?);
        if a == b {
            return Err("it turns two axes".into());
        }
        let mut order: Vec<usize> = (0..rank).collect();
        order.swap(a, b);
        Ok(vec![match self.value::<i64>(1, "k")?.unwrap_or(1).rem_euclid(4) {
            0 => x,
            2 => self.graph.reversed(x, &[a, b]),
            1 => {
                let x = self.graph.reversed(x, &[b]);
                self.graph.permute(x, &order)
            }
            _ => {
                let x = self.graph.permute(x, &order);
                self.graph.reversed(x, &[b])
            }
        }])
    }

    fn diagonal(&mut self) -> Result<NodeId, String> {
        let x = self.x()?;
        let rank = self.shape(x).rank();
        let offset = self.value(1, "offset")?.unwrap_or(0);
        let (rows, columns) = (self.axis_at(2, "axis1", 0, rank)?, self.axis_at(3, "axis2", 1, rank)?);
        self.graph.diagonal(x, offset, rows, columns)
    }

    /// Rows of coordinates as a grid: each along its own axis, repeated along the others.
    fn grid(&mut self) -> Built {
        let indexing: String = self.value(usize::MAX, "indexing")?.unwrap_or_else(|| "xy".into());
        let count = self.operation.positional.len();
        let rows = (0..count).map(|i| {
            let x = self.tensor(i, "x")?;
            self.graph.ravel(x)
        });
        let rows = rows.collect::<Result<Vec<NodeId>, String>>()?;
        let place = |i: usize| if indexing == "xy" && count > 1 && i < 2 { 1 - i } else { i };
        let mut dims = vec![Dim::ONE; count];
        for (i, &x) in rows.iter().enumerate() {
            dims[place(i)] = self.shape(x)[0];
        }
        let spread = |(i, &x): (usize, &NodeId)| self.graph.broadcast(x, &[place(i)], Shape(dims.clone()));
        Ok(rows.iter().enumerate().map(spread).collect())
    }

    /// A running function along the argument `axis`, or of all elements.
    fn running(&mut self, x: NodeId, f: BinaryFn, neutral: f64) -> Built {
        let x = match self.value::<String>(2, "dtype")? {
            Some(name) => {
                let to = self.dtype(&name)?;
                self.graph.cast(x, to)
            }
            None => x,
        };
        let (x, axis) = match self.plain(1, "axis")? {
            None => (self.graph.ravel(x)?, 0),
            Some(_) => (x, self.axis_at(1, "axis", 0, self.shape(x).rank())?),
        };
        self.graph.running(f, x, axis, neutral).map(|y| vec![y])
    }

    /// The integral of straight lines between points.
    fn trapezoid(&mut self) -> Built {
        let y = self.tensor(0, "y")?;
        let y = self.real(y);
        let shape = self.shape(y);
        let axis = self.axis_at(3, "axis", -1, shape.rank())?;
        let extent = self.graph.extent_of(y, axis)?;
        if extent < 2 {
            return Err(format!("{extent} points have nothing between them"));
        }
        let (left, right) = (self.graph.slice_axis(y, axis, 0, extent - 1), self.graph.slice_axis(y, axis, 1, extent));
        let sum = self.graph.add(left, right);
        let steps = match self.optional(1, "x")? {
            None => {
                let dx: f64 = self.value(2, "dx")?.unwrap_or(1.0);
                self.graph.lit_like(sum, dx)
            }
            Some(x) => {
                let x = self.real(x);
                let x = match self.shape(x).rank() {
                    1 => self.graph.broadcast(x, &[axis], shape.clone()),
                    _ => self.graph.broadcast_to(x, &shape),
                };
                self.graph.difference(x, 1, axis)?
            }
        };
        let area = self.graph.mul(sum, steps);
        let area = self.graph.sum(area, &[axis]);
        Ok(vec![self.graph.mul_s(area, 0.5)])
    }
}
