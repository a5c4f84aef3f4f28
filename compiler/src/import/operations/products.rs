//! Products of matrices and of tensors.

use serde_json::Value;

use super::elementwise::Built;
use super::{Call, Class};
use crate::ir::{DType, NodeId};

pub(super) const CLASSES: &[Class] = &[
    ("Matmul", |c| {
        let [a, b] = c.factors()?;
        c.graph.matrix_product(a, b).map(|y| vec![y])
    }),
    ("Dot", |c| {
        let [a, b] = c.factors()?;
        c.graph.dot(a, b).map(|y| vec![y])
    }),
    ("Inner", |c| {
        let [a, b] = c.factors()?;
        let (left, right) = (c.shape(a).rank(), c.shape(b).rank());
        match left == 0 || right == 0 {
            true => c.graph.dot(a, b).map(|y| vec![y]),
            false => c.graph.tensor_dot(a, b, &[(left - 1, right - 1)]).map(|y| vec![y]),
        }
    }),
    ("Vdot", |c| {
        let [a, b] = c.factors()?;
        let (a, b) = (c.graph.ravel(a)?, c.graph.ravel(b)?);
        c.graph.tensor_dot(a, b, &[(0, 0)]).map(|y| vec![y])
    }),
    ("Outer", |c| {
        let [a, b] = c.factors()?;
        c.graph.outer(a, b).map(|y| vec![y])
    }),
    ("Kron", |c| {
        let [a, b] = c.factors()?;
        c.graph.kron(a, b).map(|y| vec![y])
    }),
    ("Cross", |c| c.cross()),
    ("Tensordot", |c| c.tensor_dot()),
    ("Einsum", |c| {
        let equation: String = c.value(usize::MAX, "subscripts")?.ok_or("`subscripts` is missing")?;
        let count = c.operation.positional.len();
        let mut operands = (0..count).map(|i| c.tensor(i, "operands")).collect::<Result<Vec<NodeId>, String>>()?;
        // They meet in one type.
        for i in 1..operands.len() {
            [operands[0], operands[i]] = c.met([operands[0], operands[i]]);
        }
        for i in 1..operands.len() {
            [_, operands[i]] = c.met([operands[0], operands[i]]);
        }
        c.graph.einsum(&equation, &operands).map(|y| vec![y])
    }),
    ("CDist", |c| {
        let (a, b) = (c.x()?, c.tensor(1, "y")?);
        let (a, b) = (c.real(a), c.real(b));
        c.graph.distances(a, b).map(|y| vec![y])
    }),
];

impl Call<'_> {
    /// Both operands in the type in which they meet; truths count as numbers.
    fn factors(&mut self) -> Result<[NodeId; 2], String> {
        let pair = self.pair([(0, "x1"), (1, "x2")], false)?;
        Ok(pair.map(|x| if self.ty(x).dtype == DType::Bool { self.graph.cast(x, DType::I32) } else { x }))
    }

    fn cross(&mut self) -> Built {
        let [a, b] = self.factors()?;
        let all: Option<i64> = self.value(5, "axis")?;
        let mut named = [-1; 3];
        for (axis, name) in named.iter_mut().zip(["axisa", "axisb", "axisc"]) {
            *axis = match all {
                Some(all) => all,
                None => self.value(usize::MAX, name)?.unwrap_or(-1),
            };
        }
        let (at_a, at_b) = (self.axis(named[0], self.shape(a).rank())?, self.axis(named[1], self.shape(b).rank())?);
        let (a, b) = (self.graph.axis_to_last(a, at_a), self.graph.axis_to_last(b, at_b));
        let plane = self.graph.extent_of(a, self.shape(a).rank() - 1)? == 2
            && self.graph.extent_of(b, self.shape(b).rank() - 1)? == 2;
        let y = self.graph.cross(a, b)?;
        if plane {
            return Ok(vec![y]);
        }
        let at = self.axis(named[2], self.shape(y).rank())?;
        Ok(vec![self.graph.axis_from_last(y, at)])
    }

    fn tensor_dot(&mut self) -> Built {
        let [a, b] = self.factors()?;
        let (left, right) = (self.shape(a).rank(), self.shape(b).rank());
        let pairs: Vec<(usize, usize)> = match self.plain(2, "axes")? {
            Some(Value::Array(sides)) => {
                let list = |value: &Value, rank: usize| -> Result<Vec<usize>, String> {
                    let axes: Vec<i64> = match value {
                        Value::Array(axes) => axes.iter().filter_map(Value::as_i64).collect(),
                        one => one.as_i64().into_iter().collect(),
                    };
                    axes.into_iter().map(|axis| self.axis(axis, rank)).collect()
                };
                let [of_a, of_b] = &sides[..] else { return Err("`axes` are those of one and of the other".into()) };
                let (of_a, of_b) = (list(of_a, left)?, list(of_b, right)?);
                if of_a.len() != of_b.len() {
                    return Err("as many axes of one as of the other".into());
                }
                of_a.into_iter().zip(of_b).collect()
            }
            _ => {
                let n: usize = self.value(2, "axes")?.unwrap_or(2);
                let first = left.checked_sub(n).filter(|_| n <= right).ok_or_else(|| format!("{n} axes"))?;
                (0..n).map(|i| (first + i, i)).collect()
            }
        };
        self.graph.tensor_dot(a, b, &pairs).map(|y| vec![y])
    }
}
