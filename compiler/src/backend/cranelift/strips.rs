//! Plans a kernel: cuts it at strip functions into regions and calls.

use bakelite_kernels::manifest;

use crate::backend::BackendError;
use crate::ir::scalar::Lower;
use crate::ir::{DType, Number};
use crate::schedule::program::{AccId, AxisId, Expr, ExprId, Kernel, Program};

use super::facts::{Facts, Set, reachable, roots};
use super::nest::{Item, Nest, Region, Slot, SlotId, Step, TileSize};
use super::plan::Vector;

/// Elements of a scratch row that planning aims at: long enough to amortise a call, short enough for the cache.
const ROW: usize = 1024;
/// Elements of a row over a stage's axes up to which the stage is not cut into chunks.
const WHOLE: usize = 4 * ROW;
/// Outer points along the vector axis up to which a tile takes the axis whole, and several points of another axis.
const SHORT: usize = 128;
/// Alignment of slots in bytes.
const SLOT_ALIGN: usize = 64;

/// Plans the stages from `first` on. With `tile_columns` the kernel is an epilogue: its loops are the rows (if any)
/// and columns of a tile of run-time size, vectorised along the columns.
pub fn plan(
    kernel: &mut Kernel,
    program: &Program,
    facts: &Facts,
    vector: &Vector,
    first: usize,
    epilogue: Option<(Option<AxisId>, AxisId)>,
) -> Result<Nest, BackendError> {
    let mut planner = Planner {
        nest: Nest::default(),
        bound: Vec::new(),
        open: None,
        inside: Vec::new(),
        columns: None,
        items: Vec::new(),
        kernel,
        program,
        facts,
        vector,
    };
    planner.arrange(first, epilogue);
    for stage in first..planner.kernel.stages.len() {
        planner.stage(stage)?;
    }
    planner.close(planner.kernel.stages.len());
    Ok(planner.finish())
}

struct Planner<'a> {
    kernel: &'a mut Kernel,
    program: &'a Program,
    facts: &'a Facts,
    vector: &'a Vector,
    nest: Nest,
    items: Vec<Item>,
    /// The outer axes that run inside a tile, outermost first; the vector axis last.
    inside: Vec<AxisId>,
    /// The vector axis where it is cut into rows inside the tile.
    columns: Option<AxisId>,
    /// Values that lie in slots by now.
    bound: Vec<(ExprId, SlotId)>,
    /// The region that the next stage may join.
    open: Option<Region>,
}

