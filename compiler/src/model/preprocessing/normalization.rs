use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::check_numbers;
use crate::diag::{Code, Problem};
use crate::ir::{DType, Dim, NodeId, Shape, TensorType};
use crate::model::CallCx;
use crate::model::initializer::Initializer;
use crate::model::layer::{BuildCx, Layer, LayerDef, Weight, resolve_axis};
use crate::model::setters::setters;

/// Centres and scales by a known mean and variance: `(x - mean) / sqrt(variance)`, or back.
///
/// Mean and variance are arguments, or [`Normalization::adapted`] computes them from data; a layer that has neither
/// has them as state, which begins as 0 and 1 and is loaded with the weights.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Normalization {
    axis: Kept,
    mean: Option<Array>,
    variance: Option<Array>,
    invert: bool,
}

/// The axes along which statistics differ: one, several, or none.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Kept {
    One(isize),
    Several(Vec<isize>),
    None,
}

/// Numbers with a shape; nested lists in JSON.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
struct Array {
    shape: Vec<usize>,
    values: Vec<f64>,
}

impl TryFrom<Value> for Array {
    type Error = String;

    fn try_from(value: Value) -> Result<Array, String> {
        match value {
            Value::Number(n) => Ok(Array { shape: Vec::new(), values: vec![n.as_f64().ok_or("no number")?] }),
            Value::Array(list) => {
                let rows = list.into_iter().map(Array::try_from).collect::<Result<Vec<Array>, String>>()?;
                let inner = rows.first().map(|row| row.shape.clone()).unwrap_or_default();
                if rows.iter().any(|row| row.shape != inner) {
                    return Err("rows of different lengths".into());
                }
                let shape = std::iter::once(rows.len()).chain(inner).collect();
                Ok(Array { shape, values: rows.into_iter().flat_map(|row| row.values).collect() })
            }
            other => Err(format!("`{other}` is neither a number nor a list of numbers")),
        }
    }
}

impl From<Array> for Value {
    fn from(array: Array) -> Value {
        match array.shape.split_first() {
            None => array.values.first().map_or(Value::Null, |x| Value::from(*x)),
            Some((_, inner)) => {
                let size = inner.iter().product::<usize>().max(1);
                let rows = array.values.chunks(size);
                let row = |values: &[f64]| Value::from(Array { shape: inner.to_vec(), values: values.to_vec() });
                Value::Array(rows.map(row).collect())
            }
        }
    }
}

impl Default for Normalization {
    fn default() -> Normalization {
        Normalization { axis: Kept::One(-1), mean: None, variance: None, invert: false }
    }
}

impl Normalization {
    /// With statistics that are loaded with the weights, for each element of the last axis.
    pub fn new() -> Layer<Normalization> {
        Layer::new(Normalization::default())
    }

    /// With the same mean and variance for every element of the last axis.
    pub fn of(mean: &[f64], variance: &[f64]) -> Layer<Normalization> {
        let array = |values: &[f64]| Some(Array { shape: vec![values.len()], values: values.to_vec() });
        Layer::new(Normalization { mean: array(mean), variance: array(variance), ..Normalization::default() })
    }

    /// With the statistics of data: rows of as many numbers as the last axis of the items has elements.
    pub fn adapted(data: &[f32], features: usize) -> Layer<Normalization> {
        let rows = data.chunks_exact(features.max(1));
        let count = rows.len().max(1) as f64;
        let column = |f: &dyn Fn(usize, f64) -> f64| -> Vec<f64> {
            let sum = |i| rows.clone().map(|row| f(i, row[i] as f64)).sum::<f64>();
            (0..features).map(|i| sum(i) / count).collect()
        };
        let mean = column(&|_, x| x);
        let variance = column(&|i, x| (x - mean[i]).powi(2));
        Normalization::of(&mean, &variance)
    }

    /// The axes that statistics differ along, in order.
    fn kept(&self, shape: &Shape) -> Result<Vec<usize>, Problem> {
        let list = match &self.axis {
            Kept::One(axis) => std::slice::from_ref(axis),
            Kept::Several(axes) => axes,
            Kept::None => &[],
        };
        let axes = list.iter().map(|&a| resolve_axis("Normalization", a, shape));
        let mut axes = axes.collect::<Result<Vec<usize>, Problem>>()?;
        axes.sort_unstable();
        axes.dedup();
        match axes.iter().find(|a| shape[**a].batch) {
            None => Ok(axes),
            Some(_) => Err(Problem::new(Code::Axis, "Normalization along the batch")
                .help("name the axes whose elements have statistics of their own, usually -1")),
        }
    }

    /// Stretches statistics over a shape.
    fn stretch(&self, cx: &mut CallCx<'_>, array: &Array, shape: &Shape, kept: &[usize]) -> NodeId {
        let dims = array.shape.iter().map(|&n| Dim::fixed(n)).collect();
        let values = cx.dense(TensorType::new(DType::F32, Shape(dims)), array.values.iter().copied());
        cx.broadcast(values, &kept[kept.len() - array.shape.len()..], shape.clone())
    }
}

impl Layer<Normalization> {
    setters! {
        /// Whether the layer undoes a normalisation: `x * sqrt(variance) + mean`.
        invert: bool;
    }

