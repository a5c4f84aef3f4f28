//! Metrics: what training and evaluation report besides the loss, as Keras computes it over all batches of an epoch.
//!
//! A metric is sums over samples and a formula over the sums. Each batch adds its [`Metric::tally`] to storage cells
//! under `metrics/`; [`Metric::result`] is evaluated after every batch, so that a step reports the metric over all
//! batches since the entry point `reset_metrics` was called. Metrics that are means implement [`MeanMetric`], and
//! every loss is one.

mod accuracy;
mod confusion;
mod correlation;
mod curve;
mod fscore;
mod iou;
mod mean;
mod regression;

use std::any::Any;
use std::fmt;
use std::rc::Rc;

pub use accuracy::{
    Accuracy, BinaryAccuracy, CategoricalAccuracy, ExactAccuracy, SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy, TopKCategoricalAccuracy,
};
pub use confusion::{FalseNegatives, FalsePositives, Precision, Recall, TrueNegatives, TruePositives};
pub use correlation::{ConcordanceCorrelation, PearsonCorrelation};
pub use curve::{
    AUC, Curve, MeanAveragePrecision, PrecisionAtRecall, RecallAtPrecision, SensitivityAtSpecificity,
    SpecificityAtSensitivity, SummationMethod,
};
pub use fscore::{Averaging, F1Score, FBetaScore};
pub use iou::{BinaryIoU, IoU, MeanIoU, OneHotIoU, OneHotMeanIoU};
pub use mean::{Mean, MeanMetric, Sum};
pub use regression::{ClassAggregation, LogCoshError, R2Score, RootMeanSquaredError};

use super::loss::Weighting;
use crate::diag::Problem;
use crate::ir::{DType, Graph, NodeId, TensorType};

/// What one batch shows a metric.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    pub target: NodeId,
    pub output: NodeId,
    pub(crate) by: Weighting,
}

/// A number about outputs and targets.
pub trait Metric: fmt::Debug + Any {
    /// The name in the history, as Keras has it.
    fn name(&self) -> String;

    /// The type of the target of an output that has no loss and no declared target.
    fn target(&self, output: &TensorType) -> TensorType {
        TensorType::new(DType::F32, output.shape.clone())
    }

    /// Whether a target and an output fit each other and the metric, and whether its arguments make sense.
    fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem>;

    /// What a batch adds to each of the metric's sums, by their names.
    fn tally(&self, g: &mut Graph, batch: &Batch) -> Vec<(&'static str, NodeId)>;

    /// The metric from its sums, in the order of [`Metric::tally`]: a scalar, or several numbers along one axis.
    fn result(&self, g: &mut Graph, sums: &[NodeId]) -> NodeId;

    /// The metric that this one gives another name.
    #[doc(hidden)]
    fn wrapped(&self) -> Option<&dyn Metric> {
        None
    }
}

/// A metric with a name of its own.
#[derive(Clone, Debug)]
pub struct Named {
    pub metric: Rc<dyn Metric>,
    pub name: String,
}

impl Metric for Named {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn wrapped(&self) -> Option<&dyn Metric> {
        Some(&*self.metric)
    }

    fn target(&self, output: &TensorType) -> TensorType {
        self.metric.target(output)
    }

    fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
        self.metric.check(target, output)
    }

    fn tally(&self, g: &mut Graph, batch: &Batch) -> Vec<(&'static str, NodeId)> {
        self.metric.tally(g, batch)
    }

    fn result(&self, g: &mut Graph, sums: &[NodeId]) -> NodeId {
        self.metric.result(g, sums)
    }
}

/// Whatever can be given as a metric: a [`Metric`], or one behind a pointer, whose class is known at run time only.
pub trait IntoMetric: Sized {
    fn into_metric(self) -> Rc<dyn Metric>;

    /// The same metric with another name.
    fn named(self, name: impl Into<String>) -> Named {
        Named { metric: self.into_metric(), name: name.into() }
    }
}

impl<M: Metric> IntoMetric for M {
    fn into_metric(self) -> Rc<dyn Metric> {
        Rc::new(self)
    }
}

impl IntoMetric for Rc<dyn Metric> {
    fn into_metric(self) -> Rc<dyn Metric> {
        self
    }
}

impl IntoMetric for Box<dyn Metric> {
    fn into_metric(self) -> Rc<dyn Metric> {
        self.into()
    }
}
