//! The state of one function under construction, and the values of expressions in it.
//!
//! Expressions are evaluated where their axes are bound to indices. Values are remembered in frames, one per loop
//! level, and whatever an inner loop needs but does not change is evaluated before the loop begins.

use std::collections::HashMap;

use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::FunctionBuilder;

use crate::backend::BackendError;
use crate::ir::{BinaryFn, DType, Dim};
use crate::schedule::program::{AccId, Affine, AxisId, BufferId, Expr, ExprId, Kernel, Program};

use super::facts::{Facts, Set};
use super::lanes;
use super::nest::{Slot, SlotId};
use super::scalar::{self, Operand};
use super::target::Features;

/// The elements that one evaluation serves: four neighbours along the vector axis, or one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lane {
    /// Distance of the first element from the block's index.
    pub offset: i64,
    pub wide: bool,
    /// The partial accumulator that the lane folds into.
    pub partial: usize,
}

impl Lane {
    /// One element at the index itself.
    pub const SINGLE: Lane = Lane { offset: 0, wide: false, partial: 0 };
}

/// A limit of a loop, with what is known of it before run time.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    value: Option<Value>,
    pub known: Option<i64>,
}

impl Bound {
    pub fn known(n: i64) -> Bound {
        Bound { value: None, known: Some(n) }
    }

    pub fn value(value: Value) -> Bound {
        Bound { value: Some(value), known: None }
    }
}

/// The points of an axis that the current tile, chunk or thread covers.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    pub lo: Bound,
    pub hi: Bound,
    /// A divisor of the number of points.
    pub multiple: i64,
}

/// Where an epilogue finds the sums of its contraction.
#[derive(Clone, Copy, Debug)]
pub struct TileSums {
    /// Address of row 0, column 0 of the whole result, were it all there.
    pub origin: Value,
    /// Bytes between rows.
    pub row_bytes: Value,
    /// The axis that counts rows, if the address does not include them yet.
    pub row: Option<AxisId>,
    pub column: AxisId,
    pub acc: AccId,
}

type Frame = HashMap<(ExprId, Option<usize>), Value>;

/// One function under construction.
pub struct Emitter<'a, 'f> {
    pub b: &'a mut FunctionBuilder<'f>,
    pub features: Features,
    pub program: &'a Program,
    pub kernel: &'a Kernel,
    pub facts: &'a Facts,
    pub slots: &'a [Slot],
    /// Run-time batch of the call.
    pub batch: Value,
    /// Base address of every buffer that the kernel touches.
    pub bases: HashMap<BufferId, Value>,
    /// Scratch of the kernel for this thread.
    pub scratch: Value,
    /// The table of kernels.
    pub table: Value,
    pub tile: Option<TileSums>,
    /// Current index of each bound axis; the vector axis has that of its block.
    pub index: HashMap<AxisId, Value>,
    /// The indices that are constants here, because their loop is written out.
    pub known: HashMap<AxisId, i64>,
    /// The order in which axes were bound, outermost first.
    pub order: Vec<AxisId>,
    pub ranges: HashMap<AxisId, Range>,
    pub vector: Option<AxisId>,
    pub lanes: Vec<Lane>,
    pub accs: HashMap<(AccId, Option<usize>), Value>,
    pub bound: HashMap<ExprId, SlotId>,
    pub frames: Vec<Frame>,
}

impl Emitter<'_, '_> {
    pub fn iconst(&mut self, n: i64) -> Value {
        self.b.ins().iconst(types::I64, n)
    }

    pub fn bound_value(&mut self, bound: Bound) -> Value {
        match (bound.known, bound.value) {
            (Some(n), _) => self.iconst(n),
            (None, Some(value)) => value,
            (None, None) => self.iconst(0),
        }
    }

    /// The run-time value of an extent.
    pub fn dim(&mut self, dim: Dim) -> Bound {
        match dim.as_fixed() {
            Some(n) => Bound::known(n as i64),
            None if dim.scale == 1 => Bound::value(self.batch),
            None => {
                let batch = self.batch;
                Bound::value(self.b.ins().imul_imm_s(batch, dim.scale as i64))
            }
        }
    }

    /// The range of an axis: its tile or chunk, or all of it.
    pub fn range(&mut self, axis: AxisId) -> Range {
        if let Some(range) = self.ranges.get(&axis) {
            return *range;
        }
        let extent = self.kernel.extent(axis);
        Range { lo: Bound::known(0), hi: self.dim(extent), multiple: extent.scale.max(1) as i64 }
    }

    /// The number of points in the range of an axis.
    pub fn count(&mut self, axis: AxisId) -> Value {
        let range = self.range(axis);
        if let (Some(lo), Some(hi)) = (range.lo.known, range.hi.known) {
            return self.iconst(hi - lo);
        }
        let hi = self.bound_value(range.hi);
        if range.lo.known == Some(0) {
            return hi;
        }
        let lo = self.bound_value(range.lo);
        self.b.ins().isub(hi, lo)
    }

