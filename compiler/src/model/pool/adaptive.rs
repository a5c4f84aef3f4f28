//! Pooling to a given extent.

use serde::{Deserialize, Serialize};

use crate::diag::Problem;
use crate::ir::{Graph, NodeId};
use crate::model::call::CallCx;
use crate::model::functions::express::attempt;
use crate::model::layer::{BuildCx, Layer, LayerDef};
use crate::model::setters::setters;
use crate::model::window::{DataFormat, Extents, check_extents, ranked};

macro_rules! adaptive_pooling {
    ($(#[doc = $doc:literal])+ $name:ident: $one:ident $two:ident $three:ident, $largest:literal) => {
        $(#[doc = $doc])+
        ///
        /// The window of result `i` of `n` goes from `i / n` of the extent, rounded down, to `(i + 1) / n`, rounded up:
        /// neighbours may overlap.
        #[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
        #[serde(default = "Default::default")]
        pub struct $name<const N: usize> {
            output_size: Extents<N>,
            data_format: DataFormat,
        }

        #[doc = concat!("[`", stringify!($name), "`] of sequences.")]
        pub type $one = $name<1>;
        #[doc = concat!("[`", stringify!($name), "`] of images.")]
        pub type $two = $name<2>;
        #[doc = concat!("[`", stringify!($name), "`] of volumes.")]
        pub type $three = $name<3>;

        impl<const N: usize> Default for $name<N> {
            fn default() -> $name<N> {
                $name { output_size: Extents([1; N]), data_format: DataFormat::ChannelsLast }
            }
        }

        impl<const N: usize> $name<N> {
            /// To items with these spatial extents.
            pub fn new(output_size: impl Into<Extents<N>>) -> Layer<$name<N>> {
                Layer::new($name { output_size: output_size.into(), ..$name::default() })
            }
        }

        impl<const N: usize> Layer<$name<N>> {
            setters! {
                data_format: DataFormat;
            }
        }

        impl<const N: usize> LayerDef for $name<N> {
            fn kind(&self) -> &'static str {
                ranked::<N>([stringify!($one), stringify!($two), stringify!($three)])
            }

            fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
                self.data_format.item(cx, N)?;
                check_extents(cx, "output_size", &self.output_size.0)?;
                let pool = |g: &mut Graph, x: &[NodeId]| {
                    Ok(vec![g.pooled_to(x[0], &self.output_size.0, $largest, self.data_format)?])
                };
                let fits = attempt(cx.inputs(), pool);
                fits.map(drop).map_err(|why| Problem::shape(format!("{}: {why}", self.kind())))
            }

            fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
                let y = cx.pooled_to(x[0], &self.output_size.0, $largest, self.data_format);
                vec![y.unwrap_or_else(|why| cx.fault(why))]
            }
        }
    };
}

adaptive_pooling! {
    /// The mean of so many windows as the result has places.
    AdaptiveAveragePooling: AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D, false
}

adaptive_pooling! {
    /// The largest element of so many windows as the result has places. Its gradient goes to the first of equal ones.
    AdaptiveMaxPooling: AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D, true
}
