//! Contractions: the plan that the matrix kernels follow, and the epilogue that they call back.

use bakelite_kernels::contract::{self, AxisGroup, ContractAxis, ContractCall, ContractPlan, MAX_AXES, Tile};
use bakelite_kernels::manifest;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, StackSlotData, StackSlotKind, Value, types};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{DataId, FuncId, Module};

use crate::backend::BackendError;
use crate::ir::{BinaryFn, DType, Dim, ReduceFn};
use crate::schedule::program::{AccId, Access, AxisId, Expr, ExprId, Kernel, Program, Stage, Store, StoreMode};

use super::coalesce::coalesce;
use super::emitter::{Bound, Emitter, Range, TileSums};
use super::facts::Facts;
use super::function::{Frame, Params, Scope, base, emitter, field, kernel_signature, open, pointers};
use super::nest::Nest;
use super::plan::Vector;
use super::strips;

/// Products below which plain loops do the work: the driver has a fixed cost.
const SMALL: usize = 512;
/// Alignment of the driver's scratch.
const ALIGN: usize = 64;

/// A kernel whose first stage is left to the contraction driver.
#[derive(Clone, PartialEq, Debug)]
pub struct Contraction {
    pub kernel: Kernel,
    pub plan: ContractPlan,
    left: Access,
    right: Access,
    /// The groups of the result as the epilogue walks them; vectors run along the last axis of `n`.
    batch: Vec<AxisId>,
    m: Vec<AxisId>,
    n: Vec<AxisId>,
    acc: AccId,
    output: Output,
    /// Bytes of scratch for the driver, before those of the epilogue.
    driver_scratch: usize,
}

/// What becomes of the sums.
#[derive(Clone, PartialEq, Debug)]
enum Output {
    /// The driver stores them.
    Direct(Access),
    /// An epilogue does the remaining stages.
    Epilogue(Nest),
}

impl Contraction {
    /// The contraction of a kernel, if it has one that suits the driver.
    pub fn new(kernel: &Kernel, program: &Program) -> Result<Option<Contraction>, BackendError> {
        let Some(product) = Product::of(kernel, program) else { return Ok(None) };
        let Product { acc, left, right, mut m, mut n, mut batch, k } = product;
        let mut operands = (left.clone(), right.clone());
        let best = |axes: &[AxisId]| axes.iter().map(|a| affinity(kernel, *a)).max().unwrap_or(0);
        if best(&m) > best(&n) {
            std::mem::swap(&mut m, &mut n);
            operands = (right.clone(), left.clone());
        }
        // The axis that most addresses walk by single elements is innermost.
        n.sort_by_key(|a| affinity(kernel, *a));
        let (left, right) = operands;

        let direct = direct_store(kernel, program, acc);
        let c = |axis: AxisId| direct.map_or(0, |s| s.access.index.coefficient(axis));
        let group = |axes: &[AxisId]| {
            let mut group = AxisGroup { len: axes.len(), axes: [UNUSED; MAX_AXES] };
            for (slot, &axis) in group.axes.iter_mut().zip(axes) {
                let Dim { scale, batch } = kernel.extent(axis);
                let (a, b) = (left.index.coefficient(axis), right.index.coefficient(axis));
                *slot = ContractAxis {
                    extent: scale,
                    batch: batch as usize,
                    a: a as isize,
                    b: b as isize,
                    c: c(axis) as isize,
                };
            }
            group
        };
        let plan = ContractPlan { batch: group(&batch), m: group(&m), n: group(&n), k: group(&k) };

        let mut kernel = kernel.clone();
        let output = match direct {
            Some(store) => Output::Direct(store.access.clone()),
            None => {
                // The epilogue walks the results alone, and more of their axes may merge without the operands'.
                kernel.stages[0] = Stage::default();
                if let Some(roles) = &mut kernel.contract {
                    (roles.batch, roles.m, roles.n, roles.k) = (batch, m, n, Vec::new());
                }
                kernel = coalesce(kernel);
                let roles = kernel.contract.as_ref();
                (batch, m, n) = roles.map_or_else(Default::default, |r| (r.batch.clone(), r.m.clone(), r.n.clone()));
                let facts = Facts::new(&kernel, program)?;
                let columns = *n.last().unwrap_or(&AxisId(0));
                let rows = if m.len() == 1 { Some(m[0]) } else { None };
                let vector = Vector::Outer(columns);
                Output::Epilogue(strips::plan(&mut kernel, program, &facts, &vector, 1, Some((rows, columns)))?)
            }
        };
        let driver_scratch = contract::scratch_bytes(&plan, program.max_batch).next_multiple_of(ALIGN);
        Ok(Some(Contraction { kernel, plan, left, right, batch, m, n, acc, output, driver_scratch }))
    }

