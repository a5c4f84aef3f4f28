//! Loops: regions, steps, tiles and chunks.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{BlockArg, InstBuilder, Value, types};

use crate::backend::BackendError;
use crate::ir::ReduceFn;
use crate::schedule::program::{AxisId, ExprId};

use super::emitter::{Bound, Emitter, Lane, Range};
use super::lanes::{self, LANES};
use super::nest::{Item, Nest, Region, Step, TileSize};
use super::scalar;

/// Vectors in flight in the main loop along a vector axis: 16 elements, a whole cache line of `f32`.
pub const UNROLL: i64 = 4;

/// Points of inner loops that are written out, and expressions of all their copies, at most.
const WRITTEN_OUT: usize = 16;
const WRITTEN_OUT_SIZE: usize = 256;

type Done = Result<(), BackendError>;
/// Values carried from one round of a loop to the next.
pub type Carried = Result<Vec<Value>, BackendError>;

impl Emitter<'_, '_> {
    /// The whole kernel.
    pub fn nest(&mut self, nest: &Nest) -> Done {
        self.prologue(nest)?;
        self.tiles(nest)
    }

    /// What is done once, before the loops.
    pub fn prologue(&mut self, nest: &Nest) -> Done {
        self.items(&nest.prologue)
    }

    /// The loops.
    pub fn tiles(&mut self, nest: &Nest) -> Done {
        self.outside(nest, 0)
    }

    fn outside(&mut self, nest: &Nest, depth: usize) -> Done {
        if let Some(&axis) = nest.axes.get(depth) {
            return self.each(axis, &mut |e| e.outside(nest, depth + 1));
        }
        match nest.tile {
            None => self.items(&nest.items),
            Some((axis, TileSize::Fixed(size))) => {
                self.chunks(axis, Bound::known(size as i64), size as i64, &mut |e| e.items(&nest.items))
            }
            Some((axis, TileSize::Elements(elements))) => {
                let columns = match self.tile {
                    Some(tile) => self.count(tile.column),
                    None => self.iconst(1),
                };
                let elements = self.iconst(elements as i64);
                let one = self.iconst(1);
                let size = self.b.ins().udiv(elements, columns);
                let none = self.b.ins().icmp_imm_s(IntCC::Equal, size, 0);
                let size = self.b.ins().select(none, one, size);
                self.chunks(axis, Bound::value(size), 1, &mut |e| e.items(&nest.items))
            }
        }
    }

    fn items(&mut self, items: &[Item]) -> Done {
        for item in items {
            match item {
                Item::Region(region) => self.region(region)?,
                Item::Call { function, args } => self.strip(function, args)?,
                Item::Chunks { axes, along, size, items } => self.chunk_loops(axes, *along, *size, items)?,
            }
        }
        Ok(())
    }

    fn chunk_loops(&mut self, axes: &[AxisId], along: AxisId, size: usize, items: &[Item]) -> Done {
        match axes.split_first() {
            Some((axis, rest)) => self.each(*axis, &mut |e| e.chunk_loops(rest, along, size, items)),
            None => self.chunks(along, Bound::known(size as i64), size as i64, &mut |e| e.items(items)),
        }
    }

    /// Runs `body` for every point of an axis.
    fn each(&mut self, axis: AxisId, body: &mut dyn FnMut(&mut Self) -> Done) -> Done {
        let range = self.range(axis);
        self.count_up(range.lo, range.hi, 1, Vec::new(), &mut |e, index, _| {
            e.bind(axis, index);
            e.push_frame();
            body(e)?;
            e.pop_frame();
            e.unbind(axis);
            Ok(Vec::new())
        })?;
        Ok(())
    }

    /// Runs `body` with the range of an axis cut into pieces of `size`, a multiple of `multiple`.
    fn chunks(&mut self, axis: AxisId, size: Bound, multiple: i64, body: &mut dyn FnMut(&mut Self) -> Done) -> Done {
        let whole = self.range(axis);
        if let (Some(lo), Some(hi), Some(size)) = (whole.lo.known, whole.hi.known, size.known)
            && hi - lo <= size
        {
            return body(self);
        }
        let (lo, hi) = (self.bound_value(whole.lo), self.bound_value(whole.hi));
        let size = self.bound_value(size);
        let (head, done) = (self.b.create_block(), self.b.create_block());
        let start = self.b.append_block_param(head, types::I64);
        let any = self.b.ins().icmp(IntCC::SignedLessThan, lo, hi);
        self.b.ins().brif(any, head, &[BlockArg::Value(lo)], done, &[]);
        self.b.switch_to_block(head);
        let next = self.b.ins().iadd(start, size);
        let more = self.b.ins().icmp(IntCC::SignedLessThan, next, hi);
        let end = self.b.ins().select(more, next, hi);
        let piece = Range { lo: Bound::value(start), hi: Bound::value(end), multiple: gcd(multiple, whole.multiple) };
        let outer = self.ranges.insert(axis, piece);
        self.push_frame();
        body(self)?;
        self.pop_frame();
        match outer {
            Some(range) => self.ranges.insert(axis, range),
            None => self.ranges.remove(&axis),
        };
        let again = self.b.ins().icmp(IntCC::SignedLessThan, end, hi);
        self.b.ins().brif(again, head, &[BlockArg::Value(end)], done, &[]);
        self.b.seal_block(head);
        self.b.switch_to_block(done);
        self.b.seal_block(done);
        Ok(())
    }

