//! Products of two tensors, item by item.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::CallCx;
use super::layer::{BuildCx, Layer, LayerDef, resolve_axis};
use super::norm::unit;
use super::setters::setters;
use crate::diag::{Code, Problem};
use crate::ir::{NodeId, Shape, TensorType};

/// Multiplies two items along an axis of each and sums: items `[..a, n, ..b]` and `[..c, n, ..d]` give
/// `[..a, ..b, ..c, ..d]`, two vectors give `[1]`.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Dot {
    axes: DotAxes,
    normalize: bool,
}

/// An axis of each operand, counted with the batch as 0 or from the back; one number serves both.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum DotAxes {
    Both(isize),
    Each([isize; 2]),
}

impl Default for DotAxes {
    fn default() -> DotAxes {
        DotAxes::Both(-1)
    }
}

impl From<isize> for DotAxes {
    fn from(axis: isize) -> DotAxes {
        DotAxes::Both(axis)
    }
}

impl From<(isize, isize)> for DotAxes {
    fn from((left, right): (isize, isize)) -> DotAxes {
        DotAxes::Each([left, right])
    }
}

impl Dot {
    pub fn new(axes: impl Into<DotAxes>) -> Layer<Dot> {
        Layer::new(Dot { axes: axes.into(), normalize: false })
    }

    fn resolve(&self, left: &Shape, right: &Shape) -> Result<(usize, usize), Problem> {
        let (a, b) = match self.axes {
            DotAxes::Both(axis) => (axis, axis),
            DotAxes::Each([a, b]) => (a, b),
        };
        Ok((resolve_axis("Dot", a, left)?, resolve_axis("Dot", b, right)?))
    }
}

impl Layer<Dot> {
    setters! {
        /// Whether both operands are scaled to length 1 along their axes first, so that the result is a cosine.
        normalize: bool;
    }
}

impl LayerDef for Dot {
    fn kind(&self) -> &'static str {
        "Dot"
    }

    fn arity(&self) -> RangeInclusive<usize> {
        2..=2
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        cx.float()?;
        let [x, y] = cx.inputs() else { return Ok(()) };
        let (a, b) = self.resolve(&x.shape, &y.shape)?;
        if x.shape[a].batch || y.shape[b].batch {
            return Err(Problem::new(Code::Axis, format!("Dot of {x} and {y} along the batch"))
                .help("name the axis to multiply along, usually -1"));
        }
        let batched = |ty: &TensorType| ty.shape[0].batch;
        match x.shape[a] == y.shape[b] && batched(x) && batched(y) {
            true => Ok(()),
            false => Err(Problem::shape(format!("Dot along axis {a} of {x} and axis {b} of {y}"))
                .help("both axes must have the same extent")),
        }
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let axes = self.resolve(&cx.ty(x[0]).shape, &cx.ty(x[1]).shape);
        let (a, b) = axes.unwrap_or_else(|p| cx.fault(p.message));
        let (mut left, mut right) = (x[0], x[1]);
        if self.normalize {
            (left, right) = (unit(cx, left, &[a], 1e-7), unit(cx, right, &[b], 1e-7));
        }
        let y = cx.contract(left, right, &[(0, 0)], &[(a, b)]);
        let shape = &cx.ty(y).shape;
        if shape.rank() > 1 {
            return vec![y];
        }
        let column = Shape(vec![shape[0], crate::ir::Dim::ONE]);
        vec![cx.reshape(y, column)]
    }
}