    pub fn bind(&mut self, axis: AxisId, index: Value) {
        self.index.insert(axis, index);
        self.order.retain(|a| *a != axis);
        self.order.push(axis);
    }

    /// Binds an axis to a constant index.
    pub fn bind_known(&mut self, axis: AxisId, index: i64) {
        let value = self.iconst(index);
        self.bind(axis, value);
        self.known.insert(axis, index);
    }

    pub fn unbind(&mut self, axis: AxisId) {
        self.index.remove(&axis);
        self.known.remove(&axis);
        self.order.retain(|a| *a != axis);
    }

    pub fn push_frame(&mut self) {
        self.frames.push(Frame::new());
    }

    pub fn pop_frame(&mut self) {
        self.frames.pop();
    }

    fn varies(&self, e: ExprId) -> bool {
        self.vector.is_some_and(|v| self.facts.varies_with(e, v) && self.index.contains_key(&v))
    }

    fn key(&self, e: ExprId, lane: usize) -> (ExprId, Option<usize>) {
        (e, self.varies(e).then_some(lane))
    }

    fn remembered(&self, e: ExprId, lane: usize) -> Option<Value> {
        let key = self.key(e, lane);
        self.frames.iter().rev().find_map(|f| f.get(&key).copied())
    }

    /// The value of an accumulator that is in registers.
    pub fn acc(&self, acc: AccId, lane: usize) -> Option<Value> {
        self.accs.get(&(acc, Some(lane))).or_else(|| self.accs.get(&(acc, None))).copied()
    }

    /// Evaluates what `roots` need and what is known at this point of the nest, so that loops opened from here on
    /// find it done.
    pub fn hoist(&mut self, roots: &[ExprId]) -> Result<(), BackendError> {
        let axes = Set::of(self.index.keys().map(|a| a.index()));
        let mut stack = roots.to_vec();
        let mut seen = vec![false; self.kernel.exprs.len()];
        while let Some(e) = stack.pop() {
            if std::mem::replace(&mut seen[e.index()], true) {
                continue;
            }
            let known = !self.facts.pinned[e.index()] && self.facts.axes[e.index()].within(axes) && self.accs_known(e);
            let kernel = self.kernel;
            match &kernel.expr(e).expr {
                Expr::Const(_) => {}
                _ if self.bound.get(&e).is_some_and(|s| !self.slot_known(*s)) => {}
                _ if known => {
                    let lanes = if self.varies(e) { self.lanes.len() } else { 1 };
                    for lane in 0..lanes {
                        self.eval(e, lane)?;
                    }
                }
                _ if self.bound.contains_key(&e) => {}
                expr => stack.extend(expr.operands()),
            }
        }
        Ok(())
    }

    fn slot_known(&self, slot: SlotId) -> bool {
        self.slots[slot.0].axes.iter().all(|a| self.index.contains_key(a))
    }

    fn accs_known(&self, e: ExprId) -> bool {
        let needed = self.facts.accs[e.index()];
        (0..self.kernel.accs.len()).filter(|a| needed.contains(*a)).all(|a| {
            let acc = AccId(a as u32);
            let bound = || self.bound.keys().any(|e| matches!(self.kernel.expr(*e).expr, Expr::Acc(a) if a == acc));
            self.acc(acc, 0).is_some() || self.tile.is_some_and(|t| t.acc == acc) || bound()
        })
    }

    /// The value of an expression for one lane of the current block.
    pub fn eval(&mut self, e: ExprId, lane: usize) -> Result<Value, BackendError> {
        if let Some(value) = self.remembered(e, lane) {
            return Ok(value);
        }
        let value = self.compute(e, lane)?;
        let key = self.key(e, lane);
        match self.frames.last_mut() {
            Some(frame) => frame.insert(key, value),
            None => None,
        };
        Ok(value)
    }

    fn compute(&mut self, e: ExprId, lane: usize) -> Result<Value, BackendError> {
        if let Some(&slot) = self.bound.get(&e) {
            let value = self.load_slot(slot, self.lanes[lane]);
            return Ok(lanes::cast(self.b, lanes::register(self.kernel.expr(e).dtype), value));
        }
        let kernel = self.kernel;
        let typed = kernel.expr(e);
        let dtype = typed.dtype;
        let native = |name: &str| BackendError::internal(&kernel.name, format!("{name} is not an instruction"));
        Ok(match &typed.expr {
            Expr::Const(number) => lanes::constant(self.b, dtype, number.0),
            Expr::Size(dim) => {
                let size = self.dim(*dim);
                let size = self.bound_value(size);
                let size = self.b.ins().ireduce(types::I32, size);
                let size = self.b.ins().splat(types::I32X4, size);
                self.number(size, dtype)
            }
            Expr::Index(index) => self.affine(index, dtype, self.lanes[lane]),
            Expr::Load(access) => self.load(access, lane)?,
            Expr::Acc(acc) => self.acc_value(*acc, lane)?,
            Expr::Unary(f, x) => {
                let from = kernel.expr(*x).dtype;
                let x = self.eval(*x, lane)?;
                scalar::unary(self.b, self.features, *f, from, x).ok_or_else(|| native(f.row().name))?
            }
            Expr::Binary(f, x, y) => {
                let from = kernel.expr(*x).dtype;
                let known = (self.operand(*x), self.operand(*y));
                let values = (self.eval(*x, lane)?, self.eval(*y, lane)?);
                scalar::binary(self.b, *f, from, values, known).ok_or_else(|| native(f.row().name))?
            }
            Expr::Select(c, x, y) => {
                let (c, x, y) = (self.eval(*c, lane)?, self.eval(*x, lane)?, self.eval(*y, lane)?);
                lanes::select(self.b, c, x, y)
            }
            Expr::Cast(x) => {
                let from = kernel.expr(*x).dtype;
                let x = self.eval(*x, lane)?;
                scalar::convert(self.b, from, dtype, x)
            }
        })
    }

