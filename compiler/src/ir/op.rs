//! The structural operations: the central file of the compiler.
//!
//! # Semantics
//!
//! A graph is a list of nodes in an arena. Every node is one tensor value: an [`Op`], the nodes it reads, and the
//! element type and shape that [`Op::infer`] computed when it was added. Operands come before their users, so one
//! walk over the arena is a walk in topological order. Nodes have no effects; the only effects of an entry point are
//! its outputs and its assignments to storage, both listed on the graph and both performed after every read.
//!
//! *Storage* is what a model keeps between calls: parameters (trained) and state (everything else: optimizer slots,
//! moving statistics, seeds). [`Op::Storage`] reads the value that the cell had when the entry point was called.
//!
//! *Extents* are constants or multiples of the run-time batch ([`Dim`]). Tensors are row-major in their logical
//! shape; where and in which layout they live is the schedule's business.
//!
//! *Scalar functions* act elementwise on operands of one shape; nothing broadcasts implicitly. Their meaning is one
//! row of [`super::scalar`]. Integer arithmetic wraps. Comparisons with NaN are false, `ne` is true.
//!
//! *Reductions* over no elements give the neutral value. `Max` and `Min` propagate NaN. The order of a floating-point
//! sum is not defined here; the schedule fixes one order for every thread count.
//!
//! *Contraction* is the dot-general of the field: axes named in `batch` pairs are matched and kept, axes named in
//! `sum` pairs are multiplied and summed, and the rest are kept. Result axes: batch, free axes of the left operand,
//! free axes of the right operand. It is defined on floating types.
//!
//! *Views* (`Reshape`, `Permute`, `Broadcast`, `Slice`, `Pad`, `Concat`, `Window`) only rearrange; they become index
//! maps, not copies. *Window* is the view that convolution and pooling read: each windowed axis is replaced by the
//! number of positions, and one axis per windowed axis, of the window's size, is appended. *Fold* is its transpose
//! and sums what lands on the same element. `Gather` reads along an axis at run-time indices, clamped into range;
//! `ScatterAdd` is its transpose and skips indices out of range.
//!
//! *Loops*: `Scan` repeats a body graph a fixed number of times. Carries go from step to step, sequences are read one
//! slice a step, invariants whole; each output of the body is stacked along a new first axis. A node is one tensor,
//! so a loop with several results is several nodes with the same loop and operands, and they are one computation: who
//! treats them together finds them by that equality. Bodies may hold loops. See [`Scan`].
//!
//! The transpose of every linear operation is in the set, so that gradients need no further operation (a
//! loop's gradient is a loop that runs the other way). Softmax,
//! normalisation, attention, losses, optimizers, dropout are functions that build graph; no pass and no backend
//! knows them.
//!
//! # Adding one
//!
//! A function of scalars is a row in `scalar.rs`. A layer, loss or optimizer is a composition under `model/`. For
//! the rare structural operation: the variant here and its rule in `infer.rs`; its attributes in `text.rs` and
//! `parse/operation.rs`; its arms in `eval.rs` and `grad/mod.rs`; its lowering in `schedule/lower.rs`. The matches
//! there are exhaustive, so the compiler lists what is missing; a maker in `random.rs` and a row in the op suite prove
//! it on every runtime.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::dtype::DType;
use super::scalar::{BinaryFn, UnaryFn};
use super::scan::Scan;
use super::shape::{Dim, Shape, TensorType};

/// A number inside a literal, compared and hashed by its bits. Exact for every value of every 32-bit type.
#[derive(Clone, Copy, Debug)]
pub struct Number(pub f64);

impl PartialEq for Number {
    fn eq(&self, other: &Number) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Number {}

impl Hash for Number {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

/// The value of a constant.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Literal {
    /// Every element is this number.
    Splat(Number),
    /// The elements in row-major order; the shape is constant.
    Dense(Arc<[Number]>),
    /// Every element is the run-time value of an extent.
    Size(Dim),
}

/// The associative functions of a reduction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ReduceFn {
    Sum,
    Max,
    Min,
}

