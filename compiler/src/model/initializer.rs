//! Initial values of weights, with Keras's names, defaults and distributions.

use serde::{Deserialize, Serialize};

use super::orthogonal::orthogonal;
use super::random::{self, Key};
use super::regularizer::diagonal;
use super::signal::{Scaling, Window, stft_kernel};
use crate::diag::Problem;
use crate::ir::{Dim, Graph, NodeId, Shape, TensorType};

/// How a weight begins. The random ones draw by the model's seed and the weight's path.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Initializer {
    Zeros,
    Ones,
    Constant(f64),
    RandomUniform {
        minval: f64,
        maxval: f64,
    },
    RandomNormal {
        mean: f64,
        stddev: f64,
    },
    /// Normal, redrawn beyond two standard deviations.
    TruncatedNormal {
        mean: f64,
        stddev: f64,
    },
    /// Variance `scale / fan`.
    VarianceScaling {
        scale: f64,
        mode: Fan,
        distribution: Distribution,
    },
    GlorotUniform,
    GlorotNormal,
    HeUniform,
    HeNormal,
    LecunUniform,
    LecunNormal,
    /// `gain` times a random matrix with orthonormal rows or columns. Axes before the last are taken as one.
    Orthogonal {
        gain: f64,
    },
    /// `gain` on the diagonal of a matrix.
    Identity {
        gain: f64,
    },
    /// The cosines of a Fourier transform of frames, or its negative sines, in a kernel `[frame, 1, frequencies]`.
    STFT {
        imaginary: bool,
        window: Option<Window>,
        scaling: Option<Scaling>,
        periodic: bool,
    },
}

/// Which count of connections scales a variance.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub enum Fan {
    #[serde(rename = "fan_in")]
    In,
    #[serde(rename = "fan_out")]
    Out,
    #[serde(rename = "fan_avg")]
    Avg,
}

impl Fan {
    /// The count, at least 1.
    fn count(self, inputs: usize, outputs: usize) -> f64 {
        let count = match self {
            Fan::In => inputs as f64,
            Fan::Out => outputs as f64,
            Fan::Avg => (inputs + outputs) as f64 / 2.0,
        };
        count.max(1.0)
    }
}

/// The shape of a scaled distribution.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distribution {
    #[serde(alias = "normal")]
    TruncatedNormal,
    UntruncatedNormal,
    Uniform,
}

/// Standard deviation of the standard normal distribution restricted to two standard deviations.
const TRUNCATED_STDDEV: f64 = 0.879_625_661_034_239_8;

impl Initializer {
    /// The value of every element, where it is one value and no matter of chance.
    pub(crate) fn constant(self) -> Option<f64> {
        match self {
            Initializer::Zeros => Some(0.0),
            Initializer::Ones => Some(1.0),
            Initializer::Constant(x) => Some(x),
            _ => None,
        }
    }

    /// Uniform between -0.05 and 0.05.
    pub const fn random_uniform() -> Initializer {
        Initializer::RandomUniform { minval: -0.05, maxval: 0.05 }
    }

    /// Normal with mean 0.
    pub const fn random_normal(stddev: f64) -> Initializer {
        Initializer::RandomNormal { mean: 0.0, stddev }
    }

    /// Truncated normal with mean 0.
    pub const fn truncated_normal(stddev: f64) -> Initializer {
        Initializer::TruncatedNormal { mean: 0.0, stddev }
    }

    /// Orthogonal with gain 1.
    pub const fn orthogonal() -> Initializer {
        Initializer::Orthogonal { gain: 1.0 }
    }

    /// Ones on the diagonal.
    pub const fn identity() -> Initializer {
        Initializer::Identity { gain: 1.0 }
    }

    /// The initializer for a weight that connects this many inputs to this many outputs, where its shape does not tell:
    /// variances that go by these counts become numbers.
    pub fn with_fans(self, inputs: usize, outputs: usize) -> Initializer {
        use Distribution::{TruncatedNormal as Truncated, Uniform, UntruncatedNormal};
        let (scale, mode, distribution) = match self {
            Initializer::VarianceScaling { scale, mode, distribution } => (scale, mode, distribution),
            Initializer::GlorotUniform => (1.0, Fan::Avg, Uniform),
            Initializer::GlorotNormal => (1.0, Fan::Avg, Truncated),
            Initializer::HeUniform => (2.0, Fan::In, Uniform),
            Initializer::HeNormal => (2.0, Fan::In, Truncated),
            Initializer::LecunUniform => (1.0, Fan::In, Uniform),
            Initializer::LecunNormal => (1.0, Fan::In, Truncated),
            other => return other,
        };
        let variance = scale / mode.count(inputs, outputs);
        match distribution {
            Truncated => Initializer::TruncatedNormal { mean: 0.0, stddev: variance.sqrt() / TRUNCATED_STDDEV },
            UntruncatedNormal => Initializer::RandomNormal { mean: 0.0, stddev: variance.sqrt() },
            Uniform => {
                let limit = (3.0 * variance).sqrt();
                Initializer::RandomUniform { minval: -limit, maxval: limit }
            }
        }
    }

