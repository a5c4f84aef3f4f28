use serde::{Deserialize, Serialize};

use super::gamma_beta::{GammaBeta, scaled};
use super::{inverse_root, moments};
use crate::diag::{Code, Problem};
use crate::ir::{Dim, NodeId, Shape};
use crate::model::CallCx;
use crate::model::layer::{BuildCx, Layer, LayerDef, resolve_axis};
use crate::model::numbers::positive;
use crate::model::setters::{has, setters};

/// Centres and scales groups of an item's channels, each by its own mean and variance.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupNormalization {
    groups: isize,
    axis: isize,
    epsilon: f64,
    #[serde(flatten)]
    weights: GammaBeta,
}

impl Default for GroupNormalization {
    fn default() -> GroupNormalization {
        GroupNormalization { groups: 32, axis: -1, epsilon: 1e-3, weights: GammaBeta::default() }
    }
}

impl GroupNormalization {
    /// With 32 groups.
    pub fn new() -> Layer<GroupNormalization> {
        Layer::new(GroupNormalization::default())
    }
}

has!(GroupNormalization => weights: GammaBeta);

impl Layer<GroupNormalization> {
    setters! {
        /// The number of groups, which divides the channels; -1 gives each channel its own: instance normalisation.
        groups: isize;
        /// The axis of the channels, counted with the batch as 0 or from the back.
        axis: isize;
        /// What is added to the variance.
        epsilon: f64;
    }
}

impl GroupNormalization {
    /// The axis and extent of the channels, and the number of groups.
    fn resolve(&self, shape: &Shape) -> Result<(usize, usize, usize), Problem> {
        let axis = resolve_axis("GroupNormalization", self.axis, shape)?;
        let Some(channels) = shape[axis].as_fixed() else {
            let message = format!("GroupNormalization with axis {}, which is the batch", self.axis);
            return Err(Problem::new(Code::Axis, message).help("name the axis of the channels, usually -1"));
        };
        let groups = if self.groups == -1 { channels as isize } else { self.groups };
        match groups > 0 && channels.is_multiple_of(groups as usize) {
            true => Ok((axis, channels, groups as usize)),
            false => Err(Problem::value(format!("GroupNormalization of {channels} channels in {groups} groups"))
                .help("the number of groups must divide the number of channels; -1 is one channel a group")),
        }
    }
}

impl LayerDef for GroupNormalization {
    fn kind(&self) -> &'static str {
        "GroupNormalization"
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        cx.float()?;
        positive(self.kind(), "epsilon", self.epsilon)?;
        let (_, channels, _) = self.resolve(&cx.input().shape)?;
        self.weights.declare(cx, &[channels])
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let shape = cx.ty(x[0]).shape.clone();
        let (axis, channels, groups) = self.resolve(&shape).unwrap_or_else(|p| cx.fault(p.message));
        let mut grouped = shape.clone();
        grouped.0[axis] = Dim::fixed(channels / groups);
        grouped.0.insert(axis, Dim::fixed(groups));
        let y = cx.reshape(x[0], grouped.clone());
        let together: Vec<usize> = (1..grouped.rank()).filter(|a| *a != axis).collect();
        let (mean, variance) = moments(cx, y, &together);
        let scale = inverse_root(cx, variance, self.epsilon);
        let mean = cx.unreduce(mean, &together, &grouped);
        let scale = cx.unreduce(scale, &together, &grouped);
        let y = cx.sub(y, mean);
        let y = cx.mul(y, scale);
        let y = cx.reshape(y, shape.clone());
        vec![scaled(cx, y, &[axis], &shape)]
    }
}
