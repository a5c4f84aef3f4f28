//! Counts of true and false positives and negatives at thresholds, precision and recall.

use serde::{Deserialize, Serialize};

use super::{Batch, Metric};
use crate::diag::{Code, Problem};
use crate::ir::{DType, Graph, NodeId, Shape, TensorType};
use crate::model::config::optional_list;
use crate::model::loss::{align, alike, divide_no_nan, target_like};
use crate::model::numbers::fraction;
use crate::model::setters::{With, setters};

/// What outputs outside of the `top_k` count as.
const NEVER: f64 = -1e10;

/// Which outputs count as positive: those above a threshold, and perhaps only the largest, or only one class.
#[derive(Clone, Copy)]
struct Decision<'a> {
    thresholds: Option<&'a [f64]>,
    top_k: Option<usize>,
    class_id: Option<usize>,
}

impl Decision<'_> {
    fn thresholds(&self) -> Vec<f64> {
        let default = if self.top_k.is_some() { NEVER } else { 0.5 };
        self.thresholds.map_or_else(|| vec![default], <[f64]>::to_vec)
    }

    fn check(&self, kind: &str, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
        alike(kind, target, output)?;
        if self.thresholds.is_some_and(<[f64]>::is_empty) {
            return Err(Problem::value(format!("{kind} without a threshold")));
        }
        self.thresholds.into_iter().flatten().try_for_each(|&t| fraction(kind, "threshold", t))?;
        if self.top_k == Some(0) {
            return Err(Problem::value(format!("{kind} with top_k 0: must be at least 1")));
        }
        if self.top_k.is_some() && output.shape.rank() < 2 {
            return Err(Problem::new(
                Code::Loss,
                format!("{kind} with top_k needs classes on the last axis of {output}"),
            ));
        }
        class_of(kind, self.class_id, output)
    }

    /// For each threshold, the sum of the weights of what is positive (or not) and labelled so (or not).
    fn count(&self, g: &mut Graph, batch: &Batch, positive: bool, labelled: bool) -> NodeId {
        let (target, mut output) = (target_like(g, batch.target, batch.output), batch.output);
        if let Some(k) = self.top_k {
            output = only_top(g, output, k);
        }
        let (target, output) = one_class(g, self.class_id, target, output);
        let thresholds = self.thresholds();
        let shape = g.ty(output).shape.clone();
        let rank = shape.rank();
        let mut wide = shape.clone();
        wide.0.push(thresholds.len().into());
        let stretch = |g: &mut Graph, x| g.unreduce(x, &[rank], &wide);
        let limits = g.dense(TensorType::new(DType::F32, Shape::fixed(&[thresholds.len()])), thresholds);
        let limits = g.broadcast_to(limits, &wide);
        let p = stretch(g, output);
        let above = g.gt(p, limits);
        let decided = if positive { above } else { g.not(above) };
        let zero = g.lit_like(target, 0.0);
        let label = if labelled { g.ne(target, zero) } else { g.eq(target, zero) };
        let label = stretch(g, label);
        let hit = g.and(decided, label);
        let hit = g.cast(hit, DType::F32);
        let hit = match batch.by.weight {
            None => hit,
            Some(weight) => {
                let weight = align(g, weight, &shape);
                let weight = stretch(g, weight);
                g.mul(hit, weight)
            }
        };
        let axes: Vec<usize> = (0..rank).collect();
        g.sum(hit, &axes)
    }
}

/// Fails unless the output has the class.
pub(super) fn class_of(kind: &str, class_id: Option<usize>, output: &TensorType) -> Result<(), Problem> {
    let Some(class) = class_id else { return Ok(()) };
    match output.shape.split_last() {
        Some((last, rest)) if !rest.is_empty() && last.as_fixed().is_some_and(|n| class < n) => Ok(()),
        _ => Err(Problem::value(format!("{kind} with class_id {class}, which the last axis of {output} lacks"))),
    }
}

/// Target and output of one class, where one is named.
pub(super) fn one_class(g: &mut Graph, class_id: Option<usize>, target: NodeId, output: NodeId) -> (NodeId, NodeId) {
    match class_id {
        None => (target, output),
        Some(class) => {
            let last = g.ty(output).shape.rank() - 1;
            (g.slice_axis(target, last, class, class + 1), g.slice_axis(output, last, class, class + 1))
        }
    }
}

