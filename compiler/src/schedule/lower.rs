//! From a group of graph nodes to one kernel: iteration space, stages, and the expressions in them.

mod own;
mod view;

use std::collections::HashMap;

use crate::ir::{BinaryFn, DType, Dim, Graph, Literal, Node, NodeId, Op, ReduceFn, Shape};

use super::index::address;
use super::program::{
    Acc, AccId, Access, Affine, AxisId, BufferId, ContractRoles, Expr, ExprId, Kernel, Stage, Store, StoreMode,
    TypedExpr,
};
use super::select::{Selection, lives_in_memory};

/// What lowering needs to know beyond the group itself.
pub(super) struct Context<'a> {
    pub graph: &'a Graph,
    pub selection: &'a Selection,
    pub max_batch: usize,
    /// Where each stored node can be loaded from.
    pub buffer: &'a HashMap<NodeId, BufferId>,
    /// Where else a node's value is stored.
    pub copies: &'a HashMap<NodeId, Vec<BufferId>>,
}

/// Why a group cannot become one kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// These nodes do not share an iteration space.
    Unfusable,
    /// This node has to be stored before its user can read it.
    MustStore(NodeId),
}

/// What a group is made of, as far as it tells that no kernel can be made of it. An impossible group stays one, whatever
/// joins it.
#[derive(Clone, Copy, Default)]
pub(super) struct Makeup {
    members: usize,
    /// Simple instructions of an element of all members together.
    pub work: u64,
    contracts: usize,
    reduces: usize,
    /// Concatenations of equal parts.
    joins: usize,
    /// Members that no kernel shares.
    alone: usize,
}

impl Makeup {
    pub fn of(cx: &Context, id: NodeId) -> Makeup {
        let mut makeup = Makeup { members: 1, work: u64::from(cx.selection.cost[id.index()]), ..Makeup::default() };
        match cx.graph.node(id).op {
            Op::Contract(_) => makeup.contracts = 1,
            Op::Reduce { .. } => makeup.reduces = 1,
            Op::Concat { .. } if is_even(cx.graph, id) => makeup.joins = 1,
            Op::Concat { .. } | Op::Fold { .. } | Op::ScatterAdd { .. } | Op::Pad { .. } | Op::Scan { .. } => {
                makeup.alone = 1;
            }
            _ => {}
        }
        makeup
    }

    pub fn and(self, other: Makeup) -> Makeup {
        Makeup {
            members: self.members + other.members,
            work: self.work + other.work,
            contracts: self.contracts + other.contracts,
            reduces: self.reduces + other.reduces,
            joins: self.joins + other.joins,
            alone: self.alone + other.alone,
        }
    }

    pub fn sum(parts: impl Iterator<Item = Makeup>) -> Makeup {
        parts.fold(Makeup::default(), Makeup::and)
    }

    /// Whether there may be a kernel of it.
    pub fn is_possible(self) -> bool {
        let sums = self.contracts + self.reduces;
        (self.alone == 0 || self.members == 1)
            && self.contracts <= 1
            && (self.contracts == 0 || self.reduces == 0)
            && (self.joins == 0 || sums == 0)
    }

    pub fn members(self) -> usize {
        self.members
    }
}

/// Whether a node joins parts of one shape, so that one loop over a part can write them all.
fn is_even(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    let shape = |id: NodeId| &graph.ty(id).shape;
    match node.op {
        Op::Concat { axis } => {
            !node.ty.shape[axis].batch && node.args.iter().all(|part| shape(*part) == shape(node.args[0]))
        }
        _ => false,
    }
}

/// Lowers a group. `members` are stored nodes in topological order, `kept` tells which of them something outside the
/// group reads.
pub(super) fn lower(cx: &Context, members: &[NodeId], kept: &dyn Fn(NodeId) -> bool) -> Result<Kernel, Failure> {
    let mut splits = HashMap::new();
    // Each round splits one axis into smaller ones, so that the number of rounds is bounded by the prime factors.
    for _ in 0..256 {
        let mut lowering = Lowering::new(cx, members, kept, &splits);
        match lowering.run() {
            Ok(()) => {
                lowering.kernel.drop_unused_exprs();
                return Ok(lowering.kernel);
            }
            Err(Trouble::Split { axis, factor }) => {
                let (slot, position) = lowering.origin[axis.index()];
                let dim = lowering.slot_dims[&slot];
                let parts: &mut Vec<Dim> = splits.entry(slot).or_insert_with(|| vec![dim]);
                let whole = parts[position];
                parts[position] = Dim { scale: whole.scale / factor, batch: whole.batch };
                parts.insert(position + 1, Dim::fixed(factor));
            }
            Err(Trouble::Fail(failure)) => return Err(failure),
        }
    }
    Err(Failure::Unfusable)
}

