//! Layers that join several tensors into one.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::CallCx;
use super::layer::{BuildCx, Layer, LayerDef, floats, promoted, resolve_axis};
use super::setters::setters;
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

/// The common shape of items that are combined step by step: items of lower rank get axes of 1 after the batch.
fn item_shape(kind: &str, inputs: &[TensorType]) -> Result<Shape, Problem> {
    let rank = inputs.iter().map(|ty| ty.shape.rank()).max().unwrap_or(0);
    let widened = inputs.iter().map(|ty| {
        let mut dims = ty.shape.0.clone();
        let front = dims.len().min(1);
        dims.splice(front..front, std::iter::repeat_n(Dim::ONE, rank - dims.len()));
        TensorType::new(ty.dtype, Shape(dims))
    });
    // The message names the inputs as they are.
    common_shape(kind, &widened.collect::<Vec<_>>()).or_else(|_| common_shape(kind, inputs))
}

/// Stretches an item to a shape that [`item_shape`] gave.
fn stretch_item(g: &mut Graph, x: NodeId, shape: &Shape) -> NodeId {
    let rank = g.ty(x).shape.rank();
    let axes: Vec<usize> = (0..rank).map(|a| if a == 0 { 0 } else { a + shape.rank() - rank }).collect();
    g.broadcast(x, &axes, shape.clone())
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

/// An input of a merge, and where it counts if it has a mask; both of the common shape.
struct Term {
    value: NodeId,
    counts: Option<NodeId>,
}

fn terms(cx: &mut CallCx<'_>, kind: &str, x: &[NodeId], masked: bool) -> Vec<Term> {
    let types: Vec<TensorType> = x.iter().map(|&x| cx.ty(x).clone()).collect();
    let shape = item_shape(kind, &types).unwrap_or_else(|p| cx.fault(p.message));
    let term = |(i, &x): (usize, &NodeId)| {
        let own = cx.ty(x).shape.clone();
        let counts = cx.mask(i).filter(|_| masked).map(|mask| {
            let wide = cx.unreduce(mask, &[own.rank() - 1], &own);
            stretch_item(cx, wide, &shape)
        });
        Term { value: stretch_item(cx, x, &shape), counts }
    };
    x.iter().enumerate().map(term).collect()
}

/// Combines terms whatever their masks.
fn fold(cx: &mut CallCx<'_>, terms: &[Term], f: fn(&mut Graph, NodeId, NodeId) -> NodeId) -> NodeId {
    let values = terms.iter().map(|t| t.value);
    values.reduce(|a, b| f(cx, a, b)).unwrap_or_else(|| cx.fault("has no input".into()))
}

/// The product of what counts; 0 where nothing does, if all have masks.
fn product(cx: &mut CallCx<'_>, terms: &[Term]) -> NodeId {
    let factors = terms.iter().map(|term| {
        let one = cx.lit_like(term.value, 1.0);
        term.counts.map_or(term.value, |counts| cx.select(counts, term.value, one))
    });
    let factors: Vec<Term> = factors.map(|value| Term { value, counts: None }).collect();
    let product = fold(cx, &factors, Graph::mul);
    let counts: Option<Vec<NodeId>> = terms.iter().map(|t| t.counts).collect();
    match counts.into_iter().flatten().reduce(|a, b| cx.or(a, b)) {
        Some(any) => {
            let zero = cx.lit_like(product, 0.0);
            cx.select(any, product, zero)
        }
        None => product,
    }
}

/// The extreme of what counts.
fn extreme(cx: &mut CallCx<'_>, terms: &[Term], f: fn(&mut Graph, NodeId, NodeId) -> NodeId) -> NodeId {
    let best = terms.iter().map(|t| (t.value, t.counts)).reduce(|(best, known), (x, counts)| {
        let x = counts.map_or(x, |counts| cx.select(counts, x, best));
        let best = known.map_or(best, |known| cx.select(known, best, x));
        let known = known.zip(counts).map(|(a, b)| cx.or(a, b));
        (f(cx, best, x), known)
    });
    best.unwrap_or_else(|| cx.fault("has no input".into())).0
}

macro_rules! merging {
    ($($(#[doc = $doc:literal])+ $name:ident $kind:literal $arity:expr, $masked:literal, $whole:literal, $merge:expr;)+) => { $(
        $(#[doc = $doc])+
        #[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
        pub struct $name;

        impl LayerDef for $name {
            fn kind(&self) -> &'static str {
                $kind
            }

            fn arity(&self) -> RangeInclusive<usize> {
                $arity
            }

            fn operands(&self, given: &[TensorType]) -> Vec<DType> {
                match $whole {
                    true => promoted(given),
                    false => floats(given),
                }
            }

            fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
                if cx.input().dtype != DType::I32 || !$whole {
                    cx.float()?;
                }
                item_shape(self.kind(), cx.inputs())?;
                check_masks(cx, $kind, $masked)
            }

            fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
                let mask = common_mask(cx, x.len());
                cx.set_mask(0, mask);
                let merge: fn(&mut CallCx<'_>, &[Term]) -> NodeId = $merge;
                let terms = terms(cx, $kind, x, $masked);
                vec![merge(cx, &terms)]
            }
        }
    )+ };
}

/// Fails where a mask does not have every axis of its tensor but the last, if the layer looks at masks.
fn check_masks(cx: &BuildCx<'_>, kind: &str, looks: bool) -> Result<(), Problem> {
    let unfit = |(i, x): (usize, &TensorType)| cx.mask(i).filter(|m| looks && m.shape.rank() + 1 != x.shape.rank());
    match cx.inputs().iter().enumerate().find_map(unfit) {
        None => Ok(()),
        Some(mask) => Err(Problem::shape(format!("{kind} cannot use a mask of {mask}"))
            .help("the mask must have every axis of its tensor but the last")),
    }
}

const MANY: RangeInclusive<usize> = 2..=usize::MAX;

merging! {
    /// The sum of its inputs. Items of lower rank get axes of 1 after the batch; axes of 1 stretch.
    Add "Add" MANY, false, true, |cx, terms| fold(cx, terms, Graph::add);
    /// Its first input less the second.
    Subtract "Subtract" 2..=2, false, true, |cx, terms| fold(cx, terms, Graph::sub);
    /// The product of its inputs. What a mask leaves out counts as 1, or as 0 where all masks leave it out.
    Multiply "Multiply" MANY, true, true, product;
    /// The mean of its inputs.
    Average "Average" MANY, false, false, |cx, terms| {
        let sum = fold(cx, terms, Graph::add);
        let count = cx.lit_like(sum, terms.len() as f64);
        cx.div(sum, count)
    };
    /// The largest of its inputs, element by element, of those that their masks do not leave out.
    Maximum "Maximum" MANY, true, true, |cx, terms| extreme(cx, terms, Graph::max);
    /// The smallest of its inputs, element by element, of those that their masks do not leave out.
    Minimum "Minimum" MANY, true, true, |cx, terms| extreme(cx, terms, Graph::min);
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
    setters! {
        /// The axis, counted with the batch as 0 or from the back.
        axis: isize;
    }
}

impl LayerDef for Concatenate {
    fn kind(&self) -> &'static str {
        "Concatenate"
    }

    fn arity(&self) -> RangeInclusive<usize> {
        2..=usize::MAX
    }

    fn operands(&self, given: &[TensorType]) -> Vec<DType> {
        promoted(given)
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
        check_masks(cx, "Concatenate", true)
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