/// The `k` largest outputs along the last axis, the first ones among equals; the others are out of reach.
fn only_top(g: &mut Graph, output: NodeId, k: usize) -> NodeId {
    let shape = g.ty(output).shape.clone();
    let rank = shape.rank();
    let mut pairs = shape.clone();
    pairs.0.push(shape[rank - 1]);
    // One axis for each output, and one for those that it is compared with.
    let own = g.unreduce(output, &[rank], &pairs);
    let other = g.unreduce(output, &[rank - 1], &pairs);
    let (i, j) = (g.iota(rank - 1, DType::I32, pairs.clone()), g.iota(rank, DType::I32, pairs));
    let (larger, equal, earlier) = (g.gt(other, own), g.eq(other, own), g.lt(j, i));
    let first = g.and(equal, earlier);
    let before = g.or(larger, first);
    let before = g.cast(before, DType::F32);
    let place = g.sum(before, &[rank]);
    let k = g.lit_like(place, k as f64);
    let top = g.lt(place, k);
    let never = g.lit_like(output, NEVER);
    g.select(top, output, never)
}

/// One number where there is one threshold.
fn squeeze(g: &mut Graph, x: NodeId) -> NodeId {
    match g.ty(x).shape.as_fixed().as_deref() {
        Some([1]) => g.reshape(x, Shape::scalar()),
        _ => x,
    }
}

macro_rules! counts {
    ($($(#[doc = $doc:literal])+ $name:ident $snake:literal, $positive:literal, $labelled:literal;)+) => { $(
        $(#[doc = $doc])+
        #[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
        #[serde(default)]
        pub struct $name {
            #[serde(with = "optional_list")]
            thresholds: Option<Vec<f64>>,
        }

        impl $name {
            pub fn new() -> $name {
                $name::default()
            }

            setters! {
                /// What more than counts as positive, 0.5 unless set; there is a result for each.
                thresholds: some into Vec<f64>;
            }

            fn decision(&self) -> Decision<'_> {
                Decision { thresholds: self.thresholds.as_deref(), top_k: None, class_id: None }
            }
        }

        impl Metric for $name {
            fn name(&self) -> String {
                $snake.to_string()
            }

            fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
                self.decision().check(stringify!($name), target, output)
            }

            fn tally(&self, g: &mut Graph, batch: &Batch) -> Vec<(&'static str, NodeId)> {
                vec![("accumulator", self.decision().count(g, batch, $positive, $labelled))]
            }

            fn result(&self, g: &mut Graph, sums: &[NodeId]) -> NodeId {
                squeeze(g, sums[0])
            }
        }
    )+ };
}

counts! {
    /// How many outputs above the threshold have a target.
    TruePositives "true_positives", true, true;
    /// How many outputs above the threshold have no target.
    FalsePositives "false_positives", true, false;
    /// How many outputs up to the threshold have no target.
    TrueNegatives "true_negatives", false, false;
    /// How many outputs up to the threshold have a target.
    FalseNegatives "false_negatives", false, true;
}

macro_rules! shares {
    ($($(#[doc = $doc:literal])+ $name:ident $snake:literal, $rest:literal, $positive:literal, $labelled:literal;)+) => {
        $(
            $(#[doc = $doc])+
            #[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
            #[serde(default)]
            pub struct $name {
                #[serde(with = "optional_list")]
                thresholds: Option<Vec<f64>>,
                top_k: Option<usize>,
                class_id: Option<usize>,
            }

            impl $name {
                pub fn new() -> $name {
                    $name::default()
                }

                setters! {
                    /// What more than counts as positive, 0.5 unless set; there is a result for each.
                    thresholds: some into Vec<f64>;
                    /// Counts only the largest outputs along the last axis as positive, whatever their size.
                    top_k: some usize;
                    /// Looks at one class of the last axis alone.
                    class_id: some usize;
                }

                fn decision(&self) -> Decision<'_> {
                    let Self { thresholds, top_k, class_id } = self;
                    Decision { thresholds: thresholds.as_deref(), top_k: *top_k, class_id: *class_id }
                }
            }

            impl Metric for $name {
                fn name(&self) -> String {
                    $snake.to_string()
                }

                fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
                    self.decision().check(stringify!($name), target, output)
                }

                fn tally(&self, g: &mut Graph, batch: &Batch) -> Vec<(&'static str, NodeId)> {
                    let hits = self.decision().count(g, batch, true, true);
                    let rest = self.decision().count(g, batch, $positive, $labelled);
                    vec![("true_positives", hits), ($rest, rest)]
                }

                fn result(&self, g: &mut Graph, sums: &[NodeId]) -> NodeId {
                    let all = g.add(sums[0], sums[1]);
                    let share = divide_no_nan(g, sums[0], all);
                    squeeze(g, share)
                }
            }
        )+
    };
}

shares! {
    /// The share of positives that have a target.
    Precision "precision", "false_positives", true, false;
    /// The share of targets that are found.
    Recall "recall", "false_negatives", false, true;
}
