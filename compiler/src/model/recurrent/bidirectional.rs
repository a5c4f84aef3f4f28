//! A recurrent layer run in both directions.

use std::ops::RangeInclusive;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::arguments::SequenceArguments;
use super::run::{RecurrentDef, flip, mask_of_sequence, refuse};
use crate::diag::Problem;
use crate::ir::{DType, NodeId, TensorType};
use crate::model::call::{CallCx, Masked};
use crate::model::graph::MaskedType;
use crate::model::layer::{AnyLayer, BuildCx, CallForm, IntoLayer, Layer, LayerDef, floats};
use crate::model::saved::Part;

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
    arguments: BidirectionalArguments,
    /// The layers as they are run; nothing where they are not recurrent.
    directions: Option<[Direction; 2]>,
}

/// The arguments of Keras's class.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct BidirectionalArguments {
    layer: Option<AnyLayer>,
    backward_layer: Option<AnyLayer>,
    merge_mode: Option<MergeMode>,
}

impl Default for BidirectionalArguments {
    fn default() -> BidirectionalArguments {
        BidirectionalArguments { layer: None, backward_layer: None, merge_mode: Some(MergeMode::Concat) }
    }
}

#[derive(Clone, Debug)]
struct Direction {
    def: Rc<dyn RecurrentDef>,
    /// The definition as a layer: its name, its penalty, and whether training changes it. Its weights are the wrapper's.
    layer: AnyLayer,
}

impl Direction {
    /// A copy of a layer. As in Keras, masked steps put out zeros where all steps are returned.
    fn of(layer: &AnyLayer, name: &str, turn: bool) -> Option<Direction> {
        let recurrent = layer.definition().recurrent()?;
        let mut sequence = recurrent.sequence();
        sequence.zero_output_for_mask = sequence.return_sequences;
        sequence.go_backwards ^= turn;
        let def = recurrent.running(sequence);
        let twin = layer.twin(def.clone());
        twin.set_name(name);
        Some(Direction { def, layer: twin })
    }

    /// What its weights' names begin with.
    fn name(&self) -> String {
        self.layer.own_name()
    }
}

impl From<BidirectionalArguments> for Bidirectional {
    fn from(arguments: BidirectionalArguments) -> Bidirectional {
        let directions = arguments.layer.as_ref().and_then(|layer| {
            let name = layer.own_name();
            let plain = |prefix| name.strip_prefix(prefix).unwrap_or(&name);
            let forward = Direction::of(layer, &format!("forward_{}", plain("forward_")), false)?;
            let backward = match &arguments.backward_layer {
                Some(layer) => Direction::of(layer, &layer.own_name(), false)?,
                None => Direction::of(layer, &format!("backward_{}", plain("backward_")), true)?,
            };
            Some([forward, backward])
        });
        Bidirectional { arguments, directions }
    }
}

impl From<Bidirectional> for BidirectionalArguments {
    fn from(bidirectional: Bidirectional) -> BidirectionalArguments {
        // Keras writes both halves as they are.
        let halves = bidirectional.directions.map(|halves| halves.map(|half| half.layer));
        match halves {
            Some([forward, backward]) => BidirectionalArguments {
                layer: Some(forward),
                backward_layer: Some(backward),
                ..bidirectional.arguments
            },
            None => bidirectional.arguments,
        }
    }
}

impl Bidirectional {
    #[allow(clippy::new_ret_no_self)]
    pub fn new(layer: impl IntoLayer) -> Layer<Bidirectional> {
        let layer = Some(layer.into_layer());
        Layer::new(BidirectionalArguments { layer, ..BidirectionalArguments::default() }.into())
    }

    /// The numbers of states of both directions.
    fn states(&self) -> [usize; 2] {
        let count = |direction: &Direction| *direction.def.arity().end() - 1;
        self.directions.as_ref().map_or([0, 0], |[forward, backward]| [count(forward), count(backward)])
    }

    /// The inputs of one direction: the sequence, and its part of the initial states.
    fn part<T: Clone>(&self, inputs: &[T], backward: bool) -> Vec<T> {
        let (first, rest) = inputs.split_at(1);
        let (forwards, backwards) = rest.split_at(self.states()[0].min(rest.len()));
        [first, if backward { backwards } else { forwards }].concat()
    }
}

