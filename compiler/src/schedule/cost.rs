//! The build-time cost model: what a kernel computes and moves, and which kernels threads share.

use crate::ir::Dim;
use crate::ir::scalar::Lower;

use super::program::{Affine, AxisId, Expr, ExprId, Kernel, Program};

/// Work of a kernel at one batch.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Cost {
    /// Floating-point operations; a scalar function counts one, a multiply-add two.
    pub flops: f64,
    /// Bytes read and written, each distinct element once a kernel.
    pub bytes: f64,
    /// Estimated time of one thread in nanoseconds.
    pub nanoseconds: f64,
}

/// Estimated single-thread rates that decide about threads. They only need to be right within a factor of two.
const CONTRACT_FLOPS_PER_NS: f64 = 80.0;
const SCALAR_FLOPS_PER_NS: f64 = 24.0;
const STRIP_NS: f64 = 0.3;
const BYTES_PER_NS: f64 = 20.0;
const KERNEL_NS: f64 = 15.0;

/// A kernel is shared out among threads when it takes one thread longer than this: many times a barrier's cost.
const PARALLEL_NS: f64 = 2000.0;

/// The cost of a kernel at a batch.
pub fn cost(program: &Program, kernel: &Kernel, batch: usize) -> Cost {
    let points = |axes: &[AxisId]| axes.iter().map(|a| kernel.extent(*a).at(batch) as f64).product::<f64>();
    let outer = points(&kernel.outer);
    let mut total = Cost { nanoseconds: KERNEL_NS, ..Cost::default() };
    for (i, stage) in kernel.stages.iter().enumerate() {
        let count = outer * points(&stage.axes);
        if i == 0 && kernel.contract.is_some() {
            total.flops += 2.0 * count;
            total.nanoseconds += 2.0 * count / CONTRACT_FLOPS_PER_NS;
            continue;
        }
        let mut work = Work::default();
        let mut seen = vec![false; kernel.exprs.len()];
        let values =
            stage.accs.iter().map(|a| kernel.accs[a.index()].value).chain(stage.stores.iter().map(|s| s.value));
        for value in values {
            work.add(kernel, value, &mut seen);
        }
        let flops = work.flops + stage.accs.len() as f64;
        total.flops += flops * count;
        total.nanoseconds += count * (flops / SCALAR_FLOPS_PER_NS + work.strips * STRIP_NS);
    }
    let mut touched = 0.0;
    let loads = kernel.exprs.iter().filter_map(|e| match &e.expr {
        Expr::Load(access) => Some(access),
        _ => None,
    });
    for access in loads.chain(kernel.stages.iter().flat_map(|s| s.stores.iter().map(|s| &s.access))) {
        let buffer = program.buffer(access.buffer);
        let reached = distinct(&access.index, &|a| kernel.extent(a), batch).min(buffer.shape.count(batch) as f64);
        touched += reached * buffer.dtype.size() as f64;
    }
    total.bytes = touched;
    total.nanoseconds = total.nanoseconds.max(touched / BYTES_PER_NS);
    total
}

/// An upper bound for the number of elements that an address form reaches.
fn distinct(index: &Affine, extent: &dyn Fn(AxisId) -> Dim, batch: usize) -> f64 {
    index.terms.iter().map(|t| extent(t.0).at(batch) as f64).product()
}

#[derive(Default)]
struct Work {
    flops: f64,
    strips: f64,
}

impl Work {
    fn add(&mut self, kernel: &Kernel, id: ExprId, seen: &mut [bool]) {
        if std::mem::replace(&mut seen[id.index()], true) {
            return;
        }
        let expr = &kernel.expr(id).expr;
        let strip = match expr {
            Expr::Unary(f, _) => matches!(f.row().lower, Lower::Strip),
            Expr::Binary(f, ..) => matches!(f.row().lower, Lower::Strip),
            _ => false,
        };
        match expr {
            Expr::Unary(..) | Expr::Binary(..) | Expr::Select(..) | Expr::Cast(_) => {
                self.flops += 1.0;
                self.strips += strip as u32 as f64;
            }
            Expr::Const(_) | Expr::Size(_) | Expr::Index(_) | Expr::Load(_) | Expr::Acc(_) => {}
        }
        for operand in expr.operands() {
            self.add(kernel, operand, seen);
        }
    }
}

/// Chooses the axis that threads share out, for every kernel that is worth it at the largest batch.
pub(super) fn share_out(program: &mut Program) {
    for k in 0..program.kernels.len() {
        let work = cost(program, &program.kernels[k], program.max_batch);
        let kernel = &program.kernels[k];
        let extent = |a: &AxisId| kernel.extent(*a).at(program.max_batch);
        let widest = kernel.outer.iter().copied().max_by_key(|a| (extent(a), std::cmp::Reverse(*a)));
        // The outermost axis that is long enough keeps each thread's part contiguous.
        let leading = kernel.outer.iter().copied().find(|a| extent(a) >= 16);
        let chosen = leading.or(widest).filter(|a| extent(a) > 1 && work.nanoseconds >= PARALLEL_NS);
        program.kernels[k].parallel = chosen;
    }
}
