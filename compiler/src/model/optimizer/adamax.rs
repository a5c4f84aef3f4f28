use serde::{Deserialize, Serialize};

use super::{Optimizer, Options, Parameter, Slot, StepCx, Update, common, fraction, not_negative};
use crate::diag::Problem;
use crate::ir::NodeId;
use crate::model::schedule::LearningRate;
use crate::model::setters::{With, setters};

/// [`Adam`](super::Adam) with the largest gradient so far in place of the average of squares.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Adamax {
    learning_rate: LearningRate,
    beta_1: f64,
    beta_2: f64,
    epsilon: f64,
    #[serde(flatten)]
    options: Options,
}

impl Default for Adamax {
    fn default() -> Adamax {
        Adamax {
            learning_rate: LearningRate::Constant(0.001),
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-7,
            options: Options::default(),
        }
    }
}

common!(Adamax);

impl Adamax {
    setters! {
        beta_1: f64;
        beta_2: f64;
        epsilon: f64;
    }
}

impl Optimizer for Adamax {
    fn kind(&self) -> &'static str {
        "Adamax"
    }

    common!(in impl);

    fn check(&self) -> Result<(), Problem> {
        not_negative("Adamax", "epsilon", self.epsilon)?;
        fraction("Adamax", "beta_1", self.beta_1)?;
        fraction("Adamax", "beta_2", self.beta_2)
    }

    fn slots(&self, _weight: &Parameter<'_>) -> Vec<Slot> {
        vec![Slot::zeros("momentum"), Slot::zeros("norm")]
    }

    fn update(&self, cx: &mut StepCx<'_>, weight: NodeId, gradient: NodeId, slots: &[NodeId]) -> Update {
        let m = cx.approach(slots[0], gradient, self.beta_1);
        let kept = cx.mul_s(slots[1], self.beta_2);
        let size = cx.abs(gradient);
        let u = cx.max(kept, size);
        let rate = cx.learning_rate_like(m);
        let scaled = cx.mul(rate, m);
        let bias = cx.bias(self.beta_1);
        let bias = cx.broadcast_like(bias, u);
        let divisor = cx.add_s(u, self.epsilon);
        let divisor = cx.mul(bias, divisor);
        let change = cx.div(scaled, divisor);
        Update { weight: cx.sub(weight, change), slots: vec![m, u] }
    }
}
