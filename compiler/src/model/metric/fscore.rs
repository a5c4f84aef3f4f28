//! Harmonic means of precision and recall.

use serde::{Deserialize, Serialize};

use super::{Batch, Metric};
use crate::diag::{Code, Problem};
use crate::ir::{DType, Graph, NodeId, ReduceFn, TensorType};
use crate::model::loss::{align, alike, target_like};
use crate::model::numbers::positive;
use crate::model::setters::{With, setters};

/// Keras's fuzz: keeps divisions by nothing finite.
const EPSILON: f64 = 1e-7;

/// How the scores of the classes become one number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Averaging {
    /// Counts of all classes together.
    Micro,
    /// The mean of the scores.
    Macro,
    /// The mean of the scores weighted by the targets of each class.
    Weighted,
}

/// The weighted harmonic mean of precision and recall of each class.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct FBetaScore {
    average: Option<Averaging>,
    beta: f64,
    threshold: Option<f64>,
}

impl FBetaScore {
    /// Recall counts `beta` times as much as precision.
    pub fn new(beta: f64) -> FBetaScore {
        FBetaScore { beta, ..FBetaScore::default() }
    }

    setters! {
        /// One number for all classes; unless set there is one for each.
        average: some Averaging;
        /// What more than counts as positive; unless set it is the largest output.
        threshold: some f64;
    }
}

impl Default for FBetaScore {
    fn default() -> FBetaScore {
        FBetaScore { average: None, beta: 1.0, threshold: None }
    }
}

impl Metric for FBetaScore {
    fn name(&self) -> String {
        "fbeta_score".to_string()
    }

    fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
        alike("FBetaScore", target, output)?;
        positive("FBetaScore", "beta", self.beta)?;
        if let Some(t) = self.threshold.filter(|t| !(*t > 0.0 && *t <= 1.0)) {
            return Err(Problem::value(format!("FBetaScore with threshold {t}: must be above 0 and at most 1")));
        }
        match output.shape.rank() {
            2 => Ok(()),
            _ => Err(Problem::new(Code::Loss, format!("FBetaScore takes vectors, the output is {output}"))),
        }
    }

    fn tally(&self, g: &mut Graph, batch: &Batch) -> Vec<(&'static str, NodeId)> {
        let y = batch.output;
        let shape = g.ty(y).shape.clone();
        let t = target_like(g, batch.target, y);
        let positive = match self.threshold {
            None => {
                let top = g.reduce(ReduceFn::Max, y, &[1]);
                let top = g.unreduce(top, &[1], &shape);
                let size = g.abs(y);
                let tiny = g.lit_like(size, 1e-9);
                let (best, some) = (g.ge(y, top), g.gt(size, tiny));
                g.and(best, some)
            }
            Some(threshold) => {
                let threshold = g.lit_like(y, threshold);
                g.gt(y, threshold)
            }
        };
        let p = g.cast(positive, DType::F32);
        let (not_t, not_p) = (g.s_sub(1.0, t), g.s_sub(1.0, p));
        let (hit, wrong, missed) = (g.mul(p, t), g.mul(p, not_t), g.mul(not_p, t));
        let weight = batch.by.weight.map(|w| align(g, w, &shape));
        let axes: &[usize] = if self.average == Some(Averaging::Micro) { &[0, 1] } else { &[0] };
        let mut sum = |x| {
            let x = weight.map_or(x, |w| g.mul(x, w));
            g.sum(x, axes)
        };
        vec![
            ("true_positives", sum(hit)),
            ("false_positives", sum(wrong)),
            ("false_negatives", sum(missed)),
            ("intermediate_weights", sum(t)),
        ]
    }

    fn result(&self, g: &mut Graph, sums: &[NodeId]) -> NodeId {
        let [hit, wrong, missed, weights] = [0, 1, 2, 3].map(|i| sums[i]);
        let share = |g: &mut Graph, rest| {
            let all = g.add(hit, rest);
            let all = g.add_s(all, EPSILON);
            g.div(hit, all)
        };
        let (precision, recall) = (share(g, wrong), share(g, missed));
        let square = self.beta * self.beta;
        let product = g.mul(precision, recall);
        let scaled = g.mul_s(precision, square);
        let sum = g.add(scaled, recall);
        let sum = g.add_s(sum, EPSILON);
        let mean = g.div(product, sum);
        let score = g.mul_s(mean, 1.0 + square);
        match self.average {
            None | Some(Averaging::Micro) => score,
            Some(Averaging::Macro) => g.mean(score, &[0]),
            Some(Averaging::Weighted) => {
                let total = g.sum(weights, &[0]);
                let total = g.add_s(total, EPSILON);
                let weighted = g.mul(score, weights);
                let sum = g.sum(weighted, &[0]);
                g.div(sum, total)
            }
        }
    }
}

/// The harmonic mean of precision and recall of each class.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct F1Score {
    average: Option<Averaging>,
    threshold: Option<f64>,
}

impl F1Score {
    pub fn new() -> F1Score {
        F1Score::default()
    }

    setters! {
        /// One number for all classes; unless set there is one for each.
        average: some Averaging;
        /// What more than counts as positive; unless set it is the largest output.
        threshold: some f64;
    }
}

impl F1Score {
    fn score(&self) -> FBetaScore {
        FBetaScore { average: self.average, beta: 1.0, threshold: self.threshold }
    }
}

impl Metric for F1Score {
    fn name(&self) -> String {
        "f1_score".to_string()
    }

    fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
        self.score().check(target, output)
    }

    fn tally(&self, g: &mut Graph, batch: &Batch) -> Vec<(&'static str, NodeId)> {
        self.score().tally(g, batch)
    }

    fn result(&self, g: &mut Graph, sums: &[NodeId]) -> NodeId {
        self.score().result(g, sums)
    }
}
