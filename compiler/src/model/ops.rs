//! Expressions over tensors: arithmetic, functions and reductions, for losses and entry points of one's own.
//!
//! Operands stretch as in NumPy: trailing axes are aligned, and an extent of 1 meets any other. Axes count the batch
//! as 0, or from the back as negative numbers.

use std::ops::RangeInclusive;

use super::layer::{BuildCx, Layer, LayerDef, resolve_axis};
use super::merge::{common_shape, stretch};
use super::tensor::Tensor;
use super::{CallCx, IntoLayer, tensor};
use crate::diag::{Code, Problem};
use crate::ir::scalar::{BinaryFn, UnaryFn};
use crate::ir::{DType, NodeId, Number, Op, ReduceFn, Shape};

/// One operation on tensors as a layer without weights.
#[derive(Clone, Debug)]
pub(crate) enum Expression {
    Unary(UnaryFn),
    Binary(BinaryFn),
    /// With a number on the right.
    With(BinaryFn, Number),
    /// With a number on the left.
    From(BinaryFn, Number),
    Reduce(ReduceFn, Axes),
    Mean(Axes),
    Cast(DType),
    /// Elements `start..end` of an axis.
    Slice {
        axis: isize,
        start: usize,
        end: usize,
    },
}

/// The axes of a reduction.
#[derive(Clone, Debug)]
pub(crate) enum Axes {
    All,
    Some(Vec<isize>),
}

impl Axes {
    /// The axes of a shape, in order and once each.
    fn resolve(&self, kind: &str, shape: &Shape) -> Result<Vec<usize>, Problem> {
        let mut axes = match self {
            Axes::All => (0..shape.rank()).collect(),
            Axes::Some(axes) => axes.iter().map(|&a| resolve_axis(kind, a, shape)).collect::<Result<Vec<_>, _>>()?,
        };
        axes.sort_unstable();
        match axes.windows(2).find(|w| w[0] == w[1]) {
            None => Ok(axes),
            Some(w) => Err(Problem::new(Code::Axis, format!("{kind} over axis {} twice", w[0]))),
        }
    }
}

impl LayerDef for Expression {
    fn kind(&self) -> &'static str {
        match self {
            Expression::Unary(f) => f.row().name,
            Expression::Binary(f) | Expression::With(f, _) | Expression::From(f, _) => f.row().name,
            Expression::Reduce(f, _) => f.name(),
            Expression::Mean(_) => "mean",
            Expression::Cast(_) => "cast",
            Expression::Slice { .. } => "slice",
        }
    }

    fn arity(&self) -> RangeInclusive<usize> {
        if matches!(self, Expression::Binary(_)) { 2..=2 } else { 1..=1 }
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        let (kind, ty) = (self.kind(), cx.input());
        let takes = |accepts: bool| match accepts {
            true => Ok(()),
            false => Err(Problem::new(Code::DType, format!("`{kind}` does not take {}", ty.dtype))),
        };
        match self {
            Expression::Unary(f) => takes(f.row().takes.accepts(ty.dtype)),
            Expression::Binary(f) => {
                takes(f.row().takes.accepts(ty.dtype))?;
                common_shape(kind, cx.inputs()).map(drop)
            }
            Expression::With(f, number) | Expression::From(f, number) => {
                takes(f.row().takes.accepts(ty.dtype))?;
                let x = number.0;
                let whole = x.fract() == 0.0 && ty.dtype.wrap(x as i64) as f64 == x;
                match ty.dtype.is_float() || whole {
                    true => Ok(()),
                    false => {
                        Err(Problem::new(Code::DType, format!("`{kind}` of {} with {x}, which is none", ty.dtype))
                            .help("convert the tensor first: `x.cast(F32)`"))
                    }
                }
            }
            Expression::Reduce(_, axes) => {
                takes(!matches!(ty.dtype, DType::Bool))?;
                axes.resolve(kind, &ty.shape).map(drop)
            }
            Expression::Mean(axes) => {
                takes(ty.dtype.is_float())?;
                axes.resolve(kind, &ty.shape).map(drop)
            }
            Expression::Cast(_) => Ok(()),
            Expression::Slice { axis, start, end } => {
                let axis = cx.axis(*axis)?;
                match ty.shape[axis].as_fixed() {
                    Some(n) if start < end && *end <= n => Ok(()),
                    Some(n) => Err(Problem::shape(format!("{start}..{end} of axis {axis}, which has {n} elements"))),
                    None => Err(Problem::new(Code::Axis, "the batch cannot be sliced")),
                }
            }
        }
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let kind = self.kind();
        let ty = cx.ty(x[0]).clone();
        vec![match self {
            Expression::Unary(f) => cx.push(Op::Unary(*f), x),
            Expression::Binary(f) => {
                let types = [ty, cx.ty(x[1]).clone()];
                let shape = common_shape(kind, &types).unwrap_or_else(|p| cx.fault(p.message));
                let (a, b) = (stretch(cx, x[0], &shape), stretch(cx, x[1], &shape));
                cx.push(Op::Binary(*f), &[a, b])
            }
            Expression::With(f, number) => {
                let number = cx.lit_like(x[0], number.0);
                cx.push(Op::Binary(*f), &[x[0], number])
            }
            Expression::From(f, number) => {
                let number = cx.lit_like(x[0], number.0);
                cx.push(Op::Binary(*f), &[number, x[0]])
            }
            Expression::Reduce(f, axes) => {
                let axes = axes.resolve(kind, &ty.shape).unwrap_or_else(|p| cx.fault(p.message));
                cx.reduce(*f, x[0], &axes)
            }
            Expression::Mean(axes) => {
                let axes = axes.resolve(kind, &ty.shape).unwrap_or_else(|p| cx.fault(p.message));
                cx.mean(x[0], &axes)
            }
            Expression::Cast(to) => cx.cast(x[0], *to),
            Expression::Slice { axis, start, end } => {
                let axis = resolve_axis(kind, *axis, &ty.shape).unwrap_or_else(|p| cx.fault(p.message));
                cx.slice_axis(x[0], axis, *start, *end)
            }
        }]
    }
}

