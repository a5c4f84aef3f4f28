//! Metrics over all thresholds at once: areas under curves, and the best of one rate under a bound on another.
//!
//! The sums are two histograms, of outputs with and without a target: how many thresholds an output exceeds. What is
//! above each threshold follows from them.

use serde::{Deserialize, Serialize};

use super::confusion::{class_of, one_class};
use super::{Batch, Metric};
use crate::diag::{Code, Problem};
use crate::ir::{DType, Graph, NodeId, Number, Op, PadAxis, Shape, TensorType};
use crate::model::loss::{align, alike, divide_no_nan, target_like};
use crate::model::numbers::{at_most, fraction};
use crate::model::setters::{With, setters};

/// The fuzz that thresholds at the ends are moved outwards by.
const EPSILON: f64 = 1e-7;

/// The most thresholds.
const MAX_THRESHOLDS: usize = 1 << 20;
/// The most thresholds of all labels together.
const MAX_LABELLED: usize = 1 << 26;

/// Fails where there are more thresholds than anybody can tell apart, for an output and each of some labels.
fn bounded(kind: &str, thresholds: usize, labels: usize) -> Result<(), Problem> {
    at_most(kind, "num_thresholds", thresholds, MAX_THRESHOLDS)?;
    at_most(kind, "thresholds of all labels", thresholds.saturating_mul(labels), MAX_LABELLED)
}

/// Where the thresholds are.
#[derive(Clone, PartialEq, Debug)]
enum Thresholds {
    /// This many, evenly from 0 to 1. With `open` ends, every output is above the first and below the last.
    Even { count: usize, open: bool },
    /// The same in any places.
    At(Vec<f64>),
}

impl Thresholds {
    fn count(&self) -> usize {
        match self {
            Thresholds::Even { count, .. } => *count,
            Thresholds::At(list) => list.len(),
        }
    }

    /// How many thresholds each output is above, as `i32`.
    fn below(&self, g: &mut Graph, output: NodeId) -> NodeId {
        match self {
            Thresholds::Even { count, open } => {
                let p = g.max_s(output, 0.0);
                let p = g.min_s(p, 1.0);
                let scaled = g.mul_s(p, (*count - 1) as f64);
                let mut below = g.ceil(scaled);
                if *open {
                    below = g.max_s(below, 1.0);
                }
                g.cast(below, DType::I32)
            }
            Thresholds::At(list) => {
                let mut wide = g.ty(output).shape.clone();
                let rank = wide.rank();
                wide.0.push(list.len().into());
                let limits = g.dense(TensorType::new(DType::F32, Shape::fixed(&[list.len()])), list.iter().copied());
                let limits = g.broadcast_to(limits, &wide);
                let p = g.unreduce(output, &[rank], &wide);
                let above = g.gt(p, limits);
                let above = g.cast(above, DType::I32);
                g.sum(above, &[rank])
            }
        }
    }
}

/// Histograms over `[thresholds + 1, labels]` of the weights of what has a target and of what has none.
fn histograms(
    g: &mut Graph,
    thresholds: &Thresholds,
    target: NodeId,
    output: NodeId,
    weight: Option<NodeId>,
    labels: usize,
) -> Vec<(&'static str, NodeId)> {
    let shape = g.ty(output).shape.clone();
    let mut index = thresholds.below(g, output);
    if labels > 1 {
        let row = g.mul_s(index, labels as f64);
        let column = g.iota(shape.rank() - 1, DType::I32, shape.clone());
        index = g.add(row, column);
    }
    let zero = g.lit_like(target, 0.0);
    let yes = g.ne(target, zero);
    let yes = g.cast(yes, DType::F32);
    let no = g.s_sub(1.0, yes);
    let weight = weight.map(|w| align(g, w, &shape));
    let flat = Shape(shape.elements().into_iter().collect());
    let index = g.reshape(index, flat.clone());
    let bins = (thresholds.count() + 1) * labels;
    [("positives", yes), ("negatives", no)]
        .map(|(name, hit)| {
            let hit = match weight {
                Some(weight) => g.mul(hit, weight),
                None => hit,
            };
            let hit = g.reshape(hit, flat.clone());
            let sums = g.push(Op::ScatterAdd { axis: 0, batch: 0, shape: Shape::fixed(&[bins]) }, &[index, hit]);
            (name, g.reshape(sums, Shape::fixed(&[bins / labels, labels])))
        })
        .to_vec()
}

