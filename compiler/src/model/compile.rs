//! What `compile` records: an optimizer, and for each output a loss and metrics.

use std::rc::Rc;

use super::graph::Port;
use super::loss::{IntoLoss, Loss};
use super::metric::{IntoMetric, Metric};
use super::optimizer::Optimizer;
use crate::ir::{SourceLine, TensorType};

/// The arguments of `compile`.
#[derive(Clone, Debug)]
pub(crate) struct Compiled {
    pub optimizer: Rc<dyn Optimizer>,
    pub losses: Losses,
    pub metrics: Metrics,
    pub source: SourceLine,
}

/// A target that the user declared.
#[derive(Clone, Debug)]
pub(crate) struct TargetDecl {
    pub output: String,
    pub ty: TensorType,
    pub source: SourceLine,
}

/// A tensor that a metric watches.
#[derive(Clone, Debug)]
pub(crate) struct Tracked {
    pub port: Port,
    pub metric: Rc<dyn Metric>,
    pub source: SourceLine,
}

/// Which output something is for.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum For {
    Every,
    /// By position, as in a tuple.
    Index(usize),
    Name(String),
}

impl For {
    pub fn is(&self, index: usize, name: &str) -> bool {
        match self {
            For::Every => true,
            For::Index(i) => *i == index,
            For::Name(n) => n == name,
        }
    }
}

/// One loss with the outputs it is for and its weight in the total.
#[derive(Clone, Debug)]
pub(crate) struct WeightedLoss {
    pub output: For,
    pub loss: Rc<dyn Loss>,
    pub weight: f64,
}

/// The losses of a model: one for every output, a tuple in the order of the outputs, or by name:
///
/// ```
/// # use bakelite_compiler::prelude::*;
/// Losses::new().output("age", MeanSquaredError).weighted_output("kind", BinaryCrossentropy::new(), 0.5);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Losses {
    pub(crate) list: Vec<WeightedLoss>,
    /// Weights of outputs by position.
    pub(crate) weights: Option<Vec<f64>>,
}

impl Losses {
    pub fn new() -> Losses {
        Losses::default()
    }

    /// Adds the loss of one output. Outputs without a loss are not trained for.
    pub fn output(self, name: impl Into<String>, loss: impl IntoLoss) -> Losses {
        self.weighted_output(name, loss, 1.0)
    }

    /// Adds the loss of one output, with its weight in the total.
    pub fn weighted_output(self, name: impl Into<String>, loss: impl IntoLoss, weight: f64) -> Losses {
        self.push(For::Name(name.into()), loss.into_loss(), weight)
    }

    /// The weights of the outputs' losses in the total, in the order of the outputs:
    /// `Losses::from((MeanSquaredError, Hinge)).loss_weights([1.0, 0.2])`.
    pub fn loss_weights(mut self, weights: impl Into<Vec<f64>>) -> Losses {
        self.weights = Some(weights.into());
        self
    }

    pub(crate) fn push(mut self, output: For, loss: Rc<dyn Loss>, weight: f64) -> Losses {
        self.list.push(WeightedLoss { output, loss, weight });
        self
    }
}

impl<L: IntoLoss> From<L> for Losses {
    fn from(loss: L) -> Losses {
        Losses::new().push(For::Every, loss.into_loss(), 1.0)
    }
}

impl From<()> for Losses {
    /// No loss for any output: what is minimized are the terms of [`Model::add_loss`](super::Model::add_loss).
    fn from(_: ()) -> Losses {
        Losses::new()
    }
}

/// One metric with the outputs it is for.
#[derive(Clone, Debug)]
pub(crate) struct OutputMetric {
    pub output: For,
    pub metric: Rc<dyn Metric>,
}

/// The metrics of a model: a list or a tuple for every output, `()` for none, or by name.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub(crate) list: Vec<OutputMetric>,
}

impl Metrics {
    pub fn new() -> Metrics {
        Metrics::default()
    }

    /// Adds a metric of one output.
    pub fn output(self, name: impl Into<String>, metric: impl IntoMetric) -> Metrics {
        self.push(For::Name(name.into()), metric.into_metric())
    }

    pub(crate) fn push(mut self, output: For, metric: Rc<dyn Metric>) -> Metrics {
        self.list.push(OutputMetric { output, metric });
        self
    }
}

impl From<()> for Metrics {
    fn from(_: ()) -> Metrics {
        Metrics::new()
    }
}

impl<M: IntoMetric, const N: usize> From<[M; N]> for Metrics {
    fn from(metrics: [M; N]) -> Metrics {
        metrics.into_iter().fold(Metrics::new(), |all, m| all.push(For::Every, m.into_metric()))
    }
}

impl<M: IntoMetric> From<Vec<M>> for Metrics {
    fn from(metrics: Vec<M>) -> Metrics {
        metrics.into_iter().fold(Metrics::new(), |all, m| all.push(For::Every, m.into_metric()))
    }
}

macro_rules! tuples {
    ($(($($letter:ident $index:tt)+))+) => { $(
        impl<$($letter: IntoLoss),+> From<($($letter,)+)> for Losses {
            fn from(losses: ($($letter,)+)) -> Losses {
                Losses::new()$(.push(For::Index($index), losses.$index.into_loss(), 1.0))+
            }
        }

        impl<$($letter: IntoMetric),+> From<($($letter,)+)> for Metrics {
            fn from(metrics: ($($letter,)+)) -> Metrics {
                Metrics::new()$(.push(For::Every, metrics.$index.into_metric()))+
            }
        }
    )+ };
}

tuples! { (A 0) (A 0 B 1) (A 0 B 1 C 2) (A 0 B 1 C 2 D 3) (A 0 B 1 C 2 D 3 E 4) (A 0 B 1 C 2 D 3 E 4 F 5) }
