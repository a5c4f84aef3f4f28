//! How far two sets overlap: for segmentation. Without `axis` these are losses of the whole batch.

use serde::{Deserialize, Serialize};

use super::reduce::axes;
use super::{EPSILON, Loss, alike, checked_axis, target_like};
use crate::diag::Problem;
use crate::ir::{Graph, NodeId, TensorType};
use crate::model::config::optional_list;
use crate::model::numbers::not_negative;
use crate::model::setters::{With, setters};

/// `1 - 2 * |target and output| / (|target| + |output|)`
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Dice {
    #[serde(with = "optional_list")]
    axis: Option<Vec<isize>>,
}

impl Dice {
    pub fn new() -> Dice {
        Dice::default()
    }

    setters! {
        /// The axes to sum over; what is left are losses of their own. All, with the batch, unless set.
        axis: some into Vec<isize>;
    }
}

impl Loss for Dice {
    fn kind(&self) -> &'static str {
        "Dice"
    }

    fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
        axes(self.kind(), &self.axis, output)?;
        alike(self.kind(), target, output)
    }

    fn values(&self, g: &mut Graph, target: NodeId, output: NodeId) -> NodeId {
        let t = target_like(g, target, output);
        let axes = resolve(g, &self.axis, output);
        let both = g.mul(t, output);
        let both = g.sum(both, &axes);
        let twice = g.mul_s(both, 2.0);
        let (a, b) = (g.sum(t, &axes), g.sum(output, &axes));
        let sizes = g.add(a, b);
        let sizes = g.add_s(sizes, EPSILON);
        let share = g.div(twice, sizes);
        g.s_sub(1.0, share)
    }
}

/// `1 - hits / (hits + alpha * (target and not output) + beta * (output and not target))`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Tversky {
    alpha: f64,
    beta: f64,
    #[serde(with = "optional_list")]
    axis: Option<Vec<isize>>,
}

impl Tversky {
    pub fn new() -> Tversky {
        Tversky::default()
    }

    setters! {
        /// The weight of what the output lacks.
        alpha: f64;
        /// The weight of what the output has too much.
        beta: f64;
        /// The axes to sum over; what is left are losses of their own. All, with the batch, unless set.
        axis: some into Vec<isize>;
    }
}

impl Default for Tversky {
    fn default() -> Tversky {
        Tversky { alpha: 0.5, beta: 0.5, axis: None }
    }
}

impl Loss for Tversky {
    fn kind(&self) -> &'static str {
        "Tversky"
    }

    fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
        axes(self.kind(), &self.axis, output)?;
        not_negative(self.kind(), "alpha", self.alpha)?;
        not_negative(self.kind(), "beta", self.beta)?;
        alike(self.kind(), target, output)
    }

    fn values(&self, g: &mut Graph, target: NodeId, output: NodeId) -> NodeId {
        let t = target_like(g, target, output);
        let axes = resolve(g, &self.axis, output);
        let both = g.mul(t, output);
        let both = g.sum(both, &axes);
        let less = |g: &mut Graph, a, b, factor| {
            let rest = g.s_sub(1.0, b);
            let missed = g.mul(a, rest);
            let sum = g.sum(missed, &axes);
            g.mul_s(sum, factor)
        };
        let (lacking, surplus) = (less(g, t, output, self.alpha), less(g, output, t, self.beta));
        let all = g.add(both, lacking);
        let all = g.add(all, surplus);
        let all = g.add_s(all, EPSILON);
        let share = g.div(both, all);
        g.s_sub(1.0, share)
    }
}

/// Axes in order and once each; all of them where none are given.
fn resolve(g: &Graph, axes: &Option<Vec<isize>>, output: NodeId) -> Vec<usize> {
    let shape = &g.ty(output).shape;
    let mut axes: Vec<usize> = match axes {
        None => (0..shape.rank()).collect(),
        Some(axes) => axes.iter().map(|&a| checked_axis(a, shape)).collect(),
    };
    axes.sort_unstable();
    axes.dedup();
    axes
}
