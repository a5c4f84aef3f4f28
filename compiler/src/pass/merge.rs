//! Loops over the same operands become one.
//!
//! Differentiation runs a loop a second time, with further outputs that its reverse reads; the results that other nodes
//! already read stay those of the first. Two loops that run over the same operands in the same direction and update
//! their carries by the same nodes are one loop that has the outputs of both.
//!
//! Precondition: none. Postcondition: no two loops of a graph are such a pair.

use std::collections::HashMap;
use std::sync::Arc;

use crate::ir::{Graph, Loop, NodeId, Op, Scan};

use super::{Ctx, over_bodies, walk};

/// Outer loops first: once the loops inside have merged, bodies that were equal no longer are.
pub fn run(graph: &Graph, ctx: &mut Ctx) -> Graph {
    let merged = level(graph, ctx);
    let inside = over_bodies(merged.as_ref().unwrap_or(graph), |body| run(body, ctx));
    inside.or(merged).unwrap_or_else(|| graph.clone())
}

/// The loops that merge into one.
struct Family<'g> {
    args: &'g [NodeId],
    body: Graph,
    like: &'g Scan,
    members: Vec<Member>,
}

/// Where a loop's results are now.
struct Moved<'f> {
    whole: Arc<Scan>,
    outputs: &'f [usize],
}

struct Member {
    /// Its place among the loops of the graph.
    at: usize,
    /// Where the family has the outputs of this loop.
    outputs: Vec<usize>,
}

fn level(graph: &Graph, ctx: &mut Ctx) -> Option<Graph> {
    let live = graph.live();
    let mut families: Vec<Family> = Vec::new();
    let loops = graph.loops(graph.ids().filter(|id| live[id.index()]));
    for (at, Loop { scan, args, results }) in loops.list.iter().enumerate() {
        let (id, args) = (results[0], *args);
        let joined = families.iter_mut().filter(|f| f.args == args).any(|family| {
            let Some(body) = join(family, scan) else { return false };
            ctx.fire("same_loop", graph.site(id)) && family.take((at, scan), body)
        });
        if !joined {
            let outputs = (0..scan.body.outputs.len()).collect();
            let members = vec![Member { at, outputs }];
            families.push(Family { args, body: scan.body.clone(), like: scan, members });
        }
    }
    if families.iter().all(|f| f.members.len() == 1) {
        return None;
    }
    let mut moved: HashMap<usize, Moved> = HashMap::new();
    for family in families.iter().filter(|f| f.members.len() > 1) {
        let like = family.like;
        let scan = Scan::new(family.body.clone(), like.length, like.reverse, like.carries.clone(), like.sequences);
        let scan = Arc::new(scan);
        for member in &family.members {
            moved.insert(member.at, Moved { whole: scan.clone(), outputs: &member.outputs });
        }
    }
    Some(walk(graph, |next, id, op, args| match &op {
        Op::Scan { result, .. } => match loops.of(id).and_then(|at| moved.get(&at)) {
            Some(Moved { whole, outputs }) => {
                let carries = whole.carries.len();
                let result = if *result < carries { *result } else { carries + outputs[*result - carries] };
                next.push(Op::Scan { scan: whole.clone(), result }, &args)
            }
            None => next.push(op, &args),
        },
        _ => next.push(op, &args),
    }))
}

/// The family's body with the nodes of one more loop, and what those are there; `None` where it is another loop.
fn join(family: &Family, scan: &Scan) -> Option<(Graph, Vec<Option<NodeId>>)> {
    let like = family.like;
    let alike = (like.length, like.reverse, like.sequences) == (scan.length, scan.reverse, scan.sequences);
    if !alike || like.carries != scan.carries {
        return None;
    }
    let mut body = family.body.clone();
    let mut map = vec![None; scan.body.nodes().len()];
    body.graft(&scan.body, scan.body.roots(), &mut map);
    let next = |carry: usize| scan.next(carry).map(|node| map[node.index()]);
    let same = (0..like.carries.len()).all(|carry| next(carry) == like.next(carry).map(Some));
    same.then_some((body, map))
}

impl Family<'_> {
    fn take(&mut self, (at, scan): (usize, &Scan), (body, map): (Graph, Vec<Option<NodeId>>)) -> bool {
        self.body = body;
        let mut outputs = Vec::new();
        for output in &scan.body.outputs {
            let Some(node) = map[output.node.index()] else { continue };
            let found = self.body.outputs.iter().position(|o| o.node == node);
            outputs.push(found.unwrap_or_else(|| {
                self.body.output(format!("output{}", self.body.outputs.len()), node);
                self.body.outputs.len() - 1
            }));
        }
        self.members.push(Member { at, outputs });
        true
    }
}