    /// Takes the statistics of data of this shape, whose first axis is the batch, along the axes that are set. A shape or
    /// an axis that does not fit the data is reported where the layer is applied.
    pub fn adapt(self, data: &[f32], shape: &[usize]) -> Layer<Normalization> {
        let dims = std::iter::once(Dim::BATCH).chain(shape.iter().skip(1).map(|&n| Dim::fixed(n)));
        let (size, whole) = (shape.iter().product::<usize>(), Shape(dims.collect()));
        self.with(|layer| {
            let statistics = match layer.kept(&whole) {
                Ok(kept) if size == data.len() && size > 0 => statistics(data, shape, &kept),
                // Nothing that any input fits.
                _ => [Array { shape: vec![0], values: Vec::new() }, Array { shape: vec![0], values: Vec::new() }],
            };
            let [mean, variance] = statistics;
            (layer.mean, layer.variance) = (Some(mean), Some(variance));
        })
    }

    /// One mean and one variance for all elements: Keras's `axis=None`.
    pub fn no_axis(self) -> Layer<Normalization> {
        self.with(|n| n.axis = Kept::None)
    }

    /// The axes along which statistics differ, counted with the batch as 0 or from the back; without any, one mean and
    /// one variance serve all elements.
    pub fn axis(self, axes: impl Into<Vec<isize>>) -> Layer<Normalization> {
        let axes = axes.into();
        self.with(|n| n.axis = Kept::Several(axes))
    }
}

/// Mean and variance of the elements at each place of some axes.
fn statistics(data: &[f32], shape: &[usize], kept: &[usize]) -> [Array; 2] {
    let extents: Vec<usize> = kept.iter().map(|&axis| shape[axis]).collect();
    let places: usize = extents.iter().product();
    // How far apart neighbours along an axis are among the places: nowhere, along an axis that is not kept.
    let mut strides = vec![0; shape.len()];
    kept.iter().rev().fold(1, |stride, &axis| {
        strides[axis] = stride;
        stride * shape[axis]
    });
    let place = |index: usize| {
        let axes = shape.iter().zip(&strides).rev();
        axes.fold((index, 0), |(rest, place), (extent, stride)| (rest / extent, place + rest % extent * stride)).1
    };
    let mean_of = |value: &dyn Fn(usize, f64) -> f64| {
        let mut sums = vec![0.0; places];
        for (index, &x) in data.iter().enumerate() {
            let place = place(index);
            sums[place] += value(place, f64::from(x));
        }
        let count = (data.len() / places) as f64;
        sums.into_iter().map(|sum| sum / count).collect::<Vec<f64>>()
    };
    let mean = mean_of(&|_, x| x);
    let variance = mean_of(&|place, x| (x - mean[place]).powi(2));
    [mean, variance].map(|values| Array { shape: extents.clone(), values })
}

impl LayerDef for Normalization {
    fn kind(&self) -> &'static str {
        "Normalization"
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        check_numbers(cx, self.kind())?;
        let shape = cx.input().shape.clone();
        let kept = self.kept(&shape)?;
        let (mean, variance) = match (&self.mean, &self.variance) {
            (Some(mean), Some(variance)) => (mean, variance),
            (None, None) => {
                let extents: Vec<usize> = kept.iter().map(|&a| shape[a].scale).collect();
                cx.weight(Weight::state("mean", extents.clone(), Initializer::Zeros))?;
                cx.weight(Weight::state("variance", extents, Initializer::Ones))?;
                // Keras counts batches here while it adapts, and keeps the number with the weights.
                return cx.weight(Weight::state("count", [], Initializer::Zeros));
            }
            _ => return Err(Problem::value("Normalization with only one of mean and variance").help("give both")),
        };
        let fits = |array: &Array| {
            let axes = kept.len().checked_sub(array.shape.len()).map(|skip| &kept[skip..]);
            axes.is_some_and(|axes| axes.iter().zip(&array.shape).all(|(&a, &n)| n == 1 || shape[a] == Dim::fixed(n)))
        };
        if !fits(mean) || mean.shape != variance.shape {
            let message = format!(
                "Normalization of {shape} with a mean of shape {:?} and a variance of shape {:?}",
                mean.shape, variance.shape
            );
            return Err(Problem::shape(message).help("both have the extents of the axes named by `axis`"));
        }
        match mean.values.iter().all(|x| x.is_finite()) && variance.values.iter().all(|x| x.is_finite() && *x >= 0.0) {
            true => Ok(()),
            false => Err(Problem::value("Normalization with a mean or variance that is not finite, or negative")),
        }
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        /// Keras's fuzz: the smallest standard deviation.
        const LEAST: f64 = 1e-7;
        let x = cx.cast(x[0], DType::F32);
        let shape = cx.ty(x).shape.clone();
        let kept = self.kept(&shape).unwrap_or_else(|p| cx.fault(p.message));
        let (mean, variance) = match (&self.mean, &self.variance) {
            (Some(mean), Some(variance)) => {
                (self.stretch(cx, mean, &shape, &kept), self.stretch(cx, variance, &shape, &kept))
            }
            _ => {
                let (mean, variance) = (cx.weight("mean"), cx.weight("variance"));
                (cx.broadcast(mean, &kept, shape.clone()), cx.broadcast(variance, &kept, shape))
            }
        };
        let stddev = cx.sqrt(variance);
        let stddev = cx.max_s(stddev, LEAST);
        vec![match self.invert {
            true => {
                let y = cx.mul(x, stddev);
                cx.add(y, mean)
            }
            false => {
                let y = cx.sub(x, mean);
                cx.div(y, stddev)
            }
        }]
    }
}
