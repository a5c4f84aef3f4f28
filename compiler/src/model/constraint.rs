//! Constraints on weights, with Keras's formulas: projections that every optimizer step ends with.

use super::layer::resolve_axis;
use crate::diag::Problem;
use crate::ir::{Graph, NodeId, Shape};

/// Keras's fuzz: keeps a division by the norm of a zero vector finite.
const EPSILON: f64 = 1e-7;

/// What the optimizer does to a weight after it has changed it. Norms run over `axis`: for the kernel of a dense layer
/// `[0]` constrains what goes into each unit, for one of a 2D convolution `[0, 1, 2]` does.
#[derive(Clone, PartialEq, Debug)]
pub enum Constraint {
    /// Norms of at most `max_value`.
    MaxNorm { max_value: f64, axis: Vec<isize> },
    /// No negative elements.
    NonNeg,
    /// Norms of 1.
    UnitNorm { axis: Vec<isize> },
    /// Norms go a fraction `rate` of the way into `min_value..=max_value`.
    MinMaxNorm { min_value: f64, max_value: f64, rate: f64, axis: Vec<isize> },
}

impl Constraint {
    /// Norms of at most this value along axis 0.
    pub fn max_norm(max_value: f64) -> Constraint {
        Constraint::MaxNorm { max_value, axis: vec![0] }
    }

    /// Norms of 1 along axis 0.
    pub fn unit_norm() -> Constraint {
        Constraint::UnitNorm { axis: vec![0] }
    }

    /// Norms between two values along axis 0.
    pub fn min_max_norm(min_value: f64, max_value: f64) -> Constraint {
        Constraint::MinMaxNorm { min_value, max_value, rate: 1.0, axis: vec![0] }
    }

    /// The axes that a norm runs over; negative ones count from the back.
    pub fn axis(mut self, axes: impl Into<Vec<isize>>) -> Constraint {
        match &mut self {
            Constraint::NonNeg => {}
            Constraint::MaxNorm { axis, .. } | Constraint::UnitNorm { axis } | Constraint::MinMaxNorm { axis, .. } => {
                *axis = axes.into()
            }
        }
        self
    }

    /// Whether it makes sense for a weight of this shape.
    pub(crate) fn check(&self, shape: &Shape) -> Result<(), Problem> {
        let fail = |what: &str| Err(Problem::value(format!("constraint {self:?}: {what}")));
        let size = |x: f64| x >= 0.0 && x.is_finite();
        match *self {
            Constraint::MaxNorm { max_value, .. } if !size(max_value) => {
                return fail("max_value must be finite and not negative");
            }
            Constraint::MinMaxNorm { min_value, max_value, .. } if !(size(max_value) && size(min_value)) => {
                return fail("norms must be finite and not negative");
            }
            Constraint::MinMaxNorm { min_value, max_value, .. } if min_value > max_value => {
                return fail("min_value must not exceed max_value");
            }
            Constraint::MinMaxNorm { rate, .. } if !(0.0..=1.0).contains(&rate) => {
                return fail("rate must be between 0 and 1");
            }
            _ => {}
        }
        let mut axes =
            self.axes().iter().map(|&a| resolve_axis("constraint", a, shape)).collect::<Result<Vec<_>, _>>()?;
        axes.sort_unstable();
        match axes.windows(2).any(|w| w[0] == w[1]) {
            true => fail("an axis is named twice"),
            false => Ok(()),
        }
    }

    fn axes(&self) -> &[isize] {
        match self {
            Constraint::NonNeg => &[],
            Constraint::MaxNorm { axis, .. } | Constraint::UnitNorm { axis } | Constraint::MinMaxNorm { axis, .. } => {
                axis
            }
        }
    }

    /// The weight that obeys.
    pub(crate) fn apply(&self, g: &mut Graph, weight: NodeId) -> NodeId {
        let shape = g.ty(weight).shape.clone();
        let mut axes: Vec<usize> =
            self.axes().iter().filter_map(|&a| resolve_axis("constraint", a, &shape).ok()).collect();
        axes.sort_unstable();
        if let Constraint::NonNeg = self {
            return g.max_s(weight, 0.0);
        }
        let square = g.square(weight);
        let square = g.sum(square, &axes);
        let norm = g.sqrt(square);
        let clip = |g: &mut Graph, low: f64, high: f64| {
            let x = g.max_s(norm, low);
            g.min_s(x, high)
        };
        let desired = match *self {
            Constraint::NonNeg | Constraint::UnitNorm { .. } => g.lit_like(norm, 1.0),
            Constraint::MaxNorm { max_value, .. } => clip(g, 0.0, max_value),
            Constraint::MinMaxNorm { min_value, max_value, rate, .. } => {
                let clipped = clip(g, min_value, max_value);
                let moved = g.mul_s(clipped, rate);
                let kept = g.mul_s(norm, 1.0 - rate);
                g.add(moved, kept)
            }
        };
        let norm = g.add_s(norm, EPSILON);
        let factor = g.div(desired, norm);
        let factor = g.unreduce(factor, &axes, &shape);
        g.mul(weight, factor)
    }
}
