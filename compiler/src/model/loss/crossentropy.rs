//! Crossentropies, on probabilities or in their stable forms on logits.

use serde::{Deserialize, Serialize};

use super::{EPSILON, Loss, alike, checked_axis, floats, item_axis, same_items, target_like};
use crate::diag::{Code, Problem};
use crate::ir::{DType, Graph, NodeId, Shape, TensorType, ValueRange};
use crate::model::numbers::{fraction, not_negative};
use crate::model::setters::{With, setters};

/// A struct with Keras's arguments and their defaults, and a method to set each.
macro_rules! crossentropy {
    ($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $arg:literal])+ $field:ident: $ty:ty = $default:expr),* }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
        #[serde(default)]
        pub struct $name { from_logits: bool, $($field: $ty),* }

        impl Default for $name {
            fn default() -> $name {
                $name { from_logits: false, $($field: $default),* }
            }
        }

        constructors!($name);

        impl $name {
            setters! { $($(#[doc = $arg])+ $field: $ty;)* }
        }
    };
}

macro_rules! constructors {
    ($name:ident) => {
        impl $name {
            /// For outputs that are probabilities.
            pub fn new() -> $name {
                $name::default()
            }

            /// For outputs without a final sigmoid or softmax: the stable form.
            pub fn from_logits() -> $name {
                $name { from_logits: true, ..$name::default() }
            }
        }
    };
}

crossentropy! {
    /// Crossentropy of independent yes-or-no questions; targets are 0 or 1, or probabilities.
    BinaryCrossentropy {
        /// Moves targets towards one half by this fraction.
        label_smoothing: f64 = 0.0,
        /// The axis of the mean, which matters to sample weights alone.
        axis: isize = -1
    }
}

impl Loss for BinaryCrossentropy {
    fn kind(&self) -> &'static str {
        "BinaryCrossentropy"
    }

    fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
        fraction(self.kind(), "label_smoothing", self.label_smoothing)?;
        alike(self.kind(), target, output)?;
        mean_axis(self.kind(), self.axis, output)
    }

    fn values(&self, g: &mut Graph, target: NodeId, output: NodeId) -> NodeId {
        let t = target_like(g, target, output);
        let t = smooth(g, t, self.label_smoothing, 2.0);
        let values = binary_values(g, t, output, self.from_logits);
        mean_over(g, values, self.axis)
    }
}

crossentropy! {
    /// Binary crossentropy that counts what is easy for less.
    BinaryFocalCrossentropy {
        /// Whether classes are weighted: ones by `alpha`, zeros by `1 - alpha`.
        apply_class_balancing: bool = false,
        /// The weight of ones.
        alpha: f64 = 0.25,
        /// How much less: the power of the missing probability.
        gamma: f64 = 2.0,
        /// Moves targets towards one half by this fraction.
        label_smoothing: f64 = 0.0,
        /// The axis of the mean, which matters to sample weights alone.
        axis: isize = -1
    }
}

impl Loss for BinaryFocalCrossentropy {
    fn kind(&self) -> &'static str {
        "BinaryFocalCrossentropy"
    }

    fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
        fraction(self.kind(), "label_smoothing", self.label_smoothing)?;
        focal(self.kind(), self.alpha, self.gamma)?;
        alike(self.kind(), target, output)?;
        mean_axis(self.kind(), self.axis, output)
    }

    fn values(&self, g: &mut Graph, target: NodeId, output: NodeId) -> NodeId {
        let t = target_like(g, target, output);
        let t = smooth(g, t, self.label_smoothing, 2.0);
        let p = if self.from_logits { g.sigmoid(output) } else { output };
        let cost = binary(g, t, p);
        let (not_t, not_p) = (g.s_sub(1.0, t), g.s_sub(1.0, p));
        // 1 - (t p + (1 - t) (1 - p)): the probability that is missing.
        let (a, b) = (g.mul(t, not_p), g.mul(not_t, p));
        let missing = g.add(a, b);
        let gamma = g.lit_like(missing, self.gamma);
        let factor = g.pow(missing, gamma);
        let mut values = g.mul(factor, cost);
        if self.apply_class_balancing {
            let (ones, zeros) = (g.mul_s(t, self.alpha), g.mul_s(not_t, 1.0 - self.alpha));
            let weight = g.add(ones, zeros);
            values = g.mul(weight, values);
        }
        mean_over(g, values, self.axis)
    }
}

