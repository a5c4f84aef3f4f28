use serde::{Deserialize, Serialize};

use super::{Optimizer, Options, Parameter, Slot, StepCx, Update, common, not_negative};
use crate::diag::Problem;
use crate::ir::NodeId;
use crate::model::schedule::LearningRate;
use crate::model::setters::{With, setters};

/// Gradient descent divided by the root of the sum of all squared gradients so far.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Adagrad {
    learning_rate: LearningRate,
    initial_accumulator_value: f64,
    epsilon: f64,
    #[serde(flatten)]
    options: Options,
}

impl Default for Adagrad {
    fn default() -> Adagrad {
        Adagrad {
            learning_rate: LearningRate::Constant(0.001),
            initial_accumulator_value: 0.1,
            epsilon: 1e-7,
            options: Options::default(),
        }
    }
}

common!(Adagrad);

impl Adagrad {
    setters! {
        /// Where the sum begins.
        initial_accumulator_value: f64;
        epsilon: f64;
    }
}

impl Optimizer for Adagrad {
    fn kind(&self) -> &'static str {
        "Adagrad"
    }

    common!(in impl);

    fn check(&self) -> Result<(), Problem> {
        not_negative("Adagrad", "epsilon", self.epsilon)?;
        not_negative("Adagrad", "initial_accumulator_value", self.initial_accumulator_value)
    }

    fn slots(&self, _weight: &Parameter<'_>) -> Vec<Slot> {
        vec![Slot { start: self.initial_accumulator_value, ..Slot::zeros("accumulator") }]
    }

    fn update(&self, cx: &mut StepCx<'_>, weight: NodeId, gradient: NodeId, slots: &[NodeId]) -> Update {
        let square = cx.square(gradient);
        let sum = cx.add(slots[0], square);
        let rate = cx.learning_rate_like(gradient);
        let scaled = cx.mul(rate, gradient);
        let root = cx.add_s(sum, self.epsilon);
        let root = cx.sqrt(root);
        let change = cx.div(scaled, root);
        Update { weight: cx.sub(weight, change), slots: vec![sum] }
    }
}
