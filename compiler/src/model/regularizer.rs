//! Penalties on weights, added to the loss of training and evaluation.

use crate::diag::Problem;
use crate::ir::{Graph, NodeId};

/// A penalty on one weight: a scalar.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Regularizer {
    /// `l1 * sum(|w|)`
    L1(f64),
    /// `l2 * sum(w^2)`
    L2(f64),
    /// `l1 * sum(|w|) + l2 * sum(w^2)`
    L1L2 { l1: f64, l2: f64 },
}

impl Regularizer {
    fn factors(&self) -> (f64, f64) {
        match *self {
            Regularizer::L1(l1) => (l1, 0.0),
            Regularizer::L2(l2) => (0.0, l2),
            Regularizer::L1L2 { l1, l2 } => (l1, l2),
        }
    }

    pub(crate) fn check(&self) -> Result<(), Problem> {
        let (l1, l2) = self.factors();
        match l1 >= 0.0 && l2 >= 0.0 && (l1 + l2).is_finite() {
            true => Ok(()),
            false => Err(Problem::value(format!("regularizer {self:?}: factors must be finite and not negative"))),
        }
    }

    /// The penalty, or nothing where every factor is 0.
    pub(crate) fn penalty(&self, g: &mut Graph, weight: NodeId) -> Option<NodeId> {
        let (l1, l2) = self.factors();
        let mut sum = None;
        for (factor, size) in [(l1, Graph::abs as fn(&mut Graph, NodeId) -> NodeId), (l2, Graph::square)] {
            if factor != 0.0 {
                let sizes = size(g, weight);
                let total = g.sum_all(sizes);
                let penalty = g.mul_s(total, factor);
                sum = Some(sum.map_or(penalty, |s| g.add(s, penalty)));
            }
        }
        sum
    }
}
