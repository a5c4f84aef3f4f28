//! Correlations of targets and outputs.

use serde::{Deserialize, Serialize};

use super::mean::MeanMetric;
use crate::diag::Problem;
use crate::ir::{Graph, NodeId, Shape, TensorType};
use crate::model::axes::Axes;
use crate::model::loss::{EPSILON, alike, target_like};
use crate::model::setters::{With, setters};

/// Pearson's coefficient: the mean of the products of targets and outputs that are brought to mean 0 and variance 1
/// along some axes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct PearsonCorrelation {
    axis: Axes,
}

/// The concordance coefficient: how far targets and outputs agree, not only up to scale and offset, along some axes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct ConcordanceCorrelation {
    axis: Axes,
}

macro_rules! correlations {
    ($($name:ident $snake:literal $values:ident;)+) => { $(
        impl Default for $name {
            fn default() -> $name {
                $name { axis: Axes::One(-1) }
            }
        }

        impl $name {
            /// Along the last axis.
            pub fn new() -> $name {
                $name::default()
            }

            setters! {
                /// The axes along which items are compared, counted with the batch as 0 or from the back.
                axis: into Axes;
            }
        }

        impl MeanMetric for $name {
            fn name(&self) -> String {
                $snake.to_string()
            }

            fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
                alike(stringify!($name), target, output)?;
                self.axis.resolve(stringify!($name), &output.shape).map(drop)
            }

            fn values(&self, g: &mut Graph, target: NodeId, output: NodeId) -> NodeId {
                let target = target_like(g, target, output);
                let shape = g.ty(output).shape.clone();
                let axes = self.axis.resolve(stringify!($name), &shape).unwrap_or_default();
                let (t, y) = (Moments::of(g, target, &axes), Moments::of(g, output, &axes));
                let values = $values(g, &t, &y);
                g.mean(values, &axes)
            }
        }
    )+ };
}

correlations! {
    PearsonCorrelation "pearson_correlation" pearson;
    ConcordanceCorrelation "concordance_correlation" concordance;
}

/// A tensor with its mean and variance along some axes, all of one shape.
struct Moments {
    x: NodeId,
    mean: NodeId,
    variance: NodeId,
}

impl Moments {
    fn of(g: &mut Graph, x: NodeId, axes: &[usize]) -> Moments {
        let shape: Shape = g.ty(x).shape.clone();
        let mean = g.mean(x, axes);
        let mean = g.unreduce(mean, axes, &shape);
        let centred = g.sub(x, mean);
        let square = g.square(centred);
        let variance = g.mean(square, axes);
        Moments { x, mean, variance: g.unreduce(variance, axes, &shape) }
    }
}

fn pearson(g: &mut Graph, t: &Moments, y: &Moments) -> NodeId {
    let mut normal = |m: &Moments| {
        let centred = g.sub(m.x, m.mean);
        let deviation = g.sqrt(m.variance);
        g.div(centred, deviation)
    };
    let (t, y) = (normal(t), normal(y));
    g.mul(t, y)
}

fn concordance(g: &mut Graph, t: &Moments, y: &Moments) -> NodeId {
    // Keras takes the mean of the output from both, which changes nothing: the other factor has mean 0.
    let (a, b) = (g.sub(t.x, y.mean), g.sub(y.x, y.mean));
    let product = g.mul(a, b);
    let product = g.mul_s(product, 2.0);
    let apart = g.sub(t.mean, y.mean);
    let apart = g.square(apart);
    let spread = g.add(t.variance, y.variance);
    let spread = g.add(spread, apart);
    let spread = g.add_s(spread, EPSILON);
    g.div(product, spread)
}