impl Layer<Bidirectional> {
    /// How the outputs become one; `None` keeps both.
    pub fn merge_mode(self, merge_mode: impl Into<Option<MergeMode>>) -> Layer<Bidirectional> {
        let merge_mode = merge_mode.into();
        self.with(|d| *d = BidirectionalArguments { merge_mode, ..d.clone().into() }.into())
    }

    /// The layer that goes the other way, in place of a copy of the first. It takes its steps in the other order and
    /// returns as much.
    pub fn backward_layer(self, layer: impl IntoLayer) -> Layer<Bidirectional> {
        let layer = layer.into_layer();
        self.with(|d| *d = BidirectionalArguments { backward_layer: Some(layer), ..d.clone().into() }.into())
    }
}

impl LayerDef for Bidirectional {
    fn kind(&self) -> &'static str {
        "Bidirectional"
    }

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1 + self.states().iter().sum::<usize>()
    }

    fn results(&self) -> usize {
        let outputs = if self.arguments.merge_mode.is_some() { 1 } else { 2 };
        let states = |[forward, backward]: &[Direction; 2]| forward.def.results() + backward.def.results() - 2;
        outputs + self.directions.as_ref().map_or(0, states)
    }

    fn call_form(&self) -> CallForm {
        CallForm::States
    }

    fn parts(&self) -> Vec<Part> {
        let part = |attribute, d: &Direction| Part::half(attribute, &d.layer, d.def.parts());
        let both = |[forward, backward]: &[Direction; 2]| {
            vec![part("forward_layer", forward), part("backward_layer", backward)]
        };
        self.directions.as_ref().map_or(Vec::new(), both)
    }

    fn operands(&self, given: &[TensorType]) -> Vec<DType> {
        floats(given)
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        let Some([first, second]) = &self.directions else {
            let help = "give it one such as `LSTM::new(8)`";
            return Err(refuse(cx.kind(), "needs a layer that runs a cell over sequences".into(), help));
        };
        let (forward, backward) = (first.def.sequence(), second.def.sequence());
        let returns = |s: SequenceArguments| (s.return_sequences, s.return_state, s.stateful);
        if forward.go_backwards == backward.go_backwards || returns(forward) != returns(backward) {
            let help =
                "give one of them go_backwards(true), and both the same return_sequences, return_state, stateful";
            return Err(refuse(cx.kind(), "needs two layers that differ only in their direction".into(), help));
        }
        let (given, states) = (cx.inputs().len() - 1, self.states());
        if given != 0 && given != states[0] + states[1] {
            let message =
                format!("has {} and {} states in its directions, got {given} initial ones", states[0], states[1]);
            return Err(refuse(cx.kind(), message, "give the forward layer's states, then the backward layer's"));
        }
        let mut inputs: Vec<MaskedType> = cx.inputs().iter().cloned().map(MaskedType::from).collect();
        inputs[0].mask = if given == 0 { cx.mask(0) } else { cx.given_mask(0) }.cloned();
        inputs[0].given = true;
        for (half, backward) in [(first, false), (second, true)] {
            cx.scope(&half.name(), half.def.kind(), &self.part(&inputs, backward), |cx| half.def.build(cx))?;
        }
        Ok(())
    }

    fn call(&self, cx: &mut CallCx<'_>, inputs: &[NodeId]) -> Vec<NodeId> {
        let Some([first, second]) = &self.directions else { return Vec::new() };
        let mut inputs: Vec<Masked> = inputs.iter().map(|&node| node.into()).collect();
        inputs[0] = Masked { mask: mask_of_sequence(cx, inputs.len()), given: true, ..inputs[0] };
        let sequences = first.def.sequence().return_sequences;
        let mut run = |direction: &Direction, backward: bool| {
            let results = cx.half(&direction.layer, &self.part(&inputs, backward));
            results.iter().for_each(|result| cx.penalize_activity(direction.layer.activity_regularizer(), result.node));
            results
        };
        let (forward, backward) = (run(first, false), run(second, true));
        let (x, mut y) = (forward[0].node, backward[0].node);
        if sequences {
            y = flip(cx, y, 1);
        }
        let last = cx.ty(x).shape.rank() - 1;
        let mut results = match self.arguments.merge_mode {
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
            let mask = cx.mask(0);
            (0..results.len()).for_each(|i| cx.set_mask(i, mask));
        }
        results.extend(forward[1..].iter().chain(&backward[1..]).map(|state| state.node));
        results
    }
}
