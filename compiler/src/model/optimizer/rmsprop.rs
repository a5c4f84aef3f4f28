use serde::{Deserialize, Serialize};

use super::{Optimizer, Options, Parameter, Slot, StepCx, Update, common, fraction, not_negative};
use crate::diag::Problem;
use crate::ir::NodeId;
use crate::model::schedule::LearningRate;
use crate::model::setters::{With, setters};

/// Gradient descent divided by a moving average of the gradient's magnitude.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct RMSprop {
    learning_rate: LearningRate,
    rho: f64,
    momentum: f64,
    epsilon: f64,
    centered: bool,
    #[serde(flatten)]
    options: Options,
}

impl Default for RMSprop {
    fn default() -> RMSprop {
        RMSprop {
            learning_rate: LearningRate::Constant(0.001),
            rho: 0.9,
            momentum: 0.0,
            epsilon: 1e-7,
            centered: false,
            options: Options::default(),
        }
    }
}

common!(RMSprop);

impl RMSprop {
    setters! {
        rho: f64;
        momentum: f64;
        epsilon: f64;
        /// Divides by the standard deviation of the gradient instead of its magnitude.
        centered: bool;
    }
}

impl Optimizer for RMSprop {
    fn kind(&self) -> &'static str {
        "RMSprop"
    }

    common!(in impl);

    fn check(&self) -> Result<(), Problem> {
        not_negative("RMSprop", "epsilon", self.epsilon)?;
        fraction("RMSprop", "rho", self.rho)?;
        fraction("RMSprop", "momentum", self.momentum)
    }

    fn slots(&self, _weight: &Parameter<'_>) -> Vec<Slot> {
        let momentum = (self.momentum > 0.0).then_some(Slot::zeros("momentum").in_group(1));
        let average = self.centered.then_some(Slot::zeros("average_gradient").in_group(2));
        std::iter::once(Slot::zeros("velocity")).chain(momentum).chain(average).collect()
    }

    fn update(&self, cx: &mut StepCx<'_>, weight: NodeId, gradient: NodeId, slots: &[NodeId]) -> Update {
        let mut old = slots.iter().copied();
        let square = cx.square(gradient);
        let velocity = old.next().unwrap_or(square);
        let velocity = cx.average(velocity, square, self.rho);
        let momentum = if self.momentum > 0.0 { old.next() } else { None };
        let mut denominator = velocity;
        let mut centre = None;
        if self.centered {
            let mean = old.next().unwrap_or(gradient);
            let mean = cx.average(mean, gradient, self.rho);
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
