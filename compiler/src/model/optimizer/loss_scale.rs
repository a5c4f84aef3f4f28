use std::rc::Rc;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::{Adam, IntoOptimizer, Optimizer, Options, Parameter, Slot, StepCx, Update};
use crate::diag::Problem;
use crate::ir::NodeId;
use crate::model::config::{self, Object};
use crate::model::registry::{self, OPTIMIZERS};
use crate::model::schedule::LearningRate;
use crate::model::setters::{With, setters};

/// Another optimizer, of a loss that is multiplied by a scale that changes: small gradients survive narrow types.
///
/// A step whose gradients are not all finite changes nothing but the scale, which it halves. After
/// `dynamic_growth_steps` steps with finite gradients the scale doubles.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct LossScaleOptimizer {
    inner_optimizer: Inner,
    initial_scale: f64,
    dynamic_growth_steps: u32,
}

impl Default for LossScaleOptimizer {
    fn default() -> LossScaleOptimizer {
        let inner_optimizer = Inner(Rc::new(Adam::default()));
        LossScaleOptimizer { inner_optimizer, initial_scale: 32768.0, dynamic_growth_steps: 2000 }
    }
}

impl LossScaleOptimizer {
    pub fn new(inner_optimizer: impl IntoOptimizer) -> LossScaleOptimizer {
        LossScaleOptimizer { inner_optimizer: Inner(inner_optimizer.into_optimizer()), ..LossScaleOptimizer::default() }
    }

    setters! {
        /// The scale at the beginning.
        initial_scale: f64;
        /// Steps with finite gradients after which the scale doubles.
        dynamic_growth_steps: u32;
    }
}

/// How the loss of a step is scaled.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LossScale {
    pub initial: f64,
    /// Steps with finite gradients after which the scale doubles.
    pub growth_steps: u32,
}

/// The optimizer inside, as Keras's serialised object.
#[derive(Clone, Debug)]
struct Inner(Rc<dyn Optimizer>);

impl Serialize for Inner {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some((class, arguments)) = registry::write(OPTIMIZERS, &*self.0) else {
            return Err(S::Error::custom(format!("the optimizer {} has no counterpart in Keras", self.0.kind())));
        };
        config::object("keras.optimizers", class, arguments).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Inner {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Inner, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let object = Object::parse(&value).map_err(D::Error::custom)?;
        let read = registry::read(OPTIMIZERS, "optimizer", &object.class, &object.config);
        read.map(Inner).map_err(|problems| {
            let messages: Vec<String> = problems.into_iter().map(|p| p.message).collect();
            D::Error::custom(messages.join("; "))
        })
    }
}

impl Optimizer for LossScaleOptimizer {
    fn kind(&self) -> &'static str {
        "LossScaleOptimizer"
    }

    fn learning_rate(&self) -> &LearningRate {
        self.inner_optimizer.0.learning_rate()
    }

    fn options(&self) -> &Options {
        self.inner_optimizer.0.options()
    }

    fn check(&self) -> Result<(), Problem> {
        if !self.initial_scale.is_finite() || self.initial_scale <= 0.0 {
            let message = format!("LossScaleOptimizer with initial_scale {}: must be positive", self.initial_scale);
            return Err(Problem::value(message));
        }
        if self.dynamic_growth_steps == 0 {
            return Err(Problem::value("LossScaleOptimizer with dynamic_growth_steps 0: must be at least 1"));
        }
        if self.inner_optimizer.0.loss_scale().is_some() {
            return Err(Problem::value("LossScaleOptimizer around another one: a loss is scaled once"));
        }
        self.inner_optimizer.0.check()
    }

    fn slots(&self, weight: &Parameter<'_>) -> Vec<Slot> {
        self.inner_optimizer.0.slots(weight)
    }

    fn scalars(&self) -> Vec<(&'static str, f64)> {
        self.inner_optimizer.0.scalars()
    }

    fn loss_scale(&self) -> Option<LossScale> {
        Some(LossScale { initial: self.initial_scale, growth_steps: self.dynamic_growth_steps })
    }

    fn placeholders(&self, weight: &Parameter<'_>) -> usize {
        self.inner_optimizer.0.placeholders(weight)
    }

    fn decay(&self, weight: &Parameter<'_>) -> Option<f64> {
        self.inner_optimizer.0.decay(weight)
    }

    fn begin(&self, cx: &mut StepCx<'_>, scalars: &[NodeId]) -> Vec<NodeId> {
        self.inner_optimizer.0.begin(cx, scalars)
    }

    fn update(&self, cx: &mut StepCx<'_>, weight: NodeId, gradient: NodeId, slots: &[NodeId]) -> Update {
        self.inner_optimizer.0.update(cx, weight, gradient, slots)
    }
}