/// Counts at each threshold, over `[thresholds, labels]`.
struct Counts {
    true_positives: NodeId,
    false_positives: NodeId,
    true_negatives: NodeId,
    false_negatives: NodeId,
}

impl Counts {
    fn of(g: &mut Graph, sums: &[NodeId]) -> Counts {
        let (true_positives, false_negatives) = split(g, sums[0]);
        let (false_positives, true_negatives) = split(g, sums[1]);
        Counts { true_positives, false_positives, true_negatives, false_negatives }
    }

    /// The share of what has a target that is above the threshold.
    fn recall(&self, g: &mut Graph) -> NodeId {
        share(g, self.true_positives, self.false_negatives)
    }

    /// The share of what is above the threshold that has a target.
    fn precision(&self, g: &mut Graph) -> NodeId {
        share(g, self.true_positives, self.false_positives)
    }

    /// The share of what has no target that is up to the threshold.
    fn specificity(&self, g: &mut Graph) -> NodeId {
        share(g, self.true_negatives, self.false_positives)
    }
}

/// `a / (a + b)`
fn share(g: &mut Graph, a: NodeId, b: NodeId) -> NodeId {
    let all = g.add(a, b);
    divide_no_nan(g, a, all)
}

/// What a histogram has above each threshold, and up to it.
fn split(g: &mut Graph, histogram: NodeId) -> (NodeId, NodeId) {
    let bins = g.ty(histogram).shape[0].scale;
    let high = g.slice_axis(histogram, 0, 1, bins);
    let high = sums_from(g, high);
    let all = g.sum(histogram, &[0]);
    let all = g.broadcast_like(all, high);
    let low = g.sub(all, high);
    (high, low)
}

/// The sums along axis 0 of each row and all behind it, in as many steps as it takes to double 1 up to their number.
fn sums_from(g: &mut Graph, x: NodeId) -> NodeId {
    let shape = g.ty(x).shape.clone();
    let (rows, mut sums, mut reach) = (shape[0].scale, x, 1);
    while reach < rows {
        let later = g.slice_axis(sums, 0, reach, rows);
        let mut axes = vec![PadAxis::default(); shape.rank()];
        axes[0].high = reach;
        let later = g.push(Op::Pad { axes, value: Number(0.0) }, &[later]);
        sums = g.add(sums, later);
        reach *= 2;
    }
    sums
}

/// The curve that an area is under.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Curve {
    /// True positive rate over false positive rate.
    #[default]
    ROC,
    /// Precision over recall.
    PR,
    /// Precision gain over recall gain.
    PRGAIN,
}

/// How an area is made of the points of a curve.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SummationMethod {
    /// Lines between points; for precision over recall, true positives are interpolated.
    #[default]
    Interpolation,
    /// Steps at the smaller value.
    Minoring,
    /// Steps at the larger value.
    Majoring,
}

/// The area under the ROC or precision-recall curve.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct AUC {
    num_thresholds: usize,
    curve: Curve,
    summation_method: SummationMethod,
    thresholds: Option<Vec<f64>>,
    multi_label: bool,
    num_labels: Option<usize>,
    label_weights: Option<Vec<f64>>,
    from_logits: bool,
}

impl AUC {
    pub fn new() -> AUC {
        AUC::default()
    }

    setters! {
        /// Evenly spaced thresholds, 200 unless set.
        num_thresholds: usize;
        curve: Curve;
        summation_method: SummationMethod;
        /// Thresholds in places of their own, besides 0 and 1.
        thresholds: some into Vec<f64>;
        /// An area for each output, averaged, instead of one area over all outputs.
        multi_label: bool;
        /// How much each output counts.
        label_weights: some into Vec<f64>;
        /// Whether outputs lack a final sigmoid.
        from_logits: bool;
    }

    /// How many thresholds there are.
    fn count(&self) -> usize {
        self.thresholds.as_ref().map_or(self.num_thresholds, |list| list.len() + 2)
    }