/// Identifies an axis of the iteration space before splitting: of the outer space, or of a stage.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Slot {
    Outer(usize),
    Stage(usize, usize),
}

enum Trouble {
    Split { axis: AxisId, factor: usize },
    Fail(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Trouble {
        Trouble::Fail(failure)
    }
}

type Lowered<T> = Result<T, Trouble>;

/// Where and when a member of the group has its value.
#[derive(Clone, Debug)]
struct Home {
    /// The stage that computes it.
    level: usize,
    /// Its index in terms of the kernel's axes.
    index: Vec<Affine>,
    /// The accumulator that holds it afterwards, for reductions and contractions.
    acc: Option<AccId>,
    /// Whether the stage also stores it.
    stored: bool,
}

struct Lowering<'a> {
    cx: &'a Context<'a>,
    members: &'a [NodeId],
    kept: &'a dyn Fn(NodeId) -> bool,
    splits: &'a HashMap<Slot, Vec<Dim>>,
    kernel: Kernel,
    origin: Vec<(Slot, usize)>,
    slot_dims: HashMap<Slot, Dim>,
    levels: HashMap<NodeId, usize>,
    homes: HashMap<NodeId, Home>,
    /// Stage of each (level, inner extents), with the index of each inner extent.
    stages: HashMap<(usize, Vec<Dim>), (usize, Vec<Affine>)>,
    stage_levels: Vec<usize>,
    memo: HashMap<(NodeId, Vec<Affine>, usize), ExprId>,
    /// Every expression of the kernel.
    exprs: HashMap<TypedExpr, ExprId>,
}

impl<'a> Lowering<'a> {
    fn new(
        cx: &'a Context<'a>,
        members: &'a [NodeId],
        kept: &'a dyn Fn(NodeId) -> bool,
        splits: &'a HashMap<Slot, Vec<Dim>>,
    ) -> Self {
        let kernel = Kernel {
            name: String::new(),
            sites: Vec::new(),
            axes: Vec::new(),
            outer: Vec::new(),
            exprs: Vec::new(),
            accs: Vec::new(),
            stages: Vec::new(),
            contract: None,
            parallel: None,
        };
        Lowering {
            cx,
            members,
            kept,
            splits,
            kernel,
            origin: Vec::new(),
            slot_dims: HashMap::new(),
            levels: HashMap::new(),
            homes: HashMap::new(),
            stages: HashMap::new(),
            stage_levels: Vec::new(),
            memo: HashMap::new(),
            exprs: HashMap::new(),
        }
    }

    /// Adds an expression, or finds the equal one.
    fn push(&mut self, expr: Expr, dtype: DType) -> ExprId {
        let exprs = &mut self.kernel.exprs;
        *self.exprs.entry(TypedExpr { expr, dtype }).or_insert_with_key(|typed| {
            exprs.push(typed.clone());
            ExprId(exprs.len() as u32 - 1)
        })
    }

