//! Views and gathers: what reading through them means for an index and for an address.
//!
//! A view turns the index at which it is read into one of its operand. That is arithmetic on affine forms and looks at
//! no value, so a gather goes through the same arithmetic with an axis for the index that only running knows: where the
//! address comes out affine, it is `stride * index + rest` for every index, and where it does not, the tensor has to be
//! stored as it is gathered from.

use crate::ir::{Dim, NodeId, Op};

use super::{Failure, Lowered, Lowering, Trouble, lives_in_memory, strides};
use crate::schedule::index::{Obstacle, flatten, unflatten};
use crate::schedule::program::{Access, Affine, AxisId, Expr, ExprId, Indirect};

/// Stands for the index of a gather inside the forms that [`Lowering::place`] rewrites. No axis of a kernel.
const RUN_TIME: AxisId = AxisId(u32::MAX);

impl Lowering<'_> {
    /// The value of a view: its operand's at another index.
    pub(super) fn view(&mut self, id: NodeId, index: &[Affine], level: usize) -> Lowered<ExprId> {
        if let Some(access) = self.reshaped(id, index) {
            return Ok(self.push(Expr::Load(access), self.node(id).ty.dtype));
        }
        let operand = self.node(id).args[0];
        let inner =
            self.through(id, index, &|axis| self.kernel.axes[axis.index()]).map_err(|obstacle| match obstacle {
                Obstacle::Split { axis, factor } => Trouble::Split { axis, factor },
                Obstacle::NotAffine => Trouble::Fail(Failure::MustStore(operand)),
            })?;
        match inner {
            Some(inner) => self.value(operand, &inner, level),
            None => Err(Failure::Unfusable.into()),
        }
    }

    /// The index at which a view reads its operand; nothing for what is no view.
    fn through(
        &self,
        id: NodeId,
        index: &[Affine],
        extent: &dyn Fn(AxisId) -> Dim,
    ) -> Result<Option<Vec<Affine>>, Obstacle> {
        let node = self.node(id);
        let operand = || &self.node(node.args[0]).ty.shape;
        Ok(Some(match &node.op {
            Op::Permute(perm) => {
                let mut inner = vec![Affine::default(); perm.len()];
                perm.iter().zip(index).for_each(|(&p, form)| inner[p] = form.clone());
                inner
            }
            Op::Broadcast { axes, .. } => {
                let stretched =
                    |(&a, d): (&usize, &Dim)| if *d == Dim::ONE { Affine::default() } else { index[a].clone() };
                axes.iter().zip(operand().iter()).map(stretched).collect()
            }
            Op::Slice(axes) => {
                let moved = axes.iter().zip(index).map(|(s, form)| {
                    let mut at = Affine::constant(s.start as i64);
                    at.add_scaled(form, s.step as i64);
                    at
                });
                moved.collect()
            }
            Op::Window(axes) => {
                let rank = index.len() - axes.len();
                let mut inner = index[..rank].to_vec();
                for (i, w) in axes.iter().enumerate() {
                    let mut at = Affine::default();
                    at.add_scaled(&index[w.axis], w.stride as i64);
                    at.add_scaled(&index[rank + i], w.dilation as i64);
                    inner[w.axis] = at;
                }
                inner
            }
            Op::Reshape(to) => {
                let from = operand();
                let Ok(groups) = crate::ir::reshape_groups(from, to) else { return Ok(None) };
                let mut inner = vec![Affine::default(); from.rank()];
                for (a, b) in groups {
                    let flat = flatten(&index[b.clone()], &to[b]);
                    inner.splice(a.clone(), unflatten(&flat, &from[a], extent)?);
                }
                inner
            }
            _ => return Ok(None),
        }))
    }

    /// The address of an element of a reshaped tensor that lies in memory: the axes of a group are contiguous there, so
    /// that its flat index needs no digits.
    fn reshaped(&self, id: NodeId, index: &[Affine]) -> Option<Access> {
        let node = self.node(id);
        let Op::Reshape(to) = &node.op else { return None };
        let operand = node.args[0];
        if !self.cx.selection.stored[operand.index()] || self.members.contains(&operand) {
            return None;
        }
        let from = &self.node(operand).ty.shape;
        let strides = strides(from, self.cx.max_batch);
        let mut at = Affine::default();
        for (a, b) in crate::ir::reshape_groups(from, to).ok()? {
            let flat = flatten(&index[b.clone()], &to[b]);
            at.add_scaled(&flat, a.last().map_or(0, |last| strides[last]));
        }
        Some(Access { buffer: self.cx.buffer[&operand], index: at, indirect: None })
    }

    pub(super) fn gather(
        &mut self,
        id: NodeId,
        (axis, batch): (usize, usize),
        index: &[Affine],
        level: usize,
    ) -> Lowered<ExprId> {
        let node = self.node(id);
        let (data, indices) = (node.args[0], node.args[1]);
        let rank = self.node(indices).ty.shape.rank() - batch;
        let at = self.value(indices, &[&index[..batch], &index[axis..axis + rank]].concat(), level)?;
        let mut inner = index[..axis].to_vec();
        inner.push(Affine::axis(RUN_TIME));
        inner.extend_from_slice(&index[axis + rank..]);
        let gathered = self.node(data).ty.shape[axis];
        let mut access = self.place(data, inner, gathered, level)?;
        let stride = access.index.coefficient(RUN_TIME);
        access.index.terms.retain(|t| t.0 != RUN_TIME);
        access.indirect = Some(Indirect { index: at, stride, extent: gathered.scale });
        Ok(self.push(Expr::Load(access), node.ty.dtype))
    }

    /// Where a gather finds an element: the address of `data` at an index in which [`RUN_TIME`] has the extent
    /// `gathered`. `data` must be stored if it is not views of one tensor in memory, or if the address is not affine.
    fn place(&self, data: NodeId, mut index: Vec<Affine>, gathered: Dim, level: usize) -> Lowered<Access> {
        let extent = |axis: AxisId| if axis == RUN_TIME { gathered } else { self.kernel.axes[axis.index()] };
        let mut id = data;
        loop {
            let node = self.node(id);
            let member = self.members.contains(&id);
            let leaf = lives_in_memory(self.cx.graph, id);
            let stored =
                if member { leaf || self.kept_in_row(id, &index, level) } else { self.cx.selection.stored[id.index()] };
            if stored {
                return Ok(self.access(id, self.cx.buffer[&id], &index));
            }
            if let Some(access) = self.reshaped(id, &index) {
                return Ok(access);
            }
            index = match self.through(id, &index, &extent) {
                Ok(Some(inner)) => inner,
                Err(Obstacle::Split { axis, factor }) if axis != RUN_TIME => {
                    return Err(Trouble::Split { axis, factor });
                }
                Ok(None) | Err(_) => return Err(Failure::MustStore(data).into()),
            };
            id = node.args[0];
        }
    }
}
