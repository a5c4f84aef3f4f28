use serde::{Deserialize, Serialize};

use super::{Adam, Optimizer, Options, Parameter, Slot, StepCx, Update, common};
use crate::diag::Problem;
use crate::ir::NodeId;
use crate::model::schedule::LearningRate;
use crate::model::setters::{With, setters};

/// The decay of a weight unless another one is set.
const DECAY: f64 = 0.004;

/// [`Adam`] with weight decay, by 0.004 unless set.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct AdamW {
    learning_rate: LearningRate,
    beta_1: f64,
    beta_2: f64,
    epsilon: f64,
    amsgrad: bool,
    #[serde(flatten)]
    options: Options,
}

impl Default for AdamW {
    fn default() -> AdamW {
        AdamW {
            learning_rate: LearningRate::Constant(0.001),
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-7,
            amsgrad: false,
            options: Options { weight_decay: Some(DECAY), ..Options::default() },
        }
    }
}

common!(AdamW);

impl AdamW {
    setters! {
        beta_1: f64;
        beta_2: f64;
        epsilon: f64;
        /// Divides by the largest average of the square so far.
        amsgrad: bool;
    }

    /// The rule without the decay.
    fn rule(&self) -> Adam {
        Adam::new(self.learning_rate.clone())
            .beta_1(self.beta_1)
            .beta_2(self.beta_2)
            .epsilon(self.epsilon)
            .amsgrad(self.amsgrad)
    }
}

impl Optimizer for AdamW {
    fn kind(&self) -> &'static str {
        "AdamW"
    }

    common!(in impl);

    fn check(&self) -> Result<(), Problem> {
        if self.options.weight_decay.is_none() {
            return Err(Problem::value("AdamW without weight_decay").help("use Adam"));
        }
        self.rule().check()
    }

    fn slots(&self, weight: &Parameter<'_>) -> Vec<Slot> {
        self.rule().slots(weight)
    }

    fn update(&self, cx: &mut StepCx<'_>, weight: NodeId, gradient: NodeId, slots: &[NodeId]) -> Update {
        self.rule().update(cx, weight, gradient, slots)
    }
}
