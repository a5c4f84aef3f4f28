//! What the elements of an input may be.
//!
//! Some inputs are indices: of the rows of a table, of classes. Whoever uses a tensor so says it with
//! [`Graph::limit`], and where the tensor is an input, its declaration carries the range from there to the descriptor.
//! Runtimes check the values before a call, so that an index out of range is an error that names it. Values that are
//! computed inside the graph are nobody's input and have no range; for them holds what the operation defines.

use super::dtype::DType;
use super::graph::{Graph, NodeId};
use super::op::Op;

/// The numbers from `low` up to, not including, `high`. Fractions are cut off first, as a conversion to integers does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ValueRange {
    pub low: i64,
    pub high: i64,
}

impl ValueRange {
    /// The indices of so many things.
    pub const fn indices(count: usize) -> ValueRange {
        ValueRange { low: 0, high: count as i64 }
    }

    /// The numbers in both.
    pub fn and(self, other: ValueRange) -> ValueRange {
        ValueRange { low: self.low.max(other.low), high: self.high.min(other.high) }
    }

    /// Whether it holds every value of a type.
    pub fn holds_all(self, dtype: DType) -> bool {
        let (least, most) = match dtype {
            DType::U8 => (0, u8::MAX.into()),
            DType::U32 => (0, u32::MAX.into()),
            DType::I32 => (i32::MIN.into(), i32::MAX.into()),
            DType::Bool => (0, 1),
            DType::F32 | DType::F64 => return false,
        };
        self.low <= least && self.high > most
    }
}

impl Graph {
    /// Says that the elements of a tensor are to be in a range. Where they are the elements of an input, in any shape
    /// and type, the input has the range from now on; elsewhere nothing happens.
    pub fn limit(&mut self, mut x: NodeId, range: ValueRange) {
        loop {
            let node = self.node(x);
            match &node.op {
                Op::Reshape(_) | Op::Permute(_) | Op::Broadcast { .. } => x = node.args[0],
                Op::Cast(to) if *to != DType::Bool && self.ty(node.args[0]).dtype != DType::Bool => x = node.args[0],
                Op::Input { index, .. } => {
                    let index = *index;
                    let Some(input) = self.inputs.get_mut(index) else { return };
                    let range = input.range.map_or(range, |before| before.and(range));
                    if range.low < range.high && !range.holds_all(input.ty.dtype) {
                        input.range = Some(range);
                    }
                    return;
                }
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Shape, TensorType};

    fn range(low: i64, high: i64) -> Option<ValueRange> {
        Some(ValueRange { low, high })
    }

    #[test]
    fn a_limit_reaches_the_input_through_what_keeps_its_elements() {
        let mut g = Graph::new("test");
        let x = g.input("x", TensorType::new(DType::U32, Shape::batched(&[6])));
        let y = g.cast(x, DType::I32);
        let y = g.reshape(y, Shape::batched(&[2, 3]));
        g.limit(y, ValueRange::indices(10));
        assert_eq!(g.inputs[0].range, range(0, 10));
        g.limit(x, ValueRange { low: -3, high: 7 });
        assert_eq!(g.inputs[0].range, range(0, 7));
    }

    #[test]
    fn computed_values_and_parts_of_an_input_limit_nothing() {
        let mut g = Graph::new("test");
        let x = g.input("x", TensorType::new(DType::I32, Shape::batched(&[6])));
        let sum = g.add_s(x, 1.0);
        let part = g.slice_axis(x, 1, 0, 2);
        let truth = g.cast(x, DType::Bool);
        let truth = g.cast(truth, DType::I32);
        [sum, part, truth].into_iter().for_each(|node| g.limit(node, ValueRange::indices(4)));
        assert_eq!(g.inputs[0].range, None);
    }

    #[test]
    fn a_range_that_holds_the_whole_type_is_none() {
        let mut g = Graph::new("test");
        let x = g.input("x", TensorType::new(DType::U8, Shape::batched(&[6])));
        g.limit(x, ValueRange::indices(256));
        assert_eq!(g.inputs[0].range, None);
        g.limit(x, ValueRange::indices(255));
        assert_eq!(g.inputs[0].range, range(0, 255));
    }
}
