//! Penalties on weights, added to the loss of training and evaluation.

use serde::{Deserialize, Serialize};

use crate::diag::Problem;
use crate::ir::{DType, Graph, NodeId, Shape};

/// A penalty on one weight: a scalar.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Regularizer {
    /// `l1 * sum(|w|)`
    L1(f64),
    /// `l2 * sum(w^2)`
    L2(f64),
    /// `l1 * sum(|w|) + l2 * sum(w^2)`
    L1L2 { l1: f64, l2: f64 },
    /// `factor` times the mean magnitude of the cosines between different vectors of a matrix.
    OrthogonalRegularizer { factor: f64, mode: Vectors },
}

/// Which vectors of a matrix.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Vectors {
    #[default]
    Rows,
    Columns,
}

/// Vectors shorter than this count as this long.
const EPSILON: f64 = 1e-7;

impl Regularizer {
    /// Pushes the rows of a matrix to be orthogonal.
    pub const fn orthogonal(factor: f64) -> Regularizer {
        Regularizer::OrthogonalRegularizer { factor, mode: Vectors::Rows }
    }

    pub(crate) fn check(&self, shape: &Shape) -> Result<(), Problem> {
        let (first, second) = match *self {
            Regularizer::L1(l1) => (l1, 0.0),
            Regularizer::L2(l2) => (0.0, l2),
            Regularizer::L1L2 { l1, l2 } => (l1, l2),
            Regularizer::OrthogonalRegularizer { factor, .. } => (factor, 0.0),
        };
        let fail = |what: &str| Err(Problem::value(format!("regularizer {self:?}: {what}")));
        if !(first >= 0.0 && second >= 0.0 && (first + second).is_finite()) {
            return fail("factors must be finite and not negative");
        }
        match self {
            Regularizer::OrthogonalRegularizer { .. } if shape.rank() != 2 => {
                fail(&format!("takes matrices, this weight is {shape}"))
            }
            _ => Ok(()),
        }
    }

    /// The penalty, or nothing where it is always 0.
    pub(crate) fn penalty(&self, g: &mut Graph, weight: NodeId) -> Option<NodeId> {
        match *self {
            Regularizer::L1(l1) => sizes(g, weight, l1, 0.0),
            Regularizer::L2(l2) => sizes(g, weight, 0.0, l2),
            Regularizer::L1L2 { l1, l2 } => sizes(g, weight, l1, l2),
            Regularizer::OrthogonalRegularizer { factor, mode } => cosines(g, weight, factor, mode),
        }
    }
}

/// `l1 * sum(|w|) + l2 * sum(w^2)`
fn sizes(g: &mut Graph, weight: NodeId, l1: f64, l2: f64) -> Option<NodeId> {
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

fn cosines(g: &mut Graph, weight: NodeId, factor: f64, mode: Vectors) -> Option<NodeId> {
    let shape = g.ty(weight).shape.clone();
    let (vectors, along) = match mode {
        Vectors::Rows => (0, 1),
        Vectors::Columns => (1, 0),
    };
    let count = shape[vectors].as_fixed()?;
    if count < 2 || factor == 0.0 {
        return None;
    }
    let square = g.square(weight);
    let square = g.sum(square, &[along]);
    let scale = g.rsqrt(square);
    let scale = g.min_s(scale, 1.0 / EPSILON);
    let scale = g.unreduce(scale, &[along], &shape);
    let unit = g.mul(weight, scale);
    let product = g.contract(unit, unit, &[], &[(along, along)]);
    let square = g.ty(product).shape.clone();
    let product = g.abs(product);
    let diagonal = diagonal(g, &square);
    let zero = g.lit_like(product, 0.0);
    let others = g.select(diagonal, zero, product);
    let total = g.sum_all(others);
    let pairs = (count * (count - 1)) as f64 / 2.0;
    Some(g.mul_s(total, factor * 0.5 / pairs))
}

/// Whether an element of a matrix is on its diagonal.
pub(super) fn diagonal(g: &mut Graph, shape: &Shape) -> NodeId {
    let rows = g.iota(0, DType::I32, shape.clone());
    let columns = g.iota(1, DType::I32, shape.clone());
    g.eq(rows, columns)
}
