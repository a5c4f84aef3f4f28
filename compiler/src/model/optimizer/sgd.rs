use serde::{Deserialize, Serialize};

use super::{Optimizer, StepCx, Update, fraction, not_negative};
use crate::diag::Problem;
use crate::ir::NodeId;

/// Gradient descent, with momentum and Nesterov's variant of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct SGD {
    learning_rate: f64,
    momentum: f64,
    nesterov: bool,
}

impl SGD {
    pub fn new(learning_rate: f64) -> SGD {
        SGD { learning_rate, momentum: 0.0, nesterov: false }
    }

    pub fn momentum(mut self, momentum: f64) -> SGD {
        self.momentum = momentum;
        self
    }

    pub fn nesterov(mut self, nesterov: bool) -> SGD {
        self.nesterov = nesterov;
        self
    }
}

impl Default for SGD {
    fn default() -> SGD {
        SGD::new(0.01)
    }
}

impl Optimizer for SGD {
    fn kind(&self) -> &'static str {
        "SGD"
    }

    fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    fn check(&self) -> Result<(), Problem> {
        not_negative("SGD", "learning_rate", self.learning_rate)?;
        fraction("SGD", "momentum", self.momentum)
    }

    fn slots(&self) -> Vec<&'static str> {
        if self.momentum == 0.0 { vec![] } else { vec!["momentum"] }
    }

    fn update(&self, cx: &mut StepCx<'_>, weight: NodeId, gradient: NodeId, slots: &[NodeId]) -> Update {
        let rate = cx.learning_rate_like(gradient);
        let step = cx.mul(gradient, rate);
        let Some(&m) = slots.first() else {
            return Update { weight: cx.sub(weight, step), slots: vec![] };
        };
        let kept = cx.mul_s(m, self.momentum);
        let m = cx.sub(kept, step);
        let change = if self.nesterov {
            let ahead = cx.mul_s(m, self.momentum);
            cx.sub(ahead, step)
        } else {
            m
        };
        Update { weight: cx.add(weight, change), slots: vec![m] }
    }
}