impl ReduceFn {
    pub const ALL: [ReduceFn; 3] = [ReduceFn::Sum, ReduceFn::Max, ReduceFn::Min];

    /// The name in the text form.
    pub const fn name(self) -> &'static str {
        match self {
            ReduceFn::Sum => "sum",
            ReduceFn::Max => "max",
            ReduceFn::Min => "min",
        }
    }

    /// The scalar function that combines two partial results.
    pub const fn combine(self) -> BinaryFn {
        match self {
            ReduceFn::Sum => BinaryFn::Add,
            ReduceFn::Max => BinaryFn::Max,
            ReduceFn::Min => BinaryFn::Min,
        }
    }

    /// The value of a reduction over nothing.
    pub const fn neutral(self, dtype: DType) -> f64 {
        let (low, high) = match dtype {
            DType::F32 | DType::F64 => (f64::NEG_INFINITY, f64::INFINITY),
            DType::I32 => (i32::MIN as f64, i32::MAX as f64),
            DType::U32 => (0.0, u32::MAX as f64),
            DType::U8 => (0.0, 255.0),
            DType::Bool => (0.0, 1.0),
        };
        match self {
            ReduceFn::Sum => 0.0,
            ReduceFn::Max => low,
            ReduceFn::Min => high,
        }
    }
}

/// One windowed axis of [`Op::Window`] and [`Op::Fold`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct WindowAxis {
    /// The axis of the unwindowed tensor.
    pub axis: usize,
    /// Elements in a window.
    pub size: usize,
    /// Distance between neighbouring windows.
    pub stride: usize,
    /// Distance between neighbouring elements of a window.
    pub dilation: usize,
}

impl WindowAxis {
    /// Elements that a window spans: `(size - 1) * dilation + 1`.
    pub const fn span(&self) -> usize {
        (self.size - 1) * self.dilation + 1
    }

    /// Number of windows that fit into an extent; 0 where none does.
    pub const fn positions(&self, extent: usize) -> usize {
        if extent < self.span() { 0 } else { (extent - self.span()) / self.stride + 1 }
    }
}

/// Padding of one axis: elements before, after, and between neighbours.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct PadAxis {
    pub low: usize,
    pub high: usize,
    pub interior: usize,
}

impl PadAxis {
    /// The padded extent.
    pub const fn apply(&self, extent: usize) -> usize {
        let inner = if extent == 0 { 0 } else { extent + (extent - 1) * self.interior };
        self.low + inner + self.high
    }
}

/// One axis of a slice: elements `start, start + step, ...`, `count` of them. A negative step reads backwards.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SliceAxis {
    pub start: usize,
    pub step: isize,
    /// The resulting extent. An axis that depends on the batch can only be kept whole or reversed whole.
    pub count: Dim,
}

/// Which axes a contraction matches: pairs of (left axis, right axis).
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct ContractAxes {
    pub batch: Vec<(usize, usize)>,
    pub sum: Vec<(usize, usize)>,
}

impl ContractAxes {
    /// Axes of the left operand that are kept and not batch, in order.
    pub fn left_free(&self, rank: usize) -> Vec<usize> {
        (0..rank).filter(|a| !self.batch.iter().chain(&self.sum).any(|p| p.0 == *a)).collect()
    }

    /// Axes of the right operand that are kept and not batch, in order.
    pub fn right_free(&self, rank: usize) -> Vec<usize> {
        (0..rank).filter(|a| !self.batch.iter().chain(&self.sum).any(|p| p.1 == *a)).collect()
    }
}

/// Index of a storage cell in its module.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct StorageId(pub u32);

