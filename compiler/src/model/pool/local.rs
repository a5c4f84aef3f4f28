//! Pooling of windows.

use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

use crate::diag::Problem;
use crate::ir::{DType, Graph, NodeId, ReduceFn, Shape, TensorType};
use crate::model::call::CallCx;
use crate::model::layer::{BuildCx, Layer, LayerDef};
use crate::model::setters::setters;
use crate::model::window::{DataFormat, Extents, Padding, Windows, ranked};

macro_rules! pooling {
    ($(#[doc = $doc:literal])+ $name:ident: $($alias:ident)+) => {
        $(#[doc = $doc])+
        #[derive(Clone, PartialEq, Debug, Deserialize)]
        #[serde(default = "Default::default")]
        pub struct $name<const N: usize> {
            pool_size: Extents<N>,
            strides: Option<Extents<N>>,
            padding: Padding,
            data_format: DataFormat,
        }

        pooling! { @aliases $name $($alias)+ }

        impl<const N: usize> Default for $name<N> {
            fn default() -> $name<N> {
                let (padding, data_format) = (Padding::Valid, DataFormat::ChannelsLast);
                $name { pool_size: Extents([2; N]), strides: None, padding, data_format }
            }
        }

        impl<const N: usize> $name<N> {
            /// Windows of this size side by side, unless `strides` says otherwise; Keras's default is 2.
            pub fn new(pool_size: impl Into<Extents<N>>) -> Layer<$name<N>> {
                Layer::new($name { pool_size: pool_size.into(), ..$name::default() })
            }

            fn pool(&self) -> Pool<'_> {
                let windows = Windows {
                    size: &self.pool_size.0,
                    strides: &self.strides.as_ref().unwrap_or(&self.pool_size).0,
                    dilation: &[1; N],
                    padding: self.padding,
                };
                Pool { windows, format: self.data_format }
            }
        }

        impl<const N: usize> Serialize for $name<N> {
            /// Keras writes the strides that the pool size stands for.
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut form = serializer.serialize_struct(stringify!($name), 4)?;
                form.serialize_field("pool_size", &self.pool_size)?;
                form.serialize_field("strides", &self.strides.unwrap_or(self.pool_size))?;
                form.serialize_field("padding", &self.padding)?;
                form.serialize_field("data_format", &self.data_format)?;
                form.end()
            }
        }

        impl<const N: usize> Layer<$name<N>> {
            setters! {
                strides: some into Extents<N>;
                padding: Padding;
                data_format: DataFormat;
            }
        }
    };
    (@aliases $name:ident $one:ident $two:ident $three:ident) => {
        #[doc = concat!("[`", stringify!($name), "`] of sequences.")]
        pub type $one = $name<1>;
        #[doc = concat!("[`", stringify!($name), "`] of images.")]
        pub type $two = $name<2>;
        #[doc = concat!("[`", stringify!($name), "`] of volumes.")]
        pub type $three = $name<3>;
    };
}

/// The arguments of a layer.
#[derive(Clone, Copy)]
struct Pool<'a> {
    windows: Windows<'a>,
    format: DataFormat,
}

impl Pool<'_> {
    fn build(&self, cx: &BuildCx<'_>) -> Result<(), Problem> {
        let rank = self.windows.size.len();
        let item = self.format.item(cx, rank)?;
        self.windows.check(cx, "pool_size", &item[..rank])
    }
}

/// The axes of a window in `[batch, positions..., channels, window...]`.
fn window_axes(g: &Graph, windows: NodeId) -> Vec<usize> {
    let rank = g.ty(windows).shape.rank();
    (rank / 2 + 1..rank).collect()
}

pooling! {
    /// The largest element of each window. Its gradient goes to the first of equal ones.
    MaxPooling: MaxPooling1D MaxPooling2D MaxPooling3D
}

