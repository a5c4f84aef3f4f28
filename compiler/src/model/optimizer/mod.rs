//! Optimizers, with Keras's formulas: where epsilon goes, how bias is corrected, in which order slots are updated.
//!
//! An optimizer is a struct and an [`Optimizer`] impl in a file of its own. It sees one parameter at a time and
//! builds graph; slots and counters are storage cells under `optimizer/`. What all optimizers can do - schedules, weight
//! decay, clipping, averaging of weights, accumulation of gradients - is in their [`Options`], and [`step`] does it.

mod adadelta;
mod adafactor;
mod adagrad;
mod adam;
mod adamax;
mod adamw;
mod ftrl;
mod lamb;
mod lion;
mod loss_scale;
mod muon;
mod nadam;
pub(crate) mod options;
mod rmsprop;
pub(crate) mod saved;
mod schedule_free_adamw;
mod sgd;
pub(crate) mod step;

use std::any::Any;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

pub use adadelta::Adadelta;
pub use adafactor::Adafactor;
pub use adagrad::Adagrad;
pub use adam::Adam;
pub use adamax::Adamax;
pub use adamw::AdamW;
pub use ftrl::Ftrl;
pub use lamb::Lamb;
pub use lion::Lion;
pub use loss_scale::{LossScale, LossScaleOptimizer};
pub use muon::Muon;
pub use nadam::Nadam;
pub use options::Options;
use options::common;
pub use rmsprop::RMSprop;
pub use schedule_free_adamw::ScheduleFreeAdamW;
pub use sgd::SGD;

use super::numbers::{finite, fraction, not_negative};
use super::schedule::LearningRate;
use crate::diag::Problem;
use crate::ir::{DType, Graph, NodeId, Shape, TensorType};

/// The rule that changes parameters by their gradients.
pub trait Optimizer: fmt::Debug + Any {
    /// Keras's class name.
    fn kind(&self) -> &'static str;

    /// The learning rate. A number is stored in `optimizer/learning_rate`, where callbacks may change it.
    fn learning_rate(&self) -> &LearningRate;

    /// What every optimizer can do besides.
    fn options(&self) -> &Options;

    /// Checks the arguments of its own.
    fn check(&self) -> Result<(), Problem>;

    /// What is kept for a parameter.
    fn slots(&self, weight: &Parameter<'_>) -> Vec<Slot>;

    /// Scalars that are kept once for all parameters, with their first values.
    fn scalars(&self) -> Vec<(&'static str, f64)> {
        Vec::new()
    }

    /// How the loss is scaled before its gradients are taken, if it is.
    fn loss_scale(&self) -> Option<LossScale> {
        None
    }

    /// How many variables without meaning Keras keeps before the slots of a parameter.
    fn placeholders(&self, _weight: &Parameter<'_>) -> usize {
        0
    }

    /// The fraction of a parameter that it loses in each step, times the learning rate.
    fn decay(&self, weight: &Parameter<'_>) -> Option<f64> {
        self.options().decay(weight.name, self.options().weight_decay)
    }

    /// The new values of [`Optimizer::scalars`]. Updates of the same step read these at [`StepCx::scalars`].
    fn begin(&self, _cx: &mut StepCx<'_>, scalars: &[NodeId]) -> Vec<NodeId> {
        scalars.to_vec()
    }

    /// The new parameter, and the new slots in the order of [`Optimizer::slots`].
    fn update(&self, cx: &mut StepCx<'_>, weight: NodeId, gradient: NodeId, slots: &[NodeId]) -> Update;
}

/// Whatever can be given as an optimizer: an [`Optimizer`], or one behind a pointer, whose class is known at run time only.
pub trait IntoOptimizer {
    fn into_optimizer(self) -> Rc<dyn Optimizer>;
}

impl<O: Optimizer> IntoOptimizer for O {
    fn into_optimizer(self) -> Rc<dyn Optimizer> {
        Rc::new(self)
    }
}

impl IntoOptimizer for Rc<dyn Optimizer> {
    fn into_optimizer(self) -> Rc<dyn Optimizer> {
        self
    }
}

impl IntoOptimizer for Box<dyn Optimizer> {
    fn into_optimizer(self) -> Rc<dyn Optimizer> {
        self.into()
    }
}

/// A parameter that an optimizer changes.
#[derive(Clone, Copy, Debug)]
pub struct Parameter<'a> {
    /// Its path in the model: `encoder/fc/kernel`.
    pub name: &'a str,
    pub ty: &'a TensorType,
}

/// Something that is kept for a parameter.
#[derive(Clone, PartialEq, Debug)]
pub struct Slot {
    pub name: &'static str,
    /// The shape of the parameter, unless another one is given.
    pub shape: Option<Shape>,
    /// Every element at the beginning.
    pub start: f64,
    /// Keras saves the slots of one group parameter by parameter, and one group after the other.
    pub group: usize,
}

impl Slot {
    /// Zeros of the parameter's shape.
    pub const fn zeros(name: &'static str) -> Slot {
        Slot { name, shape: None, start: 0.0, group: 0 }
    }