/// An operation. Operand counts are those of [`Op::arity`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Op {
    /// The entry point's argument with this index.
    Input { index: usize, ty: TensorType },
    /// The value of a storage cell at the time of the call.
    Storage { id: StorageId, ty: TensorType },
    /// A constant.
    Const { value: Literal, ty: TensorType },
    /// The element's index along one axis, as a number of the given type.
    Iota { axis: usize, ty: TensorType },
    /// A scalar function of one operand.
    Unary(UnaryFn),
    /// A scalar function of two operands of one type.
    Binary(BinaryFn),
    /// `(c, a, b)`: `a` where the boolean `c` holds, `b` elsewhere.
    Select,
    /// Conversion: float to integer truncates and saturates (NaN becomes 0), to bool compares with 0.
    Cast(DType),
    /// Reduction over the given axes (strictly increasing), which disappear.
    Reduce { f: ReduceFn, axes: Vec<usize> },
    /// Dot-general of two operands.
    Contract(ContractAxes),
    /// The same elements in row-major order under another shape. An extent that depends on the batch leads its group
    /// of merged or split axes.
    Reshape(Shape),
    /// Result axis `i` is operand axis `perm[i]`.
    Permute(Vec<usize>),
    /// Operand axis `i` becomes result axis `axes[i]` (strictly increasing); the other result axes repeat. An operand
    /// extent of 1 may meet a larger result extent and repeats.
    Broadcast { axes: Vec<usize>, shape: Shape },
    /// A strided box.
    Slice(Vec<SliceAxis>),
    /// Padding with a constant.
    Pad { axes: Vec<PadAxis>, value: Number },
    /// Any number of operands, joined along an axis.
    Concat { axis: usize },
    /// Sliding windows over some axes.
    Window(Vec<WindowAxis>),
    /// The transpose of [`Op::Window`]: sums windows back into a tensor of the given shape.
    Fold { axes: Vec<WindowAxis>, shape: Shape },
    /// `(data, indices)`: the axis of `data` is replaced by the axes of the integer tensor `indices`. The first `batch`
    /// axes of both, which come before it, are matched: each of their elements has indices of its own.
    Gather { axis: usize, batch: usize },
    /// `(indices, updates)`: a zero tensor of the given shape with `updates` added at `indices` along an axis. The first
    /// `batch` axes of all are matched.
    ScatterAdd { axis: usize, batch: usize, shape: Shape },
    /// One result of a loop: the final value of a carry, or, from `scan.carries.len()` on, a stacked output. Operands
    /// are the carries' initial values, the sequences and the invariants.
    Scan { scan: Arc<Scan>, result: usize },
}

/// Why an operation cannot take its operands. The text names no node; whoever adds the node knows the layer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{op}: {reason}")]
pub struct TypeError {
    pub op: &'static str,
    pub reason: String,
}

/// How the reason of a [`TypeError`] ends that is about size alone.
pub(super) const TOO_MANY: &str = "too many";

impl TypeError {
    /// Whether the operands fit and the result is merely larger than anything may be: what a description asks for, and
    /// no mistake of whoever builds the graph.
    pub fn is_size(&self) -> bool {
        self.reason.contains(TOO_MANY)
    }
}

/// What an operation does with the elements of its operands: the one list of operations by kind. Passes and the scheduler
/// ask [`Op::class`] or the questions that are made of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpClass {
    /// Reads no operand.
    Leaf,
    /// Computes each element from those at the same index.
    Elementwise,
    /// Shows elements of one operand at indices that follow from the result's.
    IndexView,
    /// Shows elements of one operand at indices that another one holds.
    Indirect,
    /// Puts elements of operands and constants side by side.
    Assembly,
    /// Makes an element of many.
    Kernel,
}

