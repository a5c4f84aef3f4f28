//! Layers that drop elements at random in training and do nothing in prediction.

use serde::{Deserialize, Serialize};

use super::CallCx;
use super::layer::{BuildCx, Layer, LayerDef};
use super::setters::setters;
use super::window::{DataFormat, ranked};
use crate::diag::Problem;
use crate::ir::{Dim, NodeId, Shape};

/// In training, sets a fraction of the elements to zero and scales up the others, so that the sum stays; in
/// prediction, does nothing.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Dropout {
    rate: f64,
    seed: Option<u64>,
    noise_shape: Option<Vec<Option<usize>>>,
}

impl Dropout {
    pub fn new(rate: f64) -> Layer<Dropout> {
        Layer::new(Dropout { rate, ..Dropout::default() })
    }
}

impl Layer<Dropout> {
    setters! {
        /// A seed of the layer's own: what it drops no longer depends on the seed of the model.
        seed: some u64;
        /// The shape of the pattern that is dropped, with the batch first: 1 where elements along an axis are dropped
        /// together, `None` where each is for itself.
        noise_shape: some into Vec<Option<usize>>;
    }
}

/// Fails unless a rate is a fraction; `below` excludes 1.
pub(super) fn check_rate(kind: &str, rate: f64, below: bool) -> Result<(), Problem> {
    match (0.0..=1.0).contains(&rate) && !(below && rate == 1.0) {
        true => Ok(()),
        false => {
            let range = if below { "at least 0 and below 1" } else { "between 0 and 1" };
            Err(Problem::value(format!("{kind} with rate {rate}: must be {range}"))
                .help("the rate is the fraction that is dropped"))
        }
    }
}

/// The pattern's shape for items of a shape.
fn pattern(kind: &str, noise: &Option<Vec<Option<usize>>>, shape: &Shape) -> Result<Shape, Problem> {
    let Some(noise) = noise else { return Ok(shape.clone()) };
    let dim = |(&n, &d): (&Option<usize>, &Dim)| match n {
        None => Some(d),
        Some(1) => Some(Dim::ONE),
        Some(n) => (d == Dim::fixed(n)).then_some(d),
    };
    let dims: Option<Vec<Dim>> = noise.iter().zip(shape.iter()).map(dim).collect();
    match dims.filter(|dims| dims.len() == shape.rank() && noise.len() == shape.rank()) {
        Some(dims) => Ok(Shape(dims)),
        None => Err(Problem::shape(format!("{kind} of {shape} with noise_shape {noise:?}"))
            .help("give every axis, with the batch first, 1 or None, which is the axis' own extent")),
    }
}

/// Zeros a fraction of the elements and scales up the others; `pattern` has 1 for the axes that are dropped together.
pub(super) fn dropout(cx: &mut CallCx<'_>, x: NodeId, rate: f64, pattern: &Shape) -> NodeId {
    if rate == 0.0 {
        return x;
    }
    let zero = cx.lit_like(x, 0.0);
    if rate == 1.0 {
        return zero;
    }
    let keep = survivors(cx, x, rate, pattern);
    let scaled = cx.mul_s(x, 1.0 / (1.0 - rate));
    cx.select(keep, scaled, zero)
}

/// Which elements of `x` stay.
fn survivors(cx: &mut CallCx<'_>, x: NodeId, rate: f64, pattern: &Shape) -> NodeId {
    let bits = cx.random_bits(pattern);
    let limit = ((1.0 - rate) * 2f64.powi(32)).round().min(u32::MAX as f64);
    let limit = cx.lit_like(bits, limit);
    let keep = cx.lt(bits, limit);
    cx.broadcast_like(keep, x)
}

impl LayerDef for Dropout {
    fn kind(&self) -> &'static str {
        "Dropout"
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        check_rate(self.kind(), self.rate, false)?;
        pattern(self.kind(), &self.noise_shape, &cx.input().shape)?;
        cx.float()
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        if !cx.training() {
            return x.to_vec();
        }
        let shape = &cx.ty(x[0]).shape;
        let pattern = pattern(self.kind(), &self.noise_shape, shape).unwrap_or_else(|p| cx.fault(p.message));
        cx.seed(self.seed);
        vec![dropout(cx, x[0], self.rate, &pattern)]
    }
}