impl<const N: usize> LayerDef for MaxPooling<N> {
    fn kind(&self) -> &'static str {
        ranked::<N>(["MaxPooling1D", "MaxPooling2D", "MaxPooling3D"])
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        self.pool().build(cx)
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let pool = self.pool();
        vec![pool.format.apply(cx, x[0], |cx, x| largest(cx, pool.windows, x))]
    }
}

/// The largest element of each window of channels-last items.
pub(in crate::model) fn largest(g: &mut Graph, pool: Windows<'_>, x: NodeId) -> NodeId {
    let windows = pool.over(g, x, f64::NEG_INFINITY);
    let axes = window_axes(g, windows);
    largest_of(g, windows, &axes)
}

/// The largest element along axes, whose gradient goes to the first of equal ones.
pub(in crate::model) fn largest_of(g: &mut Graph, windows: NodeId, axes: &[usize]) -> NodeId {
    let best = g.reduce(ReduceFn::Max, windows, axes);
    // The gradient of the reduction would share among equal elements; that of the first one picks it.
    let first = first_of_equals(g, windows, best, axes);
    g.gradient_of(best, first)
}

/// The first element of each window, in row-major order, that equals the given one, as a sum over the window in which
/// all others are left out.
fn first_of_equals(g: &mut Graph, windows: NodeId, best: NodeId, axes: &[usize]) -> NodeId {
    let shape = g.ty(windows).shape.clone();
    let best = g.unreduce(best, axes, &shape);
    let hit = g.ge(windows, best);
    let (place, places) = place_in_window(g, &shape, axes);
    let nowhere = g.lit_like(place, places as f64);
    let candidate = g.select(hit, place, nowhere);
    let first = g.reduce(ReduceFn::Min, candidate, axes);
    let first = g.unreduce(first, axes, &shape);
    let chosen = g.eq(place, first);
    let zero = g.lit_like(windows, 0.0);
    let kept = g.select(chosen, windows, zero);
    g.sum(kept, axes)
}

/// The row-major index within each window, and how many there are.
fn place_in_window(g: &mut Graph, shape: &Shape, axes: &[usize]) -> (NodeId, usize) {
    let ty = TensorType::new(DType::I32, shape.clone());
    let mut place = g.splat_of(0.0, ty);
    let mut weight = 1;
    for &axis in axes.iter().rev() {
        let index = g.iota(axis, DType::I32, shape.clone());
        let index = g.mul_s(index, weight as f64);
        place = g.add(index, place);
        weight *= shape[axis].scale;
    }
    (place, weight)
}

pooling! {
    /// The mean of each window; padding does not count.
    AveragePooling: AveragePooling1D AveragePooling2D AveragePooling3D
}

impl<const N: usize> LayerDef for AveragePooling<N> {
    fn kind(&self) -> &'static str {
        ranked::<N>(["AveragePooling1D", "AveragePooling2D", "AveragePooling3D"])
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        self.pool().build(cx)
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let pool = self.pool();
        vec![pool.format.apply(cx, x[0], |cx, x| mean(cx, pool.windows, x))]
    }
}

/// The mean of each window of channels-last items; padding does not count.
pub(in crate::model) fn mean(g: &mut Graph, pool: Windows<'_>, x: NodeId) -> NodeId {
    let extents: Vec<usize> = g.ty(x).shape[1..=pool.size.len()].iter().map(|d| d.scale).collect();
    let windows = pool.over(g, x, 0.0);
    let axes = window_axes(g, windows);
    let mut mean = g.sum(windows, &axes);
    if pool.padding == Padding::Valid {
        return g.mul_s(mean, 1.0 / pool.size.iter().product::<usize>() as f64);
    }
    let shape = g.ty(mean).shape.clone();
    for (axis, counts) in pool.counts(&extents).into_iter().enumerate() {
        let ty = TensorType::new(DType::F32, Shape::fixed(&[counts.len()]));
        let shares = g.dense(ty, counts.into_iter().map(|n| 1.0 / n));
        let shares = g.broadcast(shares, &[axis + 1], shape.clone());
        mean = g.mul(mean, shares);
    }
    mean
}
