//! Quantiles, through sorting.

use super::Built;
use crate::ir::{DType, Dim, Graph, NodeId, ReduceFn, Shape, TensorType};

/// What lies between two elements. The names are NumPy's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Method {
    Linear,
    Lower,
    Higher,
    Nearest,
    Midpoint,
}

impl Method {
    pub(crate) fn parse(name: &str) -> Option<Method> {
        Some(match name {
            "linear" => Method::Linear,
            "lower" => Method::Lower,
            "higher" => Method::Higher,
            "nearest" => Method::Nearest,
            "midpoint" => Method::Midpoint,
            _ => return None,
        })
    }
}

impl Graph {
    pub(crate) fn median(&mut self, x: NodeId, axes: &[usize]) -> Built {
        self.quantile(x, 0.5, axes, Method::Linear, false)
    }

    /// The element of rank `q`, from 0 to 1, along axes, which disappear. A row with a NaN gives NaN, unless they are
    /// left out.
    pub(crate) fn quantile(&mut self, x: NodeId, q: f64, axes: &[usize], method: Method, leave_out: bool) -> Built {
        self.quantiles(x, &[q], axes, method, leave_out).map(|found| found[0])
    }

    /// [`Graph::quantile`] at several ranks.
    pub(crate) fn quantiles(
        &mut self,
        x: NodeId,
        ranks: &[f64],
        axes: &[usize],
        method: Method,
        leave_out: bool,
    ) -> Built<Vec<NodeId>> {
        let shape = self.shape_of(x);
        let kept: Vec<usize> = (0..shape.rank()).filter(|a| !axes.contains(a)).collect();
        let order: Vec<usize> = kept.iter().chain(axes).copied().collect();
        let mut extent = 1;
        for &axis in axes {
            extent *= self.extent_of(x, axis)?;
        }
        if extent == 0 {
            return Err("there is no quantile of nothing".into());
        }
        let x = self.permute(x, &order);
        let mut dims: Vec<Dim> = kept.iter().map(|&a| shape[a]).collect();
        dims.push(Dim::fixed(extent));
        let x = self.reshape(x, Shape(dims));
        let axis = kept.len();
        let sorted = self.sort(x, axis)?;
        let nan = self.is_nan(x);
        if leave_out {
            let number = self.not(nan);
            let count = self.cast(number, DType::F32);
            let count = self.sum(count, &[axis]);
            return ranks.iter().map(|&q| self.quantile_of_counted(sorted, count, q, method)).collect();
        }
        let any = self.reduce(ReduceFn::Max, nan, &[axis]);
        let found = ranks.iter().map(|&q| {
            let y = self.sorted_at(sorted, q * (extent - 1) as f64, method);
            let missing = self.lit_like(y, f64::NAN);
            self.select(any, missing, y)
        });
        Ok(found.collect())
    }

    /// What a sorted last axis has at a place that may lie between two elements.
    fn sorted_at(&mut self, sorted: NodeId, at: f64, method: Method) -> NodeId {
        let axis = self.rank_of(sorted) - 1;
        let extent = self.ty(sorted).shape[axis].scale;
        let element = |g: &mut Graph, i: f64| {
            let i = (i.max(0.0) as usize).min(extent - 1);
            let y = g.slice_axis(sorted, axis, i, i + 1);
            g.squeeze(y, axis)
        };
        match method {
            Method::Lower => element(self, at.floor()),
            Method::Higher => element(self, at.ceil()),
            Method::Nearest => element(self, at.round_ties_even()),
            Method::Linear | Method::Midpoint if at.fract() == 0.0 => element(self, at),
            Method::Linear | Method::Midpoint => {
                let share = if method == Method::Midpoint { 0.5 } else { at.fract() };
                let (low, high) = (element(self, at.floor()), element(self, at.ceil()));
                let (low, high) = (self.mul_s(low, 1.0 - share), self.mul_s(high, share));
                self.add(low, high)
            }
        }
    }

    /// The same where only the first `count` elements of each sorted row count.
    fn quantile_of_counted(&mut self, sorted: NodeId, count: NodeId, q: f64, method: Method) -> Built {
        let axis = self.rank_of(sorted) - 1;
        let last = self.add_s(count, -1.0);
        let at = self.mul_s(last, q);
        let element = |g: &mut Graph, i: NodeId| -> Built {
            let i = g.max_s(i, 0.0);
            let i = g.cast(i, DType::I32);
            let i = g.expand(i, axis);
            let y = g.take_along(sorted, i, axis, super::Fill::Nearest)?;
            Ok(g.squeeze(y, axis))
        };
        let (low, high) = (self.floor(at), self.ceil(at));
        let y = match method {
            Method::Lower => element(self, low)?,
            Method::Higher => element(self, high)?,
            Method::Nearest => {
                let near = self.round(at);
                element(self, near)?
            }
            Method::Linear | Method::Midpoint => {
                let share = if method == Method::Midpoint {
                    let rise = self.sub(high, low);
                    self.mul_s(rise, 0.5)
                } else {
                    self.sub(at, low)
                };
                let (below, above) = (element(self, low)?, element(self, high)?);
                let rest = self.s_sub(1.0, share);
                let (below, above) = (self.mul(below, rest), self.mul(above, share));
                self.add(below, above)
            }
        };
        let ty: TensorType = self.ty(count).clone();
        let zero = self.splat_of(0.0, ty);
        let none = self.eq(count, zero);
        let missing = self.lit_like(y, f64::NAN);
        Ok(self.select(none, missing, y))
    }
}
