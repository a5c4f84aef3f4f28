use serde::{Deserialize, Serialize};

use super::{Optimizer, Options, Parameter, Slot, StepCx, Update, common, not_negative};
use crate::diag::Problem;
use crate::ir::NodeId;
use crate::model::schedule::LearningRate;
use crate::model::setters::{With, setters};

/// Follow the regularized leader: L1 and L2 penalties that make weights exactly zero.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Ftrl {
    learning_rate: LearningRate,
    learning_rate_power: f64,
    initial_accumulator_value: f64,
    l1_regularization_strength: f64,
    l2_regularization_strength: f64,
    l2_shrinkage_regularization_strength: f64,
    beta: f64,
    #[serde(flatten)]
    options: Options,
}

impl Default for Ftrl {
    fn default() -> Ftrl {
        Ftrl {
            learning_rate: LearningRate::Constant(0.001),
            learning_rate_power: -0.5,
            initial_accumulator_value: 0.1,
            l1_regularization_strength: 0.0,
            l2_regularization_strength: 0.0,
            l2_shrinkage_regularization_strength: 0.0,
            beta: 0.0,
            options: Options::default(),
        }
    }
}

common!(Ftrl);

impl Ftrl {
    setters! {
        /// How fast the rate shrinks: a power of the sum of squares, at most 0.
        learning_rate_power: f64;
        initial_accumulator_value: f64;
        l1_regularization_strength: f64;
        l2_regularization_strength: f64;
        /// A penalty on the size of weights in the gradient alone.
        l2_shrinkage_regularization_strength: f64;
        beta: f64;
    }
}

impl Optimizer for Ftrl {
    fn kind(&self) -> &'static str {
        "Ftrl"
    }

    common!(in impl);

    fn check(&self) -> Result<(), Problem> {
        if !(self.learning_rate_power <= 0.0 && self.learning_rate_power.is_finite()) {
            let message = format!("Ftrl with learning_rate_power {}: must be at most 0", self.learning_rate_power);
            return Err(Problem::value(message));
        }
        not_negative("Ftrl", "initial_accumulator_value", self.initial_accumulator_value)?;
        not_negative("Ftrl", "l1_regularization_strength", self.l1_regularization_strength)?;
        not_negative("Ftrl", "l2_regularization_strength", self.l2_regularization_strength)?;
        not_negative("Ftrl", "l2_shrinkage_regularization_strength", self.l2_shrinkage_regularization_strength)?;
        not_negative("Ftrl", "beta", self.beta)
    }

    fn slots(&self, _weight: &Parameter<'_>) -> Vec<Slot> {
        vec![Slot { start: self.initial_accumulator_value, ..Slot::zeros("accumulator") }, Slot::zeros("linear")]
    }

    fn update(&self, cx: &mut StepCx<'_>, weight: NodeId, gradient: NodeId, slots: &[NodeId]) -> Update {
        let rate = cx.learning_rate();
        let l2 = {
            let two = cx.mul_s(rate, 2.0);
            let beta = cx.lit_like(two, self.beta);
            let beta = cx.div(beta, two);
            let l2 = cx.add_s(beta, self.l2_regularization_strength);
            cx.mul_s(l2, 2.0)
        };
        let rate = cx.broadcast_like(rate, weight);
        let power = |cx: &mut StepCx<'_>, x: NodeId| {
            let exponent = cx.lit_like(x, -self.learning_rate_power);
            cx.pow(x, exponent)
        };
        let pull = cx.mul_s(weight, 2.0 * self.l2_shrinkage_regularization_strength);
        let pulled = cx.add(gradient, pull);
        let square = cx.square(gradient);
        let sum = cx.add(slots[0], square);
        let (new, old) = (power(cx, sum), power(cx, slots[0]));
        let grown = cx.sub(new, old);
        let sigma = cx.div(grown, rate);
        let held = cx.mul(sigma, weight);
        let change = cx.sub(pulled, held);
        let linear = cx.add(slots[1], change);
        let quadratic = cx.div(new, rate);
        let l2 = cx.broadcast_like(l2, quadratic);
        let quadratic = cx.add(quadratic, l2);
        let clipped = cx.max_s(linear, -self.l1_regularization_strength);
        let clipped = cx.min_s(clipped, self.l1_regularization_strength);
        let rest = cx.sub(clipped, linear);
        Update { weight: cx.div(rest, quadratic), slots: vec![sum, linear] }
    }
}
