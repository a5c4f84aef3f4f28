//! Extents, shapes and tensor types.
//!
//! One symbol exists: the batch. An extent is either a constant or a constant multiple of the batch, which is a
//! run-time value between 1 and the compiled maximum. Nothing else is symbolic, so two extents are equal exactly
//! when they are structurally equal, and every stride that does not cross the batch is a constant.

use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

use super::dtype::DType;

/// One extent: `scale`, or `scale * batch`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Dim {
    /// The constant factor.
    pub scale: usize,
    /// Whether the extent is a multiple of the run-time batch.
    pub batch: bool,
}

impl Dim {
    /// The run-time batch itself.
    pub const BATCH: Dim = Dim { scale: 1, batch: true };
    /// The extent 1.
    pub const ONE: Dim = Dim { scale: 1, batch: false };

    /// A constant extent.
    pub const fn fixed(scale: usize) -> Dim {
        Dim { scale, batch: false }
    }

    /// The value for a given batch.
    pub const fn at(self, batch: usize) -> usize {
        if self.batch { self.scale * batch } else { self.scale }
    }

    /// The constant value, unless the extent depends on the batch.
    pub const fn as_fixed(self) -> Option<usize> {
        if self.batch { None } else { Some(self.scale) }
    }

    /// Product of two extents; `None` where it would be quadratic in the batch or overflow.
    pub fn times(self, other: Dim) -> Option<Dim> {
        if self.batch && other.batch {
            return None;
        }
        Some(Dim { scale: self.scale.checked_mul(other.scale)?, batch: self.batch || other.batch })
    }

    /// Exact quotient by another extent, `None` where there is none.
    #[allow(clippy::should_implement_trait)]
    pub fn div(self, other: Dim) -> Option<Dim> {
        if other.scale == 0 || (other.batch && !self.batch) || !self.scale.is_multiple_of(other.scale) {
            return None;
        }
        Some(Dim { scale: self.scale / other.scale, batch: self.batch && !other.batch })
    }
}

impl From<usize> for Dim {
    fn from(n: usize) -> Dim {
        Dim::fixed(n)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.batch, self.scale) {
            (false, n) => write!(f, "{n}"),
            (true, 1) => f.write_str("batch"),
            (true, n) => write!(f, "{n}*batch"),
        }
    }
}

/// The extents of a tensor, outermost first (row-major).
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Shape(pub Vec<Dim>);

impl Shape {
    /// The shape of a scalar.
    pub const fn scalar() -> Shape {
        Shape(Vec::new())
    }

    /// A shape of constant extents.
    pub fn fixed(dims: &[usize]) -> Shape {
        Shape(dims.iter().map(|&n| Dim::fixed(n)).collect())
    }

    /// The shape of a batch of items: `[batch, dims...]`.
    pub fn batched(dims: &[usize]) -> Shape {
        Shape(std::iter::once(Dim::BATCH).chain(dims.iter().map(|&n| Dim::fixed(n))).collect())
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// Number of elements; `None` where it is quadratic in the batch or overflows.
    pub fn elements(&self) -> Option<Dim> {
        self.0.iter().try_fold(Dim::ONE, |n, &d| n.times(d))
    }

    /// The extents for a given batch.
    pub fn at(&self, batch: usize) -> Vec<usize> {
        self.0.iter().map(|d| d.at(batch)).collect()
    }

    /// Number of elements for a given batch.
    pub fn count(&self, batch: usize) -> usize {
        self.0.iter().map(|d| d.at(batch)).product()
    }

    /// The constant extents, unless one depends on the batch.
    pub fn as_fixed(&self) -> Option<Vec<usize>> {
        self.0.iter().map(|d| d.as_fixed()).collect()
    }

    /// The shape without the given axes.
    pub fn without(&self, axes: &[usize]) -> Shape {
        Shape(self.0.iter().enumerate().filter(|(i, _)| !axes.contains(i)).map(|(_, &d)| d).collect())
    }
}

impl Deref for Shape {
    type Target = [Dim];

    fn deref(&self) -> &[Dim] {
        &self.0
    }
}

impl<const N: usize> From<[Dim; N]> for Shape {
    fn from(dims: [Dim; N]) -> Shape {
        Shape(dims.to_vec())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, d) in self.0.iter().enumerate() {
            write!(f, "{}{d}", if i == 0 { "" } else { ", " })?;
        }
        f.write_str("]")
    }
}

/// Element type and shape of a tensor; prints as `f32[batch, 28, 28, 1]`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct TensorType {
    pub dtype: DType,
    pub shape: Shape,
}

impl TensorType {
    pub fn new(dtype: DType, shape: Shape) -> TensorType {
        TensorType { dtype, shape }
    }

    /// A scalar of the given type.
    pub fn scalar(dtype: DType) -> TensorType {
        TensorType { dtype, shape: Shape::scalar() }
    }

    /// Bytes of the dense tensor for a given batch.
    pub fn bytes(&self, batch: usize) -> usize {
        self.shape.count(batch) * self.dtype.size()
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.dtype, self.shape)
    }
}