    /// Runs `body(index, carried)` for `index = lo, lo + step, ...` below `hi`, where the distance is a multiple of
    /// the step. The values that the body returns are carried to the next round.
    pub fn count_up(
        &mut self,
        lo: Bound,
        hi: Bound,
        step: i64,
        carried: Vec<Value>,
        body: &mut dyn FnMut(&mut Self, Value, Vec<Value>) -> Carried,
    ) -> Carried {
        let known = lo.known.zip(hi.known).map(|(lo, hi)| hi - lo);
        if known.is_some_and(|n| n <= 0) {
            return Ok(carried);
        }
        let first = self.bound_value(lo);
        if known.is_some_and(|n| n <= step) {
            return body(self, first, carried);
        }
        let limit = self.bound_value(hi);
        let types: Vec<_> = carried.iter().map(|v| self.b.func.dfg.value_type(*v)).collect();
        let (head, done) = (self.b.create_block(), self.b.create_block());
        let index = self.b.append_block_param(head, types::I64);
        let inside: Vec<Value> = types.iter().map(|t| self.b.append_block_param(head, *t)).collect();
        let after: Vec<Value> = types.iter().map(|t| self.b.append_block_param(done, *t)).collect();
        let args = |values: &[Value]| values.iter().map(|v| BlockArg::Value(*v)).collect::<Vec<_>>();
        let enter = args(&[&[first], &carried[..]].concat());
        if known.is_some() {
            self.b.ins().jump(head, &enter);
        } else {
            let any = self.b.ins().icmp(IntCC::SignedLessThan, first, limit);
            self.b.ins().brif(any, head, &enter, done, &args(&carried));
        }
        self.b.switch_to_block(head);
        let results = body(self, index, inside)?;
        let next = self.b.ins().iadd_imm_s(index, step);
        let more = self.b.ins().icmp(IntCC::SignedLessThan, next, limit);
        self.b.ins().brif(more, head, &args(&[&[next], &results[..]].concat()), done, &args(&results));
        self.b.seal_block(head);
        self.b.switch_to_block(done);
        self.b.seal_block(done);
        Ok(after)
    }

    /// Runs `body` along a vector axis: blocks of `unroll` vectors, then single vectors, then single elements. With
    /// `shared`, all single elements fold into one partial accumulator, after those of the vectors.
    fn vectors(
        &mut self,
        axis: AxisId,
        unroll: i64,
        shared: bool,
        mut carried: Vec<Value>,
        body: &mut dyn FnMut(&mut Self, Vec<Value>) -> Carried,
    ) -> Carried {
        let range = self.range(axis);
        let outer = std::mem::take(&mut self.lanes);
        let wide = |n: i64| (0..n).map(|j| Lane { offset: LANES * j, wide: true, partial: j as usize });
        let single =
            |offset: i64, at: usize| Lane { offset, wide: false, partial: if shared { unroll as usize } else { at } };
        let block = LANES * unroll;
        let mut pieces: Vec<(Bound, Bound, i64, Vec<Lane>)> = Vec::new();
        if let (Some(lo), Some(hi)) = (range.lo.known, range.hi.known) {
            let main = lo + (hi - lo).max(0) / block * block;
            pieces.push((range.lo, Bound::known(main), block, wide(unroll).collect()));
            let rest = hi - main;
            let mut lanes: Vec<Lane> = wide(rest / LANES).collect();
            for i in 0..rest % LANES {
                lanes.push(single(rest / LANES * LANES + i, lanes.len()));
            }
            pieces.push((Bound::known(main), range.hi, rest.max(1), lanes));
        } else {
            let lo = self.bound_value(range.lo);
            let count = self.count(axis);
            let mut start = range.lo;
            let until = |e: &mut Self, size: i64| {
                if range.multiple % size == 0 {
                    return range.hi;
                }
                let whole = e.b.ins().band_imm_s(count, -size);
                Bound::value(e.b.ins().iadd(lo, whole))
            };
            for (size, vectors) in [(block, unroll), (LANES, 1)] {
                if size == block || range.multiple % block != 0 && unroll > 1 {
                    let end = until(self, size);
                    pieces.push((start, end, size, wide(vectors).collect()));
                    start = end;
                }
            }
            if range.multiple % LANES != 0 {
                pieces.push((start, range.hi, 1, vec![single(0, 0)]));
            }
        }
        for (lo, hi, step, lanes) in pieces {
            carried = self.count_up(lo, hi, step, carried, &mut |e, index, carried| {
                e.lanes.clone_from(&lanes);
                e.bind(axis, index);
                e.push_frame();
                let results = body(e, carried)?;
                e.pop_frame();
                e.unbind(axis);
                Ok(results)
            })?;
        }
        self.lanes = outer;
        Ok(carried)
    }

