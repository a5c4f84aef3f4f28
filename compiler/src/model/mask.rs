//! Masks: which steps of a sequence count.
//!
//! A mask travels with its tensor through the layer graph. [`Masking`] and [`Embedding`](super::Embedding) make
//! masks, layers that work step by step pass them on, recurrent layers, attention, pooling over time, losses and
//! metrics leave the masked steps out. Where a layer does not know masks the mask ends, silently, as in Keras.
//! A reshape to the same shape, and whatever else gives back its input as it was, keeps the mask with the tensor.
//!
//! A call can also be *given* a mask, with [`Tensor::with_mask`] or by the argument `mask` of a call in a file. It takes
//! the place of the one that travels. The two differ in one thing: a recurrent layer that is called with initial states
//! does not look at a mask that only travels; its results have it all the same.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::CallCx;
use super::layer::{BuildCx, IntoLayer, Layer, LayerDef};
use super::setters::setters;
use super::tensor::{self, Tensor};
use crate::diag::{Code, Problem};
use crate::ir::{DType, Graph, NodeId, ReduceFn};

/// Masks the steps whose features all equal a value, by default 0, and sets their features to 0.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Masking {
    mask_value: f64,
}

impl Masking {
    pub fn new() -> Layer<Masking> {
        Layer::new(Masking::default())
    }
}

impl Layer<Masking> {
    setters! {
        /// The value of the features of a step that does not count.
        mask_value: f64;
    }
}

impl LayerDef for Masking {
    fn kind(&self) -> &'static str {
        "Masking"
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        cx.float()?;
        match cx.any_item()?.len() {
            0 => Err(Problem::shape("Masking takes items with at least 1 axis, its input has scalars as items")),
            _ => Ok(()),
        }
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let x = x[0];
        let shape = cx.ty(x).shape.clone();
        let features = shape.rank() - 1;
        let value = cx.lit_like(x, self.mask_value);
        let differs = cx.ne(x, value);
        let mask = any(cx, differs, &[features]);
        cx.set_mask(0, Some(mask));
        let counts = cx.unreduce(mask, &[features], &shape);
        let zero = cx.lit_like(x, 0.0);
        vec![cx.select(counts, x, zero)]
    }
}

/// Whether any element along some axes of a boolean tensor is true.
pub(crate) fn any(g: &mut Graph, x: NodeId, axes: &[usize]) -> NodeId {
    g.reduce(ReduceFn::Max, x, axes)
}

/// The kind of the layer behind [`Tensor::with_mask`].
pub(crate) const GIVEN: &str = "Mask";

/// Gives its first input the second one as mask.
#[derive(Clone, Copy, Debug)]
struct Attach;

impl LayerDef for Attach {
    fn kind(&self) -> &'static str {
        GIVEN
    }

    fn arity(&self) -> RangeInclusive<usize> {
        2..=2
    }

    fn computes_narrow(&self) -> bool {
        true
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        let [x, mask] = cx.inputs() else { return Ok(()) };
        if !mask.dtype.is_int() && mask.dtype != DType::Bool {
            return Err(Problem::new(Code::DType, format!("a mask is bool, this one is {mask}"))
                .help("convert it first: `mask.cast(Bool)`"));
        }
        match x.shape.starts_with(&mask.shape) {
            true => Ok(()),
            false => Err(Problem::shape(format!("{mask} cannot mask {x}"))
                .help("a mask has the leading axes of its tensor, usually [batch, steps]")),
        }
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let mask = cx.cast(x[1], DType::Bool);
        cx.give_mask(0, mask);
        let narrow = cx.narrow(0);
        cx.set_narrow(0, narrow);
        vec![x[0]]
    }
}

/// The mask of its input.
#[derive(Clone, Copy, Debug)]
struct Detach;

impl LayerDef for Detach {
    fn kind(&self) -> &'static str {
        "MaskOf"
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        match cx.mask(0) {
            Some(_) => Ok(()),
            None => Err(Problem::new(Code::Missing, format!("{} has no mask", cx.input()))
                .help("masks come from `Masking`, `Embedding` with mask_zero, and `x.with_mask(&mask)`")),
        }
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        vec![cx.mask(0).unwrap_or(x[0])]
    }
}

impl Tensor {
    /// The same tensor with a mask, a boolean tensor of its leading axes: false marks steps that layers, losses and
    /// metrics leave out. What Keras's argument `mask` does for one call of a layer.
    #[track_caller]
    pub fn with_mask(&self, mask: &Tensor) -> Tensor {
        tensor::apply(&Layer::new(Attach).into_layer(), &[self, mask]).swap_remove(0)
    }

    /// The tensor's mask as a tensor.
    #[track_caller]
    pub fn mask(&self) -> Tensor {
        tensor::apply(&Layer::new(Detach).into_layer(), &[self]).swap_remove(0)
    }

    /// Whether the tensor has a mask.
    pub fn is_masked(&self) -> bool {
        self.port.is_some_and(|port| self.net.borrow().graph.masked_type(port).mask.is_some())
    }
}
