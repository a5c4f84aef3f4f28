//! Losses, with Keras's definitions.
//!
//! A loss is a struct and a [`Loss`] impl, in the file of its family. It gives values; [`reduce`] makes one number of
//! them, with sample weights, masks and Keras's reductions, so that every loss has all of these.

mod crossentropy;
mod ctc;
mod custom;
mod hinge;
mod overlap;
mod reduce;
mod regression;

use std::any::Any;
use std::fmt;
use std::rc::Rc;

pub use crossentropy::{
    BinaryCrossentropy, BinaryFocalCrossentropy, CategoricalCrossentropy, CategoricalFocalCrossentropy,
    CategoricalGeneralizedCrossEntropy, SparseCategoricalCrossentropy,
};
pub(crate) use crossentropy::{binary_values, sparse_labels};
pub use ctc::CTC;
pub use custom::LossFn;
pub use hinge::{CategoricalHinge, Hinge, SquaredHinge};
pub use overlap::{Dice, Tversky};
pub use reduce::{Reduced, Reduction};
pub(crate) use reduce::{Weighting, align, divide_no_nan, loss_of, per_position};
pub(crate) use regression::square_error;
pub use regression::{
    CosineSimilarity, Huber, KLDivergence, LogCosh, MeanAbsoluteError, MeanAbsolutePercentageError, MeanSquaredError,
    MeanSquaredLogarithmicError, Poisson,
};

use super::CallCx;
use super::layer::{Apply, BuildCx, LayerDef, snake_case};
use super::tensor::Tensor;
use crate::diag::{Code, Problem};
use crate::ir::{DType, Dim, Graph, NodeId, Shape, TensorType, ValueRange};

/// Keras's fuzz: predictions closer than this to 0 or 1 count as this close in a logarithm.
pub(crate) const EPSILON: f64 = 1e-7;

/// How far an output is from its target.
pub trait Loss: fmt::Debug + Any {
    /// Keras's class name.
    fn kind(&self) -> &'static str;

    /// The name as a metric.
    fn name(&self) -> String {
        snake_case(self.kind())
    }

    /// The type of the target of an output, unless [`Model::target`](super::Model::target) declares another.
    fn target(&self, output: &TensorType) -> TensorType {
        TensorType::new(DType::F32, output.shape.clone())
    }

    /// Whether a target and an output fit each other and the loss.
    fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
        alike(self.kind(), target, output)
    }

    /// The labels that targets may hold, where they are labels. An input that holds others is refused when it is given,
    /// unless a mask decides which of them count.
    fn labels(&self, _output: &TensorType) -> Option<ValueRange> {
        None
    }

    /// Values whose mean is the loss. Their axes are the first ones of the output: all of them for a loss that is a
    /// mean over the last axis, all but the last for one that is a sum over it, none for a loss of the whole batch.
    fn values(&self, g: &mut Graph, target: NodeId, output: NodeId) -> NodeId;

    /// The values of the metric of this name; Keras's metrics are negated losses where more is better.
    fn metric_values(&self, g: &mut Graph, target: NodeId, output: NodeId) -> NodeId {
        self.values(g, target, output)
    }

    /// Which values count at all, where not all of them do.
    fn mask(&self, _g: &mut Graph, _target: NodeId, _output: NodeId) -> Option<NodeId> {
        None
    }

    /// How the values become the loss.
    fn reduction(&self) -> Reduction {
        Reduction::SumOverBatchSize
    }

    /// The loss that this one gives another reduction.
    #[doc(hidden)]
    fn wrapped(&self) -> Option<&dyn Loss> {
        None
    }

    /// The loss between two tensors, as a scalar tensor of the model: for entry points of one's own.
    #[track_caller]
    fn between(&self, target: &Tensor, output: &Tensor) -> Tensor
    where
        Self: Clone + Sized + 'static,
    {
        LossLayer(self.clone()).apply_many(&[target, output])
    }
}

/// Whatever can be given as a loss: a [`Loss`], or one behind a pointer, whose class is known at run time only.
pub trait IntoLoss: Sized {
    fn into_loss(self) -> Rc<dyn Loss>;

    /// The same loss with another reduction.
    fn reduced(self, reduction: Reduction) -> Reduced {
        Reduced { loss: self.into_loss(), reduction }
    }
}

impl<L: Loss> IntoLoss for L {
    fn into_loss(self) -> Rc<dyn Loss> {
        Rc::new(self)
    }
}

impl IntoLoss for Rc<dyn Loss> {
    fn into_loss(self) -> Rc<dyn Loss> {
        self
    }
}

impl IntoLoss for Box<dyn Loss> {
    fn into_loss(self) -> Rc<dyn Loss> {
        self.into()
    }
}

/// A loss as a layer over (target, output).
#[derive(Clone, Debug)]
struct LossLayer<L>(L);

impl<L: Loss + 'static> LayerDef for LossLayer<L> {
    fn kind(&self) -> &'static str {
        self.0.kind()
    }

    fn arity(&self) -> std::ops::RangeInclusive<usize> {
        2..=2
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        self.0.check(&cx.inputs()[0], &cx.inputs()[1])
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        vec![loss_of(cx, &self.0, x[0], x[1], Weighting::default())]
    }
}

/// Whether two shapes are equal, up to one trailing axis of 1.
fn same_items(a: &Shape, b: &Shape) -> bool {
    let (long, short) = if a.rank() >= b.rank() { (a, b) } else { (b, a) };
    long == short
        || long.rank() == short.rank() + 1 && long.last() == Some(&Dim::ONE) && long[..short.rank()] == short[..]
}

/// Fails unless the output is `f32`.
fn floats(kind: &str, output: &TensorType) -> Result<(), Problem> {
    match output.dtype {
        DType::F32 => Ok(()),
        _ => Err(Problem::new(Code::DType, format!("{kind} takes f32 outputs, this one is {output}"))),
    }
}

/// Fails unless the output is `f32` and the target is numbers of its shape.
pub(crate) fn alike(kind: &str, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
    floats(kind, output)?;
    if !same_items(&target.shape, &output.shape) {
        let message = format!("{kind} compares like with like: the target is {target}, the output {output}");
        let problem = Problem::new(Code::Loss, message);
        let labels = target.dtype.is_int() && target.shape.rank() < output.shape.rank().max(2);
        return Err(match labels {
            true => problem.help("for integer labels use SparseCategoricalCrossentropy"),
            false => problem.help("declare the target with the output's shape, or change the last layer"),
        });
    }
    Ok(())
}

/// The target in the type of the output.
pub(crate) fn target_like(g: &mut Graph, target: NodeId, output: NodeId) -> NodeId {
    let ty = g.ty(output).clone();
    let target = g.cast(target, ty.dtype);
    g.reshape(target, ty.shape)
}

/// An axis of an output that is not the batch, or why there is none. Negative ones count from the back.
pub(crate) fn item_axis(kind: &str, axis: isize, output: &TensorType) -> Result<usize, Problem> {
    match super::layer::resolve_axis(kind, axis, &output.shape)? {
        0 => Err(Problem::new(Code::Axis, format!("{kind} with axis {axis}, which is the batch of {output}"))),
        axis => Ok(axis),
    }
}

/// [`item_axis`] of an axis that has been checked.
fn checked_axis(axis: isize, shape: &Shape) -> usize {
    let rank = shape.rank() as isize;
    (if axis < 0 { axis + rank } else { axis }).clamp(0, (rank - 1).max(0)) as usize
}
