use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::OutputMode;
use super::encode::encode;
use crate::diag::{Code, Problem};
use crate::ir::{DType, Graph, NodeId};
use crate::model::CallCx;
use crate::model::layer::{BuildCx, Layer, LayerDef};
use crate::model::setters::setters;
use crate::model::wide::{Wide, shifted};

/// Crosses whole numbers: all combinations of the values of two or more inputs are divided into a number of bins by a
/// hash. Keras's [`HashedCrossing`][keras] with its bins, which are those of TensorFlow's `tf.sparse.cross_hashed`.
///
/// The inputs are integers of one shape, a single one an item: `[batch]` or `[batch, 1]`. Their element types may differ.
/// The result is an `i32` of this shape that is below `num_bins`, or with the output mode `OneHot` an
/// `f32[batch, num_bins]`. There are between 1 and 2^31 - 1 bins.
///
/// [keras]: https://keras.io/api/layers/preprocessing_layers/categorical/hashed_crossing/
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HashedCrossing {
    num_bins: usize,
    output_mode: OutputMode,
}

impl HashedCrossing {
    /// With the output mode `Int`.
    pub fn new(num_bins: usize) -> Layer<HashedCrossing> {
        Layer::new(HashedCrossing { num_bins, ..HashedCrossing::default() })
    }
}

impl Layer<HashedCrossing> {
    setters! {
        /// `Int` for the numbers of bins, `OneHot` for rows with a one for each.
        output_mode: OutputMode;
    }
}

/// The hash of no column.
const KEY: u64 = 0x00DE_CAFC_AFFE;

/// TensorFlow's `FingerprintCat64`: the hash of one more column.
fn joined(g: &mut Graph, hash: Wide, column: Wide) -> Wide {
    const FACTOR: u64 = 0xC6A4_A793_5BD1_E995;
    // `x ^ (x >> 47)`
    fn mixed(g: &mut Graph, x: Wide) -> Wide {
        let top = shifted(g, x.high, 47 - u32::BITS);
        Wide { low: g.xor(x.low, top), ..x }
    }
    let factor = Wide::splat(g, FACTOR, hash);
    let hash = hash.xor(g, factor);
    let column = column.times(g, FACTOR);
    let column = mixed(g, column).times(g, FACTOR);
    let hash = hash.xor(g, column).times(g, FACTOR);
    let hash = mixed(g, hash).times(g, FACTOR);
    mixed(g, hash)
}

impl LayerDef for HashedCrossing {
    fn kind(&self) -> &'static str {
        "HashedCrossing"
    }

    fn arity(&self) -> RangeInclusive<usize> {
        2..=usize::MAX
    }

    /// Whatever the inputs are, bins are `int64` in Keras.
    fn computes_narrow(&self) -> bool {
        true
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        if self.num_bins == 0 || self.num_bins > i32::MAX as usize {
            let message = format!("HashedCrossing with num_bins {}: must be between 1 and {}", self.num_bins, i32::MAX);
            return Err(Problem::value(message));
        }
        if !matches!(self.output_mode, OutputMode::Int | OutputMode::OneHot) {
            return Err(Problem::value(format!("HashedCrossing with OutputMode::{:?}", self.output_mode))
                .help("an item has one bin: use OutputMode::Int or OutputMode::OneHot"));
        }
        if let Some(ty) = cx.inputs().iter().find(|ty| !ty.dtype.is_int()) {
            let help = match ty.dtype {
                DType::Bool => "make numbers of it first: `x.cast(I32)`",
                _ => "make categories of it first, with `Discretization` or `x.cast(I32)`",
            };
            return Err(
                Problem::new(Code::DType, format!("HashedCrossing takes integers, an input is {ty}")).help(help)
            );
        }
        let item = cx.any_item()?;
        if !matches!(item[..], [] | [1]) {
            return Err(Problem::shape(format!("HashedCrossing of {}, which has several numbers an item", cx.input()))
                .help("an item is one number: its shape is `()` or `[1]`"));
        }
        match cx.inputs().iter().find(|ty| ty.shape != cx.input().shape) {
            Some(ty) => Err(Problem::shape(format!("HashedCrossing of {} and {ty}", cx.input()))
                .help("all inputs have one shape; `Reshape::new([1])` gives scalars an axis")),
            None => Ok(()),
        }
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let columns: Vec<Wide> = x.iter().map(|&x| Wide::of_integers(cx, x)).collect();
        let key = Wide::splat(cx, KEY, columns[0]);
        let hash = columns.iter().fold(key, |hash, &column| joined(cx, hash, column));
        let bin = hash.remainder(cx, self.num_bins as u32);
        let bin = cx.cast(bin, DType::I32);
        vec![encode(self.output_mode, cx, bin, self.num_bins, None)]
    }
}