    /// Bytes of scratch that one thread needs.
    pub fn scratch(&self) -> usize {
        self.driver_scratch
            + match &self.output {
                Output::Direct(_) => 0,
                Output::Epilogue(nest) => nest.scratch,
            }
    }

    /// Whether the kernel needs an epilogue function.
    pub fn has_epilogue(&self) -> bool {
        matches!(self.output, Output::Epilogue(_))
    }

    /// The plan as the driver reads it.
    pub fn plan_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(size_of::<ContractPlan>());
        for group in [&self.plan.batch, &self.plan.m, &self.plan.n, &self.plan.k] {
            bytes.extend((group.len as u64).to_le_bytes());
            for axis in &group.axes {
                for word in [axis.extent as i64, axis.batch as i64, axis.a as i64, axis.b as i64, axis.c as i64] {
                    bytes.extend(word.to_le_bytes());
                }
            }
        }
        bytes
    }

    /// Builds the kernel's function, which fills in a [`ContractCall`] and calls the driver.
    pub fn build(
        &self,
        module: &mut impl Module,
        scope: &Scope,
        plan: DataId,
        epilogue: Option<FuncId>,
        ctx: &mut cranelift_codegen::Context,
        fctx: &mut FunctionBuilderContext,
    ) -> Result<(), BackendError> {
        ctx.func.signature = kernel_signature(scope.variant.isa.default_call_conv());
        let mut b = FunctionBuilder::new(&mut ctx.func, fctx);
        let params = open(&mut b);
        let params = Params::new(&params);
        let plan = module.declare_data_in_func(plan, b.func);
        let plan = b.ins().symbol_value(types::I64, plan);
        let operand = |b: &mut FunctionBuilder, module: &mut _, access: &Access| {
            let start = base(module, scope, b, params.frame, access.buffer);
            b.ins().iadd_imm_s(start, access.index.base * DType::F32.size() as i64)
        };
        let left = operand(&mut b, module, &self.left);
        let right = operand(&mut b, module, &self.right);
        let null = b.ins().iconst(types::I64, 0);
        let target = match &self.output {
            Output::Direct(access) => operand(&mut b, module, access),
            Output::Epilogue(_) => null,
        };
        // The epilogue's context: the call, the steps of loops, and the scratch behind the driver's own.
        let context = structure(&mut b, 24);
        let behind = b.ins().iadd_imm_s(params.scratch, self.driver_scratch as i64);
        for (i, word) in [params.frame.call, params.frame.steps, behind].into_iter().enumerate() {
            b.ins().store(MemFlagsData::trusted(), word, context, 8 * i as i32);
        }
        let epilogue = match epilogue {
            Some(id) => {
                let function = module.declare_func_in_func(id, b.func);
                b.ins().func_addr(types::I64, function)
            }
            None => null,
        };
        let batch = field(&mut b, params.frame.call, std::mem::offset_of!(bakelite::abi::Call, batch));
        let call = structure(&mut b, size_of::<ContractCall>());
        macro_rules! fill {
            ($($field:ident: $value:expr),+ $(,)?) => { $(
                b.ins().store(MemFlagsData::trusted(), $value, call, std::mem::offset_of!(ContractCall, $field) as i32);
            )+ };
        }
        fill! {
            plan: plan, a: left, b: right, c: target, epilogue: epilogue, context: context, batch: batch,
            thread: params.thread, threads: params.threads, scratch: params.scratch,
        }
        let table = field(&mut b, params.frame.call, std::mem::offset_of!(bakelite::abi::Call, kernels));
        let slot = manifest::slot_offset("contract")
            .ok_or_else(|| BackendError::internal(&self.kernel.name, "no contraction driver in the kernel table"))?;
        let driver = field(&mut b, table, slot);
        let signature = pointers(b.func.signature.call_conv, 1);
        let signature = b.import_signature(signature);
        b.ins().call_indirect(signature, driver, &[call]);
        b.ins().return_(&[]);
        b.finalize(module.target_config());
        Ok(())
    }

    /// Builds the epilogue: the remaining stages for the rows and columns of a tile.
    pub fn build_epilogue(
        &self,
        module: &mut impl Module,
        scope: &Scope,
        ctx: &mut cranelift_codegen::Context,
        fctx: &mut FunctionBuilderContext,
    ) -> Result<(), BackendError> {
        let Output::Epilogue(nest) = &self.output else { return Ok(()) };
        let facts = Facts::new(&self.kernel, scope.program)?;
        ctx.func.signature = pointers(scope.variant.isa.default_call_conv(), 2);
        let mut b = FunctionBuilder::new(&mut ctx.func, fctx);
        let params = open(&mut b);
        let (context, tile) = (params[0], params[1]);
        let frame = Frame { call: field(&mut b, context, 0), steps: field(&mut b, context, 8) };
        let scratch = field(&mut b, context, 16);
        let mut e = emitter(module, scope, &self.kernel, &facts, nest, &mut b, frame, scratch);
        macro_rules! tile {
            ($field:ident) => {
                field(e.b, tile, std::mem::offset_of!(Tile, $field))
            };
        }
        let bounds =
            TileBounds { acc: tile!(acc), ld: tile!(ld), m: (tile!(m0), tile!(m1)), n: (tile!(n0), tile!(n1)) };
        let index = tile!(index);
        e.decode(&self.batch, index);
        e.prologue(nest)?;
        self.columns(&mut e, nest, bounds)?;
        b.ins().return_(&[]);
        b.finalize(module.target_config());
        Ok(())
    }

    /// Loops over the tile's columns: the flattened range is cut where the innermost axis wraps around.
    fn columns(&self, e: &mut Emitter, nest: &Nest, t: TileBounds) -> Result<(), BackendError> {
        let Some((&column, outer)) = self.n.split_last() else { return Ok(()) };
        if outer.is_empty() {
            let range = Range { lo: Bound::value(t.n.0), hi: Bound::value(t.n.1), multiple: 1 };
            e.ranges.insert(column, range);
            return self.rows(e, nest, t, t.n.0);
        }
        let extent = e.extent(column);
        let first = e.b.ins().udiv(t.n.0, extent);
        let last = e.b.ins().iadd(t.n.1, extent);
        let last = e.b.ins().iadd_imm_s(last, -1);
        let last = e.b.ins().udiv(last, extent);
        e.count_up(Bound::value(first), Bound::value(last), 1, Vec::new(), &mut |e, q, _| {
            e.decode(outer, q);
            let start = e.b.ins().imul(q, extent);
            let zero = e.iconst(0);
            let lo = e.b.ins().isub(t.n.0, start);
            let lo = e.larger(lo, zero);
            let hi = e.b.ins().isub(t.n.1, start);
            let hi = e.smaller(hi, extent);
            e.ranges.insert(column, Range { lo: Bound::value(lo), hi: Bound::value(hi), multiple: 1 });
            let origin = e.b.ins().isub(t.n.0, start);
            self.rows(e, nest, t, origin)?;
            Ok(Vec::new())
        })?;
        Ok(())
    }

    /// Loops over the tile's rows. `origin` is the value of the column axis at the tile's first column.
    fn rows(&self, e: &mut Emitter, nest: &Nest, t: TileBounds, origin: Value) -> Result<(), BackendError> {
        let Some(&column) = self.n.last() else { return Ok(()) };
        let row_bytes = e.b.ins().ishl_imm_u(t.ld, 2);
        let before = e.b.ins().ishl_imm_u(origin, 2);
        let start = e.b.ins().isub(t.acc, before);
        let sums = |origin: Value, row: Option<AxisId>| TileSums { origin, row_bytes, row, column, acc: self.acc };
        if let [row] = self.m[..] {
            let above = e.b.ins().imul(t.m.0, row_bytes);
            let origin = e.b.ins().isub(start, above);
            e.ranges.insert(row, Range { lo: Bound::value(t.m.0), hi: Bound::value(t.m.1), multiple: 1 });
            e.tile = Some(sums(origin, Some(row)));
            return e.tiles(nest);
        }
        e.count_up(Bound::value(t.m.0), Bound::value(t.m.1), 1, Vec::new(), &mut |e, q, _| {
            e.decode(&self.m, q);
            let above = e.b.ins().isub(q, t.m.0);
            let above = e.b.ins().imul(above, row_bytes);
            let origin = e.b.ins().iadd(start, above);
            e.tile = Some(sums(origin, None));
            e.tiles(nest)?;
            Ok(Vec::new())
        })?;
        Ok(())
    }
}