    fn places(&self) -> Thresholds {
        let Some(list) = &self.thresholds else {
            return Thresholds::Even { count: self.num_thresholds, open: true };
        };
        let mut inner = list.clone();
        inner.sort_by(f64::total_cmp);
        let steps = (inner.len() + 1) as f64;
        let even = |(i, t): (usize, &f64)| (t - (i + 1) as f64 / steps).abs() <= EPSILON * 2.0;
        if !inner.is_empty() && inner.iter().enumerate().all(even) {
            return Thresholds::Even { count: inner.len() + 2, open: true };
        }
        Thresholds::At(std::iter::once(-EPSILON).chain(inner).chain([1.0 + EPSILON]).collect())
    }

    /// The areas of the labels as one number.
    fn average(&self, g: &mut Graph, areas: NodeId) -> NodeId {
        match (&self.label_weights, self.multi_label) {
            (Some(weights), true) => {
                let total: f64 = weights.iter().sum();
                let ty = g.ty(areas).clone();
                let weights = g.dense(ty, weights.iter().copied());
                let weighted = g.mul(areas, weights);
                let sum = g.sum(weighted, &[0]);
                let total = g.lit_like(sum, total);
                divide_no_nan(g, sum, total)
            }
            _ => g.mean(areas, &[0]),
        }
    }
}

impl Default for AUC {
    fn default() -> AUC {
        AUC {
            num_thresholds: 200,
            curve: Curve::ROC,
            summation_method: SummationMethod::Interpolation,
            thresholds: None,
            multi_label: false,
            num_labels: None,
            label_weights: None,
            from_logits: false,
        }
    }
}

impl Metric for AUC {
    fn name(&self) -> String {
        "auc".to_string()
    }

    fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
        alike("AUC", target, output)?;
        if self.thresholds.is_none() && self.num_thresholds < 2 {
            return Err(Problem::value(format!("AUC with num_thresholds {}: must be at least 2", self.num_thresholds)));
        }
        self.thresholds.iter().flatten().try_for_each(|&t| fraction("AUC", "threshold", t))?;
        let labels = output.shape.last().filter(|_| output.shape.rank() > 1).and_then(|d| d.as_fixed());
        bounded("AUC", self.count(), labels.filter(|_| self.multi_label).unwrap_or(1))?;
        if self.multi_label && (output.shape.rank() != 2 || labels.is_none()) {
            return Err(Problem::new(
                Code::Loss,
                format!("AUC with multi_label takes vectors, the output is {output}"),
            ));
        }
        if self.num_labels.is_some() && (!self.multi_label || self.num_labels != labels) {
            return Err(Problem::value(format!("AUC with other num_labels than the outputs {output}")));
        }
        match &self.label_weights {
            Some(weights) if labels != Some(weights.len()) => {
                let message = format!("AUC with {} label_weights for the outputs {output}", weights.len());
                Err(Problem::value(message))
            }
            _ => Ok(()),
        }
    }

    fn tally(&self, g: &mut Graph, batch: &Batch) -> Vec<(&'static str, NodeId)> {
        let target = target_like(g, batch.target, batch.output);
        let output = if self.from_logits { g.sigmoid(batch.output) } else { batch.output };
        let shape = g.ty(output).shape.clone();
        let labels = if self.multi_label { shape[1].scale } else { 1 };
        let mut weight = batch.by.weight;
        if let (Some(weights), false) = (&self.label_weights, self.multi_label) {
            let ty = TensorType::new(DType::F32, Shape::fixed(&[weights.len()]));
            let columns = g.dense(ty, weights.iter().copied());
            let columns = g.broadcast_to(columns, &shape);
            weight = Some(match weight {
                Some(weight) => {
                    let weight = align(g, weight, &shape);
                    g.mul(weight, columns)
                }
                None => columns,
            });
        }
        histograms(g, &self.places(), target, output, weight, labels)
    }

    fn result(&self, g: &mut Graph, sums: &[NodeId]) -> NodeId {
        let c = Counts::of(g, sums);
        let areas = match (self.curve, self.summation_method) {
            (Curve::PR, SummationMethod::Interpolation) => interpolated_precision(g, &c),
            (curve, method) => {
                let (x, y) = points(g, &c, curve);
                let (x, next_x) = neighbours(g, x);
                let (y, next_y) = neighbours(g, y);
                let height = match method {
                    SummationMethod::Interpolation => {
                        let sum = g.add(y, next_y);
                        g.mul_s(sum, 0.5)
                    }
                    SummationMethod::Minoring => g.min(y, next_y),
                    SummationMethod::Majoring => g.max(y, next_y),
                };
                let width = g.sub(x, next_x);
                let terms = g.mul(width, height);
                g.sum(terms, &[0])
            }
        };
        self.average(g, areas)
    }
}

