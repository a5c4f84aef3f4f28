//! Dead code elimination.
//!
//! Precondition: none. Postcondition: every node is read by an output or an assignment, directly or not. Inputs stay
//! declared even where nothing reads them: they belong to the entry point's signature.

use crate::ir::Graph;

use super::{Ctx, walk};

pub fn run(graph: &Graph, _: &mut Ctx) -> Graph {
    walk(graph, |next, _, op, args| next.push(op, &args))
}