/// The fields of a [`Tile`].
#[derive(Clone, Copy)]
struct TileBounds {
    acc: Value,
    ld: Value,
    m: (Value, Value),
    n: (Value, Value),
}

const UNUSED: ContractAxis = ContractAxis { extent: 0, batch: 0, a: 0, b: 0, c: 0 };

/// A sum of products that the driver can compute.
struct Product {
    acc: AccId,
    left: Access,
    right: Access,
    batch: Vec<AxisId>,
    m: Vec<AxisId>,
    n: Vec<AxisId>,
    k: Vec<AxisId>,
}

impl Product {
    fn of(kernel: &Kernel, program: &Program) -> Option<Product> {
        let roles = kernel.contract.as_ref()?;
        let [acc] = kernel.stages[0].accs[..] else { return None };
        let row = &kernel.accs[acc.index()];
        let product = match &kernel.expr(row.value).expr {
            Expr::Binary(BinaryFn::Mul, x, y) => [*x, *y],
            _ => return None,
        };
        let operand = |e: ExprId| match &kernel.expr(e).expr {
            Expr::Load(access) if access.indirect.is_none() => {
                (program.buffer(access.buffer).dtype == DType::F32).then(|| access.clone())
            }
            _ => None,
        };
        let (left, right) = (operand(roles.left)?, operand(roles.right)?);
        let size = |axes: &[AxisId]| {
            axes.iter().map(|a| kernel.extent(*a).at(program.max_batch)).fold(1, usize::saturating_mul)
        };
        let (m, n, k) = (size(&roles.m), size(&roles.n), size(&roles.k));
        let fits = [&roles.batch, &roles.m, &roles.n, &roles.k].iter().all(|g| g.len() <= MAX_AXES);
        let apart = roles.n.iter().all(|a| left.index.coefficient(*a) == 0)
            && roles.m.iter().all(|a| right.index.coefficient(*a) == 0);
        let same = |x: &[AxisId], y: &[AxisId]| x.len() == y.len() && x.iter().all(|a| y.contains(a));
        let all: Vec<AxisId> = [&roles.batch[..], &roles.m, &roles.n].concat();
        let suits = row.f == ReduceFn::Sum
            && row.dtype == DType::F32
            && kernel.stages[0].stores.is_empty()
            && kernel.stages[0].axes.iter().all(|a| roles.k.contains(a))
            && same(&kernel.outer, &all)
            && (product == [roles.left, roles.right] || product == [roles.right, roles.left]);
        let worth = m > 1 && n > 1 && k > 1 && m.saturating_mul(n).saturating_mul(k) >= SMALL;
        (fits && apart && suits && worth).then(|| Product {
            acc,
            left,
            right,
            batch: roles.batch.clone(),
            m: roles.m.clone(),
            n: roles.n.clone(),
            k: roles.k.clone(),
        })
    }
}

