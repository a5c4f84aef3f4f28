//! Losses, with Keras's definitions.
//!
//! A loss is a struct and a [`Loss`] impl. It gives values whose mean over everything is the loss of the batch, so
//! that the mean over a partial last batch is right by itself.

use std::any::Any;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::CallCx;
use super::layer::{Apply, BuildCx, LayerDef};
use super::tensor::Tensor;
use crate::diag::{Code, Problem};
use crate::ir::{DType, Dim, Graph, NodeId, Shape, TensorType};

/// Predictions closer than this to 0 or 1 count as this close in a logarithm.
const EPSILON: f64 = 1e-7;

/// How far an output is from its target.
pub trait Loss: fmt::Debug + Any {
    /// Keras's class name.
    fn kind(&self) -> &'static str;

    /// The type of the target of an output, unless [`Model::target`](super::Model::target) declares another.
    fn target(&self, output: &TensorType) -> TensorType {
        TensorType::new(DType::F32, output.shape.clone())
    }

    /// Whether a target and an output fit each other and the loss.
    fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
        alike(self.kind(), target, output)
    }

    /// Values whose mean is the loss; their first axis is the batch.
    fn values(&self, g: &mut Graph, target: NodeId, output: NodeId) -> NodeId;

    /// The loss between two tensors, as a scalar tensor of the model: for entry points of one's own.
    #[track_caller]
    fn between(&self, target: &Tensor, output: &Tensor) -> Tensor
    where
        Self: Clone + Sized + 'static,
    {
        LossLayer(self.clone()).apply_many(&[target, output])
    }
}

/// The mean of a loss's values as a layer over (target, output).
#[derive(Clone, Debug)]
struct LossLayer<L>(L);

impl<L: Loss> LayerDef for LossLayer<L> {
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
        let values = self.0.values(cx, x[0], x[1]);
        vec![mean_all(cx, values)]
    }
}

/// The mean of all elements.
pub(crate) fn mean_all(g: &mut Graph, x: NodeId) -> NodeId {
    let axes: Vec<usize> = (0..g.ty(x).shape.rank()).collect();
    g.mean(x, &axes)
}

/// Whether two shapes are equal, up to one trailing axis of 1.
fn same_items(a: &Shape, b: &Shape) -> bool {
    let (long, short) = if a.rank() >= b.rank() { (a, b) } else { (b, a) };
    long == short
        || long.rank() == short.rank() + 1 && long.last() == Some(&Dim::ONE) && long[..short.rank()] == short[..]
}

/// Fails unless the output is `f32` and the target is numbers of its shape.
fn alike(kind: &str, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
    if output.dtype != DType::F32 {
        return Err(Problem::new(Code::DType, format!("{kind} takes f32 outputs, this one is {output}")));
    }
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

/// `mean((target - output)^2)`
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct MeanSquaredError;

impl Loss for MeanSquaredError {
    fn kind(&self) -> &'static str {
        "MeanSquaredError"
    }

    fn values(&self, g: &mut Graph, target: NodeId, output: NodeId) -> NodeId {
        let target = target_like(g, target, output);
        let error = g.sub(output, target);
        g.square(error)
    }
}

/// `mean(|target - output|)`
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct MeanAbsoluteError;

impl Loss for MeanAbsoluteError {
    fn kind(&self) -> &'static str {
        "MeanAbsoluteError"
    }

    fn values(&self, g: &mut Graph, target: NodeId, output: NodeId) -> NodeId {
        let target = target_like(g, target, output);
        let error = g.sub(output, target);
        g.abs(error)
    }
}

macro_rules! crossentropy {
    ($(#[doc = $doc:literal])+ $name:ident { $($field:ident: $ty:ty),* }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
        #[serde(default)]
        pub struct $name { from_logits: bool, $($field: $ty),* }

        impl $name {
            /// For outputs that are probabilities.
            pub fn new() -> $name {
                $name::default()
            }

            /// For outputs without a final sigmoid or softmax: the stable form.
            pub fn from_logits() -> $name {
                let mut loss = $name::default();
                loss.from_logits = true;
                loss
            }

            $(
                /// Moves targets towards the uniform distribution by this fraction.
                pub fn $field(mut self, $field: $ty) -> $name {
                    self.$field = $field;
                    self
                }
            )*
        }
    };
}

crossentropy! {
    /// Crossentropy of independent yes-or-no questions; targets are 0 or 1, or probabilities.
    BinaryCrossentropy { label_smoothing: f64 }
}

impl Loss for BinaryCrossentropy {
    fn kind(&self) -> &'static str {
        "BinaryCrossentropy"
    }

    fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
        smoothing(self.kind(), self.label_smoothing)?;
        alike(self.kind(), target, output)
    }

    fn values(&self, g: &mut Graph, target: NodeId, output: NodeId) -> NodeId {
        let t = target_like(g, target, output);
        let t = smooth(g, t, self.label_smoothing, 2.0);
        if self.from_logits {
            let all = g.softplus(output);
            let hit = g.mul(t, output);
            return g.sub(all, hit);
        }
        let p = clip(g, output);
        let (yes, no) = (g.log(p), g.s_sub(1.0, p));
        let no = g.log(no);
        let yes = g.mul(t, yes);
        let rest = g.s_sub(1.0, t);
        let no = g.mul(rest, no);
        let sum = g.add(yes, no);
        g.neg(sum)
    }
}

