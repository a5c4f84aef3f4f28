//! From values to one number: sample weights, masks, and Keras's reductions.

use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::{Loss, item_axis};
use crate::diag::Problem;
use crate::ir::{DType, Dim, Graph, NodeId, Shape, TensorType, ValueRange};

/// How the values of a loss become one number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// The sum of the weighted values divided by their number: Keras's default.
    #[default]
    SumOverBatchSize,
    /// The sum of the weighted values.
    Sum,
    /// The same as [`Reduction::SumOverBatchSize`].
    Mean,
    /// The sum of the weighted values divided by the sum of the weights.
    MeanWithSampleWeight,
}

/// A loss with a reduction of its own.
#[derive(Clone, Debug)]
pub struct Reduced {
    pub loss: Rc<dyn Loss>,
    pub reduction: Reduction,
}

impl Loss for Reduced {
    fn kind(&self) -> &'static str {
        self.loss.kind()
    }

    fn wrapped(&self) -> Option<&dyn Loss> {
        Some(&*self.loss)
    }

    fn name(&self) -> String {
        self.loss.name()
    }

    fn target(&self, output: &TensorType) -> TensorType {
        self.loss.target(output)
    }

    fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
        self.loss.check(target, output)
    }

    fn labels(&self, output: &TensorType) -> Option<ValueRange> {
        self.loss.labels(output)
    }

    fn values(&self, g: &mut Graph, target: NodeId, output: NodeId) -> NodeId {
        self.loss.values(g, target, output)
    }

    fn metric_values(&self, g: &mut Graph, target: NodeId, output: NodeId) -> NodeId {
        self.loss.metric_values(g, target, output)
    }

    fn mask(&self, g: &mut Graph, target: NodeId, output: NodeId) -> Option<NodeId> {
        self.loss.mask(g, target, output)
    }

    fn reduction(&self) -> Reduction {
        self.reduction
    }
}

/// What counts how much: sample weights, and the mask of an output. Their axes are the first ones of the output; an
/// extent of 1 stands for any.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weighting {
    /// `f32`.
    pub weight: Option<NodeId>,
    /// False where a value does not count.
    pub mask: Option<NodeId>,
}

impl Weighting {
    /// One `f32` tensor of factors, masks as 0 and 1; nothing where everything counts alike.
    pub fn factors(self, g: &mut Graph) -> Option<NodeId> {
        let mask = self.mask.map(|mask| g.cast(mask, DType::F32));
        product(g, self.weight, mask)
    }
}

/// The product of two tensors of factors, in the shape of the larger one.
fn product(g: &mut Graph, a: Option<NodeId>, b: Option<NodeId>) -> Option<NodeId> {
    let (Some(x), Some(y)) = (a, b) else { return a.or(b) };
    let (x, y) = if g.ty(x).shape.rank() >= g.ty(y).shape.rank() { (x, y) } else { (y, x) };
    let shape = stretched(&g.ty(x).shape, &g.ty(y).shape);
    let (x, y) = (align(g, x, &shape), align(g, y, &shape));
    Some(g.mul(x, y))
}

/// A shape with extents of 1 replaced by those of a shape with the same first axes.
fn stretched(long: &Shape, short: &Shape) -> Shape {
    let wider = |(i, d): (usize, &Dim)| short.get(i).filter(|_| *d == Dim::ONE).unwrap_or(d).to_owned();
    Shape(long.iter().enumerate().map(wider).collect())
}

/// Stretches factors over a shape: their axes are its first ones, up to trailing extents of 1.
pub(crate) fn align(g: &mut Graph, factors: NodeId, shape: &Shape) -> NodeId {
    let mut own = g.ty(factors).shape.clone();
    while own.rank() > shape.rank() && own.last() == Some(&Dim::ONE) {
        own.0.pop();
    }
    let factors = g.reshape(factors, own.clone());
    let axes: Vec<usize> = (0..own.rank()).collect();
    g.broadcast(factors, &axes, shape.clone())
}