crossentropy! {
    /// Crossentropy of one choice among classes; targets are distributions along an axis, such as one-hot.
    CategoricalCrossentropy {
        /// Moves targets towards the uniform distribution by this fraction.
        label_smoothing: f64 = 0.0,
        /// The axis of the classes.
        axis: isize = -1
    }
}

impl Loss for CategoricalCrossentropy {
    fn kind(&self) -> &'static str {
        "CategoricalCrossentropy"
    }

    fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
        fraction(self.kind(), "label_smoothing", self.label_smoothing)?;
        classes(self.kind(), self.axis, output)?;
        alike(self.kind(), target, output)
    }

    fn values(&self, g: &mut Graph, target: NodeId, output: NodeId) -> NodeId {
        let shape = g.ty(output).shape.clone();
        let axis = checked_axis(self.axis, &shape);
        let t = target_like(g, target, output);
        let t = smooth(g, t, self.label_smoothing, shape[shape.rank() - 1].scale as f64);
        let log = if self.from_logits {
            let all = g.log_sum_exp(output, axis);
            let all = g.unreduce(all, &[axis], &shape);
            g.sub(output, all)
        } else {
            let p = shares(g, output, axis);
            g.log(p)
        };
        let hit = g.mul(t, log);
        let sum = g.sum(hit, &[axis]);
        g.neg(sum)
    }
}

crossentropy! {
    /// Categorical crossentropy that counts what is easy for less.
    CategoricalFocalCrossentropy {
        /// The weight of every class.
        alpha: f64 = 0.25,
        /// How much less: the power of the missing probability.
        gamma: f64 = 2.0,
        /// Moves targets towards the uniform distribution by this fraction.
        label_smoothing: f64 = 0.0,
        /// The axis of the classes.
        axis: isize = -1
    }
}

impl Loss for CategoricalFocalCrossentropy {
    fn kind(&self) -> &'static str {
        "CategoricalFocalCrossentropy"
    }

    fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
        fraction(self.kind(), "label_smoothing", self.label_smoothing)?;
        focal(self.kind(), self.alpha, self.gamma)?;
        classes(self.kind(), self.axis, output)?;
        alike(self.kind(), target, output)
    }

    fn values(&self, g: &mut Graph, target: NodeId, output: NodeId) -> NodeId {
        let shape = g.ty(output).shape.clone();
        let axis = checked_axis(self.axis, &shape);
        let t = target_like(g, target, output);
        let t = smooth(g, t, self.label_smoothing, shape[shape.rank() - 1].scale as f64);
        let p = if self.from_logits { g.softmax(output, axis) } else { output };
        let p = shares(g, p, axis);
        let log = g.log(p);
        let cost = g.mul(t, log);
        let missing = g.s_sub(1.0, p);
        let gamma = g.lit_like(missing, self.gamma);
        let factor = g.pow(missing, gamma);
        let values = g.mul(factor, cost);
        let sum = g.sum(values, &[axis]);
        g.mul_s(sum, -self.alpha)
    }
}

/// Crossentropy of one choice among classes; targets are integer labels. A label that is no class is an error of the
/// call; where the output has a mask, or the class to ignore is none of the classes, it costs nothing instead.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SparseCategoricalCrossentropy {
    from_logits: bool,
    ignore_class: Option<i32>,
}

constructors!(SparseCategoricalCrossentropy);

