//! Level 2: the Program, which both backends print.
//!
//! # Semantics
//!
//! A program is a list of kernels that run one after another, each complete before the next begins. A kernel is a
//! loop nest over its *outer* axes around a sequence of *stages*. For every point of the outer axes the stages run in
//! order; each stage loops over its own axes, folds values into *accumulators*, and performs *stores*. An accumulator
//! starts at its function's neutral value when its stage begins at an outer point, and is readable ([`Expr::Acc`]) in
//! later stages of the same outer point. A stage without axes runs its stores once.
//!
//! Different outer points are independent: they may run in any order and on any thread. Within one stage, different
//! points of the stage's axes are independent too, except that accumulation ([`Acc`], [`StoreMode::Add`]) folds them
//! together; a backend may pick any fixed order that does not depend on the number of threads. At one point, every
//! value of a stage is evaluated before the stage's first store, so that a cell can be updated in place. Stages that do not
//! communicate through accumulators communicate through buffers that the same outer point wrote before.
//!
//! Every address is affine in the axes, with constant coefficients, plus at most one *indirect* term. Axes range over
//! `0..extent`, where an extent is constant or a multiple of the run-time batch. Expressions are pure; one that several
//! stages use is simply evaluated in each.
//!
//! A *loop* ([`Loop`]) repeats a run of kernels for a constant number of steps; loops nest. Kernels know nothing of it:
//! what differs from step to step is where some buffers begin. A buffer at [`Place::Slice`] is the part of another
//! buffer that belongs to the current step of a loop. So that a step may follow the one before, memory that lives
//! across steps (a carry, or anything that is touched outside of the loop too) keeps its place for the whole loop.
//!
//! A *contraction* is an ordinary kernel whose first stage sums a product of two loads. [`Kernel::contract`] names the
//! roles of its axes, so that a backend may use matrix kernels for that stage and treat the remaining stages as its
//! epilogue; a backend that ignores the field is still right.

use std::ops::Range;
use std::sync::Arc;

use crate::ir::{BinaryFn, DType, Dim, Number, ReduceFn, Shape, Site, StorageId, UnaryFn};

macro_rules! ids {
    ($($(#[doc = $doc:literal])+ $name:ident),+ $(,)?) => { $(
        $(#[doc = $doc])+
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub struct $name(pub u32);
        impl $name {
            pub const fn index(self) -> usize { self.0 as usize }
        }
    )+ };
}

ids! {
    /// A buffer of a program.
    BufferId,
    /// An axis of a kernel.
    AxisId,
    /// An expression of a kernel.
    ExprId,
    /// An accumulator of a kernel.
    AccId,
    /// A loop of a program.
    LoopId,
}

/// Where a buffer lives.
#[derive(Clone, PartialEq, Debug)]
pub enum Place {
    /// The caller's input with this index.
    Input(usize),
    /// The caller's output with this index.
    Output(usize),
    /// A storage cell.
    Storage(StorageId),
    /// The arena, at a byte offset that the memory plan chose.
    Arena { offset: usize },
    /// Read-only data inside the object.
    Const(Arc<[Number]>),
    /// The part of another buffer, which may be a slice itself, that begins at the loop's current step times
    /// `stride`, in elements. Only kernels of that loop touch it.
    Slice { of: BufferId, step: LoopId, stride: usize },
}

/// A dense row-major array. Strides are those of the largest batch; the batch axis of an input or output leads, so
/// that its strides do not depend on the batch at all.
#[derive(Clone, PartialEq, Debug)]
pub struct Buffer {
    pub name: String,
    pub dtype: DType,
    pub shape: Shape,
    pub place: Place,
}

impl Buffer {
    /// Strides in elements.
    pub fn strides(&self, max_batch: usize) -> Vec<i64> {
        let mut strides = vec![1; self.shape.rank()];
        for i in (1..self.shape.rank()).rev() {
            strides[i - 1] = strides[i] * self.shape[i].at(max_batch) as i64;
        }
        strides
    }

    /// Bytes at a given batch.
    pub fn bytes(&self, batch: usize) -> usize {
        self.shape.count(batch) * self.dtype.size()
    }
}

/// `base + sum of coefficient * axis`, in elements. Terms are sorted by axis and have coefficients other than 0.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Affine {
    pub base: i64,
    pub terms: Vec<(AxisId, i64)>,
}

impl Affine {
    /// A constant.
    pub fn constant(base: i64) -> Affine {
        Affine { base, terms: Vec::new() }
    }

    /// One axis.
    pub fn axis(axis: AxisId) -> Affine {
        Affine { base: 0, terms: vec![(axis, 1)] }
    }

    /// The coefficient of an axis.
    pub fn coefficient(&self, axis: AxisId) -> i64 {
        self.terms.iter().find(|t| t.0 == axis).map_or(0, |t| t.1)
    }

    /// `self + factor * other`.
    pub fn add_scaled(&mut self, other: &Affine, factor: i64) {
        self.base += other.base * factor;
        for &(axis, c) in &other.terms {
            match self.terms.binary_search_by_key(&axis, |t| t.0) {
                Ok(i) => self.terms[i].1 += c * factor,
                Err(i) => self.terms.insert(i, (axis, c * factor)),
            }
        }
        self.terms.retain(|t| t.1 != 0);
    }
}

/// A run-time addend of an address: `stride * index`. A load clamps the index to `0..extent`; a store whose index is
/// outside does nothing.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Indirect {
    pub index: ExprId,
    pub stride: i64,
    pub extent: usize,
}

