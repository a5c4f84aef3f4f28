//! Activations: as arguments of layers and as layers of their own.

mod layers;
mod sparsemax;

pub(crate) use layers::masked_softmax;
pub use layers::{ELU, LeakyReLU, PReLU, ReLU, Softmax};

use super::CallCx;
use super::layer::{BuildCx, LayerDef, floats};
use crate::diag::Problem;
use crate::ir::{DType, Graph, NodeId, TensorType};

/// An elementwise function, or one along the last axis. Give it to a layer, `Dense::new(10).activation(Relu)`,
/// or apply it as one, `Relu.apply(&x)`.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub enum Activation {
    #[default]
    Linear,
    /// `max(x, 0)`
    Relu,
    /// `min(max(x, 0), 6)`
    Relu6,
    /// `x` above zero, `slope * x` below; Keras's default slope is 0.2.
    LeakyRelu(f64),
    /// `x` above zero, `alpha * (e^x - 1)` below; Keras's default alpha is 1.
    Elu(f64),
    /// `x` above zero, `alpha * (e^(x / alpha) - 1)` below; Keras's default alpha is 1.
    Celu(f64),
    Selu,
    /// `x * P(X <= x)` for a standard normal `X`.
    Gelu,
    /// Gelu by a tanh.
    GeluTanh,
    Sigmoid,
    /// `min(max((x + 1) / 2, 0), 1)`
    SparseSigmoid,
    /// `min(max(x / 6 + 1/2, 0), 1)`
    HardSigmoid,
    LogSigmoid,
    Tanh,
    /// `min(max(x, -1), 1)`
    HardTanh,
    /// `x - tanh(x)`
    TanhShrink,
    /// `x` where it is larger in magnitude than a threshold, 0 elsewhere; Keras's default is 0.5.
    HardShrink(f64),
    /// What `x` exceeds a threshold by in magnitude, with its sign; Keras's default is 0.5.
    SoftShrink(f64),
    /// `x` where it is larger than a threshold, another value elsewhere.
    Threshold {
        threshold: f64,
        default_value: f64,
    },
    /// `log(1 + e^x)`
    Softplus,
    /// 0 below -1, `x` above 1, and `(x + 1)^2 / 4` between.
    SparsePlus,
    /// `(x + sqrt(x^2 + b)) / 2`; Keras's default b is 4.
    Squareplus(f64),
    /// `x / (1 + |x|)`
    Softsign,
    /// `e^x`
    Exponential,
    /// `x * sigmoid(x)`
    Silu,
    /// `x * min(max(x / 6 + 1/2, 0), 1)`
    HardSilu,
    /// `x * tanh(softplus(x))`
    Mish,
    /// The first half of the last axis times the sigmoid of the second half.
    Glu,
    Softmax,
    LogSoftmax,
    /// A softmax with exact zeros, as Keras computes it.
    Sparsemax,
}

/// Another name of [`Activation::Silu`].
pub use Activation::Silu as Swish;

