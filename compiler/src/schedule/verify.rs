//! The proof that a program is safe to emit. Backends take [`Verified`] programs only.
//!
//! Checked, for every batch from 1 to the largest:
//! - ids are in range; expressions come before their users and have the types of their operands;
//! - every affine address stays inside its buffer, for all points of the axes it may use;
//! - `Set` stores of one stage never meet in an element; `Add` stores of different outer points never do;
//! - a kernel that reads a buffer it writes reads only the elements its own outer point wrote in an earlier stage, or
//!   the very element it overwrites;
//! - an arena or output buffer is read only after some kernel wrote it;
//! - arena buffers that are live at the same time do not overlap, are aligned, and end inside the arena;
//! - loops nest, and every slice stays inside its buffer at every step and is touched by its own loop alone.
//!
//! Not checked: that a buffer is written completely before it is read (only that a store came first), and the values
//! of run-time indices (loads clamp them, stores skip them).

use std::fmt;
use std::ops::Deref;

use crate::ir::{DType, ReduceFn};

use super::index::range;
use super::memory::{ALIGN, lifetimes};
use super::program::{Access, AxisId, Buffer, Expr, Kernel, Place, Program, Stage, StoreMode};

/// A value that has passed [`verify`].
#[derive(Clone, Debug)]
pub struct Verified<T>(T);

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Verified<T> {
    /// The value, no longer known to be verified.
    pub fn into_inner(self) -> T {
        self.0
    }
}

/// A broken rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The kernel, empty for the program as a whole.
    pub kernel: String,
    pub rule: &'static str,
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.kernel, self.rule, self.detail)
    }
}

/// Checks a program.
pub fn verify(program: Program) -> Result<Verified<Program>, Vec<Violation>> {
    let mut violations = Vec::new();
    loops(&program, &mut violations);
    if !violations.is_empty() {
        return Err(violations);
    }
    memory(&program, &mut violations);
    let starts_written =
        |b: &Buffer| !matches!(b.place, Place::Arena { .. } | Place::Output(_)) || b.shape.count(1) == 0;
    let mut written: Vec<bool> = program.buffers.iter().map(starts_written).collect();
    for kernel in &program.kernels {
        let mut check = Check { program: &program, kernel, violations: &mut violations };
        if check.ids() {
            check.types();
            check.roles();
            check.bounds();
            check.writers();
            check.order(&mut written);
        }
    }
    for &output in &program.outputs {
        if !written[output.index()] {
            violations.push(Violation {
                kernel: String::new(),
                rule: "every output is written",
                detail: program.buffer(output).name.clone(),
            });
        }
    }
    if violations.is_empty() { Ok(Verified(program)) } else { Err(violations) }
}

fn loops(program: &Program, violations: &mut Vec<Violation>) {
    let mut fail = |rule, detail| violations.push(Violation { kernel: String::new(), rule, detail });
    let mut open: Vec<usize> = Vec::new();
    let mut before = 0;
    for (i, l) in program.loops.iter().enumerate() {
        while open.last().is_some_and(|o| program.loops[*o].kernels.end <= l.kernels.start) {
            open.pop();
        }
        let around = open.last().map_or(0..program.kernels.len(), |o| program.loops[*o].kernels.clone());
        let inside = around.start <= l.kernels.start && l.kernels.end <= around.end && before <= l.kernels.start;
        if !inside || l.kernels.is_empty() || l.count == 0 {
            fail("loops nest and are not empty", format!("loop {i}"));
        }
        before = l.kernels.start;
        open.push(i);
    }
    for (i, buffer) in program.buffers.iter().enumerate() {
        let Place::Slice { of, step, stride } = buffer.place else { continue };
        let Some(l) = program.loops.get(step.index()).filter(|_| of.index() < i) else {
            fail("a slice names a loop, and a buffer before it", buffer.name.clone());
            continue;
        };
        let (whole, last) = (program.buffer(of), (l.count - 1) * stride);
        let fits = last + buffer.shape.count(program.max_batch) <= whole.shape.count(program.max_batch);
        if !fits || whole.dtype != buffer.dtype {
            fail("a slice is inside its buffer at every step", buffer.name.clone());
        }
    }
    for (k, kernel) in program.kernels.iter().enumerate() {
        let (reads, writes) = kernel.touches();
        for mut id in reads.into_iter().chain(writes) {
            while let Some(Buffer { name, place: Place::Slice { of, step, .. }, .. }) = program.buffers.get(id.index())
            {
                if !program.loops[step.index()].kernels.contains(&k) {
                    fail("a slice is touched by its own loop", name.clone());
                }
                id = *of;
            }
        }
    }
}

