use serde::{Deserialize, Serialize};

use super::{Optimizer, Options, Parameter, Slot, StepCx, Update, common, fraction, not_negative};
use crate::diag::Problem;
use crate::ir::NodeId;
use crate::model::schedule::LearningRate;
use crate::model::setters::{With, setters};

/// Moving averages of the gradient and of its square, corrected for their start at zero.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Adam {
    learning_rate: LearningRate,
    beta_1: f64,
    beta_2: f64,
    epsilon: f64,
    amsgrad: bool,
    #[serde(flatten)]
    options: Options,
}

impl Default for Adam {
    fn default() -> Adam {
        Adam {
            learning_rate: LearningRate::Constant(0.001),
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-7,
            amsgrad: false,
            options: Options::default(),
        }
    }
}

common!(Adam);

impl Adam {
    setters! {
        beta_1: f64;
        beta_2: f64;
        epsilon: f64;
        /// Divides by the largest average of the square so far.
        amsgrad: bool;
    }
}

impl Optimizer for Adam {
    fn kind(&self) -> &'static str {
        "Adam"
    }

    common!(in impl);

    fn check(&self) -> Result<(), Problem> {
        not_negative("Adam", "epsilon", self.epsilon)?;
        fraction("Adam", "beta_1", self.beta_1)?;
        fraction("Adam", "beta_2", self.beta_2)
    }

    fn slots(&self, _weight: &Parameter<'_>) -> Vec<Slot> {
        let hat = self.amsgrad.then_some(Slot::zeros("velocity_hat").in_group(1));
        ["momentum", "velocity"].map(Slot::zeros).into_iter().chain(hat).collect()
    }

    fn update(&self, cx: &mut StepCx<'_>, weight: NodeId, gradient: NodeId, slots: &[NodeId]) -> Update {
        let rate = cx.learning_rate();
        let (first, second) = (cx.bias(self.beta_1), cx.bias(self.beta_2));
        let root = cx.sqrt(second);
        let scaled = cx.mul(rate, root);
        let alpha = cx.div(scaled, first);
        let m = cx.approach(slots[0], gradient, self.beta_1);
        let square = cx.square(gradient);
        let v = cx.approach(slots[1], square, self.beta_2);
        let hat = self.amsgrad.then(|| cx.max(slots[2], v));
        let root = cx.sqrt(hat.unwrap_or(v));
        let root = cx.add_s(root, self.epsilon);
        let alpha = cx.broadcast_like(alpha, m);
        let scaled = cx.mul(m, alpha);
        let change = cx.div(scaled, root);
        Update { weight: cx.sub(weight, change), slots: [m, v].into_iter().chain(hat).collect() }
    }
}
