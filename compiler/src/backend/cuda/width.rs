//! The width of index arithmetic.

use crate::schedule::program::{Access, Affine, AxisId, Expr, Kernel, Program};

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