/// The points of a curve at each threshold.
fn points(g: &mut Graph, c: &Counts, curve: Curve) -> (NodeId, NodeId) {
    match curve {
        Curve::ROC => (share(g, c.false_positives, c.true_negatives), c.recall(g)),
        Curve::PR => (c.recall(g), c.precision(g)),
        Curve::PRGAIN => {
            let (yes, no) = (g.add(c.true_positives, c.false_negatives), g.add(c.true_negatives, c.false_positives));
            let scale = divide_no_nan(g, yes, no);
            let zero = g.lit_like(c.true_positives, 0.0);
            let none = g.eq(c.true_positives, zero);
            let mut gain = |errors, without: f64| {
                let ratio = divide_no_nan(g, errors, c.true_positives);
                let lost = g.mul(scale, ratio);
                let gain = g.s_sub(1.0, lost);
                let without = g.lit_like(gain, without);
                g.select(none, without, gain)
            };
            let (recall, precision) = (gain(c.false_negatives, 0.0), gain(c.false_positives, 1.0));
            (g.max_s(recall, 0.0), precision)
        }
    }
}

/// All rows but the last, and all but the first.
fn neighbours(g: &mut Graph, x: NodeId) -> (NodeId, NodeId) {
    let rows = g.ty(x).shape[0].scale;
    (g.slice_axis(x, 0, 0, rows - 1), g.slice_axis(x, 0, 1, rows))
}

/// The area under precision over recall with true positives interpolated between thresholds (Davis and Goadrich).
fn interpolated_precision(g: &mut Graph, c: &Counts) -> NodeId {
    let positives = g.add(c.true_positives, c.false_positives);
    let (p, next_p) = neighbours(g, positives);
    let (hits, next_hits) = neighbours(g, c.true_positives);
    let (_, next_missed) = neighbours(g, c.false_negatives);
    let (more_hits, more) = (g.sub(hits, next_hits), g.sub(p, next_p));
    let more = g.max_s(more, 0.0);
    let slope = divide_no_nan(g, more_hits, more);
    let line = g.mul(slope, next_p);
    let intercept = g.sub(next_hits, line);
    let zero = g.lit_like(p, 0.0);
    let (some, next_some) = (g.gt(p, zero), g.gt(next_p, zero));
    let both = g.and(some, next_some);
    let ratio = divide_no_nan(g, p, next_p);
    let one = g.lit_like(ratio, 1.0);
    let ratio = g.select(both, ratio, one);
    let log = g.log(ratio);
    let curved = g.mul(intercept, log);
    let area = g.add(more_hits, curved);
    let area = g.mul(slope, area);
    let all = g.add(next_hits, next_missed);
    let terms = divide_no_nan(g, area, all);
    g.sum(terms, &[0])
}

/// The mean over labels of their average precision: precision at each threshold, weighted by what recall gains there.
/// Labels without a single target do not count.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct MeanAveragePrecision {
    num_thresholds: usize,
}

impl MeanAveragePrecision {
    pub fn new() -> MeanAveragePrecision {
        MeanAveragePrecision::default()
    }

    setters! {
        /// Evenly spaced thresholds, 200 unless set.
        num_thresholds: usize;
    }
}

impl Default for MeanAveragePrecision {
    fn default() -> MeanAveragePrecision {
        MeanAveragePrecision { num_thresholds: 200 }
    }
}

impl Metric for MeanAveragePrecision {
    fn name(&self) -> String {
        "mean_average_precision".to_string()
    }

    fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
        alike("MeanAveragePrecision", target, output)?;
        if self.num_thresholds < 2 {
            let message =
                format!("MeanAveragePrecision with num_thresholds {}: must be at least 2", self.num_thresholds);
            return Err(Problem::value(message));
        }
        match output.shape.rank() {
            2 => bounded("MeanAveragePrecision", self.num_thresholds, output.shape[1].scale),
            _ => Err(Problem::new(Code::Loss, format!("MeanAveragePrecision takes vectors, the output is {output}"))),
        }
    }

    fn tally(&self, g: &mut Graph, batch: &Batch) -> Vec<(&'static str, NodeId)> {
        let target = target_like(g, batch.target, batch.output);
        let labels = g.ty(batch.output).shape[1].scale;
        let thresholds = Thresholds::Even { count: self.num_thresholds, open: true };
        histograms(g, &thresholds, target, batch.output, batch.by.weight, labels)
    }

    fn result(&self, g: &mut Graph, sums: &[NodeId]) -> NodeId {
        let c = Counts::of(g, sums);
        let (recall, precision) = (c.recall(g), c.precision(g));
        let (recall, next) = neighbours(g, recall);
        let (precision, _) = neighbours(g, precision);
        let gain = g.sub(recall, next);
        let terms = g.mul(gain, precision);
        let average = g.sum(terms, &[0]);
        let targets = g.sum(sums[0], &[0]);
        let zero = g.lit_like(targets, 0.0);
        let some = g.gt(targets, zero);
        let some = g.cast(some, DType::F32);
        let (total, labels) = (g.sum(average, &[0]), g.sum(some, &[0]));
        divide_no_nan(g, total, labels)
    }
}

type Rate = fn(&Counts, &mut Graph) -> NodeId;

macro_rules! best {
    ($($(#[doc = $doc:literal])+ $name:ident $snake:literal $bound:ident: $dependent:expr, $constrained:expr;)+) => { $(
        $(#[doc = $doc])+
        #[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
        #[serde(default)]
        pub struct $name {
            $bound: f64,
            num_thresholds: usize,
            class_id: Option<usize>,
        }

        impl Default for $name {
            fn default() -> $name {
                $name::new(0.0)
            }
        }

        impl $name {
            pub fn new($bound: f64) -> $name {
                $name { $bound, num_thresholds: 200, class_id: None }
            }

            setters! {
                /// Evenly spaced thresholds, 200 unless set.
                num_thresholds: usize;
                /// Looks at one class of the last axis alone.
                class_id: some usize;
            }

            fn places(&self) -> Thresholds {
                match self.num_thresholds {
                    0 | 1 => Thresholds::At(vec![0.5]),
                    count => Thresholds::Even { count, open: false },
                }
            }
        }

        impl Metric for $name {
            fn name(&self) -> String {
                $snake.to_string()
            }

            fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
                alike(stringify!($name), target, output)?;
                fraction(stringify!($name), stringify!($bound), self.$bound)?;
                if self.num_thresholds == 0 {
                    let message = concat!(stringify!($name), " with num_thresholds 0: must be at least 1");
                    return Err(Problem::value(message));
                }
                bounded(stringify!($name), self.num_thresholds, 1)?;
                class_of(stringify!($name), self.class_id, output)
            }

            fn tally(&self, g: &mut Graph, batch: &Batch) -> Vec<(&'static str, NodeId)> {
                let target = target_like(g, batch.target, batch.output);
                let (target, output) = one_class(g, self.class_id, target, batch.output);
                histograms(g, &self.places(), target, output, batch.by.weight, 1)
            }

            fn result(&self, g: &mut Graph, sums: &[NodeId]) -> NodeId {
                let c = Counts::of(g, sums);
                let (dependent, constrained): (Rate, Rate) = ($dependent, $constrained);
                let (value, bound) = (dependent(&c, g), constrained(&c, g));
                let least = g.lit_like(bound, self.$bound);
                let feasible = g.ge(bound, least);
                let zero = g.lit_like(value, 0.0);
                let value = g.select(feasible, value, zero);
                g.reduce(crate::ir::ReduceFn::Max, value, &[0, 1])
            }
        }
    )+ };
}

best! {
    /// The best sensitivity at a threshold where specificity is at least this.
    SensitivityAtSpecificity "sensitivity_at_specificity" specificity: Counts::recall, Counts::specificity;
    /// The best specificity at a threshold where sensitivity is at least this.
    SpecificityAtSensitivity "specificity_at_sensitivity" sensitivity: Counts::specificity, Counts::recall;
    /// The best precision at a threshold where recall is at least this.
    PrecisionAtRecall "precision_at_recall" recall: Counts::precision, Counts::recall;
    /// The best recall at a threshold where precision is at least this.
    RecallAtPrecision "recall_at_precision" precision: Counts::recall, Counts::precision;
}
