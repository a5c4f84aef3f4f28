//! The arguments that all convolutions share.

use serde::{Deserialize, Serialize};

use crate::model::layer::{Layer, LayerDef};
use crate::model::setters::setters;
use crate::model::window::{DataFormat, Extents, Padding, Windows};

/// A window that slides over `N` axes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default = "ConvArguments::default")]
pub struct ConvArguments<const N: usize> {
    pub kernel_size: Extents<N>,
    pub strides: Extents<N>,
    pub padding: Padding,
    pub data_format: DataFormat,
    pub dilation_rate: Extents<N>,
}

impl<const N: usize> Default for ConvArguments<N> {
    fn default() -> ConvArguments<N> {
        ConvArguments {
            kernel_size: Extents([0; N]),
            strides: Extents([1; N]),
            padding: Padding::Valid,
            data_format: DataFormat::ChannelsLast,
            dilation_rate: Extents([1; N]),
        }
    }
}

impl<const N: usize> ConvArguments<N> {
    pub fn new(kernel_size: impl Into<Extents<N>>) -> ConvArguments<N> {
        ConvArguments { kernel_size: kernel_size.into(), ..ConvArguments::default() }
    }

    pub(in crate::model) fn windows(&self) -> Windows<'_> {
        Windows {
            size: &self.kernel_size.0,
            strides: &self.strides.0,
            dilation: &self.dilation_rate.0,
            padding: self.padding,
        }
    }

    /// The extents of the window and those behind them: the shape of a kernel.
    pub fn kernel(&self, rest: [usize; 2]) -> Vec<usize> {
        [&self.kernel_size.0[..], &rest].concat()
    }

    /// The extent of the last axis of a result with so many filters, for the spatial extents of the input.
    pub fn features(&self, extents: &[usize], filters: usize) -> usize {
        self.data_format.last(&self.windows().positions(extents), filters)
    }
}

/// A layer that convolves.
pub trait Convolution {
    type Arguments;

    fn arguments(&mut self) -> &mut Self::Arguments;
}

impl<const N: usize, D: LayerDef + Clone + Convolution<Arguments = ConvArguments<N>>> Layer<D> {
    setters! {
        in Convolution::arguments;
        strides: into Extents<N>;
        padding: Padding;
        data_format: DataFormat;
        dilation_rate: into Extents<N>;
    }
}

/// [`Convolution`] of a definition that has the arguments in a field.
macro_rules! convolution {
    ($def:ident => $($path:ident).+) => {
        impl<const N: usize> $crate::model::conv::Convolution for $def<N> {
            type Arguments = $crate::model::conv::ConvArguments<N>;

            fn arguments(&mut self) -> &mut Self::Arguments {
                &mut self.$($path).+
            }
        }
    };
}

pub(crate) use convolution;
