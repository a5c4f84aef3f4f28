//! Rewrites the expressions of a kernel into functions that the target has: rows of the scalar table that are
//! compositions ([`Lower::Expand`]) are written out; what remains is native instructions and strip functions.

use crate::ir::scalar::Lower;
use crate::ir::{BinaryFn, DType, Emit, Number, UnaryFn, Val};
use crate::schedule::program::{Expr, ExprId, Indirect, Kernel, TypedExpr};

/// The kernel without compositions.
pub fn decompose(kernel: &Kernel) -> Kernel {
    let mut out = Kernel { exprs: Vec::new(), ..kernel.clone() };
    let mut new: Vec<ExprId> = Vec::with_capacity(kernel.exprs.len());
    for TypedExpr { expr, dtype } in &kernel.exprs {
        let at = |id: &ExprId| new[id.index()];
        let id = match expr {
            Expr::Unary(f, x) => id(Target(&mut out).unary(*f, val(at(x)))),
            Expr::Binary(f, x, y) => id(Target(&mut out).binary(*f, val(at(x)), val(at(y)))),
            Expr::Load(access) => {
                let mut access = access.clone();
                access.indirect = access.indirect.map(|i| Indirect { index: at(&i.index), ..i });
                out.push(Expr::Load(access), *dtype)
            }
            Expr::Select(c, a, b) => out.push(Expr::Select(at(c), at(a), at(b)), *dtype),
            Expr::Cast(x) => out.push(Expr::Cast(at(x)), *dtype),
            Expr::Const(_) | Expr::Size(_) | Expr::Index(_) | Expr::Acc(_) => out.push(expr.clone(), *dtype),
        };
        new.push(id);
    }
    let at = |id: &mut ExprId| *id = new[id.index()];
    out.accs.iter_mut().for_each(|acc| at(&mut acc.value));
    for store in out.stages.iter_mut().flat_map(|s| &mut s.stores) {
        at(&mut store.value);
        store.access.indirect.iter_mut().for_each(|i| at(&mut i.index));
    }
    if let Some(roles) = &mut out.contract {
        at(&mut roles.left);
        at(&mut roles.right);
    }
    out
}

fn val(id: ExprId) -> Val {
    Val(id.0)
}

fn id(val: Val) -> ExprId {
    ExprId(val.0)
}

/// Writes into a kernel, expanding compositions as they come.
struct Target<'a>(&'a mut Kernel);

impl Emit for Target<'_> {
    fn dtype(&self, x: Val) -> DType {
        self.0.expr(id(x)).dtype
    }

    fn lit(&mut self, like: Val, value: f64) -> Val {
        let dtype = self.dtype(like);
        val(self.0.push(Expr::Const(Number(value)), dtype))
    }

    fn unary(&mut self, f: UnaryFn, x: Val) -> Val {
        let row = f.row();
        match row.lower {
            Lower::Expand(expand) => expand(self, x),
            Lower::Native | Lower::Strip => {
                let dtype = row.gives.dtype(self.dtype(x));
                val(self.0.push(Expr::Unary(f, id(x)), dtype))
            }
        }
    }

    fn binary(&mut self, f: BinaryFn, x: Val, y: Val) -> Val {
        let row = f.row();
        match row.lower {
            Lower::Expand(expand) => expand(self, x, y),
            Lower::Native | Lower::Strip => {
                let dtype = row.gives.dtype(self.dtype(x));
                val(self.0.push(Expr::Binary(f, id(x), id(y)), dtype))
            }
        }
    }

    fn select(&mut self, c: Val, a: Val, b: Val) -> Val {
        let dtype = self.dtype(a);
        val(self.0.push(Expr::Select(id(c), id(a), id(b)), dtype))
    }

    fn cast(&mut self, x: Val, to: DType) -> Val {
        if self.dtype(x) == to {
            return x;
        }
        val(self.0.push(Expr::Cast(id(x)), to))
    }
}
