//! Norms and distances.

use super::Built;
use crate::ir::{Graph, NodeId, ReduceFn, Shape};
use crate::limit::Limit;

/// The order of a norm.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Order {
    /// That of a vector, or of a matrix as a vector.
    Number(f64),
    Frobenius,
}

impl Graph {
    /// The sum of the `order`-th powers of the absolute values along axes, to the power of `1 / order`; the largest or
    /// smallest absolute value for infinite orders, the number of elements that are not 0 for 0.
    pub(crate) fn vector_norm(&mut self, x: NodeId, order: f64, axes: &[usize]) -> NodeId {
        if order == 2.0 {
            let square = self.square(x);
            let sum = self.sum(square, axes);
            return self.sqrt(sum);
        }
        if order == 0.0 {
            let zero = self.lit_like(x, 0.0);
            let some = self.ne(x, zero);
            let dtype = self.ty(x).dtype;
            let some = self.cast(some, dtype);
            return self.sum(some, axes);
        }
        let size = self.abs(x);
        if order.is_infinite() {
            let f = if order > 0.0 { ReduceFn::Max } else { ReduceFn::Min };
            return self.reduce(f, size, axes);
        }
        if order == 1.0 {
            return self.sum(size, axes);
        }
        let power = self.lit_like(size, order);
        let powers = self.pow(size, power);
        let sum = self.sum(powers, axes);
        let root = self.lit_like(sum, 1.0 / order);
        self.pow(sum, root)
    }

    /// The norm of matrices: orders 1 and -1 are sums of columns, infinite ones sums of rows. Those that are made of
    /// singular values are not supported.
    pub(crate) fn matrix_norm(&mut self, x: NodeId, order: Order, rows: usize, columns: usize) -> Built {
        let (f, summed) = match order {
            Order::Frobenius => return Ok(self.vector_norm(x, 2.0, &sorted([rows, columns]))),
            Order::Number(1.0) => (ReduceFn::Max, rows),
            Order::Number(-1.0) => (ReduceFn::Min, rows),
            Order::Number(f64::INFINITY) => (ReduceFn::Max, columns),
            Order::Number(f64::NEG_INFINITY) => (ReduceFn::Min, columns),
            Order::Number(order) => {
                let why = format!("the norm {order} of a matrix is made of its singular values");
                return Err(Limit::LinearAlgebra.says(why));
            }
        };
        let size = self.abs(x);
        let sum = self.sum(size, &[summed]);
        let other = rows + columns - summed;
        let other = if other > summed { other - 1 } else { other };
        Ok(self.reduce(f, sum, &[other]))
    }

    /// The distance of each row of one from each row of the other: `[..., m, n]` of `[..., m, k]` and `[..., n, k]`.
    pub(crate) fn distances(&mut self, a: NodeId, b: NodeId) -> Built {
        if self.rank_of(a) < 2 || self.rank_of(b) < 2 {
            return Err("rows have two axes at least".into());
        }
        let (m, n) = (self.rank_of(a) - 1, self.rank_of(b) - 2);
        let (a, b) = (self.expand(a, m), self.expand(b, n));
        let (left, right) = (self.shape_of(a), self.shape_of(b));
        let shape = crate::model::merge::broadcast_shape(&left, &right)
            .ok_or_else(|| format!("{left} and {right} do not stretch to one shape"))?;
        let (a, b) = (self.broadcast_to(a, &shape), self.broadcast_to(b, &shape));
        let apart = self.sub(a, b);
        Ok(self.vector_norm(apart, 2.0, &[shape.rank() - 1]))
    }

    /// Moves axes behind the others and joins them to one.
    pub(crate) fn joined(&mut self, x: NodeId, axes: &[usize]) -> Built {
        let shape = self.shape_of(x);
        let kept: Vec<usize> = (0..shape.rank()).filter(|a| !axes.contains(a)).collect();
        let order: Vec<usize> = kept.iter().chain(axes).copied().collect();
        let all =
            axes.iter().try_fold(crate::ir::Dim::ONE, |n, &a| n.times(shape[a])).ok_or("it has too many elements")?;
        let x = self.permute(x, &order);
        Ok(self.reshape(x, Shape(kept.iter().map(|&a| shape[a]).chain([all]).collect())))
    }
}

fn sorted(mut axes: [usize; 2]) -> [usize; 2] {
    axes.sort_unstable();
    axes
}