fn memory(program: &Program, violations: &mut Vec<Violation>) {
    let mut fail = |rule, detail| violations.push(Violation { kernel: String::new(), rule, detail });
    let lifetimes = lifetimes(program);
    let mut placed = Vec::new();
    for (i, buffer) in program.buffers.iter().enumerate() {
        let (Place::Arena { offset }, Some(life)) = (&buffer.place, lifetimes[i]) else { continue };
        let end = offset + buffer.bytes(program.max_batch);
        if !offset.is_multiple_of(ALIGN) || end > program.arena_bytes {
            fail("arena buffers are aligned and inside the arena", buffer.name.clone());
        }
        for &(other, start, stop, lived) in &placed {
            if life.overlaps(lived) && *offset < stop && start < end {
                let other: &super::program::Buffer = &program.buffers[other];
                fail("live buffers are disjoint", format!("{} and {}", buffer.name, other.name));
            }
        }
        placed.push((i, *offset, end, life));
    }
    for &port in program.inputs.iter().chain(&program.outputs) {
        let buffer = program.buffer(port);
        if buffer.shape.iter().skip(1).any(|d| d.batch) {
            fail("the batch leads in inputs and outputs", buffer.name.clone());
        }
    }
}

struct Check<'a> {
    program: &'a Program,
    kernel: &'a Kernel,
    violations: &'a mut Vec<Violation>,
}

