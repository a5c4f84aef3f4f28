//! A recurrent layer run in both directions.

use std::ops::RangeInclusive;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::arguments::SequenceArguments;
use super::run::{RecurrentDef, flip, refuse};
use crate::diag::Problem;
use crate::ir::NodeId;
use crate::model::call::{CallCx, Masked};
use crate::model::graph::MaskedType;
use crate::model::layer::{BuildCx, Layer, LayerDef, snake_case};

/// How the outputs of the two directions become one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MergeMode {
    Sum,
    Mul,
    /// Side by side along the last axis.
    #[default]
    Concat,
    Ave,
}

/// Runs a recurrent layer and a copy of it that goes the other way, each with weights of its own, and merges their
/// outputs; without a merge mode both are results. Final states, forward ones first, follow.
#[derive(Clone, Debug)]
pub struct Bidirectional {
    forward: (String, Rc<dyn RecurrentDef>),
    backward: (String, Rc<dyn RecurrentDef>),
    merge_mode: Option<MergeMode>,
}

impl Bidirectional {
    #[allow(clippy::new_ret_no_self)]
    pub fn new<D: RecurrentDef + Clone>(layer: Layer<D>) -> Layer<Bidirectional> {
        let name = layer.given_name().unwrap_or_else(|| snake_case(layer.definition().kind()));
        let def: &D = layer.definition();
        let sequence = zeroed(def.sequence());
        let back = SequenceArguments { go_backwards: !sequence.go_backwards, ..sequence };
        let named = |direction: &str, run| (format!("{direction}_{name}"), run);
        Layer::new(Bidirectional {
            forward: named("forward", def.running(sequence)),
            backward: named("backward", def.running(back)),
            merge_mode: Some(MergeMode::Concat),
        })
    }
}

/// As in Keras, masked steps put out zeros where all steps are returned.
fn zeroed(sequence: SequenceArguments) -> SequenceArguments {
    SequenceArguments { zero_output_for_mask: sequence.return_sequences, ..sequence }
}

impl Layer<Bidirectional> {
    /// How the outputs become one; `None` keeps both.
    pub fn merge_mode(self, merge_mode: impl Into<Option<MergeMode>>) -> Layer<Bidirectional> {
        let merge_mode = merge_mode.into();
        self.with(|d| d.merge_mode = merge_mode)
    }

    /// The layer that goes the other way, in place of a copy of the first. It takes its steps in the other order and
    /// returns as much.
    pub fn backward_layer<D: RecurrentDef + Clone>(self, layer: Layer<D>) -> Layer<Bidirectional> {
        let name = layer.given_name().unwrap_or_else(|| snake_case(layer.definition().kind()));
        let def: &D = layer.definition();
        let backward = def.running(zeroed(def.sequence()));
        self.with(|d| d.backward = (name, backward))
    }
}

impl Bidirectional {
    fn states(&self) -> usize {
        *self.forward.1.arity().end() - 1
    }

    /// The inputs of one direction: the sequence, and its half of the initial states.
    fn half<T: Clone>(&self, inputs: &[T], backward: bool) -> Vec<T> {
        let half = (inputs.len() - 1) / 2;
        let start = 1 + if backward { half } else { 0 };
        std::iter::once(&inputs[0]).chain(&inputs[start..start + half]).cloned().collect()
    }
}

impl LayerDef for Bidirectional {
    fn kind(&self) -> &'static str {
        "Bidirectional"
    }

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1 + 2 * self.states()
    }

    fn results(&self) -> usize {
        let outputs = if self.merge_mode.is_some() { 1 } else { 2 };
        outputs + 2 * (self.forward.1.results() - 1)
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        let (forward, backward) = (self.forward.1.sequence(), self.backward.1.sequence());
        let returns = |s: SequenceArguments| (s.return_sequences, s.return_state, s.stateful);
        let kinds = (self.forward.1.arity(), self.backward.1.arity());
        if forward.go_backwards == backward.go_backwards || returns(forward) != returns(backward) || kinds.0 != kinds.1
        {
            let help =
                "give one of them go_backwards(true), and both the same return_sequences, return_state, stateful";
            return Err(refuse(cx.kind(), "needs two layers that differ only in their direction".into(), help));
        }
        if cx.inputs().len() % 2 == 0 {
            let given = cx.inputs().len() - 1;
            let message = format!("takes initial states for both directions, got {given}");
            return Err(refuse(cx.kind(), message, "give the forward layer's states, then the backward layer's"));
        }
        let inputs: Vec<MaskedType> = cx
            .inputs()
            .iter()
            .enumerate()
            .map(|(i, ty)| MaskedType { ty: ty.clone(), mask: cx.mask(i).cloned() })
            .collect();
        for ((name, def), backward) in [(&self.forward, false), (&self.backward, true)] {
            cx.scope(name, def.kind(), &self.half(&inputs, backward), |cx| def.build(cx))?;
        }
        Ok(())
    }

    fn call(&self, cx: &mut CallCx<'_>, inputs: &[NodeId]) -> Vec<NodeId> {
        let inputs: Vec<Masked> =
            inputs.iter().enumerate().map(|(i, &node)| Masked { node, mask: cx.mask(i) }).collect();
        let sequences = self.forward.1.sequence().return_sequences;
        let forward = cx.part(&self.forward.0, &*self.forward.1, &self.half(&inputs, false));
        let backward = cx.part(&self.backward.0, &*self.backward.1, &self.half(&inputs, true));
        let (x, mut y) = (forward[0].node, backward[0].node);
        if sequences {
            y = flip(cx, y, 1);
        }
        let last = cx.ty(x).shape.rank() - 1;
        let mut results = match self.merge_mode {
            None => vec![x, y],
            Some(MergeMode::Concat) => vec![cx.concat(&[x, y], last)],
            Some(MergeMode::Sum) => vec![cx.add(x, y)],
            Some(MergeMode::Mul) => vec![cx.mul(x, y)],
            Some(MergeMode::Ave) => {
                let sum = cx.add(x, y);
                vec![cx.mul_s(sum, 0.5)]
            }
        };
        if sequences {
            (0..results.len()).for_each(|i| cx.set_mask(i, inputs[0].mask));
        }
        results.extend(forward[1..].iter().chain(&backward[1..]).map(|state| state.node));
        results
    }
}
