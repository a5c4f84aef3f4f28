//! Activations: as arguments of layers and as layers of their own.

use super::CallCx;
use super::layer::{BuildCx, LayerDef};
use crate::diag::Problem;
use crate::ir::{Graph, NodeId};

/// An elementwise function, or a softmax along the last axis. Give it to a layer, `Dense::new(10).activation(Relu)`,
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
    Selu,
    /// `x * P(X <= x)` for a standard normal `X`.
    Gelu,
    /// Gelu by a tanh.
    GeluTanh,
    Sigmoid,
    /// `min(max(x / 6 + 1/2, 0), 1)`
    HardSigmoid,
    LogSigmoid,
    Tanh,
    /// `min(max(x, -1), 1)`
    HardTanh,
    TanhShrink,
    /// `log(1 + e^x)`
    Softplus,
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
    Softmax,
    LogSoftmax,
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
            Activation::LeakyRelu(slope) => {
                let low = g.mul_s(x, slope);
                above_zero(g, x, x, low)
            }
            Activation::Elu(alpha) => elu(g, x, 1.0, alpha),
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
            Activation::Softplus => g.softplus(x),
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
            Activation::Softmax => g.softmax(x, last),
            Activation::LogSoftmax => {
                let shape = g.ty(x).shape.clone();
                let all = g.log_sum_exp(x, last);
                let all = g.unreduce(all, &[last], &shape);
                g.sub(x, all)
            }
        }
    }

    /// Every activation once, with Keras's default arguments.
    pub const ALL: [Activation; 21] = [
        Activation::Linear,
        Activation::Relu,
        Activation::Relu6,
        Activation::LeakyRelu(0.2),
        Activation::Elu(1.0),
        Activation::Selu,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Sigmoid,
        Activation::HardSigmoid,
        Activation::LogSigmoid,
        Activation::Tanh,
        Activation::HardTanh,
        Activation::TanhShrink,
        Activation::Softplus,
        Activation::Softsign,
        Activation::Exponential,
        Activation::Silu,
        Activation::HardSilu,
        Activation::Mish,
        Activation::Softmax,
    ];
}

/// `x > 0 ? high : low`
fn above_zero(g: &mut Graph, x: NodeId, high: NodeId, low: NodeId) -> NodeId {
    let zero = g.lit_like(x, 0.0);
    let above = g.gt(x, zero);
    g.select(above, high, low)
}

/// The exponential is taken of non-positive numbers only, so that neither it nor its gradient overflows.
fn elu(g: &mut Graph, x: NodeId, scale: f64, alpha: f64) -> NodeId {
    let low = g.min_s(x, 0.0);
    let low = g.expm1(low);
    let low = g.mul_s(low, scale * alpha);
    let high = if scale == 1.0 { x } else { g.mul_s(x, scale) };
    above_zero(g, x, high, low)
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

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        self.check(cx)?;
        cx.float()
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        vec![self.on(cx, x[0])]
    }
}

impl Activation {
    /// Checks the argument, and that there is an axis where one is needed: for layers that have an activation.
    pub(crate) fn check(&self, cx: &BuildCx<'_>) -> Result<(), Problem> {
        match *self {
            Activation::LeakyRelu(a) | Activation::Elu(a) if !a.is_finite() => {
                Err(Problem::value(format!("{self:?}: the argument must be finite")))
            }
            Activation::Softmax | Activation::LogSoftmax if cx.input().shape.rank() < 2 => {
                Err(Problem::shape(format!("{self:?} of {}: an item has no axis to choose along", cx.input())))
            }
            _ => Ok(()),
        }
    }
}
