//! Layers that add margins to items or cut them off.

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use super::call::CallCx;
use super::layer::{BuildCx, Layer, LayerDef};
use super::setters::setters;
use super::window::{DataFormat, axis_name, check_size, ranked};
use crate::diag::Problem;
use crate::ir::{Dim, NodeId, Number, Op, PadAxis, SliceAxis};

/// How much to add or cut at both ends of each spatial axis: `1` everywhere, `(1, 2)` along one axis at its two ends
/// and along two axes at both ends of each, `((1, 2), (0, 1))` at every end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Margins<const N: usize>(pub [(usize, usize); N]);

impl<const N: usize> From<usize> for Margins<N> {
    fn from(n: usize) -> Margins<N> {
        Margins([(n, n); N])
    }
}

impl<const N: usize> From<[(usize, usize); N]> for Margins<N> {
    fn from(ends: [(usize, usize); N]) -> Margins<N> {
        Margins(ends)
    }
}

impl From<(usize, usize)> for Margins<1> {
    fn from(ends: (usize, usize)) -> Margins<1> {
        Margins([ends])
    }
}

impl From<(usize, usize)> for Margins<2> {
    fn from((rows, columns): (usize, usize)) -> Margins<2> {
        Margins([(rows, rows), (columns, columns)])
    }
}

impl From<((usize, usize), (usize, usize))> for Margins<2> {
    fn from((rows, columns): ((usize, usize), (usize, usize))) -> Margins<2> {
        Margins([rows, columns])
    }
}

impl From<(usize, usize, usize)> for Margins<3> {
    fn from((a, b, c): (usize, usize, usize)) -> Margins<3> {
        Margins([(a, a), (b, b), (c, c)])
    }
}

impl From<((usize, usize), (usize, usize), (usize, usize))> for Margins<3> {
    fn from((a, b, c): ((usize, usize), (usize, usize), (usize, usize))) -> Margins<3> {
        Margins([a, b, c])
    }
}

/// Zeros around items `[spatial..., channels]` of any type.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default = "ZeroPadding::default")]
pub struct ZeroPadding<const N: usize> {
    padding: Margins<N>,
    data_format: DataFormat,
}

/// Zeros before and behind sequences.
pub type ZeroPadding1D = ZeroPadding<1>;
/// Zeros around images.
pub type ZeroPadding2D = ZeroPadding<2>;
/// Zeros around volumes.
pub type ZeroPadding3D = ZeroPadding<3>;

impl<const N: usize> Default for ZeroPadding<N> {
    fn default() -> ZeroPadding<N> {
        ZeroPadding { padding: Margins([(1, 1); N]), data_format: DataFormat::ChannelsLast }
    }
}

impl<const N: usize> ZeroPadding<N> {
    pub fn new(padding: impl Into<Margins<N>>) -> Layer<ZeroPadding<N>> {
        Layer::new(ZeroPadding { padding: padding.into(), ..ZeroPadding::default() })
    }
}

impl<const N: usize> Layer<ZeroPadding<N>> {
    setters! {
        data_format: DataFormat;
    }
}

impl<const N: usize> LayerDef for ZeroPadding<N> {
    fn kind(&self) -> &'static str {
        ranked::<N>(["ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D"])
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        self.data_format.any_item(cx, N)?;
        self.padding.0.iter().try_for_each(|p| check_size(cx, "padding", p.0.max(p.1)))
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        vec![self.data_format.apply(cx, x[0], |cx, x| {
            let mut axes = vec![PadAxis::default(); N + 2];
            for (axis, &(low, high)) in axes[1..].iter_mut().zip(&self.padding.0) {
                *axis = PadAxis { low, high, interior: 0 };
            }
            cx.push(Op::Pad { axes, value: Number(0.0) }, &[x])
        })]
    }
}