crossentropy! {
    /// Crossentropy of one choice among classes; targets are distributions along the last axis, such as one-hot.
    CategoricalCrossentropy { label_smoothing: f64 }
}

impl Loss for CategoricalCrossentropy {
    fn kind(&self) -> &'static str {
        "CategoricalCrossentropy"
    }

    fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
        smoothing(self.kind(), self.label_smoothing)?;
        classes(self.kind(), output)?;
        alike(self.kind(), target, output)
    }

    fn values(&self, g: &mut Graph, target: NodeId, output: NodeId) -> NodeId {
        let shape = g.ty(output).shape.clone();
        let axis = shape.rank() - 1;
        let t = target_like(g, target, output);
        let t = smooth(g, t, self.label_smoothing, shape[axis].scale as f64);
        let log = if self.from_logits {
            let all = g.log_sum_exp(output, axis);
            let all = g.unreduce(all, &[axis], &shape);
            g.sub(output, all)
        } else {
            let total = g.sum(output, &[axis]);
            let total = g.unreduce(total, &[axis], &shape);
            let p = g.div(output, total);
            let p = clip(g, p);
            g.log(p)
        };
        let hit = g.mul(t, log);
        let sum = g.sum(hit, &[axis]);
        g.neg(sum)
    }
}

crossentropy! {
    /// Crossentropy of one choice among classes; targets are integer labels. A label that is no class costs nothing.
    SparseCategoricalCrossentropy {}
}

impl Loss for SparseCategoricalCrossentropy {
    fn kind(&self) -> &'static str {
        "SparseCategoricalCrossentropy"
    }

    fn target(&self, output: &TensorType) -> TensorType {
        let labels = output.shape.split_last().map(|(_, rest)| rest.to_vec()).unwrap_or_default();
        TensorType::new(DType::I32, Shape(labels))
    }

    fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
        let kind = self.kind();
        classes(kind, output)?;
        if !target.dtype.is_int() {
            return Err(Problem::new(Code::DType, format!("{kind} takes integer labels, the target is {target}"))
                .help("declare it as i32, or use CategoricalCrossentropy for distributions"));
        }
        let wanted = self.target(output).shape;
        if same_items(&target.shape, &wanted) && target.shape.rank() >= wanted.rank() {
            return Ok(());
        }
        let message = format!("{kind} takes one label for each of {wanted}, the target is {target}");
        Err(Problem::new(Code::Loss, message).help("for one-hot targets use CategoricalCrossentropy"))
    }

    fn values(&self, g: &mut Graph, target: NodeId, output: NodeId) -> NodeId {
        let shape = g.ty(output).shape.clone();
        let axis = shape.rank() - 1;
        let labels = sparse_labels(g, target, output);
        let wide = g.unreduce(labels, &[axis], &shape);
        let index = g.iota(axis, DType::I32, shape.clone());
        let hit = g.eq(wide, index);
        let zero = g.lit_like(output, 0.0);
        let chosen = g.select(hit, output, zero);
        let chosen = g.sum(chosen, &[axis]);
        let cost = if self.from_logits {
            let all = g.log_sum_exp(output, axis);
            g.sub(all, chosen)
        } else {
            let total = g.sum(output, &[axis]);
            let p = g.div(chosen, total);
            let p = clip(g, p);
            let l = g.log(p);
            g.neg(l)
        };
        let (low, high) = (g.lit_like(labels, 0.0), g.lit_like(labels, shape[axis].scale as f64));
        let (above, below) = (g.ge(labels, low), g.lt(labels, high));
        let known = g.and(above, below);
        let zero = g.lit_like(cost, 0.0);
        g.select(known, cost, zero)
    }
}

/// Integer labels as `i32`, one for each position of the output without its last axis.
pub(crate) fn sparse_labels(g: &mut Graph, target: NodeId, output: NodeId) -> NodeId {
    let shape = &g.ty(output).shape;
    let shape = Shape(shape[..shape.rank() - 1].to_vec());
    let labels = g.reshape(target, shape);
    g.cast(labels, DType::I32)
}

/// Fails unless the last axis of an output can be classes.
fn classes(kind: &str, output: &TensorType) -> Result<(), Problem> {
    if output.dtype != DType::F32 {
        return Err(Problem::new(Code::DType, format!("{kind} takes f32 outputs, this one is {output}")));
    }
    match output.shape.last() {
        Some(d) if output.shape.rank() >= 2 && d.scale >= 2 && !d.batch => Ok(()),
        _ => Err(Problem::new(Code::Loss, format!("{kind} needs at least 2 classes on the last axis of {output}"))
            .help("for a single yes-or-no output use BinaryCrossentropy")),
    }
}

fn smoothing(kind: &str, value: f64) -> Result<(), Problem> {
    match (0.0..=1.0).contains(&value) {
        true => Ok(()),
        false => Err(Problem::value(format!("{kind} with label_smoothing {value}: must be between 0 and 1"))),
    }
}

/// `target * (1 - smoothing) + smoothing / classes`
fn smooth(g: &mut Graph, target: NodeId, smoothing: f64, classes: f64) -> NodeId {
    if smoothing == 0.0 {
        return target;
    }
    let kept = g.mul_s(target, 1.0 - smoothing);
    g.add_s(kept, smoothing / classes)
}

/// Keeps probabilities away from 0 and 1.
fn clip(g: &mut Graph, p: NodeId) -> NodeId {
    let p = g.max_s(p, EPSILON);
    g.min_s(p, 1.0 - EPSILON)
}
