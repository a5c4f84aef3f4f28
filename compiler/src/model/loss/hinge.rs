//! Margins between right and wrong. Targets are -1 and 1; where a whole batch has only 0 and 1, 0 stands for -1.

use serde::{Deserialize, Serialize};

use super::{Loss, target_like};
use crate::ir::{DType, Graph, NodeId, ReduceFn};

/// `mean(max(1 - target * output, 0))`
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Hinge;

impl Loss for Hinge {
    fn kind(&self) -> &'static str {
        "Hinge"
    }

    fn values(&self, g: &mut Graph, target: NodeId, output: NodeId) -> NodeId {
        let t = target_like(g, target, output);
        let t = signs(g, t);
        let product = g.mul(t, output);
        let gap = g.s_sub(1.0, product);
        g.max_s(gap, 0.0)
    }
}

/// `mean(max(1 - target * output, 0)^2)`
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct SquaredHinge;

impl Loss for SquaredHinge {
    fn kind(&self) -> &'static str {
        "SquaredHinge"
    }

    fn values(&self, g: &mut Graph, target: NodeId, output: NodeId) -> NodeId {
        let gap = Hinge.values(g, target, output);
        g.square(gap)
    }
}

/// Labels as -1 and 1.
fn signs(g: &mut Graph, target: NodeId) -> NodeId {
    let (zero, one) = (g.lit_like(target, 0.0), g.lit_like(target, 1.0));
    let (no, yes) = (g.eq(target, zero), g.eq(target, one));
    let binary = g.or(no, yes);
    let binary = g.cast(binary, DType::F32);
    let axes: Vec<usize> = (0..g.ty(binary).shape.rank()).collect();
    let binary = g.reduce(ReduceFn::Min, binary, &axes);
    let binary = g.cast(binary, DType::Bool);
    let binary = g.broadcast_like(binary, target);
    let twice = g.mul_s(target, 2.0);
    let signs = g.add_s(twice, -1.0);
    g.select(binary, signs, target)
}

/// `max(1 + max((1 - target) * output) - sum(target * output), 0)` along the last axis; targets are 0 and 1
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct CategoricalHinge;

impl Loss for CategoricalHinge {
    fn kind(&self) -> &'static str {
        "CategoricalHinge"
    }

    fn values(&self, g: &mut Graph, target: NodeId, output: NodeId) -> NodeId {
        let t = target_like(g, target, output);
        let last = g.ty(output).shape.rank().saturating_sub(1);
        let hit = g.mul(t, output);
        let right = g.sum(hit, &[last]);
        let rest = g.s_sub(1.0, t);
        let missed = g.mul(rest, output);
        let wrong = g.reduce(ReduceFn::Max, missed, &[last]);
        let gap = g.sub(wrong, right);
        let gap = g.add_s(gap, 1.0);
        g.max_s(gap, 0.0)
    }
}