/// Dropout of whole channels of items with `N` spatial axes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default = "SpatialDropout::default")]
pub struct SpatialDropout<const N: usize> {
    rate: f64,
    seed: Option<u64>,
    /// Sequences have their features last.
    #[serde(skip_serializing_if = "Option::is_none")]
    data_format: Option<DataFormat>,
}

/// Dropout of whole features of sequences `[steps, features]`.
pub type SpatialDropout1D = SpatialDropout<1>;
/// Dropout of whole channels of images.
pub type SpatialDropout2D = SpatialDropout<2>;
/// Dropout of whole channels of volumes.
pub type SpatialDropout3D = SpatialDropout<3>;

impl<const N: usize> Default for SpatialDropout<N> {
    fn default() -> SpatialDropout<N> {
        SpatialDropout { rate: 0.0, seed: None, data_format: (N > 1).then_some(DataFormat::ChannelsLast) }
    }
}

impl<const N: usize> SpatialDropout<N> {
    pub fn new(rate: f64) -> Layer<SpatialDropout<N>> {
        Layer::new(SpatialDropout { rate, ..SpatialDropout::default() })
    }
}

impl<const N: usize> Layer<SpatialDropout<N>> {
    setters! {
        /// A seed of the layer's own: what it drops no longer depends on the seed of the model.
        seed: some u64;
        /// Where items have their channels.
        data_format: some DataFormat;
    }
}

impl<const N: usize> LayerDef for SpatialDropout<N> {
    fn kind(&self) -> &'static str {
        ranked::<N>(["SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"])
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        check_rate(self.kind(), self.rate, false)?;
        self.data_format.unwrap_or_default().item(cx, N).map(drop)
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        if !cx.training() {
            return x.to_vec();
        }
        let channels = match self.data_format.unwrap_or_default() {
            DataFormat::ChannelsLast => N + 1,
            DataFormat::ChannelsFirst => 1,
        };
        let shape = cx.ty(x[0]).shape.iter().enumerate();
        let pattern = shape.map(|(a, &d)| if a == 0 || a == channels { d } else { Dim::ONE }).collect();
        cx.seed(self.seed);
        vec![dropout(cx, x[0], self.rate, &Shape(pattern))]
    }
}

/// Dropout that keeps mean and variance of normalised inputs, for layers with `Selu`: dropped elements get its lowest
/// value, and the result is rescaled.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AlphaDropout {
    rate: f64,
    seed: Option<u64>,
    noise_shape: Option<Vec<Option<usize>>>,
}

impl AlphaDropout {
    pub fn new(rate: f64) -> Layer<AlphaDropout> {
        Layer::new(AlphaDropout { rate, ..AlphaDropout::default() })
    }
}

impl Layer<AlphaDropout> {
    setters! {
        /// A seed of the layer's own: what it drops no longer depends on the seed of the model.
        seed: some u64;
        /// The shape of the pattern that is dropped, as for [`Dropout`].
        noise_shape: some into Vec<Option<usize>>;
    }
}

impl LayerDef for AlphaDropout {
    fn kind(&self) -> &'static str {
        "AlphaDropout"
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        check_rate(self.kind(), self.rate, true)?;
        pattern(self.kind(), &self.noise_shape, &cx.input().shape)?;
        cx.float()
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        /// What `Selu` tends to for very negative numbers.
        const LOWEST: f64 = -1.673_263_242_354_377_2 * 1.050_700_987_355_480_5;
        if !cx.training() || self.rate == 0.0 {
            return x.to_vec();
        }
        let shape = &cx.ty(x[0]).shape;
        let pattern = pattern(self.kind(), &self.noise_shape, shape).unwrap_or_else(|p| cx.fault(p.message));
        cx.seed(self.seed);
        let keep = survivors(cx, x[0], self.rate, &pattern);
        let scale = ((1.0 - self.rate) * (1.0 + self.rate * LOWEST * LOWEST)).powf(-0.5);
        let lowest = cx.lit_like(x[0], LOWEST);
        let y = cx.select(keep, x[0], lowest);
        let y = cx.mul_s(y, scale);
        vec![cx.add_s(y, -scale * LOWEST * self.rate)]
    }
}
