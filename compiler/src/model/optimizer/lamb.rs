use serde::{Deserialize, Serialize};

use super::{Optimizer, Options, Parameter, Slot, StepCx, Update, common, fraction, not_negative};
use crate::diag::Problem;
use crate::ir::NodeId;
use crate::model::schedule::LearningRate;
use crate::model::setters::{With, setters};

/// [`Adam`](super::Adam) with steps in proportion to the norm of each weight: for large batches.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Lamb {
    learning_rate: LearningRate,
    beta_1: f64,
    beta_2: f64,
    epsilon: f64,
    #[serde(flatten)]
    options: Options,
}

impl Default for Lamb {
    fn default() -> Lamb {
        Lamb {
            learning_rate: LearningRate::Constant(0.001),
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-7,
            options: Options::default(),
        }
    }
}

common!(Lamb);

impl Lamb {
    setters! {
        beta_1: f64;
        beta_2: f64;
        epsilon: f64;
    }
}

impl Optimizer for Lamb {
    fn kind(&self) -> &'static str {
        "Lamb"
    }

    common!(in impl);

    fn check(&self) -> Result<(), Problem> {
        not_negative("Lamb", "epsilon", self.epsilon)?;
        fraction("Lamb", "beta_1", self.beta_1)?;
        fraction("Lamb", "beta_2", self.beta_2)
    }

    fn slots(&self, _weight: &Parameter<'_>) -> Vec<Slot> {
        vec![Slot::zeros("momentum"), Slot::zeros("velocity")]
    }

    fn update(&self, cx: &mut StepCx<'_>, weight: NodeId, gradient: NodeId, slots: &[NodeId]) -> Update {
        let m = cx.approach(slots[0], gradient, self.beta_1);
        let square = cx.square(gradient);
        let v = cx.approach(slots[1], square, self.beta_2);
        let corrected = |cx: &mut StepCx<'_>, x: NodeId, beta: f64| {
            let bias = cx.bias(beta);
            let bias = cx.broadcast_like(bias, x);
            cx.div(x, bias)
        };
        let m_hat = corrected(cx, m, self.beta_1);
        let v_hat = corrected(cx, v, self.beta_2);
        let root = cx.sqrt(v_hat);
        let root = cx.add_s(root, self.epsilon);
        let step = cx.div(m_hat, root);
        let (size, step_size) = (cx.norm(weight), cx.norm(step));
        let zero = cx.lit_like(size, 0.0);
        let (some, some_step) = (cx.gt(size, zero), cx.gt(step_size, zero));
        let both = cx.and(some, some_step);
        let one = cx.lit_like(size, 1.0);
        let ratio = cx.div(size, step_size);
        let ratio = cx.select(both, ratio, one);
        let rate = cx.learning_rate();
        let scale = cx.mul(ratio, rate);
        let scale = cx.broadcast_like(scale, step);
        let change = cx.mul(scale, step);
        Update { weight: cx.sub(weight, change), slots: vec![m, v] }
    }
}
