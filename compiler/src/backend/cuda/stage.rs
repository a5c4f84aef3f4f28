//! Which expressions of a stage get a name, and in which loop they are computed.
//!
//! An expression that is used once is written where it is used. One that is used more often, or that changes less
//! often than its user, becomes a named constant in the innermost loop whose axis it depends on. A verified program
//! loads nothing out of bounds, whatever its selects choose, so that every load may be named.

use crate::schedule::program::{AxisId, Expr, ExprId, Kernel, Stage};

/// The names of one stage.
pub struct Names {
    /// By expression: how many of the stage's loops enclose it, if it has a name.
    depth: Vec<Option<usize>>,
    /// Axes that the stage's expressions and addresses mention.
    axes: Vec<AxisId>,
}

impl Names {
    /// Decides for a stage with this many loops. A flattened stage has one loop for all of its axes.
    pub fn of(kernel: &Kernel, stage: &Stage, loops: usize) -> Names {
        let count = kernel.exprs.len();
        let loop_of = |axis: &AxisId| {
            let at = stage.axes.iter().position(|a| a == axis);
            at.map_or(0, |at| (at + 1).min(loops))
        };
        let mut depth = vec![0; count];
        for (i, typed) in kernel.exprs.iter().enumerate() {
            for operand in typed.expr.operands() {
                depth[i] = depth[i].max(depth[operand.index()]);
            }
            depth[i] = mentioned(&typed.expr).iter().map(loop_of).fold(depth[i], usize::max);
        }

        let (mut uses, mut user_depth) = (vec![0; count], vec![0; count]);
        let mut axes = Vec::new();
        let values =
            stage.accs.iter().map(|a| kernel.accs[a.index()].value).chain(stage.stores.iter().map(|s| s.value));
        for root in values {
            uses[root.index()] += 1;
            user_depth[root.index()] = loops;
        }
        for store in &stage.stores {
            axes.extend(store.access.index.terms.iter().map(|t| t.0));
            if let Some(indirect) = &store.access.indirect {
                // Once for the test, once for the address.
                uses[indirect.index.index()] += 2;
                user_depth[indirect.index.index()] = loops;
            }
        }
        for i in (0..count).rev() {
            if uses[i] == 0 {
                continue;
            }
            axes.extend(mentioned(&kernel.exprs[i].expr));
            for operand in kernel.exprs[i].expr.operands() {
                uses[operand.index()] += 1;
                user_depth[operand.index()] = user_depth[operand.index()].max(depth[i]);
            }
        }
        axes.sort();
        axes.dedup();

        let named = |i: usize| {
            let worth = uses[i] > 1 || (uses[i] == 1 && depth[i] < user_depth[i]);
            worth && !is_trivial(&kernel.exprs[i].expr)
        };
        Names { depth: (0..count).map(|i| named(i).then_some(depth[i])).collect(), axes }
    }

    /// Whether an expression has a name.
    pub fn has(&self, id: ExprId) -> bool {
        self.depth[id.index()].is_some()
    }

    /// The named expressions that this many loops enclose, operands first.
    pub fn at(&self, loops: usize) -> impl Iterator<Item = ExprId> + '_ {
        let ids = self.depth.iter().enumerate().filter(move |(_, depth)| **depth == Some(loops));
        ids.map(|(i, _)| ExprId(i as u32))
    }

    /// The axes that the stage mentions.
    pub fn axes(&self) -> &[AxisId] {
        &self.axes
    }
}

/// The axes that an expression itself mentions, its operands apart.
fn mentioned(expr: &Expr) -> Vec<AxisId> {
    match expr {
        Expr::Index(index) => index.terms.iter().map(|t| t.0).collect(),
        Expr::Load(access) => access.index.terms.iter().map(|t| t.0).collect(),
        Expr::Const(_)
        | Expr::Size(_)
        | Expr::Acc(_)
        | Expr::Unary(..)
        | Expr::Binary(..)
        | Expr::Select(..)
        | Expr::Cast(_) => Vec::new(),
    }
}

/// Whether an expression is no longer than its name would be.
pub fn is_trivial(expr: &Expr) -> bool {
    match expr {
        Expr::Const(_) | Expr::Size(_) | Expr::Index(_) | Expr::Acc(_) => true,
        Expr::Load(_) | Expr::Unary(..) | Expr::Binary(..) | Expr::Select(..) | Expr::Cast(_) => false,
    }
}
