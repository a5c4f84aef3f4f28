//! Pooling.

use super::CallCx;
use super::layer::{BuildCx, Layer, LayerDef};
use super::window::{Padding, Pair, Windows};
use crate::diag::Problem;
use crate::ir::{DType, NodeId, ReduceFn, Shape, TensorType};

macro_rules! pooling {
    ($(#[doc = $doc:literal])+ $name:ident) => {
        $(#[doc = $doc])+
        #[derive(Clone, PartialEq, Debug)]
        pub struct $name {
            windows: Windows,
        }

        impl $name {
            /// Windows of this size side by side, unless [`Layer::strides`] says otherwise; Keras's default is 2.
            pub fn new(pool_size: impl Into<Pair>) -> Layer<$name> {
                let size = pool_size.into().0.to_vec();
                let windows =
                    Windows { strides: size.clone(), size, dilation: vec![1; 2], padding: Padding::Valid };
                Layer::new($name { windows })
            }
        }

        impl Layer<$name> {
            pub fn strides(self, strides: impl Into<Pair>) -> Layer<$name> {
                self.with(|p| p.windows.strides = strides.into().0.to_vec())
            }

            pub fn padding(self, padding: Padding) -> Layer<$name> {
                self.with(|p| p.windows.padding = padding)
            }
        }
    };
}

pooling! {
    /// The largest element of each window. Its gradient goes to the first of equal ones.
    MaxPooling2D
}

impl LayerDef for MaxPooling2D {
    fn kind(&self) -> &'static str {
        "MaxPooling2D"
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        let item = cx.item(3, "rows, columns, channels")?;
        self.windows.check(self.kind(), "pool_size", cx, &item[..2])
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let windows = self.windows.over(cx, x[0], f64::NEG_INFINITY);
        let best = cx.reduce(ReduceFn::Max, windows, &[4, 5]);
        if !cx.training() {
            return vec![best];
        }
        // The reduction would share its gradient among equal elements, so training picks the first one by its place.
        let shape = cx.ty(windows).shape.clone();
        let best = cx.unreduce(best, &[4, 5], &shape);
        let hit = cx.ge(windows, best);
        let place = place_in_window(cx, &shape);
        let nowhere = cx.lit_like(place, (shape[4].scale * shape[5].scale) as f64);
        let candidate = cx.select(hit, place, nowhere);
        let first = cx.reduce(ReduceFn::Min, candidate, &[4, 5]);
        let first = cx.unreduce(first, &[4, 5], &shape);
        let chosen = cx.eq(place, first);
        let zero = cx.lit_like(windows, 0.0);
        let kept = cx.select(chosen, windows, zero);
        vec![cx.sum(kept, &[4, 5])]
    }
}

/// The row-major index within each window.
fn place_in_window(cx: &mut CallCx<'_>, shape: &Shape) -> NodeId {
    let row = cx.iota(4, DType::I32, shape.clone());
    let row = cx.mul_s(row, shape[5].scale as f64);
    let column = cx.iota(5, DType::I32, shape.clone());
    cx.add(row, column)
}

pooling! {
    /// The mean of each window; padding does not count.
    AveragePooling2D
}

impl LayerDef for AveragePooling2D {
    fn kind(&self) -> &'static str {
        "AveragePooling2D"
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        let item = cx.item(3, "rows, columns, channels")?;
        self.windows.check(self.kind(), "pool_size", cx, &item[..2])
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let extents: Vec<usize> = cx.ty(x[0]).shape[1..3].iter().map(|d| d.scale).collect();
        let windows = self.windows.over(cx, x[0], 0.0);
        let sum = cx.sum(windows, &[4, 5]);
        if self.windows.padding == Padding::Valid {
            return vec![cx.mul_s(sum, 1.0 / self.windows.size.iter().product::<usize>() as f64)];
        }
        let shape = cx.ty(sum).shape.clone();
        let mut mean = sum;
        for (axis, counts) in self.windows.counts(&extents).into_iter().enumerate() {
            let ty = TensorType::new(DType::F32, Shape::fixed(&[counts.len()]));
            let shares = cx.dense(ty, counts.into_iter().map(|n| 1.0 / n));
            let shares = cx.broadcast(shares, &[axis + 1], shape.clone());
            mean = cx.mul(mean, shares);
        }
        vec![mean]
    }
}

macro_rules! global_pooling {
    ($(#[doc = $doc:literal])+ $name:ident $kind:literal $reduce:expr) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, PartialEq, Debug, Default)]
        pub struct $name;

        impl LayerDef for $name {
            fn kind(&self) -> &'static str {
                $kind
            }

            fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
                cx.item(3, "rows, columns, channels").map(drop)
            }

            fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
                let reduce: fn(&mut CallCx<'_>, NodeId) -> NodeId = $reduce;
                vec![reduce(cx, x[0])]
            }
        }
    };
}

global_pooling! {
    /// The mean of each channel: items `[rows, columns, channels]` become `[channels]`.
    GlobalAveragePooling2D "GlobalAveragePooling2D" |cx, x| cx.mean(x, &[1, 2])
}

global_pooling! {
    /// The largest element of each channel: items `[rows, columns, channels]` become `[channels]`.
    GlobalMaxPooling2D "GlobalMaxPooling2D" |cx, x| cx.reduce(ReduceFn::Max, x, &[1, 2])
}
