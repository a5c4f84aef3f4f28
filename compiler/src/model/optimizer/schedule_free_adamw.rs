use serde::{Deserialize, Serialize};

use super::{Optimizer, Options, Parameter, Slot, StepCx, Update, common, fraction, not_negative};
use crate::diag::Problem;
use crate::ir::NodeId;
use crate::model::schedule::LearningRate;
use crate::model::setters::{With, setters};

/// [`AdamW`](super::AdamW) without a schedule: steps are taken by a second copy of the weights, and the weights are
/// between it and its mean over all steps (Defazio et al., 2024, arXiv:2405.15682).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct ScheduleFreeAdamW {
    learning_rate: LearningRate,
    beta_1: f64,
    beta_2: f64,
    epsilon: f64,
    warmup_steps: usize,
    #[serde(flatten)]
    options: Options,
}

impl Default for ScheduleFreeAdamW {
    fn default() -> ScheduleFreeAdamW {
        ScheduleFreeAdamW {
            learning_rate: LearningRate::Constant(0.0025),
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-8,
            warmup_steps: 0,
            options: Options::default(),
        }
    }
}

common!(ScheduleFreeAdamW);

impl ScheduleFreeAdamW {
    setters! {
        /// How near the weights are to the mean.
        beta_1: f64;
        beta_2: f64;
        epsilon: f64;
        /// Over how many steps the learning rate rises from 0.
        warmup_steps: usize;
    }
}

impl Optimizer for ScheduleFreeAdamW {
    fn kind(&self) -> &'static str {
        "ScheduleFreeAdamW"
    }

    common!(in impl);

    fn check(&self) -> Result<(), Problem> {
        not_negative("ScheduleFreeAdamW", "epsilon", self.epsilon)?;
        fraction("ScheduleFreeAdamW", "beta_1", self.beta_1)?;
        fraction("ScheduleFreeAdamW", "beta_2", self.beta_2)?;
        match self.beta_1 > 0.0 {
            true => Ok(()),
            false => Err(Problem::value("ScheduleFreeAdamW with beta_1 0, which leaves no mean to return to")),
        }
    }

    fn slots(&self, _weight: &Parameter<'_>) -> Vec<Slot> {
        vec![Slot::zeros("momentum"), Slot::zeros("velocity")]
    }

    fn update(&self, cx: &mut StepCx<'_>, weight: NodeId, gradient: NodeId, slots: &[NodeId]) -> Update {
        let step = cx.step();
        // The copy begins as the weights are at the first step.
        let one = cx.lit_like(step, 1.0);
        let first = cx.le(step, one);
        let first = cx.broadcast_like(first, weight);
        let begun = cx.before_decay(weight);
        let copy = cx.select(first, begun, slots[0]);
        let square = cx.square(gradient);
        let velocity = cx.approach(slots[1], square, self.beta_2);
        let bias = cx.bias(self.beta_2);
        let bias = cx.broadcast_like(bias, velocity);
        let corrected = cx.div(velocity, bias);
        let root = cx.sqrt(corrected);
        let root = cx.add_s(root, self.epsilon);
        let mut rate = cx.learning_rate();
        if self.warmup_steps > 0 {
            let risen = cx.mul_s(step, 1.0 / self.warmup_steps as f64);
            let risen = cx.min_s(risen, 1.0);
            rate = cx.mul(rate, risen);
        }
        let rate = cx.broadcast_like(rate, gradient);
        let change = cx.mul(rate, gradient);
        let change = cx.div(change, root);
        let moved = cx.sub(copy, change);
        // weight = (1 - beta_1) * copy + beta_1 * mean, before and after the step.
        let part = cx.mul_s(copy, 1.0 - self.beta_1);
        let rest = cx.sub(weight, part);
        let mean = cx.mul_s(rest, 1.0 / self.beta_1);
        let share = cx.recip(step);
        let share = cx.broadcast_like(share, mean);
        let distance = cx.sub(moved, mean);
        let step = cx.mul(share, distance);
        let mean = cx.add(mean, step);
        let (near, far) = (cx.mul_s(moved, 1.0 - self.beta_1), cx.mul_s(mean, self.beta_1));
        Update { weight: cx.add(near, far), slots: vec![moved, velocity] }
    }
}