/// An element of a buffer.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Access {
    pub buffer: BufferId,
    pub index: Affine,
    pub indirect: Option<Indirect>,
}

/// A pure scalar expression. Operands come before their users in the kernel's list.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Expr {
    /// A number of the expression's type.
    Const(Number),
    /// The run-time value of an extent.
    Size(Dim),
    /// The value of an affine form of the axes.
    Index(Affine),
    /// The element at an address.
    Load(Access),
    /// The final value of an accumulator of an earlier stage.
    Acc(AccId),
    Unary(UnaryFn, ExprId),
    Binary(BinaryFn, ExprId, ExprId),
    Select(ExprId, ExprId, ExprId),
    /// Conversion to the expression's type.
    Cast(ExprId),
}

impl Expr {
    /// The expressions that this one reads.
    pub fn operands(&self) -> Vec<ExprId> {
        match self {
            Expr::Const(_) | Expr::Size(_) | Expr::Index(_) | Expr::Acc(_) => Vec::new(),
            Expr::Load(access) => access.indirect.iter().map(|i| i.index).collect(),
            Expr::Unary(_, x) | Expr::Cast(x) => vec![*x],
            Expr::Binary(_, x, y) => vec![*x, *y],
            Expr::Select(c, a, b) => vec![*c, *a, *b],
        }
    }
}

/// An expression with its type.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TypedExpr {
    pub expr: Expr,
    pub dtype: DType,
}

/// An accumulator: `value` folded by `f` over the axes of the stage that lists it.
#[derive(Clone, PartialEq, Debug)]
pub struct Acc {
    pub f: ReduceFn,
    pub value: ExprId,
    pub dtype: DType,
}

/// How a store changes its element.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreMode {
    /// Overwrites. No two points of the kernel's outer axes and one stage's axes write the same element.
    Set,
    /// Adds to the element. Points of the same outer point may meet in one element; different outer points do not.
    Add,
}

/// One store.
#[derive(Clone, PartialEq, Debug)]
pub struct Store {
    pub access: Access,
    pub value: ExprId,
    pub mode: StoreMode,
}

/// One pass over a set of inner axes.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Stage {
    /// Inner loops, outermost first.
    pub axes: Vec<AxisId>,
    pub accs: Vec<AccId>,
    pub stores: Vec<Store>,
}

/// The roles of a contraction's axes. `batch`, `m` and `n` together are the kernel's outer axes; `k` are the axes of
/// its first stage, whose only accumulator sums `left * right`.
#[derive(Clone, PartialEq, Debug)]
pub struct ContractRoles {
    /// A load that does not depend on `n`.
    pub left: ExprId,
    /// A load that does not depend on `m`.
    pub right: ExprId,
    pub batch: Vec<AxisId>,
    pub m: Vec<AxisId>,
    pub n: Vec<AxisId>,
    pub k: Vec<AxisId>,
}

/// A loop nest.
#[derive(Clone, PartialEq, Debug)]
pub struct Kernel {
    /// Unique in the program, an identifier: `k3_dense_1_add_relu`.
    pub name: String,
    /// What was fused, for reports: one site per graph node, in order.
    pub sites: Vec<Site>,
    /// The extent of each axis.
    pub axes: Vec<Dim>,
    /// Independent loops, outermost first.
    pub outer: Vec<AxisId>,
    pub exprs: Vec<TypedExpr>,
    pub accs: Vec<Acc>,
    pub stages: Vec<Stage>,
    pub contract: Option<ContractRoles>,
    /// The outer axis whose range the threads of a CPU share out; `None` where one thread does all. A contraction
    /// with roles may be shared out along any of its outer axes instead, if this is not `None`.
    pub parallel: Option<AxisId>,
}

