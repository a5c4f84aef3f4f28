//! What expressions depend on: which loop axes, which accumulators, and whether memory may change under them.

use crate::backend::BackendError;
use crate::schedule::program::{AccId, AxisId, BufferId, Expr, ExprId, Kernel, Place, Program, Stage};

/// A set of axes or accumulators of one kernel.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Set(u128);

impl Set {
    /// The most members.
    pub const CAPACITY: usize = 128;

    pub fn of(members: impl IntoIterator<Item = usize>) -> Set {
        Set(members.into_iter().fold(0, |set, i| set | 1 << i))
    }

    pub fn axes(axes: &[AxisId]) -> Set {
        Set::of(axes.iter().map(|a| a.index()))
    }

    pub fn contains(self, member: usize) -> bool {
        self.0 >> member & 1 == 1
    }

    pub fn insert(&mut self, member: usize) {
        self.0 |= 1 << member;
    }

    pub fn within(self, other: Set) -> bool {
        self.0 & !other.0 == 0
    }

    pub fn union(self, other: Set) -> Set {
        Set(self.0 | other.0)
    }

    pub fn meets(self, other: Set) -> bool {
        self.0 & other.0 != 0
    }
}

/// Facts about every expression of a kernel, by id.
pub struct Facts {
    /// The axes that the value varies with; an accumulator varies with all outer axes.
    pub axes: Vec<Set>,
    /// The accumulators that the value reads.
    pub accs: Vec<Set>,
    /// The value reads memory that the kernel writes: it must be computed where it stands.
    pub pinned: Vec<bool>,
}

impl Facts {
    pub fn new(kernel: &Kernel, program: &Program) -> Result<Facts, BackendError> {
        if kernel.axes.len() > Set::CAPACITY || kernel.accs.len() > Set::CAPACITY {
            let what = format!("a loop nest of {} axes and {} accumulators", kernel.axes.len(), kernel.accs.len());
            return Err(BackendError::Unsupported { kernel: kernel.name.clone(), what });
        }
        let (_, writes) = kernel.touches();
        let outer = Set::axes(&kernel.outer);
        let mut facts = Facts { axes: Vec::new(), accs: Vec::new(), pinned: Vec::new() };
        for typed in &kernel.exprs {
            let (mut axes, mut accs, mut pinned) = (Set::default(), Set::default(), false);
            for x in typed.expr.operands() {
                axes = axes.union(facts.axes[x.index()]);
                accs = accs.union(facts.accs[x.index()]);
                pinned |= facts.pinned[x.index()];
            }
            match &typed.expr {
                Expr::Load(access) => {
                    axes = axes.union(Set::of(access.index.terms.iter().map(|t| t.0.index())));
                    pinned |= writes.iter().any(|w| may_alias(program, *w, access.buffer));
                }
                Expr::Index(index) => axes = axes.union(Set::of(index.terms.iter().map(|t| t.0.index()))),
                Expr::Acc(acc) => {
                    axes = axes.union(outer);
                    accs.insert(acc.index());
                }
                Expr::Const(_)
                | Expr::Size(_)
                | Expr::Unary(..)
                | Expr::Binary(..)
                | Expr::Select(..)
                | Expr::Cast(_) => {}
            }
            facts.axes.push(axes);
            facts.accs.push(accs);
            facts.pinned.push(pinned);
        }
        Ok(facts)
    }

    pub fn varies_with(&self, expr: ExprId, axis: AxisId) -> bool {
        self.axes[expr.index()].contains(axis.index())
    }
}

/// Whether two buffers can share memory.
pub fn may_alias(program: &Program, x: BufferId, y: BufferId) -> bool {
    let (x, y) = (program.whole(x), program.whole(y));
    if x == y {
        return true;
    }
    let (x, y) = (program.buffer(x), program.buffer(y));
    match (&x.place, &y.place) {
        (Place::Storage(a), Place::Storage(b)) => a == b,
        (Place::Arena { offset: a }, Place::Arena { offset: b }) => {
            *a < b + y.bytes(program.max_batch) && *b < a + x.bytes(program.max_batch)
        }
        (Place::Output(a), Place::Output(b)) => a == b,
        _ => false,
    }
}

/// Every expression that the stage's accumulators and stores need directly.
pub fn roots(kernel: &Kernel, stage: &Stage) -> Vec<ExprId> {
    let accs = stage.accs.iter().map(|a: &AccId| kernel.accs[a.index()].value);
    let stores = stage.stores.iter().flat_map(|s| {
        let index = s.access.indirect.as_ref().map(|i| i.index);
        std::iter::once(s.value).chain(index)
    });
    accs.chain(stores).collect()
}

/// Expressions reachable from `roots`, not looking behind those for which `stop` holds (which are included).
pub fn reachable(kernel: &Kernel, roots: &[ExprId], stop: impl Fn(ExprId) -> bool) -> Vec<bool> {
    let mut seen = vec![false; kernel.exprs.len()];
    let mut stack = roots.to_vec();
    while let Some(id) = stack.pop() {
        if !std::mem::replace(&mut seen[id.index()], true) && !stop(id) {
            stack.extend(kernel.expr(id).expr.operands());
        }
    }
    seen
}
