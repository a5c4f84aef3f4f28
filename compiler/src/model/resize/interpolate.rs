//! Interpolation along an axis.
//!
//! Every method but the nearest neighbour is a weighted sum of a few neighbours, whose places and weights are known
//! when the model is built: a gather and a reduction.

use serde::{Deserialize, Serialize};

use crate::ir::{DType, Dim, Graph, NodeId, Op, Shape, TensorType};

/// How values between the elements of an image are found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// The value of the nearest element.
    Nearest,
    /// Straight lines between the two neighbours.
    #[default]
    Bilinear,
    /// The cubic kernel of Keys with `a = -1/2`, over four neighbours.
    Bicubic,
    /// A windowed sinc over six neighbours.
    Lanczos3,
    /// A windowed sinc over ten neighbours.
    Lanczos5,
}

/// The elements that make up each element of a result, and their weights.
struct Taps {
    /// How many elements each result has; where it needs fewer, the others have weight 0.
    width: usize,
    places: Vec<usize>,
    weights: Vec<f64>,
}

impl Interpolation {
    /// The weight of an element at a distance of at least 0.
    fn kernel(self, x: f64) -> f64 {
        let lanczos = |radius: f64| match x {
            x if x > radius => 0.0,
            x if x <= 1e-3 => 1.0,
            x => {
                let angle = std::f64::consts::PI * x;
                radius * angle.sin() * (angle / radius).sin() / (angle * angle)
            }
        };
        match self {
            Interpolation::Nearest | Interpolation::Bilinear => (1.0 - x).max(0.0),
            Interpolation::Bicubic if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
            Interpolation::Bicubic if x < 2.0 => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
            Interpolation::Bicubic => 0.0,
            Interpolation::Lanczos3 => lanczos(3.0),
            Interpolation::Lanczos5 => lanczos(5.0),
        }
    }

    /// How far the kernel reaches.
    fn radius(self) -> f64 {
        match self {
            Interpolation::Nearest | Interpolation::Bilinear => 1.0,
            Interpolation::Bicubic => 2.0,
            Interpolation::Lanczos3 => 3.0,
            Interpolation::Lanczos5 => 5.0,
        }
    }

    /// The taps from `input` to `output` elements whose ends coincide. With `antialias`, the kernel widens where the
    /// result is smaller.
    fn taps(self, input: usize, output: usize, antialias: bool) -> Taps {
        let step = input as f64 / output as f64;
        if self == Interpolation::Nearest {
            // In single precision, as the reference rounds.
            let place = |o: usize| ((o as f32 + 0.5) * input as f32 / output as f32).floor() as usize;
            let places: Vec<usize> = (0..output).map(|o| place(o).min(input - 1)).collect();
            return Taps { width: 1, weights: vec![1.0; output], places };
        }
        let spread = if antialias { step.max(1.0) } else { 1.0 };
        let reach = self.radius() * spread;
        let rows: Vec<Vec<(usize, f64)>> = (0..output)
            .map(|o| {
                let centre = (o as f64 + 0.5) * step - 0.5;
                let (low, high) = ((centre - reach).floor().max(0.0), (centre + reach).ceil().min(input as f64 - 1.0));
                let weight = |i: usize| self.kernel((centre - i as f64).abs() / spread);
                let mut row: Vec<(usize, f64)> = (low as usize..=high as usize).map(|i| (i, weight(i))).collect();
                // Elements outside do not count.
                let total: f64 = row.iter().map(|t| t.1).sum();
                row.retain(|t| t.1 != 0.0);
                row.iter_mut().for_each(|t| t.1 /= total);
                row
            })
            .collect();
        let width = rows.iter().map(|r| r.len()).max().unwrap_or(0);
        let padded = |row: &Vec<(usize, f64)>| {
            let last = row.last().map_or(0, |t| t.0);
            let mut row = row.clone();
            row.resize(width, (last, 0.0));
            row
        };
        let (places, weights) = rows.iter().flat_map(padded).unzip();
        Taps { width, places, weights }
    }

    /// Resizes one axis of a floating tensor, or with [`Interpolation::Nearest`] of any tensor.
    pub(super) fn axis(self, g: &mut Graph, x: NodeId, axis: usize, output: usize, antialias: bool) -> NodeId {
        let input = g.ty(x).shape[axis].scale;
        if input == output {
            return x;
        }
        let taps = self.taps(input, output, antialias);
        let dims = if self == Interpolation::Nearest { vec![output] } else { vec![output, taps.width] };
        let ty = |dtype| TensorType::new(dtype, Shape(dims.iter().map(|&n| Dim::fixed(n)).collect()));
        let places = g.dense(ty(DType::I32), taps.places.iter().map(|&i| i as f64));
        let picked = g.push(Op::Gather { axis, batch: 0 }, &[x, places]);
        if self == Interpolation::Nearest {
            return picked;
        }
        let dtype = g.ty(x).dtype;
        let weights = g.dense(ty(dtype), taps.weights);
        let shape = g.ty(picked).shape.clone();
        let weights = g.broadcast(weights, &[axis, axis + 1], shape);
        let weighted = g.mul(picked, weights);
        g.sum(weighted, &[axis + 1])
    }
}