    /// A loop nest without calls.
    fn region(&mut self, region: &Region) -> Done {
        if region.axes.iter().any(|a| self.kernel.extent(*a).scale == 0) {
            return Ok(());
        }
        self.bound = region.bound.iter().copied().collect();
        let roots: Vec<ExprId> = region.steps.iter().flat_map(|s| s.roots(self.kernel)).collect();
        self.push_frame();
        self.hoist(&roots)?;
        self.region_loops(region, &roots, 0)?;
        self.pop_frame();
        self.bound.clear();
        Ok(())
    }

    fn region_loops(&mut self, region: &Region, roots: &[ExprId], depth: usize) -> Done {
        let Some(&axis) = region.axes.get(depth) else { return self.steps(region) };
        if region.vector == Some(axis) {
            self.vector = Some(axis);
            let unroll = self.unroll(axis, region);
            self.vectors(axis, unroll, false, Vec::new(), &mut |e, _| {
                e.steps(region)?;
                Ok(Vec::new())
            })?;
            self.vector = None;
            return Ok(());
        }
        self.each(axis, &mut |e| {
            e.hoist(roots)?;
            e.region_loops(region, roots, depth + 1)
        })
    }

    /// Fewer vectors in flight where a body is long or the axis short.
    fn unroll(&self, axis: AxisId, region: &Region) -> i64 {
        let roots: Vec<ExprId> = region.steps.iter().flat_map(|s| s.roots(self.kernel)).collect();
        let bound = |e: ExprId| self.bound.contains_key(&e);
        let size = super::facts::reachable(self.kernel, &roots, bound).into_iter().filter(|x| *x).count();
        self.limited(axis, if size <= 24 { UNROLL } else { 2 })
    }

    fn limited(&self, axis: AxisId, unroll: i64) -> i64 {
        match self.kernel.extent(axis).as_fixed() {
            Some(n) if (n as i64) < LANES * 2 => 1,
            Some(n) if (n as i64) < LANES * 4 => unroll.min(2),
            _ => unroll,
        }
    }