/// The only store, where it takes the sums as they are.
fn direct_store<'a>(kernel: &'a Kernel, program: &Program, acc: AccId) -> Option<&'a Store> {
    let [_, stage] = &kernel.stages[..] else { return None };
    let [store] = &stage.stores[..] else { return None };
    let plain = stage.axes.is_empty()
        && stage.accs.is_empty()
        && store.mode == StoreMode::Set
        && store.access.indirect.is_none()
        && program.buffer(store.access.buffer).dtype == DType::F32
        && kernel.expr(store.value).expr == Expr::Acc(acc);
    plain.then_some(store)
}

/// How many addresses walk an axis by single elements, stores before loads.
fn affinity(kernel: &Kernel, axis: AxisId) -> usize {
    let loads = kernel.exprs.iter().filter(|e| match &e.expr {
        Expr::Load(access) => access.index.coefficient(axis) == 1,
        _ => false,
    });
    let stores = kernel.stages.iter().flat_map(|s| &s.stores).filter(|s| s.access.index.coefficient(axis) == 1);
    loads.count() + 8 * stores.count()
}

/// Reserves a structure on the stack and returns its address.
fn structure(b: &mut FunctionBuilder, bytes: usize) -> Value {
    let slot = b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, bytes as u32, 3));
    b.ins().stack_addr(types::I64, slot, 0)
}

impl Emitter<'_, '_> {
    /// The run-time extent of an axis.
    fn extent(&mut self, axis: AxisId) -> Value {
        let extent = self.kernel.extent(axis);
        let extent = self.dim(extent);
        self.bound_value(extent)
    }

    fn larger(&mut self, x: Value, y: Value) -> Value {
        let more = self.b.ins().icmp(cranelift_codegen::ir::condcodes::IntCC::SignedGreaterThan, x, y);
        self.b.ins().select(more, x, y)
    }

    /// Binds the axes of a group to the digits of its flattened index.
    fn decode(&mut self, axes: &[AxisId], mut index: Value) {
        let mut digits = Vec::new();
        for (place, &axis) in axes.iter().enumerate().rev() {
            if place == 0 {
                digits.push((axis, index));
            } else {
                let extent = self.extent(axis);
                digits.push((axis, self.b.ins().urem(index, extent)));
                index = self.b.ins().udiv(index, extent);
            }
        }
        for (axis, digit) in digits.into_iter().rev() {
            self.bind(axis, digit);
        }
    }
}
