//! Pooling of whole items.

use serde::{Deserialize, Serialize};

use crate::diag::Problem;
use crate::ir::{Dim, NodeId, ReduceFn, Shape};
use crate::model::call::CallCx;
use crate::model::layer::{BuildCx, Layer, LayerDef};
use crate::model::setters::setters;
use crate::model::window::{DataFormat, ranked};

macro_rules! global_pooling {
    ($(#[doc = $doc:literal])+ $name:ident: $($alias:ident<$n:literal>)+, $reduce:expr) => {
        $(#[doc = $doc])+
        ///
        /// Ready to apply, or to configure: `.keepdims(true)` keeps the spatial axes with extent 1.
        #[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
        #[serde(default = "Default::default")]
        pub struct $name<const N: usize> {
            data_format: DataFormat,
            keepdims: bool,
        }

        $(
            #[doc = concat!("[`", stringify!($name), "`] over ", stringify!($n), " spatial axes.")]
            pub type $alias = $name<$n>;
            #[doc = concat!("[`", stringify!($name), "`] over ", stringify!($n), " spatial axes with Keras's defaults.")]
            #[allow(non_upper_case_globals)]
            pub const $alias: $name<$n> = $name::new();
        )+

        impl<const N: usize> $name<N> {
            const NAMES: [&'static str; 3] = [$(stringify!($alias)),+];

            const fn new() -> $name<N> {
                $name { data_format: DataFormat::ChannelsLast, keepdims: false }
            }

            pub fn data_format(self, data_format: DataFormat) -> Layer<$name<N>> {
                Layer::new(self).data_format(data_format)
            }

            pub fn keepdims(self, keepdims: bool) -> Layer<$name<N>> {
                Layer::new(self).keepdims(keepdims)
            }
        }

        impl<const N: usize> Default for $name<N> {
            fn default() -> $name<N> {
                $name::new()
            }
        }

        impl<const N: usize> Layer<$name<N>> {
            setters! {
                data_format: DataFormat;
                keepdims: bool;
            }
        }

        impl<const N: usize> LayerDef for $name<N> {
            fn kind(&self) -> &'static str {
                ranked::<N>(Self::NAMES)
            }

            fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
                self.data_format.item(cx, N).map(drop)
            }

            fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
                let x = self.data_format.to_last(cx, x[0]);
                let reduce: fn(&mut CallCx<'_>, NodeId, &[usize]) -> NodeId = $reduce;
                let spatial: Vec<usize> = (1..=N).collect();
                let y = reduce(cx, x, &spatial);
                if !self.keepdims {
                    return vec![y];
                }
                let mut dims = cx.ty(y).shape.0.clone();
                dims.splice(1..1, [Dim::ONE; N]);
                let y = cx.reshape(y, Shape(dims));
                vec![self.data_format.restore(cx, y)]
            }
        }
    };
}

global_pooling! {
    /// The mean of each channel: items `[spatial..., channels]` become `[channels]`. Masked steps of a sequence do not
    /// count.
    GlobalAveragePooling: GlobalAveragePooling1D<1> GlobalAveragePooling2D<2> GlobalAveragePooling3D<3>,
    mean
}

/// The mean over the spatial axes of channels-last items. Only sequences look at their mask, as in Keras.
fn mean(cx: &mut CallCx<'_>, x: NodeId, axes: &[usize]) -> NodeId {
    let mask = cx.mask(0).filter(|_| axes.len() == 1);
    let Some(mask) = mask else { return cx.mean(x, axes) };
    let ty = cx.ty(x).clone();
    let counts = cx.broadcast(mask, &[0, 1], ty.shape.clone());
    let zero = cx.lit_like(x, 0.0);
    let kept = cx.select(counts, x, zero);
    let sum = cx.sum(kept, axes);
    let ones = cx.cast(mask, ty.dtype);
    let count = cx.sum(ones, &[1]);
    let shape = cx.ty(sum).shape.clone();
    let count = cx.broadcast(count, &[0], shape);
    cx.div(sum, count)
}

global_pooling! {
    /// The largest element of each channel: items `[spatial..., channels]` become `[channels]`. Equal elements share
    /// the gradient.
    GlobalMaxPooling: GlobalMaxPooling1D<1> GlobalMaxPooling2D<2> GlobalMaxPooling3D<3>,
    |cx, x, axes| cx.reduce(ReduceFn::Max, x, axes)
}
