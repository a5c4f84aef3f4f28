//! How often predictions are right.

use serde::{Deserialize, Serialize};

use super::mean::MeanMetric;
use crate::diag::{Code, Problem};
use crate::ir::{DType, Dim, Graph, NodeId, Shape, TensorType};
use crate::model::loss::{alike, sparse_labels, target_like};
use crate::model::numbers::fraction;
use crate::model::setters::{With, setters};

/// How often the prediction is right. As Keras's `"accuracy"` does, it looks at the shapes: one output is a yes at more
/// than 0.5, several outputs are classes, and targets with one number fewer are labels.
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
        if o.rank() < 2 || o.last() == Some(&Dim::ONE) {
            return (t.elements() == o.elements()).then_some(Question::Binary);
        }
        match labels_of(t, o) {
            true => Some(Question::Sparse),
            false => (t == o).then_some(Question::Categorical),
        }
    }
}

/// Whether a shape is that of one label for each distribution of an output.
fn labels_of(t: &Shape, o: &Shape) -> bool {
    let Some((_, labels)) = o.split_last() else { return false };
    t[..] == *labels || t.rank() == o.rank() && t.last() == Some(&Dim::ONE) && t[..labels.len()] == *labels
}

impl MeanMetric for Accuracy {
    fn name(&self) -> String {
        "accuracy".to_string()
    }

    fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
        floats("Accuracy", output)?;
        match Question::of(target, output) {
            Some(_) => Ok(()),
            None => Err(Problem::new(Code::Loss, format!("Accuracy cannot compare {target} with {output}"))),
        }
    }

    fn values(&self, g: &mut Graph, target: NodeId, output: NodeId) -> NodeId {
        match Question::of(g.ty(target), g.ty(output)) {
            Some(Question::Sparse) => SparseCategoricalAccuracy.values(g, target, output),
            Some(Question::Categorical) => CategoricalAccuracy.values(g, target, output),
            Some(Question::Binary) | None => BinaryAccuracy::new().values(g, target, output),
        }
    }
}

/// How often output and target are the same number: Keras's class `Accuracy`.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct ExactAccuracy;

impl MeanMetric for ExactAccuracy {
    fn name(&self) -> String {
        "accuracy".to_string()
    }

    fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
        alike("ExactAccuracy", target, output)
    }

    fn values(&self, g: &mut Graph, target: NodeId, output: NodeId) -> NodeId {
        let target = target_like(g, target, output);
        let right = g.eq(target, output);
        g.cast(right, DType::F32)
    }
}

/// How often an output above a threshold meets a target of 1.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct BinaryAccuracy {
    threshold: f64,
}

impl BinaryAccuracy {
    pub fn new() -> BinaryAccuracy {
        BinaryAccuracy::default()
    }

    setters! {
        /// What more than counts as a yes, 0.5 unless set.
        threshold: f64;
    }
}

impl Default for BinaryAccuracy {
    fn default() -> BinaryAccuracy {
        BinaryAccuracy { threshold: 0.5 }
    }
}

impl MeanMetric for BinaryAccuracy {
    fn name(&self) -> String {
        "binary_accuracy".to_string()
    }

    fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
        fraction("BinaryAccuracy", "threshold", self.threshold)?;
        alike("BinaryAccuracy", target, output)
    }

    fn values(&self, g: &mut Graph, target: NodeId, output: NodeId) -> NodeId {
        let target = target_like(g, target, output);
        let threshold = g.lit_like(output, self.threshold);
        let yes = g.gt(output, threshold);
        let yes = g.cast(yes, DType::F32);
        let right = g.eq(target, yes);
        g.cast(right, DType::F32)
    }
}

/// How often the largest output is where the largest target is.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct CategoricalAccuracy;

impl MeanMetric for CategoricalAccuracy {
    fn name(&self) -> String {
        "categorical_accuracy".to_string()
    }

    fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
        classes("CategoricalAccuracy", output)?;
        alike("CategoricalAccuracy", target, output)
    }

    fn values(&self, g: &mut Graph, target: NodeId, output: NodeId) -> NodeId {
        let last = g.ty(output).shape.rank() - 1;
        let target = target_like(g, target, output);
        let (a, b) = (g.argmax(target, last), g.argmax(output, last));
        let right = g.eq(a, b);
        g.cast(right, DType::F32)
    }
}

/// How often the largest output is that of the label.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct SparseCategoricalAccuracy;

impl MeanMetric for SparseCategoricalAccuracy {
    fn name(&self) -> String {
        "sparse_categorical_accuracy".to_string()
    }

    fn target(&self, output: &TensorType) -> TensorType {
        labels(output)
    }

    fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
        labelled("SparseCategoricalAccuracy", target, output)
    }

    fn values(&self, g: &mut Graph, target: NodeId, output: NodeId) -> NodeId {
        let last = g.ty(output).shape.rank() - 1;
        let labels = sparse_labels(g, target, output);
        let best = g.argmax(output, last);
        let right = g.eq(best, labels);
        g.cast(right, DType::F32)
    }
}