impl Activation {
    /// Adds the function to a graph.
    pub fn on(self, g: &mut Graph, x: NodeId) -> NodeId {
        let last = g.ty(x).shape.rank().saturating_sub(1);
        match self {
            Activation::Linear => x,
            Activation::Relu => g.relu(x),
            Activation::Relu6 => {
                let y = g.relu(x);
                g.min_s(y, 6.0)
            }
            Activation::LeakyRelu(slope) => leaky_relu(g, x, slope),
            Activation::Elu(alpha) => elu(g, x, 1.0, alpha),
            Activation::Celu(alpha) => {
                let low = g.min_s(x, 0.0);
                let low = g.mul_s(low, 1.0 / alpha);
                let low = g.expm1(low);
                let low = g.mul_s(low, alpha);
                above(g, x, 0.0, x, low)
            }
            Activation::Selu => elu(g, x, 1.050_700_987_355_480_5, 1.673_263_242_354_377_2),
            Activation::Gelu => {
                let y = g.mul_s(x, std::f64::consts::FRAC_1_SQRT_2);
                let y = g.erf(y);
                half_of_one_plus(g, x, y)
            }
            Activation::GeluTanh => {
                let cube = g.square(x);
                let cube = g.mul(cube, x);
                let cube = g.mul_s(cube, 0.044715);
                let y = g.add(x, cube);
                let y = g.mul_s(y, (2.0 / std::f64::consts::PI).sqrt());
                let y = g.tanh(y);
                half_of_one_plus(g, x, y)
            }
            Activation::Sigmoid => g.sigmoid(x),
            Activation::SparseSigmoid => {
                let y = g.add_s(x, 1.0);
                let y = g.mul_s(y, 0.5);
                clamp(g, y, 0.0, 1.0)
            }
            Activation::HardSigmoid => hard_sigmoid(g, x),
            Activation::LogSigmoid => {
                let y = g.neg(x);
                let y = g.softplus(y);
                g.neg(y)
            }
            Activation::Tanh => g.tanh(x),
            Activation::HardTanh => clamp(g, x, -1.0, 1.0),
            Activation::TanhShrink => {
                let y = g.tanh(x);
                g.sub(x, y)
            }
            Activation::HardShrink(threshold) => {
                let size = g.abs(x);
                let zero = g.lit_like(x, 0.0);
                above(g, size, threshold, x, zero)
            }
            Activation::SoftShrink(threshold) => {
                let (high, low) = (g.add_s(x, -threshold), g.add_s(x, threshold));
                let zero = g.lit_like(x, 0.0);
                let low = g.min(low, zero);
                above(g, x, threshold, high, low)
            }
            Activation::Threshold { threshold, default_value } => {
                let other = g.lit_like(x, default_value);
                above(g, x, threshold, x, other)
            }
            Activation::Softplus => g.softplus(x),
            Activation::SparsePlus => {
                let y = clamp(g, x, -1.0, 1.0);
                let y = g.add_s(y, 1.0);
                let y = g.square(y);
                let middle = g.mul_s(y, 0.25);
                above(g, x, 1.0, x, middle)
            }
            Activation::Squareplus(b) => {
                let y = g.square(x);
                let y = g.add_s(y, b);
                let y = g.sqrt(y);
                let y = g.add(x, y);
                g.mul_s(y, 0.5)
            }
            Activation::Softsign => {
                let size = g.abs(x);
                let size = g.add_s(size, 1.0);
                g.div(x, size)
            }
            Activation::Exponential => g.exp(x),
            Activation::Silu => {
                let y = g.sigmoid(x);
                g.mul(x, y)
            }
            Activation::HardSilu => {
                let y = hard_sigmoid(g, x);
                g.mul(x, y)
            }
            Activation::Mish => {
                let y = g.softplus(x);
                let y = g.tanh(y);
                g.mul(x, y)
            }
            Activation::Glu => {
                let half = g.ty(x).shape[last].scale / 2;
                let (value, gate) = (g.slice_axis(x, last, 0, half), g.slice_axis(x, last, half, 2 * half));
                let gate = g.sigmoid(gate);
                g.mul(value, gate)
            }
            Activation::Sparsemax => sparsemax::sparsemax(g, x, last),
            Activation::Softmax => g.softmax(x, last),
            Activation::LogSoftmax => {
                let shape = g.ty(x).shape.clone();
                let all = g.log_sum_exp(x, last);
                let all = g.unreduce(all, &[last], &shape);
                g.sub(x, all)
            }
        }
    }

    /// Every activation that has no argument, or one with a default in Keras.
    pub const ALL: [Activation; 30] = [
        Activation::Linear,
        Activation::Relu,
        Activation::Relu6,
        Activation::LeakyRelu(0.2),
        Activation::Elu(1.0),
        Activation::Celu(1.0),
        Activation::Selu,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Sigmoid,
        Activation::SparseSigmoid,
        Activation::HardSigmoid,
        Activation::LogSigmoid,
        Activation::Tanh,
        Activation::HardTanh,
        Activation::TanhShrink,
        Activation::HardShrink(0.5),
        Activation::SoftShrink(0.5),
        Activation::Softplus,
        Activation::SparsePlus,
        Activation::Squareplus(4.0),
        Activation::Softsign,
        Activation::Exponential,
        Activation::Silu,
        Activation::HardSilu,
        Activation::Mish,
        Activation::Glu,
        Activation::Softmax,
        Activation::LogSoftmax,
        Activation::Sparsemax,
    ];
}

