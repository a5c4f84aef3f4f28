//! Operations that have a kernel of their own: those whose result is written by other points than the ones that it is
//! shaped by. A concatenation of equal parts is the exception: it joins the kernel that computes the parts.

use crate::ir::{Dim, NodeId, Number, Op, Shape};

use super::{Failure, Lowered, Lowering, strides};
use crate::schedule::program::{Affine, Expr, ExprId, Indirect, Store, StoreMode};

impl Lowering<'_> {
    pub(super) fn fold(&mut self, id: NodeId) -> Lowered<()> {
        let node = self.node(id);
        let Op::Fold { axes, shape } = &node.op else { return Err(Failure::Unfusable.into()) };
        let windowed: Vec<usize> = axes.iter().map(|w| w.axis).collect();
        let outer = self.outer(&shape.without(&windowed));
        self.fill(id, &windowed, &outer, 0.0)?;
        let operand = node.args[0];
        let rank = shape.rank();
        let dims: Vec<Dim> =
            windowed.iter().copied().chain(rank..rank + axes.len()).map(|a| self.node(operand).ty.shape[a]).collect();
        let (stage, inner) = self.new_stage(1, &dims);
        let (positions, elements) = inner.split_at(axes.len());
        let mut from = spread(rank, &windowed, &outer, positions);
        from.extend_from_slice(elements);
        let mut to = spread(rank, &windowed, &outer, positions);
        for (i, w) in axes.iter().enumerate() {
            let mut target = Affine::default();
            target.add_scaled(&positions[i], w.stride as i64);
            target.add_scaled(&elements[i], w.dilation as i64);
            to[w.axis] = target;
        }
        let value = self.value(operand, &from, 1)?;
        let disjoint = axes.iter().all(|w| w.stride >= w.span());
        self.put(id, stage, &to, value, if disjoint { StoreMode::Set } else { StoreMode::Add });
        Ok(())
    }

    pub(super) fn scatter(&mut self, id: NodeId) -> Lowered<()> {
        let node = self.node(id);
        let Op::ScatterAdd { axis, batch, shape } = &node.op else { return Err(Failure::Unfusable.into()) };
        let (indices, updates) = (node.args[0], node.args[1]);
        let outer = self.outer(&shape.without(&[*axis]));
        self.fill(id, &[*axis], &outer, 0.0)?;
        let dims = self.node(indices).ty.shape[*batch..].to_vec();
        let (stage, inner) = self.new_stage(1, &dims);
        let mut from = outer[..*axis].to_vec();
        from.extend_from_slice(&inner);
        from.extend_from_slice(&outer[*axis..]);
        let at = self.value(indices, &[&outer[..*batch], &inner].concat(), 1)?;
        let value = self.value(updates, &from, 1)?;
        let to = spread(shape.rank(), &[*axis], &outer, &[Affine::default()]);
        for buffer in self.places(id) {
            let mut access = self.access(id, buffer, &to);
            let stride = strides(&node.ty.shape, self.cx.max_batch)[*axis];
            access.indirect = Some(Indirect { index: at, stride, extent: shape[*axis].scale });
            self.kernel.stages[stage].stores.push(Store { access, value, mode: StoreMode::Add });
        }
        Ok(())
    }

    pub(super) fn pad(&mut self, id: NodeId) -> Lowered<()> {
        let node = self.node(id);
        let Op::Pad { axes, value } = &node.op else { return Err(Failure::Unfusable.into()) };
        let padded: Vec<usize> = (0..axes.len()).filter(|&a| axes[a] != Default::default()).collect();
        let outer = self.outer(&node.ty.shape.without(&padded));
        self.fill(id, &padded, &outer, value.0)?;
        let operand = node.args[0];
        let dims: Vec<Dim> = padded.iter().map(|&a| self.node(operand).ty.shape[a]).collect();
        let (stage, inner) = self.new_stage(1, &dims);
        let from = spread(axes.len(), &padded, &outer, &inner);
        let mut to = from.clone();
        for &a in &padded {
            let mut target = Affine::constant(axes[a].low as i64);
            target.add_scaled(&from[a], axes[a].interior as i64 + 1);
            to[a] = target;
        }
        let value = self.value(operand, &from, 1)?;
        self.put(id, stage, &to, value, StoreMode::Set);
        Ok(())
    }

    /// Stores the parts of an even concatenation, each point of the space in all of them.
    pub(super) fn parts(&mut self, id: NodeId, axis: usize, space: &Shape, outer: &[Affine]) -> Lowered<()> {
        let node = self.node(id);
        if self.node(node.args[0]).ty.shape != *space {
            return Err(Failure::Unfusable.into());
        }
        let level = self.levels[&id];
        let mut to = outer.to_vec();
        for &part in &node.args {
            let value = self.value(part, outer, level)?;
            let (stage, _) = self.stage(level, &[]);
            self.put(id, stage, &to, value, StoreMode::Set);
            to[axis].base += space[axis].scale as i64;
        }
        Ok(())
    }

    pub(super) fn concat(&mut self, id: NodeId) -> Lowered<()> {
        let node = self.node(id);
        let Op::Concat { axis } = &node.op else { return Err(Failure::Unfusable.into()) };
        if node.ty.shape[*axis].batch {
            return Err(Failure::Unfusable.into());
        }
        let outer = self.outer(&node.ty.shape.without(&[*axis]));
        let mut start = 0;
        for &operand in &node.args {
            let dim = self.node(operand).ty.shape[*axis];
            let (stage, inner) = self.new_stage(0, &[dim]);
            let from = spread(node.ty.shape.rank(), &[*axis], &outer, &inner);
            let mut to = from.clone();
            to[*axis].base += start;
            start += dim.scale as i64;
            let value = self.value(operand, &from, 0)?;
            self.put(id, stage, &to, value, StoreMode::Set);
        }
        Ok(())
    }

    /// A first stage that fills the result with a number, looping over the given axes.
    fn fill(&mut self, id: NodeId, axes: &[usize], outer: &[Affine], number: f64) -> Lowered<()> {
        let ty = &self.node(id).ty;
        let dims: Vec<Dim> = axes.iter().map(|&a| ty.shape[a]).collect();
        let (stage, inner) = self.new_stage(0, &dims);
        let index = spread(ty.shape.rank(), axes, outer, &inner);
        let value = self.push(Expr::Const(Number(number)), ty.dtype);
        self.put(id, stage, &index, value, StoreMode::Set);
        Ok(())
    }

    fn put(&mut self, id: NodeId, stage: usize, index: &[Affine], value: ExprId, mode: StoreMode) {
        for buffer in self.places(id) {
            let access = self.access(id, buffer, index);
            self.kernel.stages[stage].stores.push(Store { access, value, mode });
        }
    }
}

/// An index of `rank` components: `inner` at the given axes, `outer` elsewhere, both in order.
fn spread(rank: usize, axes: &[usize], outer: &[Affine], inner: &[Affine]) -> Vec<Affine> {
    let (mut outer, mut inner) = (outer.iter(), inner.iter());
    (0..rank).filter_map(|a| if axes.contains(&a) { inner.next() } else { outer.next() }.cloned()).collect()
}
