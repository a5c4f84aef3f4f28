//! Local rules: each looks at a node and its operands and offers a simpler node of the same value.
//!
//! A rule preserves every value, NaN and infinities included, except for the sign of a zero and the order of a sum;
//! what holds for integers only says so. No rule makes a larger tensor or repeats work.
//!
//! Precondition: none; constants on the right of commutative functions (`cse`) let more rules match. Postcondition:
//! no rule applies.

use crate::ir::{BinaryFn, Graph, NodeId, Op, UnaryFn};

use super::{Ctx, rebuild};

mod arithmetic;
mod reduce;
mod view;

/// A named rule: the node that can stand for the given one.
struct Rule {
    name: &'static str,
    apply: fn(&mut Graph, NodeId) -> Option<NodeId>,
}

macro_rules! rules {
    ($($module:ident :: $name:ident,)+) => { &[ $( Rule { name: stringify!($name), apply: $module::$name } ),+ ] };
}

const RULES: &[Rule] = rules![
    arithmetic::neutral_operand,
    arithmetic::absorbing_operand,
    arithmetic::same_operands,
    arithmetic::negated_operand,
    arithmetic::repeated_function,
    arithmetic::constant_power,
    arithmetic::constant_divisor,
    arithmetic::negated_comparison,
    arithmetic::constant_choice,
    arithmetic::repeated_choice,
    arithmetic::cast_of_cast,
    arithmetic::gradient_barrier,
    view::whole_view,
    view::view_of_splat,
    view::reshape_of_reshape,
    view::permute_of_permute,
    view::broadcast_of_broadcast,
    view::broadcast_of_unsqueezed,
    view::slice_of_slice,
    view::slice_of_concat,
    view::concat_of_concat,
    view::pad_of_pad,
    view::sum_of_neighbours,
    view::window_of_one,
    view::fold_of_one,
    view::fold_of_tiles,
    view::function_of_broadcasts,
    reduce::reduce_nothing,
    reduce::reduce_of_reduce,
    reduce::reduce_of_broadcast,
];

/// How many rules follow each other on one node at most.
const MAX_CHAIN: usize = 32;

/// How often the graph is gone through at most.
const MAX_ROUNDS: usize = 64;

pub fn run(graph: &Graph, ctx: &mut Ctx) -> Graph {
    let mut graph = once(graph, ctx);
    for _ in 1..MAX_ROUNDS {
        let before = ctx.rewrites();
        let next = once(&graph, ctx);
        if ctx.rewrites() == before {
            break;
        }
        graph = next;
    }
    graph
}

fn once(graph: &Graph, ctx: &mut Ctx) -> Graph {
    rebuild(graph, |next, old, op, args| {
        let mut id = next.push(op, &args);
        for _ in 0..MAX_CHAIN {
            let first_new = next.nodes().len();
            let Some((rule, simpler)) = RULES.iter().find_map(|r| Some((r, (r.apply)(next, id)?))) else {
                break;
            };
            debug_assert_eq!(next.ty(id), next.ty(simpler), "{}", rule.name);
            if !ctx.fire(rule.name, graph.site(old)) {
                break;
            }
            next.derive_sites(first_new, "simplify");
            id = simpler;
        }
        id
    })
}

/// The function and operand of a unary node.
fn unary(g: &Graph, id: NodeId) -> Option<(UnaryFn, NodeId)> {
    match (&g.node(id).op, &g.node(id).args[..]) {
        (Op::Unary(f), [x]) => Some((*f, *x)),
        _ => None,
    }
}

/// The operand of a certain unary function.
fn operand_of(g: &Graph, f: UnaryFn, id: NodeId) -> Option<NodeId> {
    unary(g, id).filter(|u| u.0 == f).map(|u| u.1)
}

/// The function and operands of a binary node.
fn binary(g: &Graph, id: NodeId) -> Option<(BinaryFn, NodeId, NodeId)> {
    match (&g.node(id).op, &g.node(id).args[..]) {
        (Op::Binary(f), [x, y]) => Some((*f, *x, *y)),
        _ => None,
    }
}