impl Kernel {
    pub fn expr(&self, id: ExprId) -> &TypedExpr {
        &self.exprs[id.index()]
    }

    pub fn extent(&self, axis: AxisId) -> Dim {
        self.axes[axis.index()]
    }

    /// Adds an expression, or finds the equal one.
    pub fn push(&mut self, expr: Expr, dtype: DType) -> ExprId {
        let typed = TypedExpr { expr, dtype };
        let at = self.exprs.iter().position(|e| *e == typed).unwrap_or_else(|| {
            self.exprs.push(typed);
            self.exprs.len() - 1
        });
        ExprId(at as u32)
    }

    /// The buffers that the kernel reads (through loads) and writes.
    pub fn touches(&self) -> (Vec<BufferId>, Vec<BufferId>) {
        let reads = self.exprs.iter().filter_map(|e| match &e.expr {
            Expr::Load(access) => Some(access.buffer),
            _ => None,
        });
        let writes = self.stages.iter().flat_map(|s| &s.stores).map(|s| s.access.buffer);
        (unique(reads), unique(writes))
    }
}

impl Kernel {
    /// The loads that a stage evaluates.
    pub fn loads_of(&self, stage: &Stage) -> Vec<&Access> {
        let mut seen = vec![false; self.exprs.len()];
        let mut stack: Vec<ExprId> = stage.accs.iter().map(|a| self.accs[a.index()].value).collect();
        for store in &stage.stores {
            stack.push(store.value);
            stack.extend(store.access.indirect.iter().map(|i| i.index));
        }
        let mut loads = Vec::new();
        while let Some(id) = stack.pop() {
            if std::mem::replace(&mut seen[id.index()], true) {
                continue;
            }
            let expr = &self.expr(id).expr;
            if let Expr::Load(access) = expr {
                loads.push(access);
            }
            stack.extend(expr.operands());
        }
        loads
    }

    /// Removes the expressions that no accumulator, store or role reads.
    pub fn drop_unused_exprs(&mut self) {
        let mut used = vec![false; self.exprs.len()];
        self.accs.iter().for_each(|a| used[a.value.index()] = true);
        for store in self.stages.iter().flat_map(|s| &s.stores) {
            used[store.value.index()] = true;
            store.access.indirect.iter().for_each(|i| used[i.index.index()] = true);
        }
        for i in (0..used.len()).rev() {
            if used[i] {
                self.exprs[i].expr.operands().iter().for_each(|o| used[o.index()] = true);
            }
        }
        let mut renamed = vec![ExprId(u32::MAX); used.len()];
        let mut kept = Vec::new();
        for (i, typed) in std::mem::take(&mut self.exprs).into_iter().enumerate() {
            if used[i] {
                renamed[i] = ExprId(kept.len() as u32);
                kept.push(typed);
            }
        }
        self.exprs = kept;
        self.rename_exprs(&|e| renamed[e.index()]);
    }

    fn rename_exprs(&mut self, rename: &dyn Fn(ExprId) -> ExprId) {
        let access = |a: &mut Access| a.indirect.iter_mut().for_each(|i| i.index = rename(i.index));
        for typed in &mut self.exprs {
            match &mut typed.expr {
                Expr::Const(_) | Expr::Size(_) | Expr::Index(_) | Expr::Acc(_) => {}
                Expr::Load(a) => access(a),
                Expr::Unary(_, x) | Expr::Cast(x) => *x = rename(*x),
                Expr::Binary(_, x, y) => (*x, *y) = (rename(*x), rename(*y)),
                Expr::Select(c, a, b) => (*c, *a, *b) = (rename(*c), rename(*a), rename(*b)),
            }
        }
        self.accs.iter_mut().for_each(|a| a.value = rename(a.value));
        for store in self.stages.iter_mut().flat_map(|s| &mut s.stores) {
            store.value = rename(store.value);
            access(&mut store.access);
        }
        if let Some(roles) = &mut self.contract {
            (roles.left, roles.right) = (rename(roles.left), rename(roles.right));
        }
    }

