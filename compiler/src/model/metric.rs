//! Metrics: what a step reports besides its loss.

use std::any::Any;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::layer::snake_case;
use super::loss::{Loss, sparse_labels, target_like};
use crate::diag::{Code, Problem};
use crate::ir::{DType, Dim, Graph, NodeId, TensorType};

/// A number about outputs and targets that is a mean over samples. Every [`Loss`] is a metric too.
pub trait Metric: fmt::Debug + Any {
    /// The name in the history, as Keras has it.
    fn name(&self) -> String;

    /// Whether a target and an output fit each other and the metric.
    fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem>;

    /// Values whose mean is the metric; their first axis is the batch.
    fn values(&self, g: &mut Graph, target: NodeId, output: NodeId) -> NodeId;
}

impl<L: Loss> Metric for L {
    fn name(&self) -> String {
        snake_case(self.kind())
    }

    fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
        Loss::check(self, target, output)
    }

    fn values(&self, g: &mut Graph, target: NodeId, output: NodeId) -> NodeId {
        Loss::values(self, g, target, output)
    }
}

/// How often the prediction is right. As Keras does, it looks at the shapes: one output is a yes at more than 0.5,
/// several outputs are classes, and targets with one number fewer are labels.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Accuracy;

/// What [`Accuracy`] takes a pair of types for.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Question {
    Binary,
    Sparse,
    Categorical,
}

impl Question {
    fn of(target: &TensorType, output: &TensorType) -> Option<Question> {
        let (t, o) = (&target.shape, &output.shape);
        let last_is_one = |s: &[Dim]| s.last() == Some(&Dim::ONE);
        if o.rank() < 2 || last_is_one(o) {
            return (t.elements() == o.elements()).then_some(Question::Binary);
        }
        let labels = &o[..o.rank() - 1];
        match t.rank() {
            n if n + 1 == o.rank() && t[..] == *labels => Some(Question::Sparse),
            n if n == o.rank() && t[..n - 1] == *labels && last_is_one(t) => Some(Question::Sparse),
            _ if t == o => Some(Question::Categorical),
            _ => None,
        }
    }
}

impl Metric for Accuracy {
    fn name(&self) -> String {
        "accuracy".to_string()
    }

    fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
        if output.dtype != DType::F32 {
            return Err(Problem::new(Code::DType, format!("Accuracy takes f32 outputs, this one is {output}")));
        }
        match Question::of(target, output) {
            Some(_) => Ok(()),
            None => Err(Problem::new(Code::Loss, format!("Accuracy cannot compare {target} with {output}"))),
        }
    }

    fn values(&self, g: &mut Graph, target: NodeId, output: NodeId) -> NodeId {
        let ty = g.ty(output).clone();
        let last = ty.shape.rank().saturating_sub(1);
        let right = match Question::of(g.ty(target), &ty) {
            Some(Question::Sparse) => {
                let labels = sparse_labels(g, target, output);
                let best = g.argmax(output, last);
                g.eq(best, labels)
            }
            Some(Question::Categorical) => {
                let target = target_like(g, target, output);
                let (a, b) = (g.argmax(target, last), g.argmax(output, last));
                g.eq(a, b)
            }
            Some(Question::Binary) | None => {
                let target = target_like(g, target, output);
                let half = g.lit_like(output, 0.5);
                let yes = g.gt(output, half);
                let yes = g.cast(yes, ty.dtype);
                g.eq(target, yes)
            }
        };
        g.cast(right, DType::F32)
    }
}