#[track_caller]
fn express(expression: Expression, xs: &[&Tensor]) -> Tensor {
    tensor::apply(&Layer::new(expression).into_layer(), xs).swap_remove(0)
}

macro_rules! functions {
    ($($name:ident $f:ident $doc:literal;)+) => {
        impl Tensor { $(
            #[doc = $doc]
            #[track_caller]
            pub fn $name(&self) -> Tensor {
                express(Expression::Unary(UnaryFn::$f), &[self])
            }
        )+ }
    };
}

functions! {
    abs Abs "The absolute value, element by element.";
    square Square "The square, element by element.";
    sqrt Sqrt "The square root, element by element.";
    exp Exp "The exponential function, element by element.";
    log Log "The natural logarithm, element by element.";
    sin Sin "The sine, element by element.";
    cos Cos "The cosine, element by element.";
    tan Tan "The tangent, element by element.";
    tanh Tanh "The hyperbolic tangent, element by element.";
    sigmoid Sigmoid "The logistic function, element by element.";
    stop_gradient StopGradient "The same values, through which no gradient goes.";
}

macro_rules! reductions {
    ($($name:ident $all:ident $make:expr, $doc:literal;)+) => {
        impl Tensor { $(
            #[doc = concat!($doc, " along some axes, which disappear.")]
            #[track_caller]
            pub fn $name(&self, axes: &[isize]) -> Tensor {
                let make: fn(Axes) -> Expression = $make;
                express(make(Axes::Some(axes.to_vec())), &[self])
            }

            #[doc = concat!($doc, " of all elements of the batch, a scalar.")]
            #[track_caller]
            pub fn $all(&self) -> Tensor {
                let make: fn(Axes) -> Expression = $make;
                express(make(Axes::All), &[self])
            }
        )+ }
    };
}

reductions! {
    sum sum_all |axes| Expression::Reduce(ReduceFn::Sum, axes), "The sum";
    mean mean_all Expression::Mean, "The mean";
    max max_all |axes| Expression::Reduce(ReduceFn::Max, axes), "The largest element";
    min min_all |axes| Expression::Reduce(ReduceFn::Min, axes), "The smallest element";
}

impl Tensor {
    /// Elements `start..end` along an axis.
    #[track_caller]
    pub fn slice(&self, axis: isize, start: usize, end: usize) -> Tensor {
        express(Expression::Slice { axis, start, end }, &[self])
    }

    /// Conversion to another element type.
    #[track_caller]
    pub fn cast(&self, to: DType) -> Tensor {
        express(Expression::Cast(to), &[self])
    }

    /// The larger element of two tensors.
    #[track_caller]
    pub fn maximum(&self, other: &Tensor) -> Tensor {
        express(Expression::Binary(BinaryFn::Max), &[self, other])
    }

    /// The smaller element of two tensors.
    #[track_caller]
    pub fn minimum(&self, other: &Tensor) -> Tensor {
        express(Expression::Binary(BinaryFn::Min), &[self, other])
    }
}

macro_rules! operators {
    ($($operator:ident $method:ident $f:ident;)+) => { $(
        impl std::ops::$operator<&Tensor> for &Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: &Tensor) -> Tensor {
                express(Expression::Binary(BinaryFn::$f), &[self, other])
            }
        }

        impl std::ops::$operator<Tensor> for Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: Tensor) -> Tensor {
                std::ops::$operator::$method(&self, &other)
            }
        }

        impl std::ops::$operator<&Tensor> for Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: &Tensor) -> Tensor {
                std::ops::$operator::$method(&self, other)
            }
        }

        impl std::ops::$operator<Tensor> for &Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: Tensor) -> Tensor {
                std::ops::$operator::$method(self, &other)
            }
        }

        impl std::ops::$operator<f64> for &Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, number: f64) -> Tensor {
                express(Expression::With(BinaryFn::$f, Number(number)), &[self])
            }
        }

        impl std::ops::$operator<f64> for Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, number: f64) -> Tensor {
                std::ops::$operator::$method(&self, number)
            }
        }

        impl std::ops::$operator<&Tensor> for f64 {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, tensor: &Tensor) -> Tensor {
                express(Expression::From(BinaryFn::$f, Number(self)), &[tensor])
            }
        }

        impl std::ops::$operator<Tensor> for f64 {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, tensor: Tensor) -> Tensor {
                std::ops::$operator::$method(self, &tensor)
            }
        }
    )+ };
}

operators! {
    Add add Add;
    Sub sub Sub;
    Mul mul Mul;
    Div div Div;
}

impl std::ops::Neg for &Tensor {
    type Output = Tensor;
    #[track_caller]
    fn neg(self) -> Tensor {
        express(Expression::Unary(UnaryFn::Neg), &[self])
    }
}

impl std::ops::Neg for Tensor {
    type Output = Tensor;
    #[track_caller]
    fn neg(self) -> Tensor {
        -&self
    }
}
