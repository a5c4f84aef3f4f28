//! Running sums and products, and products along axes.
//!
//! A running function takes as many steps as the extent has binary digits: in each, every element is combined with
//! the one twice as far before it. Products are a tree. Both differentiate without a division.

use super::Built;
use crate::ir::scalar::BinaryFn;
use crate::ir::{Graph, NodeId, Number, Op, PadAxis};

impl Graph {
    /// Combines each element of an axis with all before it.
    pub(crate) fn running(&mut self, f: BinaryFn, x: NodeId, axis: usize, neutral: f64) -> Built {
        let extent = self.extent_of(x, axis)?;
        let (mut y, mut reach) = (x, 1);
        while reach < extent {
            let head = self.slice_axis(y, axis, 0, extent - reach);
            let mut pads = vec![PadAxis::default(); self.rank_of(x)];
            pads[axis].low = reach;
            let earlier = self.push(Op::Pad { axes: pads, value: Number(neutral) }, &[head]);
            y = self.push(Op::Binary(f), &[earlier, y]);
            reach *= 2;
        }
        Ok(y)
    }

    pub(crate) fn running_sum(&mut self, x: NodeId, axis: usize) -> Built {
        self.running(BinaryFn::Add, x, axis, 0.0)
    }

    pub(crate) fn running_product(&mut self, x: NodeId, axis: usize) -> Built {
        self.running(BinaryFn::Mul, x, axis, 1.0)
    }

    /// The product along axes, which disappear.
    pub(crate) fn product(&mut self, x: NodeId, axes: &[usize]) -> Built {
        let mut y = x;
        for &axis in axes.iter().rev() {
            let mut extent = self.extent_of(y, axis)?;
            if extent == 0 {
                let shape = self.ty(y).shape.without(&[axis]);
                let ty = crate::ir::TensorType::new(self.ty(y).dtype, shape);
                y = self.splat_of(1.0, ty);
                continue;
            }
            while extent > 1 {
                let half = extent / 2;
                let (a, b) = (self.slice_axis(y, axis, 0, half), self.slice_axis(y, axis, half, 2 * half));
                let pairs = self.mul(a, b);
                y = match extent % 2 {
                    0 => pairs,
                    _ => {
                        let last = self.slice_axis(y, axis, extent - 1, extent);
                        self.concat(&[pairs, last], axis)
                    }
                };
                extent = half + extent % 2;
            }
            y = self.squeeze(y, axis);
        }
        Ok(y)
    }

    /// The difference of neighbours along an axis, `n` times over.
    pub(crate) fn difference(&mut self, x: NodeId, n: usize, axis: usize) -> Built {
        let mut y = x;
        for _ in 0..n {
            let extent = self.extent_of(y, axis)?;
            if extent < 2 {
                return Err(format!("the difference of {extent} elements is empty"));
            }
            let (a, b) = (self.slice_axis(y, axis, 1, extent), self.slice_axis(y, axis, 0, extent - 1));
            y = match self.ty(y).dtype.is_float() || self.ty(y).dtype.is_int() {
                true => self.sub(a, b),
                false => self.ne(a, b),
            };
        }
        Ok(y)
    }
}
