use serde::{Deserialize, Serialize};

use super::{Optimizer, Options, Parameter, Slot, StepCx, Update, common, fraction};
use crate::diag::Problem;
use crate::ir::NodeId;
use crate::model::schedule::LearningRate;
use crate::model::setters::{With, setters};

/// Steps of one size, in the direction of the sign of a moving average.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Lion {
    learning_rate: LearningRate,
    beta_1: f64,
    beta_2: f64,
    #[serde(flatten)]
    options: Options,
}

impl Default for Lion {
    fn default() -> Lion {
        Lion { learning_rate: LearningRate::Constant(0.001), beta_1: 0.9, beta_2: 0.99, options: Options::default() }
    }
}

common!(Lion);

impl Lion {
    setters! {
        beta_1: f64;
        beta_2: f64;
    }
}

impl Optimizer for Lion {
    fn kind(&self) -> &'static str {
        "Lion"
    }

    common!(in impl);

    fn check(&self) -> Result<(), Problem> {
        if self.beta_1 == 0.0 {
            return Err(Problem::value("Lion with beta_1 0: must be above 0"));
        }
        fraction("Lion", "beta_1", self.beta_1)?;
        fraction("Lion", "beta_2", self.beta_2)
    }

    fn slots(&self, _weight: &Parameter<'_>) -> Vec<Slot> {
        vec![Slot::zeros("momentum")]
    }

    fn update(&self, cx: &mut StepCx<'_>, weight: NodeId, gradient: NodeId, slots: &[NodeId]) -> Update {
        let towards = cx.average(slots[0], gradient, self.beta_1);
        let direction = cx.sign(towards);
        let rate = cx.learning_rate_like(direction);
        let change = cx.mul(rate, direction);
        let m = cx.average(slots[0], gradient, self.beta_2);
        Update { weight: cx.sub(weight, change), slots: vec![m] }
    }
}
