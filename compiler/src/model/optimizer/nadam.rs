use serde::{Deserialize, Serialize};

use super::{Optimizer, Options, Parameter, Slot, StepCx, Update, common, fraction, not_negative};
use crate::diag::Problem;
use crate::ir::NodeId;
use crate::model::schedule::LearningRate;
use crate::model::setters::{With, setters};

/// [`Adam`](super::Adam) with Nesterov's momentum.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Nadam {
    learning_rate: LearningRate,
    beta_1: f64,
    beta_2: f64,
    epsilon: f64,
    #[serde(flatten)]
    options: Options,
}

impl Default for Nadam {
    fn default() -> Nadam {
        Nadam {
            learning_rate: LearningRate::Constant(0.001),
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-7,
            options: Options::default(),
        }
    }
}

common!(Nadam);

impl Nadam {
    setters! {
        beta_1: f64;
        beta_2: f64;
        epsilon: f64;
    }
}

impl Optimizer for Nadam {
    fn kind(&self) -> &'static str {
        "Nadam"
    }

    common!(in impl);

    fn check(&self) -> Result<(), Problem> {
        not_negative("Nadam", "epsilon", self.epsilon)?;
        fraction("Nadam", "beta_1", self.beta_1)?;
        fraction("Nadam", "beta_2", self.beta_2)
    }

    fn slots(&self, _weight: &Parameter<'_>) -> Vec<Slot> {
        vec![Slot::zeros("momentum"), Slot::zeros("velocity")]
    }

    fn scalars(&self) -> Vec<(&'static str, f64)> {
        vec![("u_product", 1.0)]
    }

    fn begin(&self, cx: &mut StepCx<'_>, scalars: &[NodeId]) -> Vec<NodeId> {
        let u = self.momentum_at(cx, 0.0);
        vec![cx.mul(scalars[0], u)]
    }

    fn update(&self, cx: &mut StepCx<'_>, weight: NodeId, gradient: NodeId, slots: &[NodeId]) -> Update {
        let product = cx.scalars()[0];
        let (u, next) = (self.momentum_at(cx, 0.0), self.momentum_at(cx, 1.0));
        let next_product = cx.mul(product, next);
        let m = cx.approach(slots[0], gradient, self.beta_1);
        let square = cx.square(gradient);
        let v = cx.approach(slots[1], square, self.beta_2);
        let (rest, next_rest) = (cx.s_sub(1.0, product), cx.s_sub(1.0, next_product));
        let ahead = cx.div(next, next_rest);
        let now = cx.s_sub(1.0, u);
        let now = cx.div(now, rest);
        let (ahead, now) = (cx.broadcast_like(ahead, m), cx.broadcast_like(now, gradient));
        let (ahead, now) = (cx.mul(ahead, m), cx.mul(now, gradient));
        let m_hat = cx.add(ahead, now);
        let bias = cx.bias(self.beta_2);
        let bias = cx.broadcast_like(bias, v);
        let v_hat = cx.div(v, bias);
        let root = cx.sqrt(v_hat);
        let root = cx.add_s(root, self.epsilon);
        let rate = cx.learning_rate_like(m_hat);
        let scaled = cx.mul(m_hat, rate);
        let change = cx.div(scaled, root);
        Update { weight: cx.sub(weight, change), slots: vec![m, v] }
    }
}

impl Nadam {
    /// The momentum of a step after this one, a scalar: it grows with the steps towards `beta_1`.
    fn momentum_at(&self, cx: &mut StepCx<'_>, later: f64) -> NodeId {
        let step = cx.step();
        let step = cx.add_s(step, later);
        let decay = cx.lit_like(step, 0.96);
        let power = cx.pow(decay, step);
        let half = cx.mul_s(power, 0.5);
        let rest = cx.s_sub(1.0, half);
        cx.mul_s(rest, self.beta_1)
    }
}