impl Check<'_> {
    fn fail(&mut self, rule: &'static str, detail: impl Into<String>) {
        self.violations.push(Violation { kernel: self.kernel.name.clone(), rule, detail: detail.into() });
    }

    fn ids(&mut self) -> bool {
        let kernel = self.kernel;
        let axis = |a: &AxisId| a.index() < kernel.axes.len();
        let access =
            |a: &Access| a.buffer.index() < self.program.buffers.len() && a.index.terms.iter().all(|t| axis(&t.0));
        let exprs = kernel.exprs.iter().enumerate().all(|(i, e)| {
            let operands = e.expr.operands().iter().all(|o| o.index() < i);
            operands
                && match &e.expr {
                    Expr::Load(a) => access(a),
                    Expr::Index(form) => form.terms.iter().all(|t| axis(&t.0)),
                    Expr::Acc(a) => a.index() < kernel.accs.len(),
                    Expr::Const(_)
                    | Expr::Size(_)
                    | Expr::Unary(..)
                    | Expr::Binary(..)
                    | Expr::Select(..)
                    | Expr::Cast(_) => true,
                }
        });
        let value = |v: &super::program::ExprId| v.index() < kernel.exprs.len();
        let stages = kernel.stages.iter().all(|s| {
            s.axes.iter().all(axis)
                && s.accs.iter().all(|a| a.index() < kernel.accs.len())
                && s.stores.iter().all(|st| value(&st.value) && access(&st.access))
        });
        let accs = kernel.accs.iter().all(|a| value(&a.value));
        let mut seen = vec![false; kernel.axes.len()];
        let owned = kernel.outer.iter().chain(kernel.stages.iter().flat_map(|s| &s.axes));
        let unique = owned.clone().all(axis) && owned.clone().all(|a| !std::mem::replace(&mut seen[a.index()], true));
        let good = exprs && stages && accs && unique && kernel.outer.iter().all(axis);
        if !good {
            self.fail("ids are in range, operands come first, an axis belongs to one loop", "");
        }
        good
    }

    fn types(&mut self) {
        let kernel = self.kernel;
        for (i, typed) in kernel.exprs.iter().enumerate() {
            let of = |id: &super::program::ExprId| kernel.expr(*id).dtype;
            let good = match &typed.expr {
                Expr::Const(_) | Expr::Cast(_) => true,
                Expr::Size(_) | Expr::Index(_) => !matches!(typed.dtype, DType::Bool),
                Expr::Load(a) => self.program.buffer(a.buffer).dtype == typed.dtype,
                Expr::Acc(a) => kernel.accs[a.index()].dtype == typed.dtype,
                Expr::Unary(f, x) => f.row().takes.accepts(of(x)) && f.row().gives.dtype(of(x)) == typed.dtype,
                Expr::Binary(f, x, y) => {
                    of(x) == of(y) && f.row().takes.accepts(of(x)) && f.row().gives.dtype(of(x)) == typed.dtype
                }
                Expr::Select(c, a, b) => of(c) == DType::Bool && of(a) == of(b) && of(a) == typed.dtype,
            };
            if !good {
                self.fail("expressions have the types of their operands", format!("expression {i}"));
            }
        }
        for stage in &kernel.stages {
            for store in &stage.stores {
                if self.program.buffer(store.access.buffer).dtype != kernel.expr(store.value).dtype {
                    self.fail(
                        "a store has the type of its buffer",
                        self.program.buffer(store.access.buffer).name.clone(),
                    );
                }
            }
            for acc in &stage.accs {
                let acc = &kernel.accs[acc.index()];
                if kernel.expr(acc.value).dtype != acc.dtype || acc.f == ReduceFn::Sum && acc.dtype == DType::Bool {
                    self.fail("an accumulator has the type of its value", "");
                }
            }
        }
    }

    fn roles(&mut self) {
        let Some(roles) = &self.kernel.contract else { return };
        let load = |id| match &self.kernel.expr(id).expr {
            Expr::Load(access) if access.indirect.is_none() => Some(access),
            _ => None,
        };
        let (Some(left), Some(right)) = (load(roles.left), load(roles.right)) else {
            return self.fail("a contraction multiplies two loads", "");
        };
        let free = |access: &Access, axes: &[AxisId]| axes.iter().all(|a| access.index.coefficient(*a) == 0);
        let mut outer: Vec<AxisId> = roles.batch.iter().chain(&roles.m).chain(&roles.n).copied().collect();
        outer.sort();
        let mut expected = self.kernel.outer.clone();
        expected.sort();
        let first = self.kernel.stages.first();
        let stage = first.is_some_and(|s| s.axes == roles.k && s.accs.len() == 1 && s.stores.is_empty());
        if !free(left, &roles.n) || !free(right, &roles.m) || outer != expected || !stage {
            self.fail("the roles of a contraction cover its axes", "");
        }
    }

    /// The axes that an address in a stage may use.
    fn visible(&self, stage: &Stage) -> Vec<AxisId> {
        self.kernel.outer.iter().chain(&stage.axes).copied().collect()
    }

    fn bounds(&mut self) {
        let kernel = self.kernel;
        for stage in &kernel.stages {
            let visible = self.visible(stage);
            let mut accesses = kernel.loads_of(stage);
            accesses.extend(stage.stores.iter().map(|s| &s.access));
            for access in accesses {
                let buffer = self.program.buffer(access.buffer);
                if access.index.terms.iter().any(|t| !visible.contains(&t.0)) {
                    self.fail("an address uses the axes of its stage", buffer.name.clone());
                }
                // Affine in the batch on both sides, so that the ends of its range decide.
                for batch in [1, self.program.max_batch] {
                    let empty = visible.iter().any(|a| kernel.extent(*a).at(batch) == 0);
                    let (mut low, mut high) = range(&access.index, &|a| kernel.extent(a), batch);
                    if let Some(indirect) = &access.indirect {
                        let reach = indirect.stride * (indirect.extent as i64 - 1).max(0);
                        low += reach.min(0);
                        high += reach.max(0);
                    }
                    let rows = buffer.shape.first().filter(|d| d.batch).map_or(self.program.max_batch, |_| batch);
                    if !empty && (low < 0 || high >= buffer.shape.count(rows) as i64) {
                        self.fail(
                            "addresses are in bounds",
                            format!("{} {low}..={high} at batch {batch}", buffer.name),
                        );
                    }
                }
            }
        }
    }

    fn writers(&mut self) {
        let kernel = self.kernel;
        for stage in &kernel.stages {
            for store in &stage.stores {
                let inner_apart = match store.mode {
                    StoreMode::Set => true,
                    StoreMode::Add => false,
                };
                if !self.apart(store, stage, inner_apart) {
                    self.fail("one writer per element", self.program.buffer(store.access.buffer).name.clone());
                }
            }
        }
    }

    /// Whether different outer points (and with `inner`, different points of the stage) store to different elements.
    /// A mixed-radix argument over the coefficients in increasing order.
    fn apart(&self, store: &super::program::Store, stage: &Stage, inner: bool) -> bool {
        let (kernel, batch) = (self.kernel, self.program.max_batch);
        // Over no points there is nothing to keep apart.
        if kernel.outer.iter().chain(&stage.axes).any(|a| kernel.extent(*a).at(batch) == 0) {
            return true;
        }
        let long = |a: &&AxisId| kernel.extent(**a).at(batch) > 1;
        let mut must: Vec<AxisId> = kernel.outer.iter().filter(long).copied().collect();
        if inner {
            must.extend(stage.axes.iter().filter(long));
        }
        let mut terms: Vec<(i64, i64, bool)> = Vec::new();
        for &(axis, c) in &store.access.index.terms {
            terms.push((c.abs(), kernel.extent(axis).at(batch) as i64 - 1, must.contains(&axis)));
        }
        if let Some(indirect) = &store.access.indirect {
            if inner {
                return false;
            }
            terms.push((indirect.stride.abs(), indirect.extent as i64 - 1, false));
        }
        if must.iter().any(|a| store.access.index.coefficient(*a) == 0) {
            return false;
        }
        terms.sort();
        // Going up, `reach` is the largest sum of everything below. Free axes may meet among themselves: a run of them
        // keeps what is below it recognisable if the common divisor of its steps exceeds the reach there.
        let (mut reach, mut run) = (0, None);
        for (c, last, must) in terms {
            if must {
                if c <= reach {
                    return false;
                }
                run = None;
            } else {
                let (divisor, below) = run.map_or((c, reach), |(divisor, below)| (gcd(divisor, c), below));
                if below > 0 && divisor <= below {
                    return false;
                }
                run = Some((divisor, below));
            }
            reach += c * last;
        }
        true
    }

    fn order(&mut self, written: &mut [bool]) {
        let kernel = self.kernel;
        for (s, stage) in kernel.stages.iter().enumerate() {
            for load in kernel.loads_of(stage) {
                let name = || self.program.buffer(load.buffer).name.clone();
                let stores = |range: &[Stage]| -> Vec<Access> {
                    let all = range.iter().flat_map(|st| &st.stores);
                    all.filter(|st| st.access.buffer == load.buffer).map(|st| st.access.clone()).collect()
                };
                let (earlier, here, all) =
                    (stores(&kernel.stages[..s]), stores(&kernel.stages[s..=s]), stores(&kernel.stages));
                let own = earlier.iter().any(|a| self.same_outer(a, load)) || here.contains(load);
                if !all.is_empty() && !own {
                    let name = name();
                    self.fail("a kernel reads what its own point wrote", name);
                } else if !written[self.program.whole(load.buffer).index()] && earlier.is_empty() {
                    let name = name();
                    self.fail("written before read", name);
                }
            }
        }
        for store in kernel.stages.iter().flat_map(|s| &s.stores) {
            written[self.program.whole(store.access.buffer).index()] = true;
        }
    }

    /// Whether two addresses depend on the outer axes alike.
    fn same_outer(&self, a: &Access, b: &Access) -> bool {
        self.kernel.outer.iter().all(|x| a.index.coefficient(*x) == b.index.coefficient(*x))
            && a.index.base == b.index.base
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
