//! Preprocessing: encodings of numbers and categories and random changes of images in training, which are part of the
//! graph, and layers over text, which make inputs before a call.

mod augment;
mod category;
mod color;
mod crop;
mod encode;
mod hashed_crossing;
mod lookup;
mod normalization;
mod quantiles;
mod resample;
mod rotation;
mod text;

pub use augment::{FlipMode, RandomFlip, RandomTranslation, RandomZoom};
pub use bakelite::text::{
    Hashing, IntegerLookup, Ngrams, OovMethod, OutputMode, Split, Standardize, StringLookup, TextVectorization,
};
pub use category::{CategoryEncoding, Discretization};
pub use color::{RandomBrightness, RandomContrast};
pub use crop::{CenterCrop, RandomCrop};
pub use hashed_crossing::HashedCrossing;
pub use normalization::Normalization;
pub use resample::{FillMode, Sampling};
pub use rotation::RandomRotation;
pub(crate) use text::TextDef;

use serde::{Deserialize, Serialize};

use crate::diag::{Code, Problem};
use crate::ir::{DType, NodeId, Shape};
use crate::model::CallCx;
use crate::model::layer::BuildCx;

/// The range that a random amount is drawn from: a number for both directions, or two ends.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Factor {
    Within(f64),
    Between([f64; 2]),
}

impl From<f64> for Factor {
    fn from(factor: f64) -> Factor {
        Factor::Within(factor)
    }
}

impl From<(f64, f64)> for Factor {
    fn from((low, high): (f64, f64)) -> Factor {
        Factor::Between([low, high])
    }
}

impl Factor {
    /// The ends in order. A single number reaches as far down as up, but not below the lowest.
    fn ends(self, lowest: f64) -> (f64, f64) {
        match self {
            Factor::Within(x) => ((-x.abs()).max(lowest), x.abs()),
            Factor::Between([a, b]) => (a.min(b), a.max(b)),
        }
    }

    /// Fails unless both ends are within bounds.
    fn check(self, kind: &str, argument: &str, lowest: f64, highest: f64) -> Result<(), Problem> {
        let given = match self {
            Factor::Within(x) => [x, x],
            Factor::Between(ends) => ends,
        };
        match given.iter().all(|x| (lowest..=highest).contains(x)) {
            true => Ok(()),
            false => {
                Err(Problem::value(format!("{kind} with {argument} {given:?}: must be between {lowest} and {highest}")))
            }
        }
    }
}

/// Fails unless the input is numbers that become `f32`.
fn check_numbers(cx: &BuildCx<'_>, kind: &str) -> Result<(), Problem> {
    match cx.input().dtype {
        DType::F64 | DType::Bool => {
            Err(Problem::new(Code::DType, format!("{kind} takes f32 or integers, its input is {}", cx.input())))
        }
        _ => Ok(()),
    }
}

/// A number for each item, uniform in `[low, high)`.
fn draw(cx: &mut CallCx<'_>, x: NodeId, low: f64, high: f64) -> NodeId {
    let items = Shape(vec![cx.ty(x).shape[0]]);
    cx.random_uniform(&items, low, high)
}
