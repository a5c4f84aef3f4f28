//! Functions of numbers that are compositions, predicates of numbers, and operations on bits.

use serde_json::Value;

use super::elementwise::Built;
use super::{Call, Class};
use crate::ir::scalar::{BinaryFn, UnaryFn};
use crate::ir::{DType, Graph, NodeId, Op};
use crate::model::Activation;

pub(super) const CLASSES: &[Class] = &[
    ("Abs", |c| c.of_number(UnaryFn::Abs)),
    ("Fabs", |c| c.of_real(UnaryFn::Abs)),
    ("Arctan", |c| c.of_real(UnaryFn::Atan)),
    ("Erfinv", |c| c.of_real(UnaryFn::Erfinv)),
    ("Arcsin", |c| c.real_function(Graph::asin)),
    ("Arccos", |c| c.real_function(Graph::acos)),
    ("Sinh", |c| c.real_function(Graph::sinh)),
    ("Cosh", |c| c.real_function(Graph::cosh)),
    ("Arcsinh", |c| c.real_function(Graph::asinh)),
    ("Arccosh", |c| c.real_function(Graph::acosh)),
    ("Arctanh", |c| c.real_function(Graph::atanh)),
    ("Exp2", |c| c.real_function(Graph::exp2)),
    ("Cbrt", |c| c.real_function(Graph::cbrt)),
    ("Sinc", |c| c.real_function(Graph::sinc)),
    ("Deg2rad", |c| c.real_function(|g, x| g.mul_s(x, std::f64::consts::PI / 180.0))),
    ("Rad2deg", |c| c.real_function(|g, x| g.mul_s(x, 180.0 / std::f64::consts::PI))),
    ("Erfc", |c| {
        c.real_function(|g, x| {
            let y = g.erf(x);
            g.s_sub(1.0, y)
        })
    }),
    // The angle of a real number as a complex one.
    ("Angle", |c| {
        c.real_function(|g, x| {
            let zero = g.lit_like(x, 0.0);
            let (negative, nan) = (g.lt(x, zero), g.is_nan(x));
            let half = g.lit_like(x, std::f64::consts::PI);
            let angle = g.select(negative, half, zero);
            g.select(nan, x, angle)
        })
    }),
    ("Conjugate", |c| c.x().map(|x| vec![x])),
    ("Conj", |c| c.x().map(|x| vec![x])),
    ("Real", |c| c.x().map(|x| vec![x])),
    ("Imag", |c| {
        let x = c.x()?;
        Ok(vec![c.graph.lit_like(x, 0.0)])
    }),
    ("Copy", |c| c.x().map(|x| vec![x])),
    ("Array", |c| c.converted(1, "dtype")),
    ("ConvertToTensor", |c| {
        c.without(2, "sparse")?;
        c.without(3, "ragged")?;
        c.converted(1, "dtype")
    }),
    ("SaturateCast", |c| c.saturated()),
    ("Round", |c| {
        let decimals: i32 = c.value(1, "decimals")?.unwrap_or(0);
        let x = c.x()?;
        let dtype = c.ty(x).dtype;
        match (dtype.is_float(), decimals) {
            (false, 0..) => Ok(vec![x]),
            _ => {
                let x = c.real(x);
                let y = c.graph.rounded(x, decimals.clamp(-38, 38));
                Ok(vec![c.graph.cast(y, dtype)])
            }
        }
    }),
    ("Threshold", |c| {
        let (threshold, value) = (c.number(1, "threshold")?, c.number(2, "default_value")?);
        let x = c.number_x()?;
        let (bound, value) = (c.graph.lit_like(x, threshold), c.graph.lit_like(x, value));
        let above = c.graph.gt(x, bound);
        Ok(vec![c.graph.select(above, x, value)])
    }),
    ("Glu", |c| {
        let x = c.real_x()?;
        let axis = c.axis_at(1, "axis", -1, c.shape(x).rank())?;
        let extent = c.graph.extent_of(x, axis)?;
        if !extent.is_multiple_of(2) {
            return Err(format!("{extent} elements have no two halves"));
        }
        let (a, b) = (c.graph.slice_axis(x, axis, 0, extent / 2), c.graph.slice_axis(x, axis, extent / 2, extent));
        let gate = c.graph.sigmoid(b);
        Ok(vec![c.graph.mul(a, gate)])
    }),
    ("Sparsemax", |c| {
        let x = c.real_x()?;
        let axis = c.axis_at(1, "axis", -1, c.shape(x).rank())?;
        let x = c.graph.axis_to_last(x, axis);
        let y = Activation::Sparsemax.on(c.graph, x);
        Ok(vec![c.graph.axis_from_last(y, axis)])
    }),
    ("Arctan2", |c| c.of_pair(true, Graph::atan2)),
    ("Hypot", |c| c.of_pair(true, Graph::hypot)),
    ("Logaddexp", |c| c.of_pair(true, Graph::log_add_exp)),
    ("Logaddexp2", |c| {
        c.of_pair(true, |g, a, b| {
            let (a, b) = (g.mul_s(a, std::f64::consts::LN_2), g.mul_s(b, std::f64::consts::LN_2));
            let sum = g.log_add_exp(a, b);
            g.mul_s(sum, std::f64::consts::LOG2_E)
        })
    }),
    ("Heaviside", |c| c.of_pair(true, Graph::heaviside)),
    ("DivideNoNan", |c| c.of_pair(true, Graph::div_no_nan)),
    ("FloorDivide", |c| c.of_pair(false, Graph::floor_div)),
    ("Mod", |c| c.of_pair(false, Graph::modulo)),
    ("Fmod", |c| c.of_pair(false, Graph::rem)),
    ("Fmax", |c| c.of_numbers(Graph::max)),
    ("Fmin", |c| c.of_numbers(Graph::min)),
    ("Ldexp", |c| {
        let (x, n) = (c.tensor(0, "x1")?, c.tensor(1, "x2")?);
        if !c.ty(n).dtype.is_int() {
            return Err("the exponent is no integer".into());
        }
        let (x, n) = (c.real(x), c.real(n));
        let [x, n] = c.stretched([x, n])?;
        let power = c.graph.exp2(n);
        Ok(vec![c.graph.mul(x, power)])
    }),
    ("Isclose", |c| {
        let (rtol, atol) = (c.value(2, "rtol")?.unwrap_or(1e-5), c.value(3, "atol")?.unwrap_or(1e-8));
        c.close(rtol, atol).map(|y| vec![y])
    }),
    ("AllClose", |c| {
        let y = c.close(c.value(2, "rtol")?.unwrap_or(1e-5), c.value(3, "atol")?.unwrap_or(1e-8))?;
        let axes: Vec<usize> = (0..c.shape(y).rank()).collect();
        Ok(vec![c.graph.reduce(crate::ir::ReduceFn::Min, y, &axes)])
    }),
    ("Isfinite", |c| c.real_function(Graph::is_finite)),
    ("Isinf", |c| c.real_function(Graph::is_infinite)),
    ("Isposinf", |c| c.real_function(|g, x| equal(g, x, f64::INFINITY))),
    ("Isneginf", |c| c.real_function(|g, x| equal(g, x, f64::NEG_INFINITY))),
    ("Isreal", |c| {
        let x = c.x()?;
        let ty = crate::ir::TensorType::new(DType::Bool, c.shape(x));
        Ok(vec![c.graph.splat_of(1.0, ty)])
    }),
    ("Signbit", |c| {
        let x = c.number_x()?;
        c.graph.sign_bit(x).map(|y| vec![y])
    }),
    ("NanToNum", |c| {
        let x = c.x()?;
        if !c.ty(x).dtype.is_float() {
            return Ok(vec![x]);
        }
        let nan = c.value(1, "nan")?.unwrap_or(0.0);
        let high = c.value(2, "posinf")?.unwrap_or(f32::MAX as f64);
        let low = c.value(3, "neginf")?.unwrap_or(f32::MIN as f64);
        Ok(vec![c.graph.nan_to_num(x, nan, high, low)])
    }),
    ("BitwiseAnd", |c| c.of_bits(BinaryFn::And)),
    ("BitwiseOr", |c| c.of_bits(BinaryFn::Or)),
    ("BitwiseXor", |c| c.of_bits(BinaryFn::Xor)),
    ("BitwiseNot", |c| c.complement()),
    ("BitwiseInvert", |c| c.complement()),
    ("BitwiseLeftShift", |c| c.shift(Graph::shifted_left)),
    ("LeftShift", |c| c.shift(Graph::shifted_left)),
    ("BitwiseRightShift", |c| c.shift(Graph::shifted_right)),
    ("RightShift", |c| c.shift(Graph::shifted_right)),
    ("FullLike", |c| {
        let (x, value) = (c.x()?, c.tensor(1, "fill_value")?);
        let dtype = match c.value::<String>(2, "dtype")? {
            Some(name) => c.dtype(&name)?,
            None => c.ty(x).dtype,
        };
        let shape = c.shape(x);
        let value = c.graph.cast(value, dtype);
        Ok(vec![c.graph.broadcast_to(value, &shape)])
    }),
    ("EmptyLike", |c| {
        let x = c.x()?;
        Ok(vec![c.graph.lit_like(x, 0.0)])
    }),
    ("Full", |c| {
        let shape: Vec<usize> = c.numbers(1, "shape")?.ok_or("`shape` is missing")?;
        let value = c.tensor(0, "fill_value")?;
        Ok(vec![c.graph.broadcast_to(value, &crate::ir::Shape::fixed(&shape))])
    }),
    ("Linspace", |c| c.spaced(|_, x| x, |_, x, _| x)),
    ("Logspace", |c| {
        let base: f64 = c.value(4, "base")?.unwrap_or(10.0);
        if base.is_nan() || base <= 0.0 {
            return Err(format!("the base {base}"));
        }
        c.spaced(
            |_, x| x,
            |g, x, _| {
                let base = g.lit_like(x, base);
                g.pow(base, x)
            },
        )
    }),
    ("Geomspace", |c| c.spaced(Graph::log, |g, x, _| g.exp(x))),
];

