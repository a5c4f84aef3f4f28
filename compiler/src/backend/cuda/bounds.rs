//! Intervals of index forms: what fits 32 bits, and which loads are in bounds whatever guards them.

use crate::schedule::program::{Access, Affine, AxisId, Expr, Kernel, Place, Program};

/// The smallest and the largest value of an affine form at a batch; `None` where an axis is empty.
fn range(kernel: &Kernel, index: &Affine, batch: usize) -> Option<(i64, i64)> {
    let (mut low, mut high) = (index.base, index.base);
    for &(axis, c) in &index.terms {
        let last = (kernel.extent(axis).at(batch) as i64).checked_sub(1).filter(|&n| n >= 0)?;
        let reach = c.saturating_mul(last);
        low = low.saturating_add(reach.min(0));
        high = high.saturating_add(reach.max(0));
    }
    Some((low, high))
}

/// Whether a load stays inside its buffer at every point of the kernel's axes. One that does not is guarded by a
/// select, and may only be evaluated in the branch that needs it.
pub fn always_in_bounds(program: &Program, kernel: &Kernel, access: &Access) -> bool {
    let buffer = program.buffer(access.buffer);
    // Both sides are linear in the batch, so the two ends speak for everything between.
    [1, program.max_batch].into_iter().all(|batch| {
        let elements = match &buffer.place {
            Place::Input(_) | Place::Output(_) => buffer.shape.count(batch),
            Place::Storage(_) | Place::Arena { .. } | Place::Const(_) => buffer.shape.count(program.max_batch),
        };
        let reach = match &access.indirect {
            Some(i) if i.extent == 0 => return false,
            Some(i) => i.stride * (i.extent as i64 - 1),
            None => 0,
        };
        range(kernel, &access.index, batch)
            .is_some_and(|(low, high)| low + reach.min(0) >= 0 && high + reach.max(0) < elements as i64)
    })
}

/// Whether some loop counter, index or address of a kernel needs more than 32 bits. Grids and loops may overshoot
/// by up to `threads`.
pub fn is_wide(program: &Program, kernel: &Kernel, threads: usize) -> bool {
    let extent = |axis: AxisId| kernel.extent(axis).at(program.max_batch) as i64;
    let points = |axes: &[AxisId]| axes.iter().map(|a| extent(*a)).fold(1, i64::saturating_mul);
    let reach = |index: &Affine| {
        let terms = index.terms.iter().map(|&(axis, c)| c.saturating_abs().saturating_mul(extent(axis)));
        terms.fold(index.base.saturating_abs(), i64::saturating_add)
    };
    let address = |access: &Access| {
        let indirect = access.indirect.as_ref().map_or(0, |i| i.stride.saturating_mul(i.extent as i64));
        reach(&access.index).saturating_add(indirect.saturating_abs())
    };
    let loops = kernel.stages.iter().map(|s| points(&s.axes)).chain([points(&kernel.outer)]);
    let exprs = kernel.exprs.iter().map(|e| match &e.expr {
        Expr::Load(access) => address(access),
        Expr::Index(index) => reach(index),
        Expr::Const(_)
        | Expr::Size(_)
        | Expr::Acc(_)
        | Expr::Unary(..)
        | Expr::Binary(..)
        | Expr::Select(..)
        | Expr::Cast(_) => 0,
    });
    let stores = kernel.stages.iter().flat_map(|s| &s.stores).map(|s| address(&s.access));
    loops.map(|n| n.saturating_add(threads as i64)).chain(exprs).chain(stores).any(|n| n > i32::MAX as i64)
}
