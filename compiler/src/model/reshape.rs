//! Layers that rearrange or convert elements.

use serde::{Deserialize, Serialize};

use super::CallCx;
use super::layer::{BuildCx, Layer, LayerDef};
use super::regularizer::Regularizer;
use super::window::DataFormat;
use crate::diag::{Code, Problem};
use crate::ir::{DType, Dim, NodeId, Shape};

/// The shape of a batch of items.
fn batched(cx: &CallCx<'_>, x: NodeId, item: &[usize]) -> Shape {
    let batch = cx.ty(x).shape[0];
    Shape(std::iter::once(batch).chain(item.iter().map(|&n| Dim::fixed(n))).collect())
}

/// Items of any shape become one axis, in row-major order, with the channels last.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Flatten {
    data_format: DataFormat,
}

/// The layer as most models use it: `Flatten.apply(&x)`.
#[allow(non_upper_case_globals, reason = "reads as a layer without arguments")]
pub const Flatten: Flatten = Flatten { data_format: DataFormat::ChannelsLast };

impl Flatten {
    /// Where items have their channels.
    pub fn data_format(self, data_format: DataFormat) -> Layer<Flatten> {
        Layer::new(Flatten { data_format })
    }
}

impl LayerDef for Flatten {
    fn kind(&self) -> &'static str {
        "Flatten"
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        cx.any_item().map(drop)
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let item = &cx.ty(x[0]).shape[1..];
        let (size, rank) = (item.iter().map(|d| d.scale).product(), item.len());
        let y = match self.data_format {
            DataFormat::ChannelsFirst if rank > 1 => {
                let order: Vec<usize> = std::iter::once(0).chain(2..=rank).chain([1]).collect();
                cx.permute(x[0], &order)
            }
            _ => x[0],
        };
        let shape = batched(cx, x[0], &[size]);
        vec![cx.reshape(y, shape)]
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

/// Items with their axes in another order: result axis `i` is axis `dims[i]` of the item, where axes count from 1.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Permute {
    dims: Vec<usize>,
}

impl Permute {
    pub fn new(dims: impl AsRef<[usize]>) -> Layer<Permute> {
        Layer::new(Permute { dims: dims.as_ref().to_vec() })
    }
}

impl LayerDef for Permute {
    fn kind(&self) -> &'static str {
        "Permute"
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        let rank = cx.any_item()?.len();
        let mut sorted = self.dims.clone();
        sorted.sort_unstable();
        let dims = &self.dims;
        if !sorted.iter().copied().eq(1..=dims.len()) {
            return Err(Problem::value(format!("Permute with dims {dims:?}, which is no order of axes"))
                .help("name every axis of an item once; the first is axis 1"));
        }
        match dims.len() == rank {
            true => Ok(()),
            false => Err(Problem::shape(format!(
                "Permute with dims {dims:?}, its input {} has items of rank {rank}",
                cx.input()
            ))),
        }
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let axes: Vec<usize> = std::iter::once(0).chain(self.dims.iter().copied()).collect();
        vec![cx.permute(x[0], &axes)]
    }
}

/// Repeats each item, a vector, `n` times: `[features]` becomes `[n, features]`.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RepeatVector {
    n: usize,
}

impl RepeatVector {
    pub fn new(n: usize) -> Layer<RepeatVector> {
        Layer::new(RepeatVector { n })
    }
}

impl LayerDef for RepeatVector {
    fn kind(&self) -> &'static str {
        "RepeatVector"
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        cx.positive("n", self.n)?;
        match cx.any_item()?.len() {
            1 => Ok(()),
            rank => Err(Problem::shape(format!("RepeatVector takes vectors, its input has items of rank {rank}"))
                .help("flatten it first: `Flatten.apply(&x)`")),
        }
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let features = cx.ty(x[0]).shape[1].scale;
        let shape = batched(cx, x[0], &[self.n, features]);
        vec![cx.broadcast(x[0], &[0, 2], shape)]
    }
}

/// Gives back its input.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Identity;

impl LayerDef for Identity {
    fn kind(&self) -> &'static str {
        "Identity"
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn build(&self, _: &mut BuildCx<'_>) -> Result<(), Problem> {
        Ok(())
    }

    fn call(&self, _: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        x.to_vec()
    }
}

/// Gives back its input and adds a penalty on it to the loss: `l1 * sum(|x|) + l2 * sum(x^2)`, averaged over the batch.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ActivityRegularization {
    l1: f64,
    l2: f64,
}

impl ActivityRegularization {
    pub fn new(l1: f64, l2: f64) -> Layer<ActivityRegularization> {
        Layer::new(ActivityRegularization { l1, l2 })
    }

    fn regularizer(&self) -> Regularizer {
        Regularizer::L1L2 { l1: self.l1, l2: self.l2 }
    }
}

impl LayerDef for ActivityRegularization {
    fn kind(&self) -> &'static str {
        "ActivityRegularization"
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        cx.float()?;
        self.regularizer().check(&cx.input().shape)
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        cx.penalize_activity(Some(self.regularizer()), x[0]);
        x.to_vec()
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