impl Planner<'_> {
    fn extent(&self, axis: AxisId) -> usize {
        self.kernel.extent(axis).at(self.program.max_batch)
    }

    fn points(&self, axes: &[AxisId]) -> usize {
        axes.iter().map(|a| self.extent(*a)).fold(1, usize::saturating_mul)
    }

    /// Decides which outer axes run inside a tile and how large it is.
    fn arrange(&mut self, first: usize, epilogue: Option<(Option<AxisId>, AxisId)>) {
        let mut outer = self.kernel.outer.clone();
        if let Vector::Outer(v) = *self.vector {
            outer.retain(|a| *a != v);
            outer.push(v);
        }
        let stages: Vec<usize> = (first..self.kernel.stages.len()).collect();
        let cut: Vec<usize> = stages.into_iter().filter(|s| !self.strips(*s, &[]).is_empty()).collect();
        if let Some((rows, columns)) = epilogue {
            self.inside = rows.into_iter().chain([columns]).collect();
            if !cut.is_empty() {
                let deepest = self.deepest(&cut);
                self.nest.tile = rows.map(|axis| (axis, TileSize::Elements((ROW / deepest).max(1))));
                self.columns = Some(columns);
            }
            return;
        }
        if cut.is_empty() {
            self.inside = outer;
            return;
        }
        let deepest = self.deepest(&cut);
        match *self.vector {
            Vector::Outer(v) => {
                let width = self.extent(v);
                outer.pop();
                match outer.last().copied() {
                    Some(row) if width <= SHORT => {
                        outer.pop();
                        let size = (ROW / width.saturating_mul(deepest).max(1)).max(1);
                        self.nest.tile = Some((row, TileSize::Fixed(size)));
                        self.inside = vec![row, v];
                    }
                    _ => {
                        let size = (ROW / deepest).clamp(SHORT, ROW);
                        self.nest.tile = Some((v, TileSize::Fixed(size)));
                        self.inside = vec![v];
                    }
                }
            }
            Vector::Stages(_) => {
                let size = ROW / deepest;
                if size > 1
                    && let Some(row) = outer.pop()
                {
                    self.nest.tile = Some((row, TileSize::Fixed(size)));
                    self.inside = vec![row];
                }
            }
        }
        self.nest.axes = outer;
    }

    /// Points of the largest stage among `stages`, up to the size at which stages are cut into chunks.
    fn deepest(&self, stages: &[usize]) -> usize {
        let points = stages.iter().map(|s| self.points(&self.kernel.stages[*s].axes));
        points.max().unwrap_or(1).clamp(1, ROW)
    }

    /// The most points of an axis in a tile.
    fn tile_points(&self, axis: AxisId) -> usize {
        match self.nest.tile {
            Some((a, TileSize::Fixed(size))) if a == axis => size.min(self.extent(axis)),
            _ => self.extent(axis),
        }
    }

    /// The strip functions that a stage calls and that are not in slots yet, operands first.
    fn strips(&self, stage: usize, bound: &[(ExprId, SlotId)]) -> Vec<ExprId> {
        let roots = roots(self.kernel, &self.kernel.stages[stage]);
        let is_bound = |e: ExprId| bound.iter().any(|b| b.0 == e);
        let seen = reachable(self.kernel, &roots, is_bound);
        let ids = (0..seen.len() as u32).map(ExprId);
        ids.filter(|e| seen[e.index()] && !is_bound(*e) && strip(self.kernel, *e).is_some()).collect()
    }

    fn stage(&mut self, at: usize) -> Result<(), BackendError> {
        let axes = self.loops(at);
        let own = Set::axes(&axes);
        let room = match self.columns {
            Some(columns) => self.extent(columns).min(ROW),
            None => self.inside.iter().map(|a| self.tile_points(*a)).fold(1, usize::saturating_mul).min(ROW),
        };
        let oversize = self.points(&axes) > (WHOLE / room).max(1);
        if oversize {
            // Rows over the whole extent of an axis do not serve its chunks.
            let slots = &self.nest.slots;
            self.bound.retain(|(_, slot)| !Set::axes(&slots[slot.0].axes).meets(own));
        }
        let strips = self.strips(at, &self.bound);
        let stage = &self.kernel.stages[at];
        let step = Step {
            vector: self.inner_vector(at),
            accs: stage.accs.clone(),
            stores: stage.stores.clone(),
            axes: axes.clone(),
            ..Step::default()
        };
        if strips.is_empty() {
            let mut region = self.open.take().unwrap_or_else(|| self.region());
            region.steps.push(step);
            self.open = Some(region);
            return Ok(());
        }
        self.close(at);
        let (once, rest): (Vec<ExprId>, Vec<ExprId>) = strips.into_iter().partition(|e| self.constant(*e));
        let (rows, full): (Vec<ExprId>, Vec<ExprId>) =
            rest.into_iter().partition(|e| !self.facts.axes[e.index()].meets(own));
        let items = std::mem::take(&mut self.items);
        self.calls(&once, &[], None, at)?;
        self.nest.prologue.append(&mut self.items);
        self.items = items;
        self.calls(&rows, &axes, None, at)?;
        if oversize && !full.is_empty() {
            self.chunked(at, step, &full, (WHOLE / 4 / room).max(1))?;
        } else {
            self.calls(&full, &axes, None, at)?;
            let mut region = self.region();
            region.steps.push(step);
            self.open = Some(region);
        }
        // A row is no longer valid where memory may change under it.
        let pinned = &self.facts.pinned;
        self.bound.retain(|(e, _)| !pinned.get(e.index()).copied().unwrap_or(false));
        Ok(())
    }

    /// A stage in chunks of about `size` points, with its accumulators in slots in between.
    fn chunked(&mut self, at: usize, step: Step, strips: &[ExprId], size: usize) -> Result<(), BackendError> {
        let mut whole = 1;
        let mut split = step.axes.len() - 1;
        while split > 0 && whole * self.extent(step.axes[split]) <= size {
            whole *= self.extent(step.axes[split]);
            split -= 1;
        }
        let along = step.axes[split];
        let chunk = (size / whole).max(1);

        let inside = self.inside.clone();
        let mut start = self.region();
        let mut resumed = Vec::new();
        let mut saves = Vec::new();
        for &acc in &step.accs {
            let row = &self.kernel.accs[acc.index()];
            let (f, dtype) = (row.f, row.dtype);
            let slot = self.slot(inside.clone(), None);
            let neutral = self.kernel.push(Expr::Const(Number(f.neutral(dtype))), dtype);
            saves.push((neutral, slot));
            resumed.push((acc, slot));
        }
        start.steps.push(Step { saves, ..Step::default() });
        if !step.accs.is_empty() {
            self.items.push(Item::Region(start));
        }

        let bound = self.bound.len();
        let outside = std::mem::take(&mut self.items);
        self.calls(strips, &step.axes[split..], Some((along, chunk)), at)?;
        let mut region = self.region();
        region.steps.push(Step { axes: step.axes[split..].to_vec(), resumed: resumed.clone(), ..step.clone() });
        self.items.push(Item::Region(region));
        let items = std::mem::replace(&mut self.items, outside);
        self.items.push(Item::Chunks { axes: step.axes[..split].to_vec(), along, size: chunk, items });
        self.bound.truncate(bound);
        for (acc, slot) in resumed {
            let value = self.acc(acc);
            self.bound.push((value, slot));
        }
        Ok(())
    }

    /// The loops of a stage, its vector axis last.
    fn loops(&self, at: usize) -> Vec<AxisId> {
        let mut axes = self.kernel.stages[at].axes.clone();
        if let Some(v) = self.inner_vector(at) {
            axes.retain(|a| *a != v);
            axes.push(v);
        }
        axes
    }

    fn inner_vector(&self, at: usize) -> Option<AxisId> {
        match self.vector {
            Vector::Outer(_) => None,
            Vector::Stages(axes) => axes[at],
        }
    }

    /// A value that varies with nothing and can be computed before everything else.
    fn constant(&self, e: ExprId) -> bool {
        let facts = self.facts;
        facts.axes[e.index()] == Set::default() && facts.accs[e.index()] == Set::default() && !facts.pinned[e.index()]
    }

    fn acc(&mut self, acc: AccId) -> ExprId {
        let dtype = self.kernel.accs[acc.index()].dtype;
        self.kernel.push(Expr::Acc(acc), dtype)
    }

    /// An empty region over the axes of the tile.
    fn region(&self) -> Region {
        let vector = match *self.vector {
            Vector::Outer(v) if self.inside.contains(&v) => Some(v),
            _ => None,
        };
        Region { axes: self.inside.clone(), vector, steps: Vec::new(), bound: self.bound.clone() }
    }

    /// Ends the open region; accumulators that stages from `next` on read are kept in slots.
    fn close(&mut self, next: usize) {
        let Some(mut region) = self.open.take() else { return };
        let accs: Vec<AccId> = region.steps.iter().flat_map(|s| s.accs.clone()).collect();
        let later: Vec<ExprId> = self.kernel.stages[next.min(self.kernel.stages.len())..]
            .iter()
            .flat_map(|s| roots(self.kernel, s))
            .collect();
        let seen = reachable(self.kernel, &later, |_| false);
        let read = |acc: AccId| {
            self.kernel.exprs.iter().zip(&seen).any(|(e, seen)| *seen && matches!(e.expr, Expr::Acc(a) if a == acc))
        };
        let kept: Vec<AccId> = accs.into_iter().filter(|a| read(*a)).collect();
        let mut saves = Vec::new();
        for acc in kept {
            let value = self.acc(acc);
            let slot = self.slot(self.inside.clone(), None);
            saves.push((value, slot));
        }
        self.bound.extend(&saves);
        if !saves.is_empty() {
            region.steps.push(Step { saves, ..Step::default() });
        }
        self.items.push(Item::Region(region));
    }

    /// Computes strip functions into slots over the axes that they vary with, level by level.
    fn calls(
        &mut self,
        strips: &[ExprId],
        axes: &[AxisId],
        chunk: Option<(AxisId, usize)>,
        at: usize,
    ) -> Result<(), BackendError> {
        for ready in self.levels(strips) {
            let mut regions: Vec<Region> = Vec::new();
            let mut calls = Vec::new();
            let mut results = Vec::new();
            for &e in &ready {
                let Some(function) = strip(self.kernel, e) else { continue };
                if manifest::slot_offset(function).is_none() {
                    return Err(BackendError::internal(&self.kernel.name, format!("no kernel named {function}")));
                }
                let order = self.order(e, axes, at);
                let operands = self.kernel.expr(e).expr.operands();
                let args: Vec<SlotId> = operands.iter().map(|_| self.slot(order.clone(), chunk)).collect();
                let saves = operands.iter().copied().zip(args.iter().copied());
                match regions.iter_mut().find(|r| r.axes == order) {
                    Some(region) => region.steps[0].saves.extend(saves),
                    None => regions.push(Region {
                        vector: order.last().copied(),
                        axes: order,
                        steps: vec![Step { saves: saves.collect(), ..Step::default() }],
                        bound: self.bound.clone(),
                    }),
                }
                results.push((e, args[0]));
                calls.push(Item::Call { function, args });
            }
            self.items.extend(regions.into_iter().map(Item::Region));
            self.items.extend(calls);
            self.bound.extend(results);
        }
        Ok(())
    }

    /// Strip functions by how many of them lie below each other, between them and what is in slots: those of one level
    /// need only those of the levels before it.
    fn levels(&self, strips: &[ExprId]) -> Vec<Vec<ExprId>> {
        let below = reachable(self.kernel, strips, |e| self.is_bound(e));
        let mut depth = vec![0; below.len()];
        let mut levels: Vec<Vec<ExprId>> = Vec::new();
        // Operands have smaller numbers than what they are operands of.
        for e in (0..below.len() as u32).map(ExprId).filter(|e| below[e.index()] && !self.is_bound(*e)) {
            let operands = self.kernel.expr(e).expr.operands();
            let level = operands.iter().map(|x| depth[x.index()]).max().unwrap_or(0);
            depth[e.index()] = level;
            if strips.contains(&e) {
                depth[e.index()] = level + 1;
                levels.resize(levels.len().max(level + 1), Vec::new());
                levels[level].push(e);
            }
        }
        levels
    }

    fn is_bound(&self, e: ExprId) -> bool {
        self.bound.iter().any(|b| b.0 == e)
    }

    /// The loops over which a value varies inside the tile, the vector axis last.
    fn order(&self, e: ExprId, axes: &[AxisId], at: usize) -> Vec<AxisId> {
        let varies = |a: &&AxisId| self.facts.varies_with(e, **a);
        let last = match self.vector {
            Vector::Outer(v) => Some(*v),
            Vector::Stages(_) => self.inner_vector(at),
        };
        let mut order: Vec<AxisId> = self.inside.iter().chain(axes).filter(varies).copied().collect();
        if let Some(v) = last
            && let Some(place) = order.iter().position(|a| *a == v)
        {
            order.remove(place);
            order.push(v);
        }
        order
    }

    /// Reserves scratch for one value per point of `axes` in a tile.
    fn slot(&mut self, axes: Vec<AxisId>, chunk: Option<(AxisId, usize)>) -> SlotId {
        let rows = match self.nest.tile {
            Some((row, TileSize::Elements(size))) => Some((row, size)),
            _ => None,
        };
        let mut capacity = 1usize;
        for &axis in &axes {
            let points = match chunk {
                Some((along, size)) if along == axis => size,
                _ if self.columns == Some(axis) => self.extent(axis).min(ROW),
                // Rows and columns of a tile share one budget, which the columns account for.
                _ if rows.is_some_and(|r| r.0 == axis) => 1,
                _ => self.tile_points(axis),
            };
            capacity = capacity.saturating_mul(points);
        }
        if let Some((row, size)) = rows
            && axes.contains(&row)
        {
            let columns = self.columns.filter(|c| axes.contains(c)).map_or(1, |c| self.extent(c).min(ROW));
            // At least `size` elements in all, whatever the number of columns.
            capacity = capacity / columns * columns.max(size);
        }
        let offset = self.nest.scratch;
        self.nest.scratch += (capacity * DType::F32.size()).next_multiple_of(SLOT_ALIGN);
        self.nest.slots.push(Slot { axes, offset, capacity });
        SlotId(self.nest.slots.len() - 1)
    }

    fn finish(mut self) -> Nest {
        self.nest.items = match self.columns {
            Some(along) if self.extent(along) > ROW => {
                vec![Item::Chunks { axes: Vec::new(), along, size: ROW, items: self.items }]
            }
            _ => self.items,
        };
        self.nest
    }
}

/// The kernel of the table that computes an expression, if one does.
pub fn strip(kernel: &Kernel, e: ExprId) -> Option<&'static str> {
    match &kernel.expr(e).expr {
        Expr::Unary(f, _) if matches!(f.row().lower, Lower::Strip) => Some(f.row().name),
        Expr::Binary(f, ..) if matches!(f.row().lower, Lower::Strip) => Some(f.row().name),
        _ => None,
    }
}
