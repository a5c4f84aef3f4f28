//! Reductions that are more than one of the graph's: products, quantiles, norms, what leaves NaN out.

use serde_json::Value;

use super::elementwise::Built;
use super::{Call, Class};
use crate::ir::{DType, Graph, NodeId, ReduceFn};
use crate::limit::Limit;
use crate::model::functions::{Method, Order};

pub(super) const CLASSES: &[Class] = &[
    ("Prod", |c| {
        let x = c.number_x()?;
        c.reduced(x, Graph::product)
    }),
    ("Logsumexp", |c| {
        let x = c.real_x()?;
        c.reduced(x, |g, x, axes| {
            let x = g.joined(x, axes)?;
            Ok(g.log_sum_exp(x, g.rank_of(x) - 1))
        })
    }),
    ("Argmax", |c| c.arg_extreme(false)),
    ("Argmin", |c| c.arg_extreme(true)),
    ("Nanargmax", |c| c.arg_extreme_of_numbers(false)),
    ("Nanargmin", |c| c.arg_extreme_of_numbers(true)),
    ("CountNonzero", |c| {
        let x = c.x()?;
        let axes = c.axes(x)?;
        let x = c.graph.cast(x, DType::Bool);
        let x = c.graph.cast(x, DType::I32);
        Ok(vec![c.graph.sum(x, &axes)])
    }),
    ("Ptp", |c| {
        let x = c.number_x()?;
        c.reduced(x, |g, x, axes| {
            let (high, low) = (g.reduce(ReduceFn::Max, x, axes), g.reduce(ReduceFn::Min, x, axes));
            Ok(g.sub(high, low))
        })
    }),
    ("Average", |c| c.average()),
    ("Median", |c| {
        let x = c.real_x()?;
        c.reduced(x, Graph::median)
    }),
    ("Nanmedian", |c| {
        let x = c.real_x()?;
        c.reduced(x, |g, x, axes| g.quantile(x, 0.5, axes, Method::Linear, true))
    }),
    ("Quantile", |c| c.quantile(1.0, false)),
    ("Percentile", |c| c.quantile(100.0, false)),
    ("Nanquantile", |c| c.quantile(1.0, true)),
    ("Nanpercentile", |c| c.quantile(100.0, true)),
    ("Nansum", |c| {
        let x = c.without_nan(0.0)?;
        c.reduced(x, |g, x, axes| Ok(g.sum(x, axes)))
    }),
    ("Nanprod", |c| {
        let x = c.without_nan(1.0)?;
        c.reduced(x, Graph::product)
    }),
    ("Nanmax", |c| c.extreme_of_numbers(ReduceFn::Max)),
    ("Nanmin", |c| c.extreme_of_numbers(ReduceFn::Min)),
    ("Nanmean", |c| {
        let x = c.real_x()?;
        c.reduced(x, |g, x, axes| Ok(g.mean_of_numbers(x, axes)))
    }),
    ("Nanvar", |c| {
        let x = c.real_x()?;
        c.reduced(x, |g, x, axes| Ok(g.variance_of_numbers(x, axes)))
    }),
    ("Nanstd", |c| {
        let x = c.real_x()?;
        c.reduced(x, |g, x, axes| {
            let variance = g.variance_of_numbers(x, axes);
            Ok(g.sqrt(variance))
        })
    }),
    ("Norm", |c| c.norm()),
    ("Moments", |c| {
        c.without(2, "synchronized")?;
        let x = c.real_x()?;
        let axes: Vec<i64> = c.numbers(1, "axes")?.ok_or("`axes` is missing")?;
        let rank = c.shape(x).rank();
        let mut axes = axes.iter().map(|&a| c.axis(a, rank)).collect::<Result<Vec<_>, _>>()?;
        axes.sort_unstable();
        axes.dedup();
        let (mean, variance) = c.graph.mean_and_variance(x, &axes);
        let (mut mean, mut variance) = (c.kept(x, mean, &axes)?, c.kept(x, variance, &axes)?);
        mean.append(&mut variance);
        Ok(mean)
    }),
    ("Histogram", |c| {
        let x = c.real_x()?;
        let bins: usize = c.value(1, "bins")?.unwrap_or(10);
        let range: Option<(f64, f64)> = c.value(2, "range")?;
        const MOST: usize = 1 << 12;
        if !(1..=MOST).contains(&bins) || range.is_some_and(|(low, high)| !(low <= high && (high - low).is_finite())) {
            return Err(Limit::Sorting.says(format!("{bins} bins in that range")));
        }
        c.graph.histogram(x, bins, range).map(Vec::from)
    }),
];

