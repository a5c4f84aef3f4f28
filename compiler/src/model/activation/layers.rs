//! Activations with arguments or weights, as Keras's layers.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::{Activation, above, clamp, leaky_relu};
use crate::diag::{Code, Problem};
use crate::ir::{DType, Graph, NodeId, ReduceFn, TensorType};
use crate::model::CallCx;
use crate::model::axes::Axes;
use crate::model::constraint::Constraint;
use crate::model::initializer::Initializer;
use crate::model::layer::{BuildCx, Layer, LayerDef, floats};
use crate::model::merge::broadcast_shape;
use crate::model::numbers::not_negative;
use crate::model::regularizer::Regularizer;
use crate::model::setters::setters;

/// `x` above the threshold, but at most `max_value`; `negative_slope * (x - threshold)` below.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ReLU {
    max_value: Option<f64>,
    negative_slope: f64,
    threshold: f64,
}

impl ReLU {
    pub fn new() -> Layer<ReLU> {
        Layer::new(ReLU::default())
    }
}

impl Layer<ReLU> {
    setters! {
        /// The largest result, if there is one.
        max_value: some f64;
        /// The slope below the threshold, by default 0.
        negative_slope: f64;
        /// Where the function begins to rise, by default 0.
        threshold: f64;
    }
}

impl LayerDef for ReLU {
    fn kind(&self) -> &'static str {
        "ReLU"
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        not_negative("ReLU", "max_value", self.max_value.unwrap_or(0.0))?;
        not_negative("ReLU", "negative_slope", self.negative_slope)?;
        not_negative("ReLU", "threshold", self.threshold)?;
        cx.float()
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let x = x[0];
        let ReLU { max_value, negative_slope, threshold } = *self;
        if max_value.is_none() && threshold == 0.0 && negative_slope != 0.0 {
            return vec![leaky_relu(cx, x, negative_slope)];
        }
        let mut y = match threshold == 0.0 {
            true => cx.relu(x),
            false => {
                let zero = cx.lit_like(x, 0.0);
                above(cx, x, threshold, x, zero)
            }
        };
        if let Some(most) = max_value {
            y = clamp(cx, y, 0.0, most);
        }
        if negative_slope != 0.0 {
            let below = cx.s_sub(threshold, x);
            let below = cx.relu(below);
            let below = cx.mul_s(below, negative_slope);
            y = cx.sub(y, below);
        }
        vec![y]
    }
}

/// `x` above zero, `negative_slope * x` below.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct LeakyReLU {
    negative_slope: f64,
}

impl Default for LeakyReLU {
    fn default() -> LeakyReLU {
        LeakyReLU { negative_slope: 0.3 }
    }
}

impl LeakyReLU {
    /// With the slope 0.3.
    pub fn new() -> Layer<LeakyReLU> {
        Layer::new(LeakyReLU::default())
    }
}

impl Layer<LeakyReLU> {
    setters! {
        /// The slope below zero.
        negative_slope: f64;
    }
}

impl LayerDef for LeakyReLU {
    fn kind(&self) -> &'static str {
        "LeakyReLU"
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn operands(&self, given: &[TensorType]) -> Vec<DType> {
        floats(given)
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        not_negative("LeakyReLU", "negative_slope", self.negative_slope)?;
        cx.float()
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        vec![leaky_relu(cx, x[0], self.negative_slope)]
    }
}

/// `x` above zero, `alpha * (e^x - 1)` below.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct ELU {
    alpha: f64,
}

impl Default for ELU {
    fn default() -> ELU {
        ELU { alpha: 1.0 }
    }
}

impl ELU {
    /// With alpha 1.
    pub fn new() -> Layer<ELU> {
        Layer::new(ELU::default())
    }
}

impl Layer<ELU> {
    setters! {
        /// The distance from zero of the results for very negative numbers.
        alpha: f64;
    }
}

impl LayerDef for ELU {
    fn kind(&self) -> &'static str {
        "ELU"
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn operands(&self, given: &[TensorType]) -> Vec<DType> {
        floats(given)
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        Activation::Elu(self.alpha).check(cx)?;
        cx.float()
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        vec![Activation::Elu(self.alpha).on(cx, x[0])]
    }
}

/// `x` above zero, `alpha * x` below, with an alpha that is trained for each element of an item.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct PReLU {
    alpha_initializer: Initializer,
    alpha_regularizer: Option<Regularizer>,
    alpha_constraint: Option<Constraint>,
    shared_axes: Option<Vec<usize>>,
}

impl Default for PReLU {
    fn default() -> PReLU {
        PReLU {
            alpha_initializer: Initializer::Zeros,
            alpha_regularizer: None,
            alpha_constraint: None,
            shared_axes: None,
        }
    }
}