impl SparseCategoricalCrossentropy {
    setters! {
        /// A label that does not count: the mean is over the others.
        ignore_class: some i32;
    }
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
        labelled(self.kind(), target, output)
    }

    fn labels(&self, output: &TensorType) -> Option<ValueRange> {
        let classes = class_labels(output)?;
        match self.ignore_class.map(i64::from) {
            // The ignored label is one more, where that leaves no gap.
            Some(-1) => Some(ValueRange { low: -1, ..classes }),
            Some(ignored) if ignored == classes.high => Some(ValueRange { high: ignored + 1, ..classes }),
            Some(ignored) if !(classes.low..classes.high).contains(&ignored) => None,
            _ => Some(classes),
        }
    }

    fn values(&self, g: &mut Graph, target: NodeId, output: NodeId) -> NodeId {
        let shape = g.ty(output).shape.clone();
        let axis = shape.rank() - 1;
        let labels = sparse_labels(g, target, output);
        let chosen = at_labels(g, labels, output);
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
        let mut known = g.and(above, below);
        if let Some(counts) = self.mask(g, target, output) {
            known = g.and(known, counts);
        }
        let zero = g.lit_like(cost, 0.0);
        g.select(known, cost, zero)
    }

    fn mask(&self, g: &mut Graph, target: NodeId, output: NodeId) -> Option<NodeId> {
        let ignored = self.ignore_class?;
        let labels = sparse_labels(g, target, output);
        let ignored = g.lit_like(labels, ignored as f64);
        Some(g.ne(labels, ignored))
    }
}

/// `(1 - p^q) / q` of the probability `p` of the right class: robust against wrong labels, which are integers.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct CategoricalGeneralizedCrossEntropy {
    q: f64,
}

impl CategoricalGeneralizedCrossEntropy {
    /// With `q` between crossentropy (0) and absolute error (1).
    pub fn new(q: f64) -> CategoricalGeneralizedCrossEntropy {
        CategoricalGeneralizedCrossEntropy { q }
    }
}

impl Default for CategoricalGeneralizedCrossEntropy {
    fn default() -> CategoricalGeneralizedCrossEntropy {
        CategoricalGeneralizedCrossEntropy::new(0.5)
    }
}

impl Loss for CategoricalGeneralizedCrossEntropy {
    fn kind(&self) -> &'static str {
        "CategoricalGeneralizedCrossEntropy"
    }

    fn target(&self, output: &TensorType) -> TensorType {
        SparseCategoricalCrossentropy::new().target(output)
    }

    fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
        if !(self.q > 0.0 && self.q < 1.0) {
            return Err(Problem::value(format!("{} with q {}: must be between 0 and 1", self.kind(), self.q)));
        }
        labelled(self.kind(), target, output)
    }

    fn labels(&self, output: &TensorType) -> Option<ValueRange> {
        class_labels(output)
    }

    fn values(&self, g: &mut Graph, target: NodeId, output: NodeId) -> NodeId {
        let labels = sparse_labels(g, target, output);
        let p = at_labels(g, labels, output);
        let q = g.lit_like(p, self.q);
        let power = g.pow(p, q);
        let rest = g.s_sub(1.0, power);
        g.mul_s(rest, 1.0 / self.q)
    }
}

/// Integer labels as `i32`, one for each position of the output without its last axis.
pub(crate) fn sparse_labels(g: &mut Graph, target: NodeId, output: NodeId) -> NodeId {
    let shape = &g.ty(output).shape;
    let shape = Shape(shape[..shape.rank() - 1].to_vec());
    let labels = g.reshape(target, shape);
    g.cast(labels, DType::I32)
}

/// The labels of the classes on the last axis of an output.
fn class_labels(output: &TensorType) -> Option<ValueRange> {
    output.shape.last().filter(|classes| !classes.batch).map(|classes| ValueRange::indices(classes.scale))
}

