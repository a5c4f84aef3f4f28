use serde::{Deserialize, Serialize};

use super::{Optimizer, Options, Parameter, Slot, StepCx, Update, common, fraction};
use crate::diag::Problem;
use crate::ir::NodeId;
use crate::model::schedule::LearningRate;
use crate::model::setters::{With, setters};

/// Gradient descent, with momentum and Nesterov's variant of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct SGD {
    learning_rate: LearningRate,
    momentum: f64,
    nesterov: bool,
    #[serde(flatten)]
    options: Options,
}

impl Default for SGD {
    fn default() -> SGD {
        SGD { learning_rate: LearningRate::Constant(0.01), momentum: 0.0, nesterov: false, options: Options::default() }
    }
}

common!(SGD);

impl SGD {
    setters! {
        momentum: f64;
        nesterov: bool;
    }
}

impl Optimizer for SGD {
    fn kind(&self) -> &'static str {
        "SGD"
    }

    common!(in impl);

    fn check(&self) -> Result<(), Problem> {
        fraction("SGD", "momentum", self.momentum)
    }

    fn slots(&self, _weight: &Parameter<'_>) -> Vec<Slot> {
        if self.momentum == 0.0 { vec![] } else { vec![Slot::zeros("momentum")] }
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
