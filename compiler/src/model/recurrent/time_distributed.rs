//! A layer applied to every step.

use std::rc::Rc;

use serde::{Deserialize, Serialize};

use crate::diag::Problem;
use crate::ir::{Dim, NodeId, Over, Shape, Stepped, StorageKind, TensorType};
use crate::model::call::{CallCx, Masked};
use crate::model::graph::MaskedType;
use crate::model::layer::{AnyLayer, BuildCx, IntoLayer, Layer, LayerDef};
use crate::model::saved::Part;

/// Applies one layer to every step of a sequence: items `[steps, item...]` become `[steps, result...]`.
///
/// A layer that keeps no state of its own sees all steps as one large batch. One that does, such as batch
/// normalisation, sees one step after the other.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TimeDistributed {
    layer: Option<AnyLayer>,
}

impl TimeDistributed {
    #[allow(clippy::new_ret_no_self)]
    pub fn new(layer: impl IntoLayer) -> Layer<TimeDistributed> {
        Layer::new(TimeDistributed { layer: Some(layer.into_layer()) })
    }
}

/// Calls the layer; as in Keras, a penalty on its own results does not count here.
fn child(cx: &mut CallCx<'_>, layer: &AnyLayer, node: NodeId, mask: Option<NodeId>) -> NodeId {
    cx.child_unpenalized(&layer.own_name(), layer, Masked { node, mask, given: true, narrow: None })
}

/// One step of a sequence.
fn step_of(sequence: &TensorType) -> TensorType {
    TensorType::new(sequence.dtype, sequence.shape.without(&[1]))
}

/// Whether a layer or one inside it keeps state.
fn keeps_state(layer: &AnyLayer) -> bool {
    let inside = |model: &crate::model::SubModel| model.graph.layers().iter().any(|(_, layer)| keeps_state(layer));
    layer.weights().iter().any(|w| w.kind == StorageKind::State) || layer.definition().submodel().is_some_and(inside)
}

impl LayerDef for TimeDistributed {
    fn kind(&self) -> &'static str {
        "TimeDistributed"
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn parts(&self) -> Vec<Part> {
        self.layer.iter().map(|layer| Part::layer("layer", layer)).collect()
    }

    fn settle(&self, given: &[MaskedType], _: &AnyLayer) -> Option<Rc<dyn LayerDef>> {
        let (layer, [given]) = (self.layer.as_ref()?, given) else { return None };
        if given.ty.shape.rank() < 2 {
            return None;
        }
        let def = layer.def.settle(&[step_of(&given.ty).into()], layer)?;
        Some(Rc::new(TimeDistributed { layer: Some(AnyLayer { def, core: layer.core.clone() }) }))
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        let Some(layer) = &self.layer else { return Err(Problem::value("TimeDistributed without a layer")) };
        let item = cx.any_item()?;
        if item.is_empty() || item[0] == 0 {
            let message = format!("TimeDistributed takes items [steps, ...], its input is {}", cx.input());
            return Err(Problem::shape(message).help("give the item an axis of steps: `Reshape::new([...]).apply(&x)`"));
        }
        if layer.definition().results() != 1 {
            let kind = layer.definition().kind();
            return Err(Problem::value(format!("TimeDistributed takes a layer with one result, {kind} has several")));
        }
        let step = step_of(cx.input());
        let mask = cx.mask(0).filter(|m| m.shape.rank() > 1);
        let mask = mask.map(|m| TensorType::new(m.dtype, m.shape.without(&[1])));
        layer.build(&[MaskedType { ty: step, mask, given: true, narrow: None }])
    }

    fn call(&self, cx: &mut CallCx<'_>, inputs: &[NodeId]) -> Vec<NodeId> {
        let Some(layer) = &self.layer else { return inputs.to_vec() };
        let (x, mask) = (inputs[0], cx.mask(0).filter(|m| cx.ty(*m).shape.rank() > 1));
        let shape = cx.ty(x).shape.clone();
        let (batch, length) = (shape[0], shape[1].scale);
        if !keeps_state(layer) {
            let rows = Dim { scale: batch.scale * length, batch: batch.batch };
            let merged = |shape: &Shape| Shape(std::iter::once(rows).chain(shape[2..].iter().copied()).collect());
            let mask = mask.map(|mask| {
                let shape = merged(&cx.ty(mask).shape);
                cx.reshape(mask, shape)
            });
            let all = cx.reshape(x, merged(&shape));
            let y = child(cx, layer, all, mask);
            let item = cx.ty(y).shape[1..].to_vec();
            let shape = Shape([batch, Dim::fixed(length)].into_iter().chain(item).collect());
            return vec![cx.reshape(y, shape)];
        }
        let swap = |cx: &mut CallCx<'_>, x: NodeId| super::cell::swap_steps(cx, x);
        let sequences: Vec<NodeId> = std::iter::once(x).chain(mask).map(|x| swap(cx, x)).collect();
        let over = Over { length, sequences: &sequences, ..Over::default() };
        let looped = cx.scan(over, |cx, step| {
            let y = child(cx, layer, step.slices[0], step.slices.get(1).copied());
            Stepped { carries: Vec::new(), outputs: vec![y] }
        });
        vec![swap(cx, looped.stacked[0])]
    }
}
