use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::encode::{check_mode, encode};
use super::{OutputMode, check_numbers, quantiles};
use crate::diag::{Code, Problem};
use crate::ir::{DType, Dim, NodeId, Shape, TensorType};
use crate::model::CallCx;
use crate::model::layer::{BuildCx, Layer, LayerDef};
use crate::model::setters::setters;

/// Encodes numbers of categories, `0..num_tokens`, as rows of zeros and ones or of counts. Other numbers leave no
/// trace. Counts can have weights, a second input of the same shape.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct CategoryEncoding {
    num_tokens: usize,
    output_mode: OutputMode,
}

impl Default for CategoryEncoding {
    fn default() -> CategoryEncoding {
        CategoryEncoding { num_tokens: 0, output_mode: OutputMode::MultiHot }
    }
}

impl CategoryEncoding {
    /// With the output mode `MultiHot`.
    pub fn new(num_tokens: usize) -> Layer<CategoryEncoding> {
        Layer::new(CategoryEncoding { num_tokens, ..CategoryEncoding::default() })
    }
}

impl Layer<CategoryEncoding> {
    setters! {
        output_mode: OutputMode;
    }
}

impl LayerDef for CategoryEncoding {
    fn kind(&self) -> &'static str {
        "CategoryEncoding"
    }

    fn arity(&self) -> RangeInclusive<usize> {
        1..=2
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        cx.positive("num_tokens", self.num_tokens)?;
        check_numbers(cx, self.kind())?;
        if self.output_mode == OutputMode::Int {
            return Err(Problem::value("CategoryEncoding with OutputMode::Int, which encodes nothing"));
        }
        check_mode(self.output_mode, self.kind(), cx.input())?;
        let Some(weights) = cx.inputs().get(1) else { return Ok(()) };
        if self.output_mode != OutputMode::Count {
            return Err(Problem::new(Code::Arity, "CategoryEncoding uses weights for counts only")
                .help("set the output mode: `.output_mode(OutputMode::Count)`"));
        }
        match weights.dtype == DType::F32 && weights.shape == cx.input().shape {
            true => Ok(()),
            false => Err(Problem::shape(format!("CategoryEncoding of {} with weights {weights}", cx.input()))
                .help("weights are f32 and have the shape of the categories")),
        }
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let index = cx.cast(x[0], DType::I32);
        vec![encode(self.output_mode, cx, index, self.num_tokens, x.get(1).copied())]
    }
}

/// Numbers become the numbers of the bins that they fall into: how many boundaries are not above them.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Discretization {
    bin_boundaries: Option<Vec<f64>>,
    num_bins: Option<usize>,
    epsilon: f64,
    output_mode: OutputMode,
}

impl Default for Discretization {
    fn default() -> Discretization {
        Discretization { bin_boundaries: None, num_bins: None, epsilon: 0.01, output_mode: OutputMode::Int }
    }
}

impl Discretization {
    pub fn new(bin_boundaries: impl Into<Vec<f64>>) -> Layer<Discretization> {
        Layer::new(Discretization { bin_boundaries: Some(bin_boundaries.into()), ..Discretization::default() })
    }
}

impl Discretization {
    /// For so many bins, whose boundaries [`Layer::adapt`](Layer) learns from data.
    pub fn bins(num_bins: usize) -> Layer<Discretization> {
        Layer::new(Discretization { num_bins: Some(num_bins), ..Discretization::default() })
    }
}

impl Layer<Discretization> {
    /// Learns the boundaries that divide data into bins of about as many elements: from quantiles that are right to
    /// within `epsilon`. Infinite elements count as the largest numbers there are, NaN not at all.
    pub fn adapt(self, data: &[f32]) -> Layer<Discretization> {
        self.adapt_batches([data])
    }

    /// The same for data in batches, of which no more than a summary is kept.
    pub fn adapt_batches<'d>(self, batches: impl IntoIterator<Item = &'d [f32]>) -> Layer<Discretization> {
        self.with(|layer| {
            let (Some(bins), true) = (layer.num_bins.filter(|n| *n > 0), quantiles::is_sound(layer.epsilon)) else {
                return;
            };
            let empty = quantiles::Summary::default();
            let summary = batches.into_iter().fold(empty, |all, batch| all.merge(batch, layer.epsilon));
            layer.bin_boundaries = Some(summary.boundaries(bins)).filter(|boundaries| !boundaries.is_empty());
        })
    }

    setters! {
        /// How far quantiles may be off: a fraction of the elements.
        epsilon: f64;
        output_mode: OutputMode;
    }
}

impl LayerDef for Discretization {
    fn kind(&self) -> &'static str {
        "Discretization"
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        check_numbers(cx, self.kind())?;
        if !quantiles::is_sound(self.epsilon) {
            return Err(Problem::value(format!("Discretization with epsilon {}", self.epsilon))
                .help("it is a fraction of the elements: more than 0 and at most 1"));
        }
        let Some(boundaries) = self.bin_boundaries.as_ref().filter(|b| !b.is_empty()) else {
            let problem = Problem::value("Discretization without bin_boundaries");
            return Err(match self.num_bins {
                Some(bins) if bins < 2 => problem.help("a single bin has no boundary: use at least 2"),
                Some(_) => problem.help("let it learn them before it is applied: `.adapt(&data)`"),
                None => problem.help("give at least one boundary"),
            });
        };
        if !boundaries.is_sorted() || boundaries.iter().any(|b| !b.is_finite()) {
            return Err(Problem::value(format!("Discretization with bin_boundaries {boundaries:?}"))
                .help("boundaries are finite and rise"));
        }
        check_mode(self.output_mode, self.kind(), cx.input())
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let boundaries = self.bin_boundaries.clone().unwrap_or_default();
        let x = cx.cast(x[0], DType::F32);
        let shape = cx.ty(x).shape.clone();
        let rank = shape.rank();
        let wide = Shape(shape.iter().copied().chain([Dim::fixed(boundaries.len())]).collect());
        let row = TensorType::new(DType::F32, Shape::fixed(&[boundaries.len()]));
        let row = cx.dense(row, boundaries.iter().copied());
        let row = cx.broadcast(row, &[rank], wide.clone());
        let x = cx.unreduce(x, &[rank], &wide);
        let reached = cx.ge(x, row);
        let reached = cx.cast(reached, DType::I32);
        let bin = cx.sum(reached, &[rank]);
        vec![encode(self.output_mode, cx, bin, boundaries.len() + 1, None)]
    }
}