/// `a / b`, and 0 where `b` is 0.
pub(crate) fn divide_no_nan(g: &mut Graph, a: NodeId, b: NodeId) -> NodeId {
    let zero = g.lit_like(b, 0.0);
    let one = g.lit_like(b, 1.0);
    let none = g.eq(b, zero);
    let divisor = g.select(none, one, b);
    let quotient = g.div(a, divisor);
    g.select(none, zero, quotient)
}

/// The number of elements of a tensor, as an `f32` scalar.
fn count(g: &mut Graph, x: NodeId) -> NodeId {
    let elements = g.ty(x).shape.elements().unwrap_or(Dim::ONE);
    g.size(elements, DType::F32)
}

/// The values that weights multiply: a mean over the output's last axis where they still have it.
pub(crate) fn per_position(g: &mut Graph, values: NodeId, output: NodeId) -> NodeId {
    let rank = g.ty(values).shape.rank();
    match rank > 1 && rank == g.ty(output).shape.rank() {
        true => g.mean(values, &[rank - 1]),
        false => values,
    }
}

/// The loss of a batch, a scalar.
pub(crate) fn loss_of(g: &mut Graph, loss: &dyn Loss, target: NodeId, output: NodeId, by: Weighting) -> NodeId {
    if by.mask.is_none()
        && let Some(labels) = loss.labels(g.ty(output))
    {
        g.limit(target, labels);
    }
    let values = loss.values(g, target, output);
    let known = loss.mask(g, target, output);
    let reduction = loss.reduction();
    let mask = match (by.mask, known) {
        (Some(a), Some(b)) => {
            let shape = g.ty(b).shape.clone();
            let a = g.cast(a, DType::Bool);
            let a = align(g, a, &shape);
            Some(g.and(a, b))
        }
        (a, b) => a.or(b),
    };
    let values = match (by.weight.or(mask), reduction) {
        // A mean of means over equally many is one mean, which is one reduction.
        (None, Reduction::SumOverBatchSize | Reduction::Mean | Reduction::MeanWithSampleWeight) => {
            return mean_all(g, values);
        }
        _ => per_position(g, values, output),
    };
    let mask = mask.map(|mask| {
        let mask = g.cast(mask, DType::F32);
        match reduction {
            Reduction::Sum | Reduction::MeanWithSampleWeight => mask,
            // What counts stands for what does not.
            Reduction::SumOverBatchSize | Reduction::Mean => {
                let (all, valid) = (count(g, mask), g.sum_all(mask));
                let share = divide_no_nan(g, all, valid);
                let share = g.broadcast_like(share, mask);
                g.mul(mask, share)
            }
        }
    });
    let factors = product(g, by.weight, mask);
    let values = match factors {
        None => values,
        // The loss of a whole batch is multiplied by every weight.
        Some(factors) if g.ty(values).shape.rank() == 0 => {
            let values = g.broadcast_like(values, factors);
            g.mul(values, factors)
        }
        Some(factors) => {
            let shape = g.ty(values).shape.clone();
            let factors = align(g, factors, &shape);
            g.mul(values, factors)
        }
    };
    let sum = g.sum_all(values);
    let divisor = match (reduction, factors) {
        (Reduction::Sum, _) => return sum,
        (Reduction::MeanWithSampleWeight, Some(factors)) => g.sum_all(factors),
        _ => count(g, values),
    };
    divide_no_nan(g, sum, divisor)
}

/// The mean of all elements.
pub(crate) fn mean_all(g: &mut Graph, x: NodeId) -> NodeId {
    let axes: Vec<usize> = (0..g.ty(x).shape.rank()).collect();
    g.mean(x, &axes)
}

/// Fails unless every axis of a list is one of the output.
pub(super) fn axes(kind: &str, list: &Option<Vec<isize>>, output: &TensorType) -> Result<(), Problem> {
    list.iter().flatten().try_for_each(|&axis| item_axis(kind, axis, output).map(drop))
}
