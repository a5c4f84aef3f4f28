use serde::{Deserialize, Serialize};

use super::{Optimizer, StepCx, Update, fraction, not_negative};
use crate::diag::Problem;
use crate::ir::NodeId;

/// Moving averages of the gradient and of its square, corrected for their start at zero.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Adam {
    learning_rate: f64,
    beta_1: f64,
    beta_2: f64,
    epsilon: f64,
    amsgrad: bool,
}

impl Adam {
    pub fn new(learning_rate: f64) -> Adam {
        Adam { learning_rate, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-7, amsgrad: false }
    }

    pub fn beta_1(mut self, beta_1: f64) -> Adam {
        self.beta_1 = beta_1;
        self
    }

    pub fn beta_2(mut self, beta_2: f64) -> Adam {
        self.beta_2 = beta_2;
        self
    }

    pub fn epsilon(mut self, epsilon: f64) -> Adam {
        self.epsilon = epsilon;
        self
    }

    /// Divides by the largest average of the square so far.
    pub fn amsgrad(mut self, amsgrad: bool) -> Adam {
        self.amsgrad = amsgrad;
        self
    }
}

impl Default for Adam {
    fn default() -> Adam {
        Adam::new(0.001)
    }
}

impl Optimizer for Adam {
    fn kind(&self) -> &'static str {
        "Adam"
    }

    fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    fn check(&self) -> Result<(), Problem> {
        not_negative("Adam", "learning_rate", self.learning_rate)?;
        not_negative("Adam", "epsilon", self.epsilon)?;
        fraction("Adam", "beta_1", self.beta_1)?;
        fraction("Adam", "beta_2", self.beta_2)
    }

    fn slots(&self) -> Vec<&'static str> {
        match self.amsgrad {
            true => vec!["momentum", "velocity", "velocity_hat"],
            false => vec!["momentum", "velocity"],
        }
    }

    fn update(&self, cx: &mut StepCx<'_>, weight: NodeId, gradient: NodeId, slots: &[NodeId]) -> Update {
        let alpha = self.rate(cx);
        let approach = |cx: &mut StepCx<'_>, old: NodeId, new: NodeId, beta: f64| {
            let distance = cx.sub(new, old);
            let step = cx.mul_s(distance, 1.0 - beta);
            cx.add(old, step)
        };
        let m = approach(cx, slots[0], gradient, self.beta_1);
        let square = cx.square(gradient);
        let v = approach(cx, slots[1], square, self.beta_2);
        let hat = self.amsgrad.then(|| cx.max(slots[2], v));
        let root = cx.sqrt(hat.unwrap_or(v));
        let root = cx.add_s(root, self.epsilon);
        let alpha = cx.broadcast_like(alpha, m);
        let scaled = cx.mul(m, alpha);
        let change = cx.div(scaled, root);
        let weight = cx.sub(weight, change);
        Update { weight, slots: [m, v].into_iter().chain(hat).collect() }
    }
}

impl Adam {
    /// `learning_rate * sqrt(1 - beta_2^t) / (1 - beta_1^t)`, a scalar.
    fn rate(&self, cx: &mut StepCx<'_>) -> NodeId {
        let step = cx.step();
        let rest = |cx: &mut StepCx<'_>, beta: f64| {
            let beta = cx.lit_like(step, beta);
            let power = cx.pow(beta, step);
            cx.s_sub(1.0, power)
        };
        let (first, second) = (rest(cx, self.beta_1), rest(cx, self.beta_2));
        let root = cx.sqrt(second);
        let rate = cx.learning_rate();
        let scaled = cx.mul(rate, root);
        cx.div(scaled, first)
    }
}