    /// Whether it makes sense for a weight of this shape.
    pub(crate) fn check(&self, shape: &Shape) -> Result<(), Problem> {
        let fail = |what: &str| Err(Problem::value(format!("initializer {self:?}: {what}")));
        match *self {
            Initializer::Constant(c) if !c.is_finite() => fail("the constant is not finite"),
            Initializer::RandomUniform { minval, maxval } if !(minval <= maxval && (maxval - minval).is_finite()) => {
                fail("minval must not exceed maxval")
            }
            Initializer::RandomNormal { mean, stddev } | Initializer::TruncatedNormal { mean, stddev }
                if !(stddev >= 0.0 && stddev.is_finite() && mean.is_finite()) =>
            {
                fail("stddev must be finite and not negative")
            }
            Initializer::VarianceScaling { scale, .. } if !(scale > 0.0 && scale.is_finite()) => {
                fail("scale must be positive")
            }
            Initializer::Orthogonal { gain } | Initializer::Identity { gain } if !gain.is_finite() => {
                fail("the gain is not finite")
            }
            Initializer::Orthogonal { .. } if shape.rank() < 2 => {
                fail(&format!("takes weights with at least 2 axes, this one is {shape}"))
            }
            Initializer::Identity { .. } if shape.rank() != 2 => {
                fail(&format!("takes matrices, this weight is {shape}"))
            }
            Initializer::STFT { .. } if shape.rank() != 3 || shape[1] != Dim::ONE => {
                fail(&format!("takes kernels of frames, one channel and frequencies, this weight is {shape}"))
            }
            _ => Ok(()),
        }
    }

    /// The initial value of a weight of the given type.
    pub fn value(&self, g: &mut Graph, key: Key, ty: &TensorType) -> NodeId {
        let shape = &ty.shape;
        match *self {
            Initializer::Zeros => g.splat_of(0.0, ty.clone()),
            Initializer::Ones => g.splat_of(1.0, ty.clone()),
            Initializer::Constant(c) => g.splat_of(c, ty.clone()),
            Initializer::RandomUniform { minval, maxval } => random::uniform(g, key, shape, minval, maxval),
            Initializer::RandomNormal { mean, stddev } => random::normal(g, key, shape, mean, stddev),
            Initializer::TruncatedNormal { mean, stddev } => random::truncated_normal(g, key, shape, mean, stddev),
            Initializer::VarianceScaling { .. }
            | Initializer::GlorotUniform
            | Initializer::GlorotNormal
            | Initializer::HeUniform
            | Initializer::HeNormal
            | Initializer::LecunUniform
            | Initializer::LecunNormal => {
                let (inputs, outputs) = fans(shape);
                self.with_fans(inputs, outputs).value(g, key, ty)
            }
            Initializer::Orthogonal { gain } => {
                let (columns, rows) = match shape.as_fixed().as_deref() {
                    Some([rows @ .., columns]) => (*columns, rows.iter().product()),
                    _ => (1, 1),
                };
                let x = orthogonal(g, key, rows, columns);
                let x = g.mul_s(x, gain);
                g.reshape(x, shape.clone())
            }
            Initializer::Identity { gain } => {
                let diagonal = diagonal(g, shape);
                let (one, zero) = (g.splat_of(gain, ty.clone()), g.splat_of(0.0, ty.clone()));
                g.select(diagonal, one, zero)
            }
            Initializer::STFT { imaginary, window, scaling, periodic } => {
                let extents = shape.as_fixed().unwrap_or_default();
                let values = stft_kernel(&extents, imaginary, window, scaling, periodic);
                g.dense(ty.clone(), values.into_iter().map(|x| x as f32 as f64))
            }
        }
    }
}

/// Connections into and out of a unit for a weight of the given extents: `[in, out]`, or a convolution kernel
/// `[window..., in, out]`.
fn fans(shape: &[Dim]) -> (usize, usize) {
    match shape {
        [] => (1, 1),
        [n] => (n.scale, n.scale),
        [window @ .., inputs, outputs] => {
            let field: usize = window.iter().map(|d| d.scale).product();
            (field * inputs.scale, field * outputs.scale)
        }
    }
}
