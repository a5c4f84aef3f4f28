use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::check_numbers;
use crate::diag::{Code, Problem};
use crate::ir::{DType, Dim, Graph, NodeId, ReduceFn, Shape, TensorType};
use crate::model::CallCx;
use crate::model::layer::{BuildCx, Layer, LayerDef};
use crate::model::setters::setters;

/// What categories become.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputMode {
    /// Their numbers.
    Int,
    /// A row of zeros with a one for each.
    OneHot,
    /// One row for all of an item, with a one where a category occurs.
    #[serde(alias = "binary")]
    MultiHot,
    /// One row for all of an item, with the number of times that each category occurs.
    Count,
}

impl OutputMode {
    /// Encodes numbers of categories below `depth`; others leave no trace. Weights, if there are any, multiply counts.
    fn encode(self, g: &mut Graph, index: NodeId, depth: usize, weights: Option<NodeId>) -> NodeId {
        let mut index = index;
        let shape = g.ty(index).shape.clone();
        if self == OutputMode::Int {
            return index;
        }
        if self == OutputMode::OneHot && shape.rank() > 1 && shape.last() == Some(&Dim::ONE) {
            index = g.reshape(index, Shape(shape[..shape.rank() - 1].to_vec()));
        }
        let shape = g.ty(index).shape.clone();
        let rank = shape.rank();
        let wide = Shape(shape.iter().copied().chain([Dim::fixed(depth)]).collect());
        let class = g.iota(rank, DType::I32, wide.clone());
        let index = g.unreduce(index, &[rank], &wide);
        let hit = g.eq(index, class);
        let hot = g.cast(hit, DType::F32);
        match self {
            OutputMode::Int | OutputMode::OneHot => hot,
            OutputMode::MultiHot => g.reduce(ReduceFn::Max, hot, &[1]),
            OutputMode::Count => {
                let counted = match weights {
                    Some(weights) => {
                        let weights = g.unreduce(weights, &[rank], &wide);
                        g.mul(hot, weights)
                    }
                    None => hot,
                };
                g.sum(counted, &[1])
            }
        }
    }

    /// Fails where there is nothing to gather into one row.
    fn check(self, kind: &str, ty: &TensorType) -> Result<(), Problem> {
        match self {
            OutputMode::MultiHot | OutputMode::Count if ty.shape.rank() < 2 => {
                Err(Problem::shape(format!("{kind} of {ty}: an item is one category"))
                    .help("one row for several categories needs items with an axis; or use OutputMode::OneHot"))
            }
            _ => Ok(()),
        }
    }
}

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
        self.output_mode.check(self.kind(), cx.input())?;
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
        vec![self.output_mode.encode(cx, index, self.num_tokens, x.get(1).copied())]
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

impl Layer<Discretization> {
    setters! {
        output_mode: OutputMode;
    }
}

impl LayerDef for Discretization {
    fn kind(&self) -> &'static str {
        "Discretization"
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        check_numbers(cx, self.kind())?;
        let Some(boundaries) = self.bin_boundaries.as_ref().filter(|b| !b.is_empty()) else {
            return Err(Problem::value("Discretization without bin_boundaries").help("give at least one boundary"));
        };
        if !boundaries.is_sorted() || boundaries.iter().any(|b| !b.is_finite()) {
            return Err(Problem::value(format!("Discretization with bin_boundaries {boundaries:?}"))
                .help("boundaries are finite and rise"));
        }
        self.output_mode.check(self.kind(), cx.input())
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
        vec![self.output_mode.encode(cx, bin, boundaries.len() + 1, None)]
    }
}