    fn acc_value(&mut self, acc: AccId, lane: usize) -> Result<Value, BackendError> {
        if let Some(value) = self.acc(acc, lane) {
            return Ok(value);
        }
        match self.tile {
            Some(tile) if tile.acc == acc => Ok(self.load_tile(tile, self.lanes[lane])),
            _ => Err(BackendError::internal(&self.kernel.name, format!("accumulator {} has no value yet", acc.0))),
        }
    }

    fn operand(&self, e: ExprId) -> Operand {
        match &self.kernel.expr(e).expr {
            Expr::Const(number) => Operand::Const(number.0),
            _ if self.varies(e) => Operand::Lanes,
            _ => Operand::Uniform,
        }
    }

    /// The value of a fold step: `acc` with the accumulator's value at one lane. A sum of products is fused where the
    /// target can; every lane of every loop does the same.
    pub fn fold(&mut self, acc: AccId, partial: Value, lane: usize) -> Result<Value, BackendError> {
        let kernel = self.kernel;
        let row = &kernel.accs[acc.index()];
        if self.features.fma
            && row.dtype == DType::F32
            && row.f.combine() == BinaryFn::Add
            && let Expr::Binary(BinaryFn::Mul, x, y) = kernel.expr(row.value).expr
            && self.remembered(row.value, lane).is_none()
            && !self.bound.contains_key(&row.value)
        {
            let (x, y) = (self.eval(x, lane)?, self.eval(y, lane)?);
            return Ok(self.b.ins().fma(x, y, partial));
        }
        let value = self.eval(row.value, lane)?;
        Ok(scalar::reduce(self.b, row.f, row.dtype, partial, value))
    }

    /// An affine form of the axes as a number.
    fn affine(&mut self, index: &Affine, dtype: DType, lane: Lane) -> Value {
        let step = self.vector.map_or(0, |v| index.coefficient(v));
        let (sum, constant) = self.sum(None, index, 1, lane);
        let steps = if lane.wide { [0, 1, 2, 3].map(|i| i * step) } else { [0; 4] };
        let constants = lanes::lanes32(self.b, types::I32X4, steps.map(|s| (constant + s) as u32));
        let value = match sum {
            None => constants,
            Some(sum) => {
                let sum = self.b.ins().ireduce(types::I32, sum);
                let sum = self.b.ins().splat(types::I32X4, sum);
                self.b.ins().iadd(sum, constants)
            }
        };
        self.number(value, dtype)
    }

    /// `start + factor * index` at the first element of a lane, as a run-time part and a constant. Terms of outer
    /// axes come first, so that loops find them computed.
    pub fn sum(&mut self, start: Option<Value>, index: &Affine, factor: i64, lane: Lane) -> (Option<Value>, i64) {
        let step = self.vector.map_or(0, |v| index.coefficient(v));
        let mut constant = (index.base + step * lane.offset) * factor;
        let mut sum = start;
        for axis in self.order.clone() {
            let c = index.coefficient(axis) * factor;
            if c == 0 {
                continue;
            }
            match self.known.get(&axis) {
                Some(index) => constant += c * index,
                None => {
                    let term = self.scaled(axis, c);
                    sum = Some(match sum {
                        Some(sum) => self.b.ins().iadd(sum, term),
                        None => term,
                    });
                }
            }
        }
        (sum, constant)
    }

    /// An integer vector as a value of any type.
    fn number(&mut self, value: Value, dtype: DType) -> Value {
        scalar::convert(self.b, DType::I32, dtype, value)
    }

    /// The index of a bound axis times a constant.
    pub fn scaled(&mut self, axis: AxisId, factor: i64) -> Value {
        let index = self.index[&axis];
        match factor {
            1 => index,
            f if f > 1 && f & (f - 1) == 0 => self.b.ins().ishl_imm_u(index, f.trailing_zeros() as i64),
            f => self.b.ins().imul_imm_s(index, f),
        }
    }
}
