//! Simplifies loop nests: axes of one element disappear, and neighbouring axes that every address walks as one merge
//! into one longer axis. A nest over `[batch, 10]` whose tensors are all contiguous becomes a loop over `10 * batch`.
//!
//! Only addresses that some stage evaluates count. In the roles of a contraction an axis merges with its neighbour
//! only, so that flattened indices of a role keep their meaning.

use crate::ir::Dim;
use crate::schedule::program::{Affine, AxisId, Expr, ExprId, Kernel};

use super::facts::{reachable, roots};

/// The kernel with the fewest axes that do the same. Axes keep their ids; those that merged are no longer used.
pub fn coalesce(mut kernel: Kernel) -> Kernel {
    drop_single(&mut kernel);
    while let Some((a, b)) = mergeable(&kernel) {
        merge(&mut kernel, a, b);
    }
    kernel
}

/// Removes the axes of extent 1, whose index is always 0.
fn drop_single(kernel: &mut Kernel) {
    let single: Vec<AxisId> =
        (0..kernel.axes.len() as u32).map(AxisId).filter(|a| kernel.extent(*a) == Dim::ONE).collect();
    for axis in single {
        forget(kernel, axis);
        if kernel.parallel == Some(axis) {
            kernel.parallel = None;
        }
    }
}

/// Removes an axis from every list and address.
fn forget(kernel: &mut Kernel, axis: AxisId) {
    kernel.outer.retain(|a| *a != axis);
    kernel.stages.iter_mut().for_each(|s| s.axes.retain(|a| *a != axis));
    if let Some(roles) = &mut kernel.contract {
        for group in [&mut roles.batch, &mut roles.m, &mut roles.n, &mut roles.k] {
            group.retain(|a| *a != axis);
        }
    }
    for affine in affines_mut(kernel) {
        affine.terms.retain(|t| t.0 != axis);
    }
}

/// Two axes `(a, b)` such that stepping `a` by one moves every address as far as walking all of `b` does.
fn mergeable(kernel: &Kernel) -> Option<(AxisId, AxisId)> {
    let lists = std::iter::once(&kernel.outer).chain(kernel.stages.iter().map(|s| &s.axes));
    let affines = affines(kernel);
    for list in lists {
        for &a in list {
            for &b in list {
                if a != b && can_merge(kernel, &affines, a, b) {
                    return Some((a, b));
                }
            }
        }
    }
    None
}

fn can_merge(kernel: &Kernel, affines: &[&Affine], a: AxisId, b: AxisId) -> bool {
    let Some(inner) = kernel.extent(b).as_fixed() else { return false };
    let together = |list: &Vec<AxisId>| list.contains(&a) == list.contains(&b);
    let mut roles = kernel.contract.iter().flat_map(|r| [&r.batch, &r.m, &r.n, &r.k]);
    let neighbours = roles.all(|list| {
        let place = |axis| list.iter().position(|x| *x == axis);
        match (place(a), place(b)) {
            (None, None) => true,
            (Some(a), Some(b)) => a + 1 == b,
            _ => false,
        }
    });
    neighbours
        && kernel.extent(a).times(kernel.extent(b)).is_some()
        && std::iter::once(&kernel.outer).chain(kernel.stages.iter().map(|s| &s.axes)).all(together)
        && affines.iter().all(|x| x.coefficient(a) == x.coefficient(b) * inner as i64)
}

fn merge(kernel: &mut Kernel, a: AxisId, b: AxisId) {
    if let Some(extent) = kernel.extent(a).times(kernel.extent(b)) {
        kernel.axes[b.index()] = extent;
    }
    forget(kernel, a);
    if kernel.parallel == Some(a) {
        kernel.parallel = Some(b);
    }
}

/// Every affine form that some stage evaluates.
fn affines(kernel: &Kernel) -> Vec<&Affine> {
    let roots: Vec<ExprId> = kernel.stages.iter().flat_map(|s| roots(kernel, s)).collect();
    let live = reachable(kernel, &roots, |_| false);
    let exprs = kernel.exprs.iter().zip(live).filter(|(_, live)| *live).filter_map(|(e, _)| match &e.expr {
        Expr::Load(access) => Some(&access.index),
        Expr::Index(index) => Some(index),
        _ => None,
    });
    exprs.chain(kernel.stages.iter().flat_map(|s| &s.stores).map(|s| &s.access.index)).collect()
}

fn affines_mut(kernel: &mut Kernel) -> impl Iterator<Item = &mut Affine> {
    let exprs = kernel.exprs.iter_mut().filter_map(|e| match &mut e.expr {
        Expr::Load(access) => Some(&mut access.index),
        Expr::Index(index) => Some(index),
        _ => None,
    });
    exprs.chain(kernel.stages.iter_mut().flat_map(|s| &mut s.stores).map(|s| &mut s.access.index))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cranelift::tests::build::KernelBuilder;
    use crate::ir::DType;

    #[test]
    fn contiguous_axes_become_one() {
        let mut k = KernelBuilder::new("k");
        let (n, i, one) = (k.outer(Dim::BATCH), k.outer(10), k.outer(1));
        let x = k.load(0, &[(n, 10), (i, 1), (one, 3)], DType::F32);
        k.stage(&[]).store(1, &[(n, 10), (i, 1)], x);
        let kernel = coalesce(k.kernel);
        assert_eq!(kernel.outer, [i]);
        assert_eq!(kernel.extent(i), Dim { scale: 10, batch: true });
    }

    #[test]
    fn a_broadcast_keeps_axes_apart() {
        let mut k = KernelBuilder::new("k");
        let (n, i) = (k.outer(Dim::BATCH), k.outer(10));
        let x = k.load(0, &[(i, 1)], DType::F32);
        k.stage(&[]).store(1, &[(n, 10), (i, 1)], x);
        assert_eq!(coalesce(k.kernel).outer, [n, i]);
    }

    #[test]
    fn the_batch_only_leads() {
        let mut k = KernelBuilder::new("k");
        let (i, n) = (k.outer(10), k.outer(Dim::BATCH));
        let x = k.load(0, &[(i, 64), (n, 1)], DType::F32);
        k.stage(&[]).store(1, &[(i, 64), (n, 1)], x);
        assert_eq!(coalesce(k.kernel).outer, [i, n]);
    }
}