/// How often the class of the largest target is among the `k` largest outputs.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct TopKCategoricalAccuracy {
    k: usize,
}

impl TopKCategoricalAccuracy {
    pub fn new(k: usize) -> TopKCategoricalAccuracy {
        TopKCategoricalAccuracy { k }
    }
}

impl Default for TopKCategoricalAccuracy {
    fn default() -> TopKCategoricalAccuracy {
        TopKCategoricalAccuracy::new(5)
    }
}

impl MeanMetric for TopKCategoricalAccuracy {
    fn name(&self) -> String {
        "top_k_categorical_accuracy".to_string()
    }

    fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
        at_least_one("TopKCategoricalAccuracy", self.k)?;
        classes("TopKCategoricalAccuracy", output)?;
        alike("TopKCategoricalAccuracy", target, output)
    }

    fn values(&self, g: &mut Graph, target: NodeId, output: NodeId) -> NodeId {
        let last = g.ty(output).shape.rank() - 1;
        let target = target_like(g, target, output);
        let labels = g.argmax(target, last);
        in_top_k(g, labels, output, self.k)
    }
}

/// How often the label is among the `k` largest outputs.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct SparseTopKCategoricalAccuracy {
    k: usize,
}

impl SparseTopKCategoricalAccuracy {
    pub fn new(k: usize) -> SparseTopKCategoricalAccuracy {
        SparseTopKCategoricalAccuracy { k }
    }
}

impl Default for SparseTopKCategoricalAccuracy {
    fn default() -> SparseTopKCategoricalAccuracy {
        SparseTopKCategoricalAccuracy::new(5)
    }
}

impl MeanMetric for SparseTopKCategoricalAccuracy {
    fn name(&self) -> String {
        "sparse_top_k_categorical_accuracy".to_string()
    }

    fn target(&self, output: &TensorType) -> TensorType {
        labels(output)
    }

    fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
        at_least_one("SparseTopKCategoricalAccuracy", self.k)?;
        labelled("SparseTopKCategoricalAccuracy", target, output)
    }

    fn values(&self, g: &mut Graph, target: NodeId, output: NodeId) -> NodeId {
        let labels = sparse_labels(g, target, output);
        in_top_k(g, labels, output, self.k)
    }
}

/// 1 where fewer than `k` outputs are larger than that of the label. Ties are in favour of the label.
fn in_top_k(g: &mut Graph, labels: NodeId, output: NodeId, k: usize) -> NodeId {
    let shape = g.ty(output).shape.clone();
    let axis = shape.rank() - 1;
    let wide = g.unreduce(labels, &[axis], &shape);
    let index = g.iota(axis, DType::I32, shape.clone());
    let hit = g.eq(wide, index);
    let zero = g.lit_like(output, 0.0);
    let own = g.select(hit, output, zero);
    let own = g.sum(own, &[axis]);
    let wide = g.unreduce(own, &[axis], &shape);
    let larger = g.gt(output, wide);
    let larger = g.cast(larger, DType::F32);
    let larger = g.sum(larger, &[axis]);
    let k = g.lit_like(larger, k as f64);
    let fewer = g.lt(larger, k);
    // A label that is no class has no output, and a prediction that is NaN is right about nothing.
    let known = g.cast(hit, DType::F32);
    let known = g.sum(known, &[axis]);
    let known = g.cast(known, DType::Bool);
    let unknown = g.is_nan(own);
    let known_number = g.not(unknown);
    let right = g.and(fewer, known);
    let right = g.and(right, known_number);
    g.cast(right, DType::F32)
}

fn labels(output: &TensorType) -> TensorType {
    let labels = output.shape.split_last().map(|(_, rest)| rest.to_vec()).unwrap_or_default();
    TensorType::new(DType::I32, Shape(labels))
}

fn floats(kind: &str, output: &TensorType) -> Result<(), Problem> {
    match output.dtype {
        DType::F32 => Ok(()),
        _ => Err(Problem::new(Code::DType, format!("{kind} takes f32 outputs, this one is {output}"))),
    }
}

/// Fails unless the output has classes along its last axis.
fn classes(kind: &str, output: &TensorType) -> Result<(), Problem> {
    floats(kind, output)?;
    match output.shape.rank() {
        0 | 1 => Err(Problem::new(Code::Loss, format!("{kind} needs classes on the last axis of {output}"))),
        _ => Ok(()),
    }
}

/// Fails unless there is one label for each distribution.
fn labelled(kind: &str, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
    classes(kind, output)?;
    match labels_of(&target.shape, &output.shape) {
        true => Ok(()),
        false => Err(Problem::new(Code::Loss, format!("{kind} takes one label for each of {output}, got {target}"))),
    }
}

fn at_least_one(kind: &str, k: usize) -> Result<(), Problem> {
    match k {
        0 => Err(Problem::value(format!("{kind} with k 0: must be at least 1"))),
        _ => Ok(()),
    }
}
