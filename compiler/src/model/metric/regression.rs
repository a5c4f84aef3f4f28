//! Metrics of numbers that are more than a mean.

use serde::{Deserialize, Serialize};

use super::mean::{MeanMetric, weighted};
use super::{Batch, Metric};
use crate::diag::{Code, Problem};
use crate::ir::{DType, Graph, NodeId, TensorType};
use crate::model::loss::{LogCosh, Loss, align, alike, divide_no_nan, square_error, target_like};
use crate::model::setters::{With, setters};

/// The square root of the mean squared error.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct RootMeanSquaredError;

impl Metric for RootMeanSquaredError {
    fn name(&self) -> String {
        "root_mean_squared_error".to_string()
    }

    fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
        alike("RootMeanSquaredError", target, output)
    }

    fn tally(&self, g: &mut Graph, batch: &Batch) -> Vec<(&'static str, NodeId)> {
        let t = target_like(g, batch.target, batch.output);
        let square = square_error(g, t, batch.output);
        let (total, count) = weighted(g, square, batch.output, batch.by.weight);
        vec![("total", total), ("count", count)]
    }

    fn result(&self, g: &mut Graph, sums: &[NodeId]) -> NodeId {
        let mean = divide_no_nan(g, sums[0], sums[1]);
        g.sqrt(mean)
    }
}

/// [`LogCosh`] under the name that its metric has in Keras.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct LogCoshError;

impl MeanMetric for LogCoshError {
    fn name(&self) -> String {
        "logcosh".to_string()
    }

    fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
        Loss::check(&LogCosh, target, output)
    }

    fn values(&self, g: &mut Graph, target: NodeId, output: NodeId) -> NodeId {
        Loss::values(&LogCosh, g, target, output)
    }
}

/// How the scores of several outputs become one number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassAggregation {
    /// Their mean.
    UniformAverage,
    /// Their mean weighted by the variance of the targets.
    VarianceWeightedAverage,
}

/// The share of the variance of the targets that outputs explain.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct R2Score {
    class_aggregation: Option<ClassAggregation>,
    num_regressors: usize,
}

impl R2Score {
    pub fn new() -> R2Score {
        R2Score::default()
    }

    setters! {
        /// How several outputs become one number, their mean unless set; `None` gives a score for each.
        class_aggregation: into Option<ClassAggregation>;
        /// Adjusts the score for this number of independent variables.
        num_regressors: usize;
    }
}

impl Default for R2Score {
    fn default() -> R2Score {
        R2Score { class_aggregation: Some(ClassAggregation::UniformAverage), num_regressors: 0 }
    }
}

impl Metric for R2Score {
    fn name(&self) -> String {
        "r2_score".to_string()
    }

    fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
        alike("R2Score", target, output)?;
        match output.shape.rank() {
            2 => Ok(()),
            _ => Err(Problem::new(Code::Loss, format!("R2Score takes vectors, the output is {output}"))),
        }
    }

    fn tally(&self, g: &mut Graph, batch: &Batch) -> Vec<(&'static str, NodeId)> {
        let ty = g.ty(batch.output).clone();
        let t = target_like(g, batch.target, batch.output);
        let weight = match batch.by.weight {
            Some(weight) => align(g, weight, &ty.shape),
            None => g.splat_of(1.0, ty.clone()),
        };
        let weighted = g.mul(t, weight);
        let squares = g.mul(t, weighted);
        let errors = square_error(g, t, batch.output);
        let errors = g.mul(errors, weight);
        let samples = g.size(ty.shape.elements().unwrap_or(ty.shape[0]), DType::F32);
        let mut sum = |x| g.sum(x, &[0]);
        vec![
            ("sum", sum(weighted)),
            ("squared_sum", sum(squares)),
            ("residual", sum(errors)),
            ("count", sum(weight)),
            ("num_samples", samples),
        ]
    }

    fn result(&self, g: &mut Graph, sums: &[NodeId]) -> NodeId {
        let [sum, squares, residual, count, samples] = [0, 1, 2, 3, 4].map(|i| sums[i]);
        let mean = g.div(sum, count);
        let explained = g.mul(sum, mean);
        let total = g.sub(squares, explained);
        let rest = g.div(residual, total);
        let raw = g.s_sub(1.0, rest);
        let size = g.abs(raw);
        let infinite = g.lit_like(size, f64::INFINITY);
        let infinite = g.eq(size, infinite);
        let zero = g.lit_like(raw, 0.0);
        let scores = g.select(infinite, zero, raw);
        let score = match self.class_aggregation {
            None => scores,
            Some(ClassAggregation::UniformAverage) => g.mean(scores, &[0]),
            Some(ClassAggregation::VarianceWeightedAverage) => {
                let weighted = g.mul(total, scores);
                let (a, b) = (g.sum(weighted, &[0]), g.sum(total, &[0]));
                g.div(a, b)
            }
        };
        if self.num_regressors == 0 {
            return score;
        }
        // 1 - (1 - score) (n - 1) / (n - p - 1), for as long as there are more samples than variables.
        let (n, rest) = (g.add_s(samples, -1.0), g.add_s(samples, -1.0 - self.num_regressors as f64));
        let factor = g.div(n, rest);
        let factor = g.broadcast_like(factor, score);
        let unexplained = g.s_sub(1.0, score);
        let unexplained = g.mul(unexplained, factor);
        let adjusted = g.s_sub(1.0, unexplained);
        let none = g.lit_like(rest, 0.0);
        let enough = g.gt(rest, none);
        let enough = g.broadcast_like(enough, score);
        g.select(enough, adjusted, score)
    }
}