impl Call<'_> {
    /// The first tensor, with numbers in the place of truths.
    pub(super) fn number_x(&mut self) -> Result<NodeId, String> {
        let x = self.x()?;
        Ok(if self.ty(x).dtype == DType::Bool { self.graph.cast(x, DType::I32) } else { x })
    }

    /// A reduction along the argument `axis`.
    fn reduced(&mut self, x: NodeId, f: impl FnOnce(&mut Graph, NodeId, &[usize]) -> Result<NodeId, String>) -> Built {
        let axes = self.axes(x)?;
        let y = f(self.graph, x, &axes)?;
        self.kept(x, y, &axes)
    }

    /// The first tensor with a number in the place of NaN.
    pub(super) fn without_nan(&mut self, value: f64) -> Result<NodeId, String> {
        let x = self.number_x()?;
        if !self.ty(x).dtype.is_float() {
            return Ok(x);
        }
        let (nan, value) = (self.graph.is_nan(x), self.graph.lit_like(x, value));
        Ok(self.graph.select(nan, value, x))
    }

    fn extreme_of_numbers(&mut self, f: ReduceFn) -> Built {
        let x = self.number_x()?;
        let dtype = self.ty(x).dtype;
        if !dtype.is_float() {
            return self.reduced(x, |g, x, axes| Ok(g.reduce(f, x, axes)));
        }
        self.reduced(x, |g, x, axes| {
            let (nan, none) = (g.is_nan(x), g.lit_like(x, f.neutral(dtype)));
            let rest = g.select(nan, none, x);
            let y = g.reduce(f, rest, axes);
            let only = g.cast(nan, DType::U8);
            let only = g.reduce(ReduceFn::Min, only, axes);
            let only = g.cast(only, DType::Bool);
            let missing = g.lit_like(y, f64::NAN);
            Ok(g.select(only, missing, y))
        })
    }

    /// The place of the largest or smallest element: along one axis, or among all elements.
    fn arg_extreme(&mut self, smallest: bool) -> Built {
        let x = self.number_x()?;
        self.arg_extreme_of(x, smallest)
    }

    fn arg_extreme_of_numbers(&mut self, smallest: bool) -> Built {
        let x = self.number_x()?;
        if !self.ty(x).dtype.is_float() {
            return self.arg_extreme_of(x, smallest);
        }
        let nan = self.graph.is_nan(x);
        let none = self.graph.lit_like(x, if smallest { f64::INFINITY } else { f64::NEG_INFINITY });
        let rest = self.graph.select(nan, none, x);
        let place = self.arg_extreme_of(rest, smallest)?[0];
        // -1 where there is no number at all.
        let axes = self.axes(x)?;
        let only = self.graph.cast(nan, DType::U8);
        let only = self.graph.reduce(ReduceFn::Min, only, &axes);
        let only = self.graph.cast(only, DType::Bool);
        let only = self.kept(x, only, &axes)?[0];
        let nowhere = self.graph.lit_like(place, -1.0);
        Ok(vec![self.graph.select(only, nowhere, place)])
    }

    fn arg_extreme_of(&mut self, x: NodeId, smallest: bool) -> Built {
        let axes = self.axes(x)?;
        let flat = self.graph.joined(x, &axes)?;
        let last = self.graph.rank_of(flat) - 1;
        if self.plain(1, "axis")?.is_none() && axes.len() > 1 || axes.len() == 1 {
            // The order of numbers is turned around, but not by negating the lowest integer.
            let flat = match (smallest, self.ty(x).dtype.is_float()) {
                (false, _) => flat,
                (true, true) => self.graph.neg(flat),
                (true, false) => self.graph.not(flat),
            };
            let y = self.graph.argmax(flat, last);
            return self.kept(x, y, &axes);
        }
        Err("it is supported along one axis, or along all".into())
    }

    fn average(&mut self) -> Built {
        let x = self.real_x()?;
        let axes = self.axes(x)?;
        let Some(weights) = self.optional(1, "weights")? else { return Ok(vec![self.graph.mean(x, &axes)]) };
        let weights = self.real(weights);
        let shape = self.shape(x);
        let weights = match (self.shape(weights).rank(), &axes[..]) {
            (1, [axis]) if shape.rank() != 1 => self.graph.broadcast(weights, &[*axis], shape),
            _ => self.graph.broadcast_to(weights, &shape),
        };
        let weighted = self.graph.mul(x, weights);
        let (sum, total) = (self.graph.sum(weighted, &axes), self.graph.sum(weights, &axes));
        Ok(vec![self.graph.div(sum, total)])
    }

    /// Quantiles at one place or at several, which make a new first axis.
    fn quantile(&mut self, whole: f64, leave_out: bool) -> Built {
        let x = self.real_x()?;
        let axes = match self.list_of_axes(2, "axis")? {
            None => (0..self.shape(x).rank()).collect(),
            Some(_) => {
                let named = self.list_of_axes(2, "axis")?.unwrap_or_default();
                let rank = self.shape(x).rank();
                let mut axes = named.iter().map(|&a| self.axis(a, rank)).collect::<Result<Vec<_>, _>>()?;
                axes.sort_unstable();
                axes.dedup();
                axes
            }
        };
        let name: String = self.value(3, "method")?.unwrap_or_else(|| "linear".into());
        let method = Method::parse(&name).ok_or_else(|| format!("the method `{}`", name.escape_debug()))?;
        if self.operation.class.0 == "Quantile" && method != Method::Linear {
            let why = "Keras itself passes over `method` of this operation; `percentile` honours it";
            return Err(Limit::Operations.says(why));
        }
        let q = self.constant(1, "q")?.ok_or("`q` is a tensor, which is not supported")?;
        if q.shape.len() > 1 || q.values.is_empty() || q.values.len() > 1 << 10 {
            return Err("`q` is no number and no list of numbers".into());
        }
        if let Some(wrong) = q.values.iter().find(|q| !(0.0..=whole).contains(*q)) {
            return Err(format!("the quantile {wrong} is not from 0 to {whole}"));
        }
        let mut found = Vec::new();
        let ranks: Vec<f64> = q.values.iter().map(|value| value / whole).collect();
        for y in self.graph.quantiles(x, &ranks, &axes, method, leave_out)? {
            found.push(self.kept_as(4, x, y, &axes)?);
        }
        match q.shape.is_empty() {
            true => Ok(found),
            false => Ok(vec![self.graph.stacked(&found, 0)]),
        }
    }

    /// A reduced tensor with axes of 1 where the flag `keepdims` says so.
    fn kept_as(&mut self, place: usize, x: NodeId, y: NodeId, axes: &[usize]) -> Result<NodeId, String> {
        if !self.flag(place, "keepdims")? {
            return Ok(y);
        }
        let mut shape = self.shape(x);
        axes.iter().for_each(|&axis| shape.0[axis] = crate::ir::Dim::ONE);
        Ok(self.graph.reshape(y, shape))
    }

    fn norm(&mut self) -> Built {
        let x = self.real_x()?;
        let rank = self.shape(x).rank();
        let order = match self.plain(1, "ord")? {
            None => None,
            Some(Value::String(name)) if name == "fro" => Some(Order::Frobenius),
            Some(value) => match value.as_f64().or_else(|| float_called(value.as_str()?)) {
                Some(order) => Some(Order::Number(order)),
                None => return Err(Limit::LinearAlgebra.says(format!("the norm {value}"))),
            },
        };
        let named: Option<Vec<i64>> = self.list_of_axes(2, "axis")?;
        let axes: Vec<usize> = match &named {
            Some(axes) => axes.iter().map(|&a| self.axis(a, rank)).collect::<Result<_, _>>()?,
            None => (0..rank).collect(),
        };
        let mut sorted = axes.clone();
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.len() != axes.len() {
            return Err("an axis is named twice".into());
        }
        let y = match (order, &axes[..]) {
            (None, _) => self.graph.vector_norm(x, 2.0, &sorted),
            (Some(Order::Number(order)), [_]) => self.graph.vector_norm(x, order, &sorted),
            (Some(order), [rows, columns]) => self.graph.matrix_norm(x, order, *rows, *columns)?,
            _ => return Err("a norm with an order is along one axis or two".into()),
        };
        self.kept_as(3, x, y, &sorted).map(|y| vec![y])
    }
}

/// An infinity by its name.
fn float_called(name: &str) -> Option<f64> {
    Some(match name {
        "inf" | "Infinity" => f64::INFINITY,
        "-inf" | "-Infinity" => f64::NEG_INFINITY,
        _ => return None,
    })
}