/// The elements along the last axis that labels choose; 0 where a label is no class.
fn at_labels(g: &mut Graph, labels: NodeId, output: NodeId) -> NodeId {
    let shape = g.ty(output).shape.clone();
    let axis = shape.rank() - 1;
    let wide = g.unreduce(labels, &[axis], &shape);
    let index = g.iota(axis, DType::I32, shape);
    let hit = g.eq(wide, index);
    let zero = g.lit_like(output, 0.0);
    let chosen = g.select(hit, output, zero);
    g.sum(chosen, &[axis])
}

/// Fails unless there is an integer label for every distribution along the last axis.
fn labelled(kind: &str, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
    classes(kind, -1, output)?;
    if !target.dtype.is_int() {
        return Err(Problem::new(Code::DType, format!("{kind} takes integer labels, the target is {target}"))
            .help("declare it as i32, or use CategoricalCrossentropy for distributions"));
    }
    let wanted = SparseCategoricalCrossentropy::new().target(output).shape;
    if same_items(&target.shape, &wanted) && target.shape.rank() >= wanted.rank() {
        return Ok(());
    }
    let message = format!("{kind} takes one label for each of {wanted}, the target is {target}");
    Err(Problem::new(Code::Loss, message).help("for one-hot targets use CategoricalCrossentropy"))
}

/// Fails unless an axis of an output can be classes.
fn classes(kind: &str, axis: isize, output: &TensorType) -> Result<(), Problem> {
    floats(kind, output)?;
    if axis != -1 {
        item_axis(kind, axis, output)?;
    }
    let shape = &output.shape;
    let name = if axis == -1 { "the last axis".to_string() } else { format!("axis {axis}") };
    match shape.get(checked_axis(axis, shape)) {
        Some(d) if shape.rank() >= 2 && d.scale >= 2 && !d.batch => Ok(()),
        _ => Err(Problem::new(Code::Loss, format!("{kind} needs at least 2 classes on {name} of {output}"))
            .help("for a single yes-or-no output use BinaryCrossentropy")),
    }
}

/// Fails unless a mean can run over an axis.
fn mean_axis(kind: &str, axis: isize, output: &TensorType) -> Result<(), Problem> {
    if axis == -1 { Ok(()) } else { item_axis(kind, axis, output).map(drop) }
}

/// The mean over an axis that is not the last, which reductions take by themselves.
fn mean_over(g: &mut Graph, values: NodeId, axis: isize) -> NodeId {
    let shape = g.ty(values).shape.clone();
    let axis = checked_axis(axis, &shape);
    if axis + 1 < shape.rank() { g.mean(values, &[axis]) } else { values }
}

/// The binary crossentropy of each element, on logits in its stable form.
pub(crate) fn binary_values(g: &mut Graph, t: NodeId, output: NodeId, from_logits: bool) -> NodeId {
    if !from_logits {
        return binary(g, t, output);
    }
    let all = g.softplus(output);
    let hit = g.mul(t, output);
    g.sub(all, hit)
}

/// `-t log(p) - (1 - t) log(1 - p)`
fn binary(g: &mut Graph, t: NodeId, p: NodeId) -> NodeId {
    let p = clip(g, p);
    let (yes, no) = (g.log(p), g.s_sub(1.0, p));
    let no = g.log(no);
    let yes = g.mul(t, yes);
    let rest = g.s_sub(1.0, t);
    let no = g.mul(rest, no);
    let sum = g.add(yes, no);
    g.neg(sum)
}

/// Outputs scaled to sum to 1 along an axis, away from 0 and 1.
fn shares(g: &mut Graph, output: NodeId, axis: usize) -> NodeId {
    let shape = g.ty(output).shape.clone();
    let total = g.sum(output, &[axis]);
    let total = g.unreduce(total, &[axis], &shape);
    let p = g.div(output, total);
    clip(g, p)
}

fn focal(kind: &str, alpha: f64, gamma: f64) -> Result<(), Problem> {
    not_negative(kind, "alpha", alpha)?;
    not_negative(kind, "gamma", gamma)
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
