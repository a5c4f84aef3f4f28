use serde::{Deserialize, Serialize};

use super::{Optimizer, StepCx, Update, fraction, not_negative};
use crate::diag::Problem;
use crate::ir::NodeId;

/// Gradient descent divided by a moving average of the gradient's magnitude.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct RMSprop {
    learning_rate: f64,
    rho: f64,
    momentum: f64,
    epsilon: f64,
    centered: bool,
}

impl RMSprop {
    pub fn new(learning_rate: f64) -> RMSprop {
        RMSprop { learning_rate, rho: 0.9, momentum: 0.0, epsilon: 1e-7, centered: false }
    }

    pub fn rho(mut self, rho: f64) -> RMSprop {
        self.rho = rho;
        self
    }

    pub fn momentum(mut self, momentum: f64) -> RMSprop {
        self.momentum = momentum;
        self
    }

    pub fn epsilon(mut self, epsilon: f64) -> RMSprop {
        self.epsilon = epsilon;
        self
    }

    /// Divides by the standard deviation of the gradient instead of its magnitude.
    pub fn centered(mut self, centered: bool) -> RMSprop {
        self.centered = centered;
        self
    }
}

impl Default for RMSprop {
    fn default() -> RMSprop {
        RMSprop::new(0.001)
    }
}

impl Optimizer for RMSprop {
    fn kind(&self) -> &'static str {
        "RMSprop"
    }

    fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    fn check(&self) -> Result<(), Problem> {
        not_negative("RMSprop", "learning_rate", self.learning_rate)?;
        not_negative("RMSprop", "epsilon", self.epsilon)?;
        fraction("RMSprop", "rho", self.rho)?;
        fraction("RMSprop", "momentum", self.momentum)
    }

    fn slots(&self) -> Vec<&'static str> {
        let momentum = (self.momentum > 0.0).then_some("momentum");
        let average = self.centered.then_some("average_gradient");
        std::iter::once("velocity").chain(momentum).chain(average).collect()
    }

    fn update(&self, cx: &mut StepCx<'_>, weight: NodeId, gradient: NodeId, slots: &[NodeId]) -> Update {
        let mut old = slots.iter().copied();
        let average = |cx: &mut StepCx<'_>, old: Option<NodeId>, new: NodeId| {
            let old = old.unwrap_or(new);
            let kept = cx.mul_s(old, self.rho);
            let added = cx.mul_s(new, 1.0 - self.rho);
            cx.add(kept, added)
        };
        let square = cx.square(gradient);
        let velocity = average(cx, old.next(), square);
        let momentum = if self.momentum > 0.0 { old.next() } else { None };
        let mut denominator = velocity;
        let mut centre = None;
        if self.centered {
            let mean = average(cx, old.next(), gradient);
            let square = cx.square(mean);
            denominator = cx.sub(velocity, square);
            centre = Some(mean);
        }
        let denominator = cx.add_s(denominator, self.epsilon);
        let root = cx.sqrt(denominator);
        let rate = cx.learning_rate_like(gradient);
        let scaled = cx.mul(rate, gradient);
        let increment = cx.div(scaled, root);
        let momentum = momentum.map(|m| {
            let kept = cx.mul_s(m, self.momentum);
            cx.add(kept, increment)
        });
        let weight = cx.sub(weight, momentum.unwrap_or(increment));
        Update { weight, slots: std::iter::once(velocity).chain(momentum).chain(centre).collect() }
    }
}