fn equal(g: &mut Graph, x: NodeId, value: f64) -> NodeId {
    let value = g.lit_like(x, value);
    g.eq(x, value)
}

impl Call<'_> {
    fn real_function(&mut self, f: impl FnOnce(&mut Graph, NodeId) -> NodeId) -> Built {
        let x = self.real_x()?;
        Ok(vec![f(self.graph, x)])
    }

    /// A function of two tensors in one type and one shape.
    fn of_pair(&mut self, real: bool, f: impl FnOnce(&mut Graph, NodeId, NodeId) -> NodeId) -> Built {
        let pair = self.pair([(0, "x1"), (1, "x2")], real)?;
        let [a, b] = self.stretched(pair)?;
        Ok(vec![f(self.graph, a, b)])
    }

    /// The same where a NaN gives way to a number.
    fn of_numbers(&mut self, f: impl FnOnce(&mut Graph, NodeId, NodeId) -> NodeId) -> Built {
        self.of_pair(false, |g, a, b| {
            if !g.ty(a).dtype.is_float() {
                return f(g, a, b);
            }
            let (no_a, no_b) = (g.is_nan(a), g.is_nan(b));
            let (left, right) = (g.select(no_a, b, a), g.select(no_b, a, b));
            f(g, left, right)
        })
    }

    fn close(&mut self, rtol: f64, atol: f64) -> Result<NodeId, String> {
        let equal_nan = self.flag(4, "equal_nan")?;
        let pair = self.pair([(0, "x1"), (1, "x2")], true)?;
        let [a, b] = self.stretched(pair)?;
        Ok(self.graph.is_close(a, b, rtol, atol, equal_nan))
    }

    /// The element type with a name.
    pub(super) fn dtype(&self, name: &str) -> Result<DType, String> {
        let found = crate::import::dtype_called(name);
        found.ok_or_else(|| format!("tensors of type `{}` do not exist", name.escape_debug()))
    }

    fn converted(&mut self, place: usize, name: &str) -> Built {
        let x = self.x()?;
        let Some(to) = self.value::<String>(place, name)? else { return Ok(vec![x]) };
        let to = self.dtype(&to)?;
        Ok(vec![self.graph.cast(x, to)])
    }

    fn saturated(&mut self) -> Built {
        let name: String = self.value(1, "dtype")?.ok_or("`dtype` is missing")?;
        let (x, to) = (self.number_x()?, self.dtype(&name)?);
        let from = self.ty(x).dtype;
        if to.is_float() || to == DType::Bool {
            return Ok(vec![self.graph.cast(x, to)]);
        }
        use crate::ir::ReduceFn::{Max, Min};
        let (low, high) = (Max.neutral(to), Min.neutral(to));
        let bounds = (low.max(Max.neutral(from)), high.min(Min.neutral(from)));
        let x = self.graph.max_s(x, bounds.0);
        let x = self.graph.min_s(x, bounds.1);
        Ok(vec![self.graph.cast(x, to)])
    }

    fn of_bits(&mut self, f: BinaryFn) -> Built {
        let pair = self.pair([(0, "x"), (1, "y")], false)?;
        let [a, b] = self.stretched(pair)?;
        Ok(vec![self.graph.push(Op::Binary(f), &[a, b])])
    }

    fn complement(&mut self) -> Built {
        let x = self.x()?;
        Ok(vec![self.graph.not(x)])
    }

    fn shift(&mut self, f: impl FnOnce(&mut Graph, NodeId, NodeId) -> NodeId) -> Built {
        let pair = self.pair([(0, "x"), (1, "y")], false)?;
        let [a, b] = self.stretched(pair)?;
        match self.ty(a).dtype {
            DType::I32 | DType::U32 | DType::U8 => Ok(vec![f(self.graph, a, b)]),
            dtype => Err(format!("a shift of {dtype}")),
        }
    }

    /// Numbers from `start` to `stop` in equal steps of what `from` makes of the ends, each given to `to`.
    fn spaced(
        &mut self,
        from: impl Fn(&mut Graph, NodeId) -> NodeId,
        to: impl Fn(&mut Graph, NodeId, DType) -> NodeId,
    ) -> Built {
        self.without(4, "retstep")?;
        let [start, stop] = self.pair([(0, "start"), (1, "stop")], true)?;
        let [start, stop] = self.stretched([start, stop])?;
        let count: usize = self.value(2, "num")?.unwrap_or(50);
        let with_end: bool = self.value(3, "endpoint")?.unwrap_or(true);
        if count > 1 << 20 {
            return Err(format!("{count} numbers"));
        }
        let (start, stop) = (from(self.graph, start), from(self.graph, stop));
        let line = self.graph.line(start, stop, count, with_end)?;
        let axis = self.axis_at(6, "axis", 0, self.shape(line).rank())?;
        let dtype = self.ty(line).dtype;
        let line = to(self.graph, line, dtype);
        let order: Vec<usize> = {
            let mut order: Vec<usize> = (1..self.shape(line).rank()).collect();
            order.insert(axis, 0);
            order
        };
        let line = self.graph.permute(line, &order);
        match self.plain(5, "dtype")? {
            Some(Value::String(name)) => {
                let to = self.dtype(&name)?;
                Ok(vec![self.graph.cast(line, to)])
            }
            _ => Ok(vec![line]),
        }
    }
}