    /// The same in another group.
    pub fn in_group(self, group: usize) -> Slot {
        Slot { group, ..self }
    }
}

/// What an optimizer changes.
pub struct Update {
    pub weight: NodeId,
    pub slots: Vec<NodeId>,
}

/// The graph of a step, with the scalars that every update of it reads.
pub struct StepCx<'a> {
    graph: &'a mut Graph,
    learning_rate: NodeId,
    iterations: NodeId,
    scalars: Vec<NodeId>,
    /// The parameter that is updated, as it is stored.
    stored: Option<NodeId>,
}

impl Deref for StepCx<'_> {
    type Target = Graph;

    fn deref(&self) -> &Graph {
        self.graph
    }
}

impl DerefMut for StepCx<'_> {
    fn deref_mut(&mut self) -> &mut Graph {
        self.graph
    }
}

impl<'a> StepCx<'a> {
    /// From the scalars `learning_rate` in `f32` and `iterations` in `u32`, the number of updates before this one.
    pub fn new(graph: &'a mut Graph, learning_rate: NodeId, iterations: NodeId) -> StepCx<'a> {
        StepCx { graph, learning_rate, iterations, scalars: Vec::new(), stored: None }
    }

    /// The parameter before weight decay, which comes before the rule.
    pub fn before_decay(&self, weight: NodeId) -> NodeId {
        self.stored.unwrap_or(weight)
    }

    /// The learning rate, a scalar.
    pub fn learning_rate(&self) -> NodeId {
        self.learning_rate
    }

    /// The learning rate in the shape of another node.
    pub fn learning_rate_like(&mut self, like: NodeId) -> NodeId {
        let rate = self.learning_rate;
        self.broadcast_like(rate, like)
    }

    /// A rule with a learning rate that is so many times as large.
    fn at_rate<R>(&mut self, factor: f64, rule: impl FnOnce(&mut Self) -> R) -> R {
        let rate = self.learning_rate;
        self.learning_rate = self.mul_s(rate, factor);
        let result = rule(self);
        self.learning_rate = rate;
        result
    }

    /// The number of this update, counted from 1, as an `f32` scalar.
    pub fn step(&mut self) -> NodeId {
        let iterations = self.iterations;
        let next = self.add_s(iterations, 1.0);
        self.cast(next, DType::F32)
    }

    /// The new values of the optimizer's scalars.
    pub fn scalars(&self) -> &[NodeId] {
        &self.scalars
    }

    /// `old * keep + new * (1 - keep)`
    fn average(&mut self, old: NodeId, new: NodeId, keep: f64) -> NodeId {
        let kept = self.mul_s(old, keep);
        let added = self.mul_s(new, 1.0 - keep);
        self.add(kept, added)
    }

    /// `old + (new - old) * (1 - keep)`
    fn approach(&mut self, old: NodeId, new: NodeId, keep: f64) -> NodeId {
        let distance = self.sub(new, old);
        let step = self.mul_s(distance, 1.0 - keep);
        self.add(old, step)
    }

    /// `1 - beta^step`, a scalar.
    fn bias(&mut self, beta: f64) -> NodeId {
        let step = self.step();
        let beta = self.lit_like(step, beta);
        let power = self.pow(beta, step);
        self.s_sub(1.0, power)
    }

    /// The square root of the sum of squares, a scalar.
    fn norm(&mut self, x: NodeId) -> NodeId {
        let square = self.square(x);
        let sum = self.sum_all(square);
        self.sqrt(sum)
    }
}
