//! Layers that rearrange or convert elements.

use serde::{Deserialize, Serialize};

use super::CallCx;
use super::layer::{BuildCx, Layer, LayerDef};
use crate::diag::{Code, Problem};
use crate::ir::{DType, Dim, NodeId, Shape};

/// The shape of a batch of items.
fn batched(cx: &CallCx<'_>, x: NodeId, item: &[usize]) -> Shape {
    let batch = cx.ty(x).shape[0];
    Shape(std::iter::once(batch).chain(item.iter().map(|&n| Dim::fixed(n))).collect())
}

/// Items of any shape become one axis, in row-major order.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Flatten;

impl LayerDef for Flatten {
    fn kind(&self) -> &'static str {
        "Flatten"
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        cx.any_item().map(drop)
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let size = cx.ty(x[0]).shape[1..].iter().map(|d| d.scale).product();
        let shape = batched(cx, x[0], &[size]);
        vec![cx.reshape(x[0], shape)]
    }
}

/// Items take another shape with equally many elements, in row-major order. One extent may be -1: whatever is left.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Reshape {
    target_shape: Vec<isize>,
}

impl Reshape {
    pub fn new(target: impl AsRef<[isize]>) -> Layer<Reshape> {
        Layer::new(Reshape { target_shape: target.as_ref().to_vec() })
    }

    /// The extents for items of this many elements.
    fn resolve(&self, elements: usize) -> Result<Vec<usize>, Problem> {
        let target = &self.target_shape;
        if let Some(bad) = target.iter().find(|n| **n == 0 || **n < -1) {
            return Err(Problem::value(format!("Reshape to {target:?}: {bad} is no extent"))
                .help("extents are at least 1, and one may be -1"));
        }
        let known = target.iter().filter(|n| **n > 0).try_fold(1usize, |p, n| p.checked_mul(*n as usize));
        let open = target.iter().filter(|n| **n == -1).count();
        if open > 1 {
            return Err(Problem::value(format!("Reshape to {target:?}: only one extent may be -1")));
        }
        match known {
            Some(known) if open == 0 && known == elements => {}
            Some(known) if open == 1 && elements.is_multiple_of(known) => {}
            _ => return Err(Problem::shape(format!("Reshape of {elements} elements to {target:?} does not come out"))),
        }
        let left = elements / known.unwrap_or(1);
        Ok(target.iter().map(|&n| if n == -1 { left } else { n as usize }).collect())
    }
}

impl LayerDef for Reshape {
    fn kind(&self) -> &'static str {
        "Reshape"
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        let elements = cx.any_item()?.iter().product();
        self.resolve(elements).map(drop)
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let elements = cx.ty(x[0]).shape[1..].iter().map(|d| d.scale).product();
        let item = self.resolve(elements).unwrap_or_else(|problem| cx.fault(problem.message));
        let shape = batched(cx, x[0], &item);
        vec![cx.reshape(x[0], shape)]
    }
}

/// `x * scale + offset` in `f32`; takes integers too, such as the bytes of an image.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Rescaling {
    scale: f64,
    offset: f64,
}

impl Default for Rescaling {
    fn default() -> Rescaling {
        Rescaling { scale: 1.0, offset: 0.0 }
    }
}

impl Rescaling {
    pub fn new(scale: f64) -> Layer<Rescaling> {
        Layer::new(Rescaling { scale, ..Rescaling::default() })
    }
}

impl Layer<Rescaling> {
    pub fn offset(self, offset: f64) -> Layer<Rescaling> {
        self.with(|r| r.offset = offset)
    }
}

impl LayerDef for Rescaling {
    fn kind(&self) -> &'static str {
        "Rescaling"
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        if matches!(cx.input().dtype, DType::F64) {
            return Err(Problem::new(Code::DType, "Rescaling takes f32 or integers, its input is f64"));
        }
        match self.scale.is_finite() && self.offset.is_finite() {
            true => Ok(()),
            false => Err(Problem::value("Rescaling with a scale or offset that is not finite")),
        }
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let y = cx.cast(x[0], DType::F32);
        let y = cx.mul_s(y, self.scale);
        vec![if self.offset == 0.0 { y } else { cx.add_s(y, self.offset) }]
    }
}
