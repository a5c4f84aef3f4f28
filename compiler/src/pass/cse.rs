//! Common subexpression elimination.
//!
//! Graphs share equal nodes when they are built. This pass makes more of them equal: operands of commutative
//! functions are put in the order of their definition, constants last; rebuilding then shares again what rewrites
//! have made equal.
//!
//! Precondition: none. Postcondition: no two nodes are the same operation on the same operands, even commuted; the
//! other passes find the constant of a commutative function on its right.

use crate::ir::{Graph, NodeId, Op};

use super::{Ctx, rebuild};

pub fn run(graph: &Graph, ctx: &mut Ctx) -> Graph {
    rebuild(graph, |next, id, op, mut args| {
        let key = |a: NodeId| (matches!(next.node(a).op, Op::Const { .. }), a);
        if let (Op::Binary(f), [x, y]) = (&op, &args[..])
            && f.row().commutes
            && key(*x) > key(*y)
            && ctx.fire("commute", graph.site(id))
        {
            args.swap(0, 1);
        }
        next.push(op, &args)
    })
}
