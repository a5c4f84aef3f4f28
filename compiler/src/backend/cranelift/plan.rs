//! Chooses the axis whose points fill the lanes of vectors.

use crate::schedule::program::{Access, AxisId, Expr, ExprId, Kernel, Program, Stage, StoreMode};

use super::facts::{Facts, reachable, roots};
use super::lanes::LANES;

/// Where a kernel is vectorised.
#[derive(Clone, PartialEq, Debug)]
pub enum Vector {
    /// Along an outer axis: all stages run on several outer points at once.
    Outer(AxisId),
    /// Along an axis of each stage, where it has one that is worth it.
    Stages(Vec<Option<AxisId>>),
}

/// The choice with the least estimated work.
pub fn choose(kernel: &Kernel, program: &Program, facts: &Facts) -> Vector {
    let cost = Cost { kernel, program, facts };
    let stages: Vec<(Option<AxisId>, f64)> = kernel.stages.iter().map(|s| cost.best_inside(s)).collect();
    let inside: f64 = stages.iter().map(|s| s.1).sum();
    let outer = kernel.outer.iter().filter(|a| cost.extent(**a) >= LANES as f64).map(|&a| {
        let total: f64 = kernel.stages.iter().map(|s| cost.stage(s, Some(a))).sum();
        (a, total)
    });
    // Of equals, the innermost.
    match outer
        .fold(None, |best: Option<(AxisId, f64)>, x| if best.is_none_or(|b| x.1 <= b.1) { Some(x) } else { best })
    {
        Some((axis, total)) if total <= inside => Vector::Outer(axis),
        _ => Vector::Stages(stages.into_iter().map(|s| s.0).collect()),
    }
}

/// Estimates in instructions, weighted by how often they run at the largest batch.
struct Cost<'a> {
    kernel: &'a Kernel,
    program: &'a Program,
    facts: &'a Facts,
}

/// Instructions to combine the partial results of one accumulator.
const COMBINE: f64 = 14.0;
/// Instructions to gather or scatter the lanes of one vector.
const SCATTERED: f64 = 9.0;
/// Of an instruction whose result serves all lanes.
const SHARED: f64 = 0.25;

impl Cost<'_> {
    fn extent(&self, axis: AxisId) -> f64 {
        self.kernel.extent(axis).at(self.program.max_batch) as f64
    }

    fn best_inside(&self, stage: &Stage) -> (Option<AxisId>, f64) {
        let outer: f64 = self.kernel.outer.iter().map(|a| self.extent(*a)).product();
        let combine = outer * COMBINE * stage.accs.len() as f64;
        let candidates = stage.axes.iter().filter(|a| self.extent(**a) >= LANES as f64);
        let vectors = candidates.map(|&a| (Some(a), self.stage(stage, Some(a)) + combine));
        let scalar = (None, self.stage(stage, None));
        vectors.fold(scalar, |best, x| if x.1 <= best.1 { x } else { best })
    }

    /// A stage whose lanes are filled along `vector`.
    fn stage(&self, stage: &Stage, vector: Option<AxisId>) -> f64 {
        let points: f64 = self.kernel.outer.iter().chain(&stage.axes).map(|a| self.extent(*a)).product();
        let share = vector.map_or(1.0, |axis| {
            let extent = self.extent(axis);
            let rest = if self.kernel.extent(axis).batch { 0.0 } else { extent % LANES as f64 };
            ((extent - rest) / LANES as f64 + rest) / extent
        });
        let seen = reachable(self.kernel, &roots(self.kernel, stage), |_| false);
        let exprs = (0..seen.len()).filter(|i| seen[*i]).map(|i| self.expr(ExprId(i as u32), vector));
        let stores = stage.stores.iter().map(|s| {
            let access = self.access(&s.access, vector, 1.0);
            if s.mode == StoreMode::Add { 2.0 * access + 1.0 } else { access }
        });
        points * share * exprs.chain(stores).sum::<f64>()
    }

    fn expr(&self, id: ExprId, vector: Option<AxisId>) -> f64 {
        match &self.kernel.expr(id).expr {
            Expr::Const(_) | Expr::Size(_) | Expr::Acc(_) => 0.0,
            Expr::Load(access) => self.access(access, vector, SHARED),
            Expr::Index(_) | Expr::Unary(..) | Expr::Binary(..) | Expr::Select(..) | Expr::Cast(_) => {
                if vector.is_none_or(|v| self.facts.varies_with(id, v)) { 1.0 } else { SHARED }
            }
        }
    }

    fn access(&self, access: &Access, vector: Option<AxisId>, uniform: f64) -> f64 {
        let Some(axis) = vector else { return 1.0 };
        if access.indirect.as_ref().is_some_and(|i| self.facts.varies_with(i.index, axis)) {
            return SCATTERED + 1.0;
        }
        match access.index.coefficient(axis) {
            0 => uniform,
            1 if self.program.buffer(access.buffer).dtype.size() == 4 => 1.0,
            1 => 3.0,
            _ => SCATTERED,
        }
    }
}
