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

    /// The metric that this one gives another name or a place in memory.
    #[doc(hidden)]
    fn wrapped(&self) -> Option<&dyn Metric> {
        None
    }

    /// The same metric with another name.
    fn named(self, name: impl Into<String>) -> Named<Self>
    where
        Self: Sized,
    {
        Named { metric: self, name: name.into() }
    }
}

/// A metric with a name of its own.
#[derive(Clone, PartialEq, Debug)]
pub struct Named<M> {
    pub metric: M,
    pub name: String,
}

/// Metrics that hand everything but a name to another one.
macro_rules! delegate {
    ($([$($generic:tt)*] $ty:ty, |$this:ident| $inner:expr, $name:expr;)+) => { $(
        impl<$($generic)*> Metric for $ty {
            fn name(&self) -> String {
                let $this = self;
                $name
            }

            fn wrapped(&self) -> Option<&dyn Metric> {
                let $this = self;
                Some(&$inner)
            }

            fn target(&self, output: &TensorType) -> TensorType {
                let $this = self;
                $inner.target(output)
            }

            fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
                let $this = self;
                $inner.check(target, output)
            }

            fn tally(&self, g: &mut Graph, batch: &Batch) -> Vec<(&'static str, NodeId)> {
                let $this = self;
                $inner.tally(g, batch)
            }

            fn result(&self, g: &mut Graph, sums: &[NodeId]) -> NodeId {
                let $this = self;
                $inner.result(g, sums)
            }
        }
    )+ };
}

delegate! {
    [M: Metric + 'static] Named<M>, |this| this.metric, this.name.clone();
    [] Box<dyn Metric>, |this| (**this), (**this).name();
    [] Rc<dyn Metric>, |this| (**this), (**this).name();
}