    /// Renames every buffer that the kernel touches.
    pub fn rename_buffers(&mut self, rename: &dyn Fn(BufferId) -> BufferId) {
        for typed in &mut self.exprs {
            if let Expr::Load(access) = &mut typed.expr {
                access.buffer = rename(access.buffer);
            }
        }
        for store in self.stages.iter_mut().flat_map(|s| &mut s.stores) {
            store.access.buffer = rename(store.access.buffer);
        }
    }
}

fn unique(ids: impl Iterator<Item = BufferId>) -> Vec<BufferId> {
    let mut ids: Vec<BufferId> = ids.collect();
    ids.sort();
    ids.dedup();
    ids
}

/// A loop around kernels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loop {
    /// The kernels of one step, in order.
    pub kernels: Range<usize>,
    /// Steps, at least one.
    pub count: usize,
    /// The last step comes first.
    pub reverse: bool,
}

/// What happens next in a program: see [`Program::events`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A loop begins.
    Open(LoopId),
    /// A kernel runs.
    Kernel(usize),
    /// The innermost open loop ends.
    Close(LoopId),
}

/// The scheduled form of one entry point.
#[derive(Clone, PartialEq, Debug)]
pub struct Program {
    pub name: String,
    pub max_batch: usize,
    pub buffers: Vec<Buffer>,
    /// In order of execution.
    pub kernels: Vec<Kernel>,
    /// Loops around runs of kernels, in order of their first kernel, outer loops before the loops in them.
    pub loops: Vec<Loop>,
    /// The buffer of each input and output, by index.
    pub inputs: Vec<BufferId>,
    pub outputs: Vec<BufferId>,
    /// Bytes of arena that the memory plan needs at the largest batch.
    pub arena_bytes: usize,
}

impl Program {
    pub fn buffer(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.index()]
    }

    /// The buffer whose memory a buffer is: itself, unless it is a slice.
    pub fn whole(&self, mut id: BufferId) -> BufferId {
        while let Place::Slice { of, .. } = self.buffer(id).place {
            id = of;
        }
        id
    }

    /// The kernels in order, with the beginnings and ends of loops between them.
    pub fn events(&self) -> Vec<Event> {
        events(&self.loops, self.kernels.len())
    }

    /// The kernels in the order in which they run, loops unrolled, each with the current step of every loop.
    pub fn sequence(&self) -> Vec<(usize, Vec<usize>)> {
        sequence(&self.loops, self.kernels.len())
    }

    /// How often a kernel runs in one call.
    pub fn repeats(&self, kernel: usize) -> usize {
        self.loops.iter().filter(|l| l.kernels.contains(&kernel)).map(|l| l.count).product()
    }
}

/// `kernels` kernels in order, with the beginnings and ends of loops between them.
pub fn events(loops: &[Loop], kernels: usize) -> Vec<Event> {
    let mut events = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    let mut next = 0;
    for k in 0..=kernels {
        while let Some(&l) = open.last().filter(|l| loops[**l].kernels.end == k) {
            events.push(Event::Close(LoopId(l as u32)));
            open.pop();
        }
        while loops.get(next).is_some_and(|l| l.kernels.start == k) {
            events.push(Event::Open(LoopId(next as u32)));
            open.push(next);
            next += 1;
        }
        if k < kernels {
            events.push(Event::Kernel(k));
        }
    }
    events
}

/// The order in which `kernels` kernels run under loops, unrolled: each with the current step of every loop.
pub fn sequence(loops: &[Loop], kernels: usize) -> Vec<(usize, Vec<usize>)> {
    fn run(loops: &[Loop], events: &[Event], steps: &mut Vec<usize>, all: &mut Vec<(usize, Vec<usize>)>) {
        let mut at = 0;
        while let Some(event) = events.get(at) {
            at += 1;
            match *event {
                Event::Kernel(k) => all.push((k, steps.clone())),
                Event::Open(id) => {
                    let length = events[at..].iter().position(|e| *e == Event::Close(id)).unwrap_or(0);
                    let Loop { count, reverse, .. } = loops[id.index()];
                    for i in 0..count {
                        steps[id.index()] = if reverse { count - 1 - i } else { i };
                        run(loops, &events[at..at + length], steps, all);
                    }
                    at += length;
                }
                Event::Close(_) => {}
            }
        }
    }
    let mut all = Vec::new();
    run(loops, &events(loops, kernels), &mut vec![0; loops.len()], &mut all);
    all
}

/// Byte offsets of a module's storage cells in the storage block.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct StorageLayout {
    pub offsets: Vec<usize>,
    pub bytes: usize,
}