impl PReLU {
    pub fn new() -> Layer<PReLU> {
        Layer::new(PReLU::default())
    }
}

impl Layer<PReLU> {
    setters! {
        alpha_initializer: Initializer;
        alpha_regularizer: some Regularizer;
        alpha_constraint: some Constraint;
        /// The axes along which alpha is the same, counted with the batch as 0: `[1, 2]` gives each channel of an image
        /// one alpha.
        shared_axes: some into Vec<usize>;
    }
}

impl LayerDef for PReLU {
    fn kind(&self) -> &'static str {
        "PReLU"
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn operands(&self, given: &[TensorType]) -> Vec<DType> {
        floats(given)
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        cx.float()?;
        let mut extents = cx.any_item()?;
        for &axis in self.shared_axes.iter().flatten() {
            let Some(extent) = axis.checked_sub(1).and_then(|i| extents.get_mut(i)) else {
                let message = format!("PReLU with shared axis {axis}, its input {} has no such axis", cx.input().shape);
                return Err(Problem::new(Code::Axis, message).help("the batch is axis 0, which is always shared"));
            };
            *extent = 1;
        }
        cx.param("alpha", extents, self.alpha_initializer, self.alpha_regularizer, &self.alpha_constraint)
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let x = x[0];
        let alpha = cx.weight("alpha");
        let alpha = cx.broadcast_like(alpha, x);
        let high = cx.relu(x);
        let low = cx.neg(x);
        let low = cx.relu(low);
        let low = cx.mul(alpha, low);
        vec![cx.sub(high, low)]
    }
}

/// Softmax along any axis or axes. Where its input has a mask, or a boolean mask is its second input, elements that
/// the mask leaves out count for nothing and become 0.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Softmax {
    axis: Axes,
}

impl Default for Softmax {
    fn default() -> Softmax {
        Softmax { axis: Axes::One(-1) }
    }
}

impl Softmax {
    /// Along the last axis.
    pub fn new() -> Layer<Softmax> {
        Layer::new(Softmax::default())
    }
}

impl Layer<Softmax> {
    setters! {
        /// The axis or axes that sum to 1, counted with the batch as 0 or from the back.
        axis: into Axes;
    }
}

impl LayerDef for Softmax {
    fn kind(&self) -> &'static str {
        "Softmax"
    }

    fn arity(&self) -> RangeInclusive<usize> {
        1..=2
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn operands(&self, given: &[TensorType]) -> Vec<DType> {
        floats(given)
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        let x = cx.input();
        if x.dtype != DType::F32 {
            return Err(Problem::new(Code::DType, format!("Softmax takes f32, its input is {x}")));
        }
        self.axis.resolve("Softmax", &x.shape)?;
        let Some(mask) = cx.inputs().get(1).or(cx.mask(0)) else { return Ok(()) };
        if mask.dtype != DType::Bool {
            return Err(Problem::new(Code::DType, format!("a mask is bool, this one is {mask}"))
                .help("convert it first: `mask.cast(Bool)`"));
        }
        match broadcast_shape(&mask.shape, &x.shape).as_ref() == Some(&x.shape) {
            true => Ok(()),
            false => Err(Problem::shape(format!("Softmax of {x} cannot use a mask of {mask}"))
                .help("trailing axes must be equal, or 1 in the mask")),
        }
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let axes = self.axis.resolve("Softmax", &cx.ty(x[0]).shape).unwrap_or_else(|p| cx.fault(p.message));
        let mask = x.get(1).copied().or(cx.mask(0));
        vec![masked_softmax(cx, x[0], mask, &axes)]
    }
}

/// Softmax over the elements that a mask keeps; the others are 0. The mask's trailing axes are those of `x`.
pub(crate) fn masked_softmax(g: &mut Graph, x: NodeId, mask: Option<NodeId>, axes: &[usize]) -> NodeId {
    /// What masked elements count as.
    const NOTHING: f64 = -1e9;
    let shape = g.ty(x).shape.clone();
    let mask = mask.map(|mask| g.broadcast_to(mask, &shape));
    let kept = match mask {
        Some(mask) => {
            let nothing = g.lit_like(x, NOTHING);
            g.select(mask, x, nothing)
        }
        None => x,
    };
    let top = g.reduce(ReduceFn::Max, kept, axes);
    let top = g.stop_gradient(top);
    let top = g.unreduce(top, axes, &shape);
    let shifted = g.sub(kept, top);
    let e = g.exp(shifted);
    let sum = g.sum(e, axes);
    let sum = g.unreduce(sum, axes, &shape);
    let y = g.div(e, sum);
    match mask {
        Some(mask) => {
            let zero = g.lit_like(y, 0.0);
            g.select(mask, y, zero)
        }
        None => y,
    }
}
