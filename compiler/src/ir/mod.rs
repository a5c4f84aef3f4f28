//! Level 1: the tensor graph. [`op`] is the place to start reading.

pub mod build;
pub mod dtype;
pub mod eval;
pub mod graph;
mod infer;
pub mod op;
pub mod parse;
#[doc(hidden)]
pub mod random;
pub mod range;
pub mod scalar;
pub mod scan;
pub mod shape;
pub mod site;
pub mod text;
pub mod verify;

pub use dtype::DType;
pub use graph::{Graph, Module, Node, NodeId, Storage, StorageKind};
pub use infer::reshape_groups;
pub use op::{
    ContractAxes, Literal, Number, Op, OpClass, PadAxis, ReduceFn, SliceAxis, StorageId, TypeError, WindowAxis,
};
pub use range::ValueRange;
pub use scalar::{BinaryFn, Emit, UnaryFn, Val};
pub use scan::{Loop, Looped, Loops, Over, Scan, Step, Stepped};
pub use shape::{Dim, Shape, TensorType};
pub use site::{Site, SiteId, SourceLine};
