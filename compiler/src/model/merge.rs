//! Layers that join several tensors into one.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::CallCx;
use super::layer::{BuildCx, Layer, LayerDef, resolve_axis};
use crate::diag::Problem;
use crate::ir::{DType, Dim, Graph, NodeId, Shape, TensorType};

/// The shape that two shapes stretch to: trailing axes are aligned, and an extent of 1 meets any other.
pub(crate) fn broadcast_shape(a: &Shape, b: &Shape) -> Option<Shape> {
    let rank = a.rank().max(b.rank());
    let at = |s: &Shape, i: usize| (i + s.rank()).checked_sub(rank).map_or(Dim::ONE, |i| s[i]);
    let dims = (0..rank).map(|i| match (at(a, i), at(b, i)) {
        (x, y) if x == y || y == Dim::ONE => Some(x),
        (Dim::ONE, y) => Some(y),
        _ => None,
    });
    dims.collect::<Option<Vec<Dim>>>().map(Shape)
}

/// The common shape of several inputs of one element type.
pub(crate) fn common_shape(kind: &str, inputs: &[TensorType]) -> Result<Shape, Problem> {
    let Some((first, rest)) = inputs.split_first() else {
        return Err(Problem::shape(format!("{kind} of nothing")));
    };
    rest.iter().try_fold(first.shape.clone(), |shape, ty| {
        let common = (ty.dtype == first.dtype).then(|| broadcast_shape(&shape, &ty.shape)).flatten();
        common.ok_or_else(|| {
            Problem::shape(format!("{kind} cannot join {first} and {ty}"))
                .help("extents must be equal or 1, and element types the same")
        })
    })
}

/// Stretches a node to a shape that [`broadcast_shape`] gave.
pub(crate) fn stretch(g: &mut Graph, x: NodeId, shape: &Shape) -> NodeId {
    g.broadcast_to(x, shape)
}

/// The mask of a step by step combination of inputs: where any of them counts, if all have masks.
fn common_mask(cx: &mut CallCx<'_>, inputs: usize) -> Option<NodeId> {
    let masks: Option<Vec<NodeId>> = (0..inputs).map(|i| cx.mask(i)).collect();
    let mut masks = masks?.into_iter();
    let first = masks.next()?;
    masks.try_fold(first, |a, b| {
        let shape = broadcast_shape(&cx.ty(a).shape, &cx.ty(b).shape)?;
        let (a, b) = (stretch(cx, a, &shape), stretch(cx, b, &shape));
        Some(cx.or(a, b))
    })
}

macro_rules! merging {
    ($($(#[doc = $doc:literal])+ $name:ident $kind:literal $fold:expr, $finish:expr;)+) => { $(
        $(#[doc = $doc])+
        #[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
        pub struct $name;

        impl LayerDef for $name {
            fn kind(&self) -> &'static str {
                $kind
            }

            fn arity(&self) -> RangeInclusive<usize> {
                2..=usize::MAX
            }

            fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
                cx.float()?;
                common_shape(self.kind(), cx.inputs()).map(drop)
            }

            fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
                let types: Vec<TensorType> = x.iter().map(|&x| cx.ty(x).clone()).collect();
                let shape = common_shape(self.kind(), &types).unwrap_or_else(|p| cx.fault(p.message));
                let fold: fn(&mut Graph, NodeId, NodeId) -> NodeId = $fold;
                let finish: fn(&mut Graph, NodeId, usize) -> NodeId = $finish;
                let mut result = stretch(cx, x[0], &shape);
                for &y in &x[1..] {
                    let y = stretch(cx, y, &shape);
                    result = fold(cx, result, y);
                }
                let mask = common_mask(cx, x.len());
                cx.set_mask(0, mask);
                vec![finish(cx, result, x.len())]
            }
        }
    )+ };
}

merging! {
    /// The sum of its inputs.
    Add "Add" Graph::add, |_, x, _| x;
    /// The product of its inputs.
    Multiply "Multiply" Graph::mul, |_, x, _| x;
    /// The mean of its inputs.
    Average "Average" Graph::add, |g, x, n| g.mul_s(x, 1.0 / n as f64);
    /// The largest of its inputs, element by element.
    Maximum "Maximum" Graph::max, |_, x, _| x;
    /// The smallest of its inputs, element by element.
    Minimum "Minimum" Graph::min, |_, x, _| x;
}

/// Joins its inputs along an axis, by default the last.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Concatenate {
    axis: isize,
}

impl Default for Concatenate {
    fn default() -> Concatenate {
        Concatenate { axis: -1 }
    }
}

impl Concatenate {
    pub fn new() -> Layer<Concatenate> {
        Layer::new(Concatenate::default())
    }
}

impl Layer<Concatenate> {
    /// The axis, counted with the batch as 0 or from the back.
    pub fn axis(self, axis: isize) -> Layer<Concatenate> {
        self.with(|c| c.axis = axis)
    }
}

impl LayerDef for Concatenate {
    fn kind(&self) -> &'static str {
        "Concatenate"
    }

    fn arity(&self) -> RangeInclusive<usize> {
        2..=usize::MAX
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        let axis = cx.axis(self.axis)?;
        let first = cx.input();
        if first.shape[axis].batch {
            return Err(Problem::shape("Concatenate along the batch").help("name another axis, usually -1"));
        }
        let rest = |t: &TensorType| (t.dtype, t.shape.rank(), t.shape.without(&[axis]));
        if let Some(other) = cx.inputs().iter().find(|t| rest(t) != rest(first)) {
            return Err(Problem::shape(format!("Concatenate along axis {axis} cannot join {first} and {other}"))
                .help("all other extents must be equal"));
        }
        let masks = (0..cx.inputs().len()).filter_map(|i| cx.mask(i));
        match masks.into_iter().find(|mask| mask.shape.rank() + 1 != first.shape.rank()) {
            None => Ok(()),
            Some(mask) => Err(Problem::shape(format!("Concatenate cannot join {first} with a mask of {mask}"))
                .help("the mask must have every axis but the last")),
        }
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let axis = resolve_axis("Concatenate", self.axis, &cx.ty(x[0]).shape);
        let axis = axis.unwrap_or_else(|p| cx.fault(p.message));
        let mask = self.mask(cx, x, axis);
        cx.set_mask(0, mask);
        vec![cx.concat(x, axis)]
    }
}

impl Concatenate {
    /// The masks joined, where inputs without one count everywhere; none if no input has one.
    fn mask(&self, cx: &mut CallCx<'_>, x: &[NodeId], axis: usize) -> Option<NodeId> {
        let given: Vec<Option<NodeId>> = (0..x.len()).map(|i| cx.mask(i)).collect();
        given.iter().find(|mask| mask.is_some())?;
        let masks = x.iter().zip(given).map(|(&x, mask)| {
            mask.unwrap_or_else(|| {
                let shape = &cx.ty(x).shape;
                let steps = TensorType::new(DType::Bool, Shape(shape[..shape.rank() - 1].to_vec()));
                cx.splat_of(1.0, steps)
            })
        });
        let masks: Vec<NodeId> = masks.collect();
        match axis + 1 == cx.ty(x[0]).shape.rank() {
            true => masks.into_iter().reduce(|a, b| cx.or(a, b)),
            false => Some(cx.concat(&masks, axis)),
        }
    }
}