/// Items `[spatial..., channels]` of any type without their margins.
#[derive(Clone, Copy, PartialEq, Debug, Deserialize)]
#[serde(default = "Cropping::default")]
pub struct Cropping<const N: usize> {
    cropping: Margins<N>,
    data_format: DataFormat,
}

/// Sequences without their first and last steps.
pub type Cropping1D = Cropping<1>;
/// Images without their margins.
pub type Cropping2D = Cropping<2>;
/// Volumes without their margins.
pub type Cropping3D = Cropping<3>;

impl<const N: usize> Default for Cropping<N> {
    fn default() -> Cropping<N> {
        let margin = if N == 2 { 0 } else { 1 };
        Cropping { cropping: Margins([(margin, margin); N]), data_format: DataFormat::ChannelsLast }
    }
}

impl<const N: usize> Cropping<N> {
    pub fn new(cropping: impl Into<Margins<N>>) -> Layer<Cropping<N>> {
        Layer::new(Cropping { cropping: cropping.into(), ..Cropping::default() })
    }
}

impl<const N: usize> Layer<Cropping<N>> {
    setters! {
        data_format: DataFormat;
    }
}

impl<const N: usize> LayerDef for Cropping<N> {
    fn kind(&self) -> &'static str {
        ranked::<N>(["Cropping1D", "Cropping2D", "Cropping3D"])
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        let item = self.data_format.any_item(cx, N)?;
        for (axis, (&(low, high), &extent)) in self.cropping.0.iter().zip(&item).enumerate() {
            check_size(cx, "cropping", low.max(high))?;
            if low + high >= extent {
                let (kind, name) = (self.kind(), axis_name(axis, N));
                return Err(Problem::shape(format!(
                    "{kind} cuts {low} and {high} of {extent} {name}, nothing is left"
                )));
            }
        }
        Ok(())
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        vec![self.data_format.apply(cx, x[0], |cx, x| {
            let shape = cx.ty(x).shape.clone();
            let mut axes: Vec<SliceAxis> = shape.iter().map(|&count| SliceAxis { start: 0, step: 1, count }).collect();
            for (axis, &(low, high)) in axes[1..].iter_mut().zip(&self.cropping.0) {
                let count = Dim::fixed(axis.count.scale - low - high);
                *axis = SliceAxis { start: low, step: 1, count };
            }
            cx.part(x, axes)
        })]
    }
}

impl<const N: usize> Serialize for Cropping<N> {
    /// Keras's configuration, in which sequences have no layout.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("cropping", &self.cropping)?;
        if N > 1 {
            map.serialize_entry("data_format", &self.data_format)?;
        }
        map.end()
    }
}

impl<const N: usize> Serialize for Margins<N> {
    /// A list of pairs; along one axis the pair alone.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0[..] {
            [ends] => ends.serialize(serializer),
            ends => serializer.collect_seq(ends),
        }
    }
}

impl<'de, const N: usize> Deserialize<'de> for Margins<N> {
    /// One number, a pair for one axis, or for each axis a number or a pair.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Margins<N>, D::Error> {
        #[derive(Clone, Copy, Deserialize)]
        #[serde(untagged)]
        enum Ends {
            Both(usize),
            Each(usize, usize),
        }
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            All(usize),
            Axes(Vec<Ends>),
        }
        let pair = |ends: &Ends| match *ends {
            Ends::Both(n) => (n, n),
            Ends::Each(low, high) => (low, high),
        };
        let list = match Form::deserialize(deserializer)? {
            Form::All(n) => return Ok(Margins::from(n)),
            Form::Axes(list) => list,
        };
        if let (1, [Ends::Both(low), Ends::Both(high)]) = (N, &list[..]) {
            return Ok(Margins([(*low, *high); N]));
        }
        let pairs: Vec<(usize, usize)> = list.iter().map(pair).collect();
        let expected = format!("margins of {N} axes");
        <[_; N]>::try_from(pairs)
            .map(Margins)
            .map_err(|pairs| serde::de::Error::invalid_length(pairs.len(), &expected.as_str()))
    }
}