/// `x > threshold ? high : low`
fn above(g: &mut Graph, x: NodeId, threshold: f64, high: NodeId, low: NodeId) -> NodeId {
    let threshold = g.lit_like(x, threshold);
    let above = g.gt(x, threshold);
    g.select(above, high, low)
}

/// The derivative at zero is 1.
fn leaky_relu(g: &mut Graph, x: NodeId, slope: f64) -> NodeId {
    let zero = g.lit_like(x, 0.0);
    let low = g.mul_s(x, slope);
    let above = g.ge(x, zero);
    g.select(above, x, low)
}

/// The exponential is taken of non-positive numbers only, so that neither it nor its gradient overflows.
fn elu(g: &mut Graph, x: NodeId, scale: f64, alpha: f64) -> NodeId {
    let low = g.min_s(x, 0.0);
    let low = g.expm1(low);
    let low = g.mul_s(low, scale * alpha);
    let high = if scale == 1.0 { x } else { g.mul_s(x, scale) };
    above(g, x, 0.0, high, low)
}

fn clamp(g: &mut Graph, x: NodeId, low: f64, high: f64) -> NodeId {
    let y = g.max_s(x, low);
    g.min_s(y, high)
}

fn hard_sigmoid(g: &mut Graph, x: NodeId) -> NodeId {
    let y = g.mul_s(x, 1.0 / 6.0);
    let y = g.add_s(y, 0.5);
    clamp(g, y, 0.0, 1.0)
}

/// `x * (1 + y) / 2`
fn half_of_one_plus(g: &mut Graph, x: NodeId, y: NodeId) -> NodeId {
    let y = g.add_s(y, 1.0);
    let half = g.mul_s(x, 0.5);
    g.mul(half, y)
}

impl LayerDef for Activation {
    fn kind(&self) -> &'static str {
        "Activation"
    }

    fn supports_masking(&self) -> bool {
        true
    }

    /// Keras's `relu` and its like give whole numbers for whole numbers, which do not exist here.
    fn operands(&self, given: &[TensorType]) -> Vec<DType> {
        match self {
            Activation::Linear | Activation::Relu | Activation::Relu6 => given.iter().map(|ty| ty.dtype).collect(),
            _ => floats(given),
        }
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        self.check(cx)?;
        cx.float()?;
        let features = cx.input().shape.last().and_then(|d| d.as_fixed());
        features.map_or(Ok(()), |n| self.check_features(n))
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        vec![self.on(cx, x[0])]
    }
}

impl Activation {
    /// Checks the argument, and that there is an axis where one is needed: for layers that have an activation.
    pub(crate) fn check(&self, cx: &BuildCx<'_>) -> Result<(), Problem> {
        let argument = |good: bool, what: &str| match good {
            true => Ok(()),
            false => Err(Problem::value(format!("{self:?}: {what}"))),
        };
        match *self {
            Activation::LeakyRelu(a) | Activation::Elu(a) => argument(a.is_finite(), "the argument must be finite"),
            Activation::Celu(a) => argument(a.is_finite() && a != 0.0, "alpha must be finite and not 0"),
            Activation::HardShrink(t) | Activation::SoftShrink(t) => {
                argument(t.is_finite() && t >= 0.0, "the threshold must be finite and not negative")
            }
            Activation::Threshold { threshold, default_value } => {
                argument(threshold.is_finite() && default_value.is_finite(), "the arguments must be finite")
            }
            Activation::Squareplus(b) => argument(b.is_finite() && b >= 0.0, "b must be finite and not negative"),
            Activation::Softmax | Activation::LogSoftmax | Activation::Sparsemax | Activation::Glu
                if cx.input().shape.rank() < 2 =>
            {
                Err(Problem::shape(format!("{self:?} of {}: an item has no axis to choose along", cx.input())))
            }
            _ => Ok(()),
        }
    }

    /// Checks the extent of the axis that the activation is applied along.
    pub(crate) fn check_features(&self, features: usize) -> Result<(), Problem> {
        match self {
            Activation::Glu if !features.is_multiple_of(2) => {
                let message = format!("Glu of {features} features: it halves them, so their number must be even");
                Err(Problem::shape(message))
            }
            _ => Ok(()),
        }
    }
}
