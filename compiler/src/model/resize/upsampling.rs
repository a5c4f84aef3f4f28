//! Upsampling by whole factors.

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use super::Interpolation;
use crate::diag::Problem;
use crate::ir::{Dim, Graph, NodeId, Shape};
use crate::model::call::CallCx;
use crate::model::layer::{BuildCx, Layer, LayerDef};
use crate::model::setters::setters;
use crate::model::window::{DataFormat, Extents, check_extents, ranked};

/// Each element `size` times along the spatial axes; images can be interpolated instead.
#[derive(Clone, Copy, PartialEq, Debug, Deserialize)]
#[serde(default = "UpSampling::default")]
pub struct UpSampling<const N: usize> {
    size: Extents<N>,
    data_format: DataFormat,
    interpolation: Interpolation,
}

/// Each step of a sequence several times.
pub type UpSampling1D = UpSampling<1>;
/// Each element of an image several times, or interpolated.
pub type UpSampling2D = UpSampling<2>;
/// Each element of a volume several times.
pub type UpSampling3D = UpSampling<3>;

impl<const N: usize> Default for UpSampling<N> {
    fn default() -> UpSampling<N> {
        let (data_format, interpolation) = (DataFormat::ChannelsLast, Interpolation::Nearest);
        UpSampling { size: Extents([2; N]), data_format, interpolation }
    }
}

impl<const N: usize> UpSampling<N> {
    pub fn new(size: impl Into<Extents<N>>) -> Layer<UpSampling<N>> {
        Layer::new(UpSampling { size: size.into(), ..UpSampling::default() })
    }
}

impl<const N: usize> Layer<UpSampling<N>> {
    setters! {
        data_format: DataFormat;
    }
}

impl Layer<UpSampling2D> {
    setters! {
        interpolation: Interpolation;
    }
}

impl<const N: usize> LayerDef for UpSampling<N> {
    fn kind(&self) -> &'static str {
        ranked::<N>(["UpSampling1D", "UpSampling2D", "UpSampling3D"])
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        match self.interpolation {
            Interpolation::Nearest => self.data_format.any_item(cx, N)?,
            _ => self.data_format.item(cx, N)?,
        };
        check_extents(cx, "size", &self.size.0)
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        vec![self.data_format.apply(cx, x[0], |cx, x| {
            if self.interpolation == Interpolation::Nearest {
                return repeat(cx, x, &self.size.0);
            }
            (0..N).fold(x, |x, i| {
                let output = cx.ty(x).shape[i + 1].scale * self.size.0[i];
                self.interpolation.axis(cx, x, i + 1, output, false)
            })
        })]
    }
}

/// Repeats elements along the spatial axes of channels-last items, each next to itself.
fn repeat(g: &mut Graph, x: NodeId, size: &[usize]) -> NodeId {
    let shape = g.ty(x).shape.clone();
    let (mut wide, mut places, mut merged) = (vec![shape[0]], vec![0], vec![shape[0]]);
    for (dim, &n) in shape[1..].iter().zip(size) {
        places.push(wide.len());
        wide.extend([*dim, Dim::fixed(n)]);
        merged.push(Dim::fixed(dim.scale * n));
    }
    places.push(wide.len());
    wide.push(shape[size.len() + 1]);
    merged.push(shape[size.len() + 1]);
    let repeated = g.broadcast(x, &places, Shape(wide));
    g.reshape(repeated, Shape(merged))
}

impl<const N: usize> Serialize for UpSampling<N> {
    /// Keras's configuration, in which sequences have neither a layout nor an interpolation, and volumes no
    /// interpolation.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match &self.size.0[..] {
            [n] => map.serialize_entry("size", n)?,
            _ => map.serialize_entry("size", &self.size)?,
        }
        if N > 1 {
            map.serialize_entry("data_format", &self.data_format)?;
        }
        if N == 2 {
            map.serialize_entry("interpolation", &self.interpolation)?;
        }
        map.end()
    }
}
