//! Distances between numbers, and between distributions.

use serde::{Deserialize, Serialize};

use super::{EPSILON, Loss, alike, checked_axis, item_axis, target_like};
use crate::diag::Problem;
use crate::ir::{Graph, NodeId, TensorType};
use crate::model::numbers::positive;
use crate::model::setters::{With, setters};

/// Losses without arguments that compare element by element.
macro_rules! elementwise {
    ($($(#[doc = $doc:literal])+ $name:ident |$g:ident, $t:ident, $y:ident| $body:expr;)+) => { $(
        $(#[doc = $doc])+
        #[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
        pub struct $name;

        impl Loss for $name {
            fn kind(&self) -> &'static str {
                stringify!($name)
            }

            fn values(&self, $g: &mut Graph, target: NodeId, $y: NodeId) -> NodeId {
                let $t = target_like($g, target, $y);
                $body
            }
        }
    )+ };
}

elementwise! {
    /// `mean((target - output)^2)`
    MeanSquaredError |g, t, y| square_error(g, t, y);

    /// `mean(|target - output|)`
    MeanAbsoluteError |g, t, y| {
        let error = g.sub(y, t);
        g.abs(error)
    };

    /// `100 * mean(|target - output| / |target|)`
    MeanAbsolutePercentageError |g, t, y| {
        let error = g.sub(t, y);
        let size = g.abs(t);
        let size = g.max_s(size, EPSILON);
        let share = g.div(error, size);
        let share = g.abs(share);
        g.mul_s(share, 100.0)
    };

    /// `mean((log(1 + target) - log(1 + output))^2)` of numbers that are not negative
    MeanSquaredLogarithmicError |g, t, y| {
        let log = |g: &mut Graph, x| {
            let x = g.max_s(x, EPSILON);
            let x = g.add_s(x, 1.0);
            g.log(x)
        };
        let (t, y) = (log(g, t), log(g, y));
        square_error(g, t, y)
    };

    /// `mean(log(cosh(output - target)))`
    LogCosh |g, t, y| {
        let x = g.sub(y, t);
        let twice = g.mul_s(x, -2.0);
        let soft = g.softplus(twice);
        let sum = g.add(x, soft);
        g.add_s(sum, -std::f64::consts::LN_2)
    };

    /// `mean(output - target * log(output))`: counts against their rates
    Poisson |g, t, y| {
        let safe = g.add_s(y, EPSILON);
        let log = g.log(safe);
        let hit = g.mul(t, log);
        g.sub(y, hit)
    };
}

/// `(target - output)^2`
pub(crate) fn square_error(g: &mut Graph, target: NodeId, output: NodeId) -> NodeId {
    let error = g.sub(output, target);
    g.square(error)
}

/// Half the square of errors up to `delta`, their size beyond.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Huber {
    delta: f64,
}

impl Huber {
    pub fn new() -> Huber {
        Huber::default()
    }

    setters! {
        /// Where the square ends.
        delta: f64;
    }
}

impl Default for Huber {
    fn default() -> Huber {
        Huber { delta: 1.0 }
    }
}

impl Loss for Huber {
    fn kind(&self) -> &'static str {
        "Huber"
    }

    fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
        positive(self.kind(), "delta", self.delta)?;
        alike(self.kind(), target, output)
    }

    fn values(&self, g: &mut Graph, target: NodeId, output: NodeId) -> NodeId {
        let t = target_like(g, target, output);
        let error = g.sub(output, t);
        let size = g.abs(error);
        let square = g.square(error);
        let near = g.mul_s(square, 0.5);
        let line = g.mul_s(size, self.delta);
        let far = g.add_s(line, -0.5 * self.delta * self.delta);
        let delta = g.lit_like(size, self.delta);
        let small = g.le(size, delta);
        g.select(small, near, far)
    }
}

/// `sum(target * log(target / output))`: from one distribution along the last axis to another
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct KLDivergence;

impl Loss for KLDivergence {
    fn kind(&self) -> &'static str {
        "KLDivergence"
    }

    fn values(&self, g: &mut Graph, target: NodeId, output: NodeId) -> NodeId {
        let t = target_like(g, target, output);
        let clip = |g: &mut Graph, x| {
            let x = g.max_s(x, EPSILON);
            g.min_s(x, 1.0)
        };
        let (t, y) = (clip(g, t), clip(g, output));
        let ratio = g.div(t, y);
        let log = g.log(ratio);
        let hit = g.mul(t, log);
        let last = g.ty(hit).shape.rank().saturating_sub(1);
        g.sum(hit, &[last])
    }
}

/// The cosine between target and output, negated as a loss and plain as a metric.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct CosineSimilarity {
    axis: isize,
}

impl CosineSimilarity {
    pub fn new() -> CosineSimilarity {
        CosineSimilarity::default()
    }

    setters! {
        /// The axis of the vectors, the last one unless set.
        axis: isize;
    }
}

impl Default for CosineSimilarity {
    fn default() -> CosineSimilarity {
        CosineSimilarity { axis: -1 }
    }
}

impl Loss for CosineSimilarity {
    fn kind(&self) -> &'static str {
        "CosineSimilarity"
    }

    fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
        item_axis(self.kind(), self.axis, output)?;
        alike(self.kind(), target, output)
    }

    fn values(&self, g: &mut Graph, target: NodeId, output: NodeId) -> NodeId {
        let cosine = self.metric_values(g, target, output);
        g.neg(cosine)
    }

    fn metric_values(&self, g: &mut Graph, target: NodeId, output: NodeId) -> NodeId {
        let t = target_like(g, target, output);
        let axis = checked_axis(self.axis, &g.ty(output).shape);
        product_of_units(g, t, output, axis)
    }
}

/// The cosine along an axis, which disappears. Vectors shorter than the fuzz count as that long.
fn product_of_units(g: &mut Graph, a: NodeId, b: NodeId, axis: usize) -> NodeId {
    let scale = |g: &mut Graph, x: NodeId| {
        let square = g.square(x);
        let square = g.sum(square, &[axis]);
        let scale = g.rsqrt(square);
        g.min_s(scale, 1.0 / EPSILON)
    };
    let (a_scale, b_scale) = (scale(g, a), scale(g, b));
    let product = g.mul(a, b);
    let product = g.sum(product, &[axis]);
    let product = g.mul(product, a_scale);
    g.mul(product, b_scale)
}
