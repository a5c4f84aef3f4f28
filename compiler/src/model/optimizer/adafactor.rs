use serde::{Deserialize, Serialize};

use super::{Optimizer, Options, Parameter, Slot, StepCx, Update, common, not_negative};
use crate::diag::Problem;
use crate::ir::{NodeId, Shape, TensorType};
use crate::model::schedule::LearningRate;
use crate::model::setters::{With, setters};

/// Averages of squared gradients by rows and columns alone: little memory for large matrices.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Adafactor {
    learning_rate: LearningRate,
    beta_2_decay: f64,
    epsilon_1: f64,
    epsilon_2: f64,
    clip_threshold: f64,
    relative_step: bool,
    #[serde(flatten)]
    options: Options,
}

impl Default for Adafactor {
    fn default() -> Adafactor {
        Adafactor {
            learning_rate: LearningRate::Constant(0.001),
            beta_2_decay: -0.8,
            epsilon_1: 1e-30,
            epsilon_2: 1e-3,
            clip_threshold: 1.0,
            relative_step: true,
            options: Options::default(),
        }
    }
}

common!(Adafactor);

impl Adafactor {
    setters! {
        /// How fast averages slow down: a power of the steps.
        beta_2_decay: f64;
        epsilon_1: f64;
        /// The smallest size of a weight that steps are in proportion to.
        epsilon_2: f64;
        /// The largest root mean square of a step.
        clip_threshold: f64;
        /// Whether the rate is at most one over the root of the steps.
        relative_step: bool;
    }
}

impl Optimizer for Adafactor {
    fn kind(&self) -> &'static str {
        "Adafactor"
    }

    common!(in impl);

    fn check(&self) -> Result<(), Problem> {
        if !self.beta_2_decay.is_finite() || self.clip_threshold.is_nan() || self.clip_threshold <= 0.0 {
            return Err(Problem::value("Adafactor needs a finite beta_2_decay and a positive clip_threshold"));
        }
        not_negative("Adafactor", "epsilon_1", self.epsilon_1)?;
        not_negative("Adafactor", "epsilon_2", self.epsilon_2)
    }

    fn slots(&self, weight: &Parameter<'_>) -> Vec<Slot> {
        let velocity = Slot::zeros("velocity");
        match factors(weight.ty) {
            None => vec![velocity],
            Some([rows, columns]) => {
                let slot = |name, shape| Slot { shape: Some(shape), ..Slot::zeros(name) };
                vec![slot("row", rows), slot("column", columns), velocity]
            }
        }
    }

    fn placeholders(&self, weight: &Parameter<'_>) -> usize {
        if factors(weight.ty).is_none() { 2 } else { 0 }
    }

    fn update(&self, cx: &mut StepCx<'_>, weight: NodeId, gradient: NodeId, slots: &[NodeId]) -> Update {
        let ty = cx.ty(weight).clone();
        let step = cx.step();
        let slow = cx.rsqrt(step);
        let rate = cx.learning_rate();
        let rho = cx.min(rate, slow);
        let size = root_mean_square(cx, weight);
        let size = cx.max_s(size, self.epsilon_2);
        let alpha = cx.mul(size, rho);
        let square = cx.square(gradient);
        let square = cx.add_s(square, self.epsilon_1);
        let decay = cx.lit_like(step, self.beta_2_decay);
        let fresh = cx.pow(step, decay);
        let average = |cx: &mut StepCx<'_>, old: NodeId, new: NodeId| {
            let fresh = cx.broadcast_like(fresh, old);
            let kept = cx.s_sub(1.0, fresh);
            let kept = cx.mul(kept, old);
            let added = cx.mul(fresh, new);
            cx.add(kept, added)
        };
        let rank = ty.shape.rank();
        let (velocity, slots) = match slots {
            [rows, columns, _] => {
                let (by_row, by_column) = (cx.mean(square, &[rank - 1]), cx.mean(square, &[rank - 2]));
                let rows = average(cx, *rows, by_row);
                let columns = average(cx, *columns, by_column);
                let mean = cx.mean(rows, &[rank - 2]);
                let shape = cx.ty(rows).shape.clone();
                let mean = cx.unreduce(mean, &[rank - 2], &shape);
                let share = cx.div(rows, mean);
                let share = cx.unreduce(share, &[rank - 1], &ty.shape);
                let wide = cx.unreduce(columns, &[rank - 2], &ty.shape);
                let velocity = cx.mul(share, wide);
                (velocity, vec![rows, columns, velocity])
            }
            _ => {
                let velocity = average(cx, slots[0], square);
                (velocity, vec![velocity])
            }
        };
        let root = cx.sqrt(velocity);
        let u = cx.div(gradient, root);
        let size = root_mean_square(cx, u);
        let size = cx.mul_s(size, 1.0 / self.clip_threshold);
        let size = cx.max_s(size, 1.0);
        let scale = cx.div(alpha, size);
        let scale = cx.broadcast_like(scale, u);
        let change = cx.mul(scale, u);
        Update { weight: cx.sub(weight, change), slots }
    }
}

/// The shapes of averages over the last axis and over the one before it; none for a weight that has no two axes.
fn factors(weight: &TensorType) -> Option<[Shape; 2]> {
    let rank = weight.shape.rank();
    let without = |axis: usize| {
        let mut shape = weight.shape.clone();
        shape.0.remove(axis);
        shape
    };
    (rank >= 2).then(|| [without(rank - 1), without(rank - 2)])
}

/// The root of the mean of squares, a scalar.
fn root_mean_square(cx: &mut StepCx<'_>, x: NodeId) -> NodeId {
    let square = cx.square(x);
    let axes: Vec<usize> = (0..cx.ty(x).shape.rank()).collect();
    let mean = cx.mean(square, &axes);
    cx.sqrt(mean)
}
