//! Metrics that are means over samples.

use std::any::Any;
use std::fmt;

use super::{Batch, Metric};
use crate::diag::{Code, Problem};
use crate::ir::{DType, Dim, Graph, NodeId, Shape, TensorType};
use crate::model::loss::{Loss, Weighting, align, divide_no_nan, per_position};

/// A metric that is a weighted mean.
pub trait MeanMetric: fmt::Debug + Any {
    /// The name in the history, as Keras has it.
    fn name(&self) -> String;

    /// See [`Metric::target`].
    fn target(&self, output: &TensorType) -> TensorType {
        TensorType::new(DType::F32, output.shape.clone())
    }

    /// See [`Metric::check`].
    fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem>;

    /// Values whose mean is the metric; their axes are the first ones of the output.
    fn values(&self, g: &mut Graph, target: NodeId, output: NodeId) -> NodeId;

    /// Which values weights apply to at all.
    fn mask(&self, _g: &mut Graph, _target: NodeId, _output: NodeId) -> Option<NodeId> {
        None
    }
}

impl<L: Loss> MeanMetric for L {
    fn name(&self) -> String {
        Loss::name(self)
    }

    fn target(&self, output: &TensorType) -> TensorType {
        Loss::target(self, output)
    }

    fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
        Loss::check(self, target, output)
    }

    fn values(&self, g: &mut Graph, target: NodeId, output: NodeId) -> NodeId {
        self.metric_values(g, target, output)
    }

    fn mask(&self, g: &mut Graph, target: NodeId, output: NodeId) -> Option<NodeId> {
        Loss::mask(self, g, target, output)
    }
}

impl<M: MeanMetric> Metric for M {
    fn name(&self) -> String {
        MeanMetric::name(self)
    }

    fn target(&self, output: &TensorType) -> TensorType {
        MeanMetric::target(self, output)
    }

    fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
        MeanMetric::check(self, target, output)
    }

    fn tally(&self, g: &mut Graph, batch: &Batch) -> Vec<(&'static str, NodeId)> {
        let values = self.values(g, batch.target, batch.output);
        let mut factors = batch.by.factors(g);
        // As in Keras, what a loss leaves out is left out of a metric only where there are weights.
        if factors.is_some()
            && let Some(mask) = self.mask(g, batch.target, batch.output)
        {
            factors = Weighting { weight: factors, mask: Some(mask) }.factors(g);
        }
        let (total, count) = weighted(g, values, batch.output, factors);
        vec![("total", total), ("count", count)]
    }

    fn result(&self, g: &mut Graph, sums: &[NodeId]) -> NodeId {
        divide_no_nan(g, sums[0], sums[1])
    }
}

/// The sum of the mean values of each sample, and what it is to be divided by.
pub(super) fn weighted(g: &mut Graph, values: NodeId, output: NodeId, factors: Option<NodeId>) -> (NodeId, NodeId) {
    let Some(factors) = factors else {
        let shape = g.ty(values).shape.clone();
        let total = g.sum_all(values);
        let total = per_sample(g, total, &shape);
        let count = g.size(shape.first().copied().unwrap_or(Dim::ONE), DType::F32);
        return (total, count);
    };
    let values = per_position(g, values, output);
    let (own, rank) = (g.ty(values).shape.clone(), g.ty(factors).shape.rank());
    let rest: Vec<usize> = (rank..own.rank()).collect();
    let values = g.mean(values, &rest);
    let shape = if own.rank() == 0 { g.ty(factors).shape.clone() } else { g.ty(values).shape.clone() };
    let values = g.broadcast_to(values, &shape);
    let factors = align(g, factors, &shape);
    let product = g.mul(values, factors);
    let (total, count) = (g.sum_all(product), g.sum_all(factors));
    (per_sample(g, total, &shape), per_sample(g, count, &shape))
}

/// A sum divided by the elements of one sample.
fn per_sample(g: &mut Graph, sum: NodeId, shape: &Shape) -> NodeId {
    let elements: f64 = shape.iter().skip(1).map(|d| d.scale as f64).product();
    if elements == 1.0 { sum } else { g.mul_s(sum, 1.0 / elements) }
}

/// The mean of a tensor over batches: for [`Model::track`](crate::model::Model::track). Items with axes are averaged;
/// a scalar counts once for each batch.
#[derive(Clone, PartialEq, Debug)]
pub struct Mean {
    name: String,
}

impl Mean {
    pub fn new(name: impl Into<String>) -> Mean {
        Mean { name: name.into() }
    }
}

impl MeanMetric for Mean {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn check(&self, _target: &TensorType, output: &TensorType) -> Result<(), Problem> {
        numbers("Mean", output)
    }

    fn values(&self, _g: &mut Graph, _target: NodeId, output: NodeId) -> NodeId {
        output
    }
}

/// The sum of a tensor over batches: for [`Model::track`](crate::model::Model::track).
#[derive(Clone, PartialEq, Debug)]
pub struct Sum {
    name: String,
}

impl Sum {
    pub fn new(name: impl Into<String>) -> Sum {
        Sum { name: name.into() }
    }
}

impl Metric for Sum {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn check(&self, _target: &TensorType, output: &TensorType) -> Result<(), Problem> {
        numbers("Sum", output)
    }

    fn tally(&self, g: &mut Graph, batch: &Batch) -> Vec<(&'static str, NodeId)> {
        let values = match batch.by.factors(g) {
            None => batch.output,
            Some(factors) => {
                let shape = g.ty(batch.output).shape.clone();
                let factors = align(g, factors, &shape);
                g.mul(batch.output, factors)
            }
        };
        vec![("total", g.sum_all(values))]
    }

    fn result(&self, _g: &mut Graph, sums: &[NodeId]) -> NodeId {
        sums[0]
    }
}

fn numbers(kind: &str, ty: &TensorType) -> Result<(), Problem> {
    match ty.dtype {
        DType::F32 => Ok(()),
        _ => Err(Problem::new(Code::DType, format!("{kind} takes f32, this tensor is {ty}"))),
    }
}