    fn node(&self, id: NodeId) -> &'a Node {
        self.cx.graph.node(id)
    }

    fn run(&mut self) -> Lowered<()> {
        let first = self.members[0];
        match (&self.node(first).op, self.members) {
            (Op::Fold { .. }, [id]) => self.fold(*id),
            (Op::ScatterAdd { .. }, [id]) => self.scatter(*id),
            (Op::Pad { .. }, [id]) => self.pad(*id),
            (Op::Concat { .. }, [id]) if !is_even(self.cx.graph, *id) => self.concat(*id),
            _ => self.fused(),
        }
    }

    // ---- axes -------------------------------------------------------------------------------------------------

    /// The index along a slot: 0 for a unit extent, otherwise one axis, or several where the slot was split.
    fn axis(&mut self, slot: Slot, dim: Dim) -> (Affine, Vec<AxisId>) {
        if dim == Dim::ONE {
            return (Affine::default(), Vec::new());
        }
        self.slot_dims.insert(slot, dim);
        let parts = self.splits.get(&slot).cloned().unwrap_or_else(|| vec![dim]);
        let (mut index, mut axes) = (Affine::default(), Vec::new());
        for (position, &part) in parts.iter().enumerate() {
            let axis = AxisId(self.kernel.axes.len() as u32);
            self.kernel.axes.push(part);
            self.origin.push((slot, position));
            let weight: i64 = parts[position + 1..].iter().map(|d| d.scale as i64).product();
            index.add_scaled(&Affine::axis(axis), weight);
            axes.push(axis);
        }
        (index, axes)
    }

    fn outer(&mut self, dims: &[Dim]) -> Vec<Affine> {
        let mut index = Vec::new();
        for (i, &d) in dims.iter().enumerate() {
            let (form, axes) = self.axis(Slot::Outer(i), d);
            self.kernel.outer.extend(axes);
            index.push(form);
        }
        index
    }

    /// The stage for these inner extents at a level, made on first use, and the index along each extent.
    fn stage(&mut self, level: usize, dims: &[Dim]) -> (usize, Vec<Affine>) {
        if let Some(found) = self.stages.get(&(level, dims.to_vec())) {
            return found.clone();
        }
        let made = self.new_stage(level, dims);
        self.stages.insert((level, dims.to_vec()), made.clone());
        made
    }

    fn new_stage(&mut self, level: usize, dims: &[Dim]) -> (usize, Vec<Affine>) {
        let number = self.kernel.stages.len();
        self.kernel.stages.push(Stage::default());
        self.stage_levels.push(level);
        let mut index = Vec::new();
        for (i, &d) in dims.iter().enumerate() {
            let (form, axes) = self.axis(Slot::Stage(number, i), d);
            self.kernel.stages[number].axes.extend(axes);
            index.push(form);
        }
        (number, index)
    }
    // ---- fused elementwise work around reductions or one contraction ---------------------------------------------

    fn fused(&mut self) -> Lowered<()> {
        if !Makeup::sum(self.members.iter().map(|id| Makeup::of(self.cx, *id))).is_possible() {
            return Err(Failure::Unfusable.into());
        }
        let contract = self.members.iter().find(|id| matches!(self.node(**id).op, Op::Contract(_))).copied();
        let is_reduce = |id: &&NodeId| matches!(self.node(**id).op, Op::Reduce { .. });
        let reduces: Vec<NodeId> = self.members.iter().filter(is_reduce).copied().collect();
        // The outer space: what reductions keep, or the shape of the stored values.
        let wanted = self.members.iter().find(|id| Some(**id) != contract && (self.kept)(**id));
        let lead = *reduces.first().or(wanted).or(contract.as_ref()).unwrap_or(&self.members[0]);
        let space = match self.node(lead).op {
            Op::Concat { .. } => self.node(self.node(lead).args[0]).ty.shape.clone(),
            _ => self.node(lead).ty.shape.clone(),
        };
        if reduces.iter().any(|r| self.node(*r).ty.shape != space) {
            return Err(Failure::Unfusable.into());
        }
        let outer = self.outer(&space);
        for &id in self.members {
            let level = self.cx.selection.reads[id.index()].iter().filter_map(|d| self.available(*d)).max();
            // Everything around a contraction is its epilogue: one stage behind it.
            let epilogue = contract.is_some_and(|c| c != id) as usize;
            self.levels.insert(id, level.unwrap_or(0).max(epilogue));
        }
        for &id in self.members {
            match &self.node(id).op {
                Op::Reduce { f, axes } => self.reduce(id, *f, axes, &outer)?,
                Op::Contract(_) => {
                    // Reached through the members that read it; alone, or not yet reached, it spans the space itself.
                    let others = self.members.iter().any(|m| *m != id && (self.kept)(*m));
                    if !others {
                        self.contract(id, outer.clone())?;
                    }
                }
                Op::Concat { axis } => self.parts(id, *axis, &space, &outer)?,
                _ => self.elementwise(id, &space, &outer)?,
            }
        }
        if let Some(id) = contract {
            match self.homes.get(&id) {
                Some(home) if (self.kept)(id) => self.store_all(id, &home.index.clone(), 1, &[])?,
                Some(_) => {}
                None => return Err(Failure::Unfusable.into()),
            }
        }
        for &id in reduces.iter().filter(|id| (self.kept)(**id)) {
            let level = self.levels[&id] + 1;
            self.store_all(id, &outer, level, &[])?;
        }
        self.order_stages();
        Ok(())
    }

    /// The first level at which a member's value can be read, or nothing for a node outside.
    fn available(&self, id: NodeId) -> Option<usize> {
        let level = *self.levels.get(&id)?;
        Some(match self.node(id).op {
            Op::Reduce { .. } | Op::Contract(_) => level + 1,
            _ => level,
        })
    }

    fn reduce(&mut self, id: NodeId, f: ReduceFn, axes: &[usize], outer: &[Affine]) -> Lowered<()> {
        let operand = self.node(id).args[0];
        let (level, shape) = (self.levels[&id], &self.node(operand).ty.shape);
        let dims: Vec<Dim> = axes.iter().map(|&a| shape[a]).collect();
        let (stage, inner) = self.stage(level, &dims);
        let (mut kept, mut inner) = (outer.iter(), inner.into_iter());
        let index: Vec<Affine> = (0..shape.rank())
            .filter_map(|a| if axes.contains(&a) { inner.next() } else { kept.next().cloned() })
            .collect();
        let value = self.value(operand, &index, level)?;
        let acc = self.accumulate(stage, f, value, self.node(id).ty.dtype);
        self.homes.insert(id, Home { level, index: outer.to_vec(), acc: Some(acc), stored: false });
        Ok(())
    }

    fn accumulate(&mut self, stage: usize, f: ReduceFn, value: ExprId, dtype: DType) -> AccId {
        let acc = AccId(self.kernel.accs.len() as u32);
        self.kernel.accs.push(Acc { f, value, dtype });
        self.kernel.stages[stage].accs.push(acc);
        acc
    }

    /// A stored elementwise member: over the outer space, or over a larger one that contains it.
    fn elementwise(&mut self, id: NodeId, space: &Shape, outer: &[Affine]) -> Lowered<()> {
        let needed_later = self
            .members
            .iter()
            .any(|m| self.cx.selection.reads[m.index()].contains(&id) && self.levels[m] > self.levels[&id]);
        if !(self.kept)(id) && !needed_later {
            return Ok(());
        }
        let (level, shape) = (self.levels[&id], self.node(id).ty.shape.clone());
        if shape == *space {
            return self.store_value(id, outer, level, &[]);
        }
        let target = self.members.iter().find(|m| matches!(self.node(**m).op, Op::Reduce { .. }));
        let mapping = target.and_then(|t| self.relate(id, *t)).ok_or(Failure::Unfusable)?;
        let inner: Vec<usize> = (0..shape.rank()).filter(|d| !mapping.contains(&Some(*d))).collect();
        let dims: Vec<Dim> = inner.iter().map(|&d| shape[d]).collect();
        let (_, inner_index) = self.stage(level, &dims);
        let mut index = vec![Affine::default(); shape.rank()];
        for (form, d) in inner_index.into_iter().zip(&inner) {
            index[*d] = form;
        }
        for (form, d) in outer.iter().zip(&mapping) {
            if let Some(d) = d {
                index[*d] = form.clone();
            }
        }
        self.store_value(id, &index, level, &dims)
    }

    fn store_value(&mut self, id: NodeId, index: &[Affine], level: usize, inner: &[Dim]) -> Lowered<()> {
        self.homes.insert(id, Home { level, index: index.to_vec(), acc: None, stored: true });
        self.store_all(id, index, level, inner)
    }

    /// Stores a member's value to all its places, in the stage of a level.
    fn store_all(&mut self, id: NodeId, index: &[Affine], level: usize, inner: &[Dim]) -> Lowered<()> {
        let value = self.value(id, index, level)?;
        let (stage, _) = self.stage(level, inner);
        for buffer in self.places(id) {
            let access = self.access(id, buffer, index);
            self.kernel.stages[stage].stores.push(Store { access, value, mode: StoreMode::Set });
        }
        Ok(())
    }

    fn places(&self, id: NodeId) -> Vec<BufferId> {
        let own = (!lives_in_memory(self.cx.graph, id)).then(|| self.cx.buffer[&id]);
        own.into_iter().chain(self.cx.copies.get(&id).into_iter().flatten().copied()).collect()
    }

    /// Which axis of `from` each axis of `target` is, following elementwise operations and simple views.
    fn relate(&self, from: NodeId, target: NodeId) -> Option<Vec<Option<usize>>> {
        let identity: Vec<Option<usize>> = (0..self.node(from).ty.shape.rank()).map(Some).collect();
        let mut stack = vec![(from, identity)];
        let mut seen = std::collections::HashSet::new();
        while let Some((id, axes)) = stack.pop() {
            let node = self.node(id);
            if id == target {
                let complete = axes.iter().zip(node.ty.shape.iter()).all(|(a, d)| a.is_some() || *d == Dim::ONE);
                return complete.then_some(axes);
            }
            let outside = self.cx.selection.stored[id.index()] && !self.members.contains(&id);
            if outside || !seen.insert(id) {
                continue;
            }
            let below = |axes: Vec<Option<usize>>| (node.args[0], axes);
            match &node.op {
                op if op.is_elementwise() => stack.extend(node.args.iter().map(|a| (*a, axes.clone()))),
                Op::Broadcast { axes: to, .. } => {
                    let dims = &self.node(node.args[0]).ty.shape;
                    stack.push(below(
                        to.iter().zip(dims.iter()).map(|(&a, d)| axes[a].filter(|_| *d == node.ty.shape[a])).collect(),
                    ));
                }
                Op::Permute(perm) => {
                    let mut inner = vec![None; axes.len()];
                    perm.iter().zip(&axes).for_each(|(&p, a)| inner[p] = *a);
                    stack.push(below(inner));
                }
                Op::Reshape(to) => {
                    let dims = &self.node(node.args[0]).ty.shape;
                    let mut inner = vec![None; dims.rank()];
                    for (a, b) in crate::ir::reshape_groups(dims, to).unwrap_or_default() {
                        if a.len() == 1 && b.len() == 1 {
                            inner[a.start] = axes[b.start];
                        }
                    }
                    stack.push(below(inner));
                }
                _ => {}
            }
        }
        None
    }

    fn contract(&mut self, id: NodeId, index: Vec<Affine>) -> Lowered<AccId> {
        let node = self.node(id);
        let Op::Contract(axes) = &node.op else { return Err(Failure::Unfusable.into()) };
        let (left, right) = (node.args[0], node.args[1]);
        let (left_rank, right_rank) = (self.node(left).ty.shape.rank(), self.node(right).ty.shape.rank());
        let dims: Vec<Dim> = axes.sum.iter().map(|p| self.node(left).ty.shape[p.0]).collect();
        let (stage, inner) = self.stage(0, &dims);
        let (left_free, right_free) = (axes.left_free(left_rank), axes.right_free(right_rank));
        if index.len() != node.ty.shape.rank() {
            return Err(Failure::Unfusable.into());
        }
        let (batch_index, rest) = index.split_at(axes.batch.len());
        let (m_index, n_index) = rest.split_at(left_free.len());
        let mut left_index = vec![Affine::default(); left_rank];
        let mut right_index = vec![Affine::default(); right_rank];
        for (form, p) in batch_index.iter().zip(&axes.batch).chain(inner.iter().zip(&axes.sum)) {
            left_index[p.0] = form.clone();
            right_index[p.1] = form.clone();
        }
        m_index.iter().zip(&left_free).for_each(|(form, a)| left_index[*a] = form.clone());
        n_index.iter().zip(&right_free).for_each(|(form, a)| right_index[*a] = form.clone());
        let a = self.operand(left, &left_index)?;
        let b = self.operand(right, &right_index)?;
        let product = self.push(Expr::Binary(BinaryFn::Mul, a, b), node.ty.dtype);
        let acc = self.accumulate(stage, ReduceFn::Sum, product, node.ty.dtype);
        let among = |forms: &[Affine]| -> Vec<AxisId> {
            let used = |axis: &&AxisId| forms.iter().any(|f| f.coefficient(**axis) != 0);
            self.kernel.outer.iter().filter(used).copied().collect()
        };
        let roles = ContractRoles {
            left: a,
            right: b,
            batch: among(batch_index),
            m: among(m_index),
            n: among(n_index),
            k: self.kernel.stages[stage].axes.clone(),
        };
        let covered = roles.batch.len() + roles.m.len() + roles.n.len();
        if covered != self.kernel.outer.len() || !self.is_each_once(&index, &node.ty.shape) {
            return Err(Failure::Unfusable.into());
        }
        self.kernel.contract = Some(roles);
        self.homes.insert(id, Home { level: 0, index, acc: Some(acc), stored: false });
        Ok(acc)
    }

    /// Whether an index over the outer space goes over every element of a shape, and over each once: every component is
    /// a number in mixed radix, forwards or backwards, with digits of its own. As many points as elements are not
    /// enough: windows reach some elements twice and others not at all.
    fn is_each_once(&self, index: &[Affine], shape: &Shape) -> bool {
        let mut digits: Vec<AxisId> = Vec::new();
        let each = index.iter().zip(shape.iter()).all(|(form, dim)| {
            let mut terms = form.terms.clone();
            terms.sort_by_key(|term| term.1.abs());
            let (mut step, mut low) = (Dim::ONE, form.base);
            for (axis, coefficient) in terms {
                let extent = self.kernel.extent(axis);
                let forwards = coefficient > 0;
                if step.batch || coefficient.abs() != step.scale as i64 || extent.batch && !forwards {
                    return false;
                }
                if !forwards {
                    low += coefficient * (extent.scale as i64 - 1);
                }
                digits.push(axis);
                step = Dim { scale: step.scale * extent.scale, batch: extent.batch };
            }
            low == 0 && step == *dim
        });
        let all = digits.len();
        digits.sort();
        digits.dedup();
        each && digits.len() == all && all == self.kernel.outer.len()
    }

    /// An operand of a contraction: it has to be a load.
    fn operand(&mut self, id: NodeId, index: &[Affine]) -> Lowered<ExprId> {
        let value = self.value(id, index, 0)?;
        match &self.kernel.expr(value).expr {
            Expr::Load(access) if access.indirect.is_none() => Ok(value),
            _ => Err(Failure::MustStore(id).into()),
        }
    }

    /// Puts stages in order of their levels. Within a level they do not depend on each other.
    fn order_stages(&mut self) {
        let mut order: Vec<usize> = (0..self.kernel.stages.len()).collect();
        order.sort_by_key(|&s| (self.stage_levels[s], s));
        let mut stages = std::mem::take(&mut self.kernel.stages);
        self.kernel.stages = order.iter().map(|&s| std::mem::take(&mut stages[s])).collect();
        self.kernel.stages.retain(|s| !s.accs.is_empty() || !s.stores.is_empty());
    }

    // ---- expressions ------------------------------------------------------------------------------------------------

    fn access(&self, id: NodeId, buffer: BufferId, index: &[Affine]) -> Access {
        let strides = strides(&self.node(id).ty.shape, self.cx.max_batch);
        Access { buffer, index: address(index, &strides), indirect: None }
    }

    /// The value of a node at an index, for use in a stage of a level.
    fn value(&mut self, id: NodeId, index: &[Affine], level: usize) -> Lowered<ExprId> {
        let key = (id, index.to_vec(), level);
        if let Some(&found) = self.memo.get(&key) {
            return Ok(found);
        }
        let node = self.node(id);
        let made = if self.members.contains(&id) {
            self.member(id, index, level)?
        } else if self.cx.selection.stored[id.index()] {
            let access = self.access(id, self.cx.buffer[&id], index);
            self.push(Expr::Load(access), node.ty.dtype)
        } else {
            self.expression(id, index, level)?
        };
        self.memo.insert(key, made);
        Ok(made)
    }

    /// A value that this kernel computes itself.
    fn member(&mut self, id: NodeId, index: &[Affine], level: usize) -> Lowered<ExprId> {
        let node = self.node(id);
        match (&node.op, self.homes.get(&id).cloned()) {
            (Op::Contract(_), None) => {
                let acc = self.contract(id, index.to_vec())?;
                Ok(self.push(Expr::Acc(acc), node.ty.dtype))
            }
            (Op::Contract(_) | Op::Reduce { .. }, Some(home)) => match home.acc {
                Some(acc) if home.index == index && level > home.level => Ok(self.push(Expr::Acc(acc), node.ty.dtype)),
                _ => Err(Failure::Unfusable.into()),
            },
            (Op::Reduce { .. }, None) => Err(Failure::Unfusable.into()),
            (_, Some(_)) if self.kept_in_row(id, index, level) => {
                let access = self.access(id, self.cx.buffer[&id], index);
                Ok(self.push(Expr::Load(access), node.ty.dtype))
            }
            _ => self.expression(id, index, level),
        }
    }

    /// Whether this outer point stored a member's element at an index in an earlier stage, so that it can be loaded.
    fn kept_in_row(&self, id: NodeId, index: &[Affine], level: usize) -> bool {
        let Some(home) = self.homes.get(&id) else { return false };
        home.acc.is_none() && home.stored && level > home.level && self.same_row(&home.index, index)
    }

    /// Whether an element that this outer point stored earlier is read: along every axis the two indices are equal, or
    /// the stage that stored went through the whole extent.
    fn same_row(&self, stored: &[Affine], read: &[Affine]) -> bool {
        let inner = |form: &Affine| {
            form.terms.iter().all(|t| matches!(self.origin[t.0.index()].0, Slot::Stage(..))) && !form.terms.is_empty()
        };
        stored.iter().zip(read).all(|(s, r)| s == r || inner(s))
    }

    #[deny(clippy::wildcard_enum_match_arm)]
    fn expression(&mut self, id: NodeId, index: &[Affine], level: usize) -> Lowered<ExprId> {
        let node = self.node(id);
        let dtype = node.ty.dtype;
        let expr = match &node.op {
            Op::Const { value: Literal::Splat(n), .. } => Expr::Const(*n),
            Op::Const { value: Literal::Size(d), .. } => Expr::Size(*d),
            Op::Iota { axis, .. } => Expr::Index(index[*axis].clone()),
            Op::Unary(f) => Expr::Unary(*f, self.value(node.args[0], index, level)?),
            Op::Binary(f) => {
                let x = self.value(node.args[0], index, level)?;
                Expr::Binary(*f, x, self.value(node.args[1], index, level)?)
            }
            Op::Select => {
                let c = self.value(node.args[0], index, level)?;
                let a = self.value(node.args[1], index, level)?;
                Expr::Select(c, a, self.value(node.args[2], index, level)?)
            }
            Op::Cast(_) => Expr::Cast(self.value(node.args[0], index, level)?),
            Op::Input { .. } | Op::Storage { .. } | Op::Const { value: Literal::Dense(_), .. } => {
                // A leaf that is itself assigned or output: read where it lives.
                Expr::Load(self.access(id, self.cx.buffer[&id], index))
            }
            Op::Reshape(_) | Op::Permute(_) | Op::Broadcast { .. } | Op::Slice(_) | Op::Window(_) => {
                return self.view(id, index, level);
            }
            Op::Gather { axis, batch } => return self.gather(id, (*axis, *batch), index, level),
            // These always have a kernel of their own.
            Op::Reduce { .. }
            | Op::Contract(_)
            | Op::Pad { .. }
            | Op::Concat { .. }
            | Op::Fold { .. }
            | Op::ScatterAdd { .. }
            | Op::Scan { .. } => {
                return Err(Failure::Unfusable.into());
            }
        };
        Ok(self.push(expr, dtype))
    }
}

/// Row-major strides of a shape at the largest batch.
fn strides(shape: &Shape, max_batch: usize) -> Vec<i64> {
    let mut strides = vec![1; shape.rank()];
    for i in (1..shape.rank()).rev() {
        strides[i - 1] = strides[i] * shape[i].at(max_batch) as i64;
    }
    strides
}
