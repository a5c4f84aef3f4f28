//! Shifts of integers.

use crate::ir::{DType, Graph, NodeId};

impl Graph {
    /// `x << n`; 0 where `n` is not below the width.
    pub(crate) fn shifted_left(&mut self, x: NodeId, n: NodeId) -> NodeId {
        let dtype = self.ty(x).dtype;
        let (x, n) = (self.cast(x, DType::U32), self.cast(n, DType::U32));
        let y = self.shl(x, n);
        self.cast(y, dtype)
    }

    /// `x >> n` with the sign kept.
    pub(crate) fn shifted_right(&mut self, x: NodeId, n: NodeId) -> NodeId {
        let dtype = self.ty(x).dtype;
        let zero = self.lit_like(x, 0.0);
        let negative = self.lt(x, zero);
        let complement = self.not(x);
        let size = self.select(negative, complement, x);
        let (size, n) = (self.cast(size, DType::U32), self.cast(n, DType::U32));
        let y = self.shr(size, n);
        let y = self.cast(y, dtype);
        let complement = self.not(y);
        self.select(negative, complement, y)
    }
}
