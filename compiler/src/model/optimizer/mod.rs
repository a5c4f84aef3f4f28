//! Optimizers, with Keras's formulas: where epsilon goes, how bias is corrected, in which order slots are updated.
//!
//! An optimizer is a struct and an [`Optimizer`] impl in a file of its own. It sees one parameter at a time and
//! builds graph; slots and counters are storage cells under `optimizer/`.

mod adam;
mod rmsprop;
mod sgd;

use std::any::Any;
use std::fmt;
use std::ops::{Deref, DerefMut};

pub use adam::Adam;
pub use rmsprop::RMSprop;
pub use sgd::SGD;

use crate::diag::Problem;
use crate::ir::{DType, Graph, NodeId};

/// The rule that changes parameters by their gradients.
pub trait Optimizer: fmt::Debug + Any {
    /// Keras's class name.
    fn kind(&self) -> &'static str;

    /// The learning rate that `init` stores in `optimizer/learning_rate`, where callbacks may change it.
    fn learning_rate(&self) -> f64;

    /// Checks the arguments.
    fn check(&self) -> Result<(), Problem>;

    /// What is kept for every parameter, each of its shape, beginning with zeros.
    fn slots(&self) -> Vec<&'static str>;

    /// The new parameter, and the new slots in the order of [`Optimizer::slots`].
    fn update(&self, cx: &mut StepCx<'_>, weight: NodeId, gradient: NodeId, slots: &[NodeId]) -> Update;
}

impl Optimizer for Box<dyn Optimizer> {
    fn kind(&self) -> &'static str {
        (**self).kind()
    }

    fn learning_rate(&self) -> f64 {
        (**self).learning_rate()
    }

    fn check(&self) -> Result<(), Problem> {
        (**self).check()
    }

    fn slots(&self) -> Vec<&'static str> {
        (**self).slots()
    }

    fn update(&self, cx: &mut StepCx<'_>, weight: NodeId, gradient: NodeId, slots: &[NodeId]) -> Update {
        (**self).update(cx, weight, gradient, slots)
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
    /// From the scalars `learning_rate` in `f32` and `iterations` in `u32`, the number of steps before this one.
    pub fn new(graph: &'a mut Graph, learning_rate: NodeId, iterations: NodeId) -> StepCx<'a> {
        StepCx { graph, learning_rate, iterations }
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

    /// The number of this step, counted from 1, as an `f32` scalar.
    pub fn step(&mut self) -> NodeId {
        let iterations = self.iterations;
        let next = self.add_s(iterations, 1.0);
        self.cast(next, DType::F32)
    }
}

/// Fails unless a factor is in `[0, 1]`.
fn fraction(kind: &str, argument: &str, value: f64) -> Result<(), Problem> {
    match (0.0..=1.0).contains(&value) {
        true => Ok(()),
        false => Err(Problem::value(format!("{kind} with {argument} {value}: must be between 0 and 1"))),
    }
}

/// Fails unless a number is finite and not negative.
fn not_negative(kind: &str, argument: &str, value: f64) -> Result<(), Problem> {
    match value >= 0.0 && value.is_finite() {
        true => Ok(()),
        false => Err(Problem::value(format!("{kind} with {argument} {value}: must be finite and not negative"))),
    }
}