impl Op {
    /// The word of the text form (for scalar functions and reductions the function's own).
    pub const fn name(&self) -> &'static str {
        match self {
            Op::Input { .. } => "input",
            Op::Storage { .. } => "storage",
            Op::Const { .. } => "const",
            Op::Iota { .. } => "iota",
            Op::Unary(_) => "unary",
            Op::Binary(_) => "binary",
            Op::Select => "select",
            Op::Cast(_) => "cast",
            Op::Reduce { .. } => "reduce",
            Op::Contract(_) => "contract",
            Op::Reshape(_) => "reshape",
            Op::Permute(_) => "permute",
            Op::Broadcast { .. } => "broadcast",
            Op::Slice(_) => "slice",
            Op::Pad { .. } => "pad",
            Op::Concat { .. } => "concat",
            Op::Window(_) => "window",
            Op::Fold { .. } => "fold",
            Op::Gather { .. } => "gather",
            Op::ScatterAdd { .. } => "scatter_add",
            Op::Scan { .. } => "scan",
        }
    }

    /// The number of operands; `None` for any number from one, or for what the loop says.
    pub const fn arity(&self) -> Option<usize> {
        match self {
            Op::Input { .. } | Op::Storage { .. } | Op::Const { .. } | Op::Iota { .. } => Some(0),
            Op::Unary(_)
            | Op::Cast(_)
            | Op::Reduce { .. }
            | Op::Reshape(_)
            | Op::Permute(_)
            | Op::Broadcast { .. }
            | Op::Slice(_)
            | Op::Pad { .. }
            | Op::Window(_)
            | Op::Fold { .. } => Some(1),
            Op::Binary(_) | Op::Contract(_) | Op::Gather { .. } | Op::ScatterAdd { .. } => Some(2),
            Op::Select => Some(3),
            Op::Concat { .. } | Op::Scan { .. } => None,
        }
    }

    /// What it does with the elements of its operands.
    pub const fn class(&self) -> OpClass {
        match self {
            Op::Input { .. } | Op::Storage { .. } | Op::Const { .. } | Op::Iota { .. } => OpClass::Leaf,
            Op::Unary(_) | Op::Binary(_) | Op::Select | Op::Cast(_) => OpClass::Elementwise,
            Op::Reshape(_) | Op::Permute(_) | Op::Broadcast { .. } | Op::Slice(_) | Op::Window(_) => OpClass::IndexView,
            Op::Gather { .. } => OpClass::Indirect,
            Op::Pad { .. } | Op::Concat { .. } => OpClass::Assembly,
            Op::Reduce { .. } | Op::Contract(_) | Op::Fold { .. } | Op::ScatterAdd { .. } | Op::Scan { .. } => {
                OpClass::Kernel
            }
        }
    }

    /// Reads no operand.
    pub const fn is_leaf(&self) -> bool {
        matches!(self.class(), OpClass::Leaf)
    }

    /// Computes each result element from the operand elements at the same index.
    pub const fn is_elementwise(&self) -> bool {
        matches!(self.class(), OpClass::Elementwise)
    }

    /// Shows elements of its one operand at other indices, which the result's indices alone decide.
    pub const fn is_index_view(&self) -> bool {
        matches!(self.class(), OpClass::IndexView)
    }

    /// Only rearranges, repeats or pads elements of its operands.
    pub const fn is_view(&self) -> bool {
        matches!(self.class(), OpClass::IndexView | OpClass::Assembly)
    }

    /// Whether no other kernel can take it in as an expression: its result is always stored.
    pub const fn needs_kernel(&self) -> bool {
        matches!(self.class(), OpClass::Assembly | OpClass::Kernel)
    }

    /// The type of the result, or why there is none. This is the one shape rule of each operation: construction,
    /// verification and the parser all use it.
    pub fn infer(&self, args: &[&TensorType]) -> Result<TensorType, TypeError> {
        let fail = |reason: String| Err(TypeError { op: self.name(), reason });
        match self.arity() {
            Some(n) if n != args.len() => return fail(format!("takes {n} operands, got {}", args.len())),
            None if args.is_empty() => return fail("takes at least one operand".into()),
            _ => {}
        }
        super::infer::infer(self, args)
    }
}

impl fmt::Display for Number {
    /// Shortest text that parses back to the same bits; `nan`, `inf`, `-inf`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            x if x.is_nan() => f.write_str("nan"),
            f64::INFINITY => f.write_str("inf"),
            f64::NEG_INFINITY => f.write_str("-inf"),
            x => write!(f, "{x:?}"),
        }
    }
}
