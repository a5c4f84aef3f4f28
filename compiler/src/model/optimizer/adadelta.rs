use serde::{Deserialize, Serialize};

use super::{Optimizer, Options, Parameter, Slot, StepCx, Update, common, fraction, not_negative};
use crate::diag::Problem;
use crate::ir::NodeId;
use crate::model::schedule::LearningRate;
use crate::model::setters::{With, setters};

/// Steps in the size of past steps, divided by the gradient's magnitude.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Adadelta {
    learning_rate: LearningRate,
    rho: f64,
    epsilon: f64,
    #[serde(flatten)]
    options: Options,
}

impl Default for Adadelta {
    fn default() -> Adadelta {
        Adadelta { learning_rate: LearningRate::Constant(0.001), rho: 0.95, epsilon: 1e-7, options: Options::default() }
    }
}

common!(Adadelta);

impl Adadelta {
    setters! {
        rho: f64;
        epsilon: f64;
    }
}

impl Optimizer for Adadelta {
    fn kind(&self) -> &'static str {
        "Adadelta"
    }

    common!(in impl);

    fn check(&self) -> Result<(), Problem> {
        not_negative("Adadelta", "epsilon", self.epsilon)?;
        fraction("Adadelta", "rho", self.rho)
    }

    fn slots(&self, _weight: &Parameter<'_>) -> Vec<Slot> {
        vec![Slot::zeros("accumulated_grad"), Slot::zeros("accumulated_delta_var")]
    }

    fn update(&self, cx: &mut StepCx<'_>, weight: NodeId, gradient: NodeId, slots: &[NodeId]) -> Update {
        let root = |cx: &mut StepCx<'_>, x: NodeId| {
            let x = cx.add_s(x, self.epsilon);
            cx.sqrt(x)
        };
        let square = cx.square(gradient);
        let gradients = cx.average(slots[0], square, self.rho);
        let (past, size) = (root(cx, slots[1]), root(cx, gradients));
        let scaled = cx.mul(past, gradient);
        let step = cx.div(scaled, size);
        let square = cx.square(step);
        let steps = cx.average(slots[1], square, self.rho);
        let rate = cx.learning_rate_like(step);
        let change = cx.mul(rate, step);
        Update { weight: cx.sub(weight, change), slots: vec![gradients, steps] }
    }
}