    /// Everything that happens at one block of outer points.
    fn steps(&mut self, region: &Region) -> Done {
        self.accs.clear();
        for step in &region.steps {
            // What other steps wrote may have changed.
            let pinned = &self.facts.pinned;
            self.frames.iter_mut().for_each(|f| f.retain(|(e, _), _| !pinned[e.index()]));
            self.step(step)?;
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Done {
        let roots = step.roots(self.kernel);
        let empty = step.axes.iter().any(|a| self.kernel.extent(*a).scale == 0);
        if !empty {
            self.hoist(&roots)?;
        }
        let unroll = match step.vector {
            Some(axis) => self.limited(axis, UNROLL),
            None => 0,
        };
        // Partial accumulators: one per lane of an outer vector axis; for an inner one, one per vector in flight and
        // one for single elements.
        let partials = if step.vector.is_some() { unroll as usize + 1 } else { self.lanes.len() };
        let mut carried = Vec::new();
        for &acc in &step.accs {
            let row = &self.kernel.accs[acc.index()];
            let neutral = lanes::constant(self.b, row.dtype, row.f.neutral(row.dtype));
            carried.extend(std::iter::repeat_n(neutral, partials));
        }
        if !empty {
            carried = self.step_loops(step, &roots, unroll, 0, carried)?;
        }
        for (k, &acc) in step.accs.iter().enumerate() {
            let row = &self.kernel.accs[acc.index()];
            let parts = &carried[k * partials..(k + 1) * partials];
            if step.vector.is_some() {
                let total = self.combine(row.f, row.dtype, parts);
                self.accs.insert((acc, None), total);
            } else if self.vector.is_none() {
                self.accs.insert((acc, None), parts[0]);
            } else {
                for (lane, part) in parts.iter().enumerate() {
                    self.accs.insert((acc, Some(lane)), *part);
                }
            }
        }
        for &(acc, slot) in &step.resumed {
            let row = &self.kernel.accs[acc.index()];
            for lane in 0..self.lanes.len() {
                let Some(value) = self.acc(acc, lane) else { continue };
                let before = self.load_slot(slot, self.lanes[lane]);
                let before = lanes::cast(self.b, lanes::register(row.dtype), before);
                let total = scalar::reduce(self.b, row.f, row.dtype, before, value);
                self.store_slot(slot, total, self.lanes[lane]);
            }
        }
        Ok(())
    }

    /// A fixed tree over the partial results of a vectorised reduction.
    fn combine(&mut self, f: ReduceFn, dtype: crate::ir::DType, parts: &[Value]) -> Value {
        let (single, mut wide) = (parts[parts.len() - 1], parts[..parts.len() - 1].to_vec());
        while wide.len() > 1 {
            let pairs = wide.chunks(2).map(|p| match *p {
                [x, y] => scalar::reduce(self.b, f, dtype, x, y),
                _ => p[0],
            });
            wide = pairs.collect();
        }
        let total = lanes::horizontal(self.b, f, dtype, wide[0]);
        scalar::reduce(self.b, f, dtype, total, single)
    }

    fn step_loops(&mut self, step: &Step, roots: &[ExprId], unroll: i64, depth: usize, carried: Vec<Value>) -> Carried {
        let Some(&axis) = step.axes.get(depth) else { return self.body(step, carried) };
        if step.vector == Some(axis) {
            self.vector = Some(axis);
            let result = self.vectors(axis, unroll, true, carried, &mut |e, carried| e.body(step, carried))?;
            self.vector = None;
            return Ok(result);
        }
        let range = self.range(axis);
        if let (Some(lo), Some(hi)) = (range.lo.known, range.hi.known)
            && self.writes_out(step, roots, depth)
        {
            let mut carried = carried;
            for index in lo..hi {
                self.push_frame();
                self.bind_known(axis, index);
                carried = self.step_loops(step, roots, unroll, depth + 1, carried)?;
                self.unbind(axis);
                self.pop_frame();
            }
            return Ok(carried);
        }
        self.count_up(range.lo, range.hi, 1, carried, &mut |e, index, carried| {
            e.bind(axis, index);
            e.push_frame();
            if depth + 1 < step.axes.len() {
                e.hoist(roots)?;
            }
            let results = e.step_loops(step, roots, unroll, depth + 1, carried)?;
            e.pop_frame();
            e.unbind(axis);
            Ok(results)
        })
    }

    /// Whether the loops of a step from `depth` on are short enough to be written out point by point.
    fn writes_out(&self, step: &Step, roots: &[ExprId], depth: usize) -> bool {
        if step.vector.is_some() {
            return false;
        }
        let points = step.axes[depth..].iter().map(|a| self.kernel.extent(*a).as_fixed());
        let Some(points) = points.collect::<Option<Vec<usize>>>().map(|n| n.iter().product::<usize>()) else {
            return false;
        };
        let bound = |e: ExprId| self.bound.contains_key(&e);
        let size = super::facts::reachable(self.kernel, roots, bound).into_iter().filter(|x| *x).count();
        points <= WRITTEN_OUT && size.saturating_mul(points * self.lanes.len()) <= WRITTEN_OUT_SIZE
    }

    /// One block of points of a step: folds, then stores.
    fn body(&mut self, step: &Step, mut carried: Vec<Value>) -> Carried {
        let partials = carried.len() / step.accs.len().max(1);
        for lane in 0..self.lanes.len() {
            for (k, &acc) in step.accs.iter().enumerate() {
                let part = k * partials + self.lanes[lane].partial;
                carried[part] = self.fold(acc, carried[part], lane)?;
            }
            for store in &step.stores {
                self.eval(store.value, lane)?;
                if let Some(indirect) = &store.access.indirect {
                    self.eval(indirect.index, lane)?;
                }
            }
            for store in &step.stores {
                self.store(store, lane)?;
            }
            for &(value, slot) in &step.saves {
                let value = self.eval(value, lane)?;
                self.store_slot(slot, value, self.lanes[lane]);
            }
        }
        Ok(carried)
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
