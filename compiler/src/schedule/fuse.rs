//! Fusion: which stored nodes are computed together by one kernel.
//!
//! Every stored node begins as a group of its own. Walking the nodes in order, a node's group is merged with the
//! groups whose results it reads, contractions first, then reductions, then elementwise work, whenever the merged
//! group is still one kernel. Whether it is, lowering itself decides: a merge is tried and kept if it lowers and makes
//! no cycle between groups. Nothing outside a group needs a member that only the group reads, so fused intermediate
//! values are never stored.

use std::collections::{HashMap, HashSet};

use crate::ir::{NodeId, Op, Scan, StorageId};

use super::lower::{Context, Failure, lower};
use super::program::Kernel;
use super::select::lives_in_memory;

/// Index of a group.
pub(super) type GroupId = usize;

/// The groups of a graph and what they need from each other.
pub(super) struct Groups<'a> {
    cx: &'a Context<'a>,
    members: Vec<Vec<NodeId>>,
    group_of: HashMap<NodeId, GroupId>,
    roots: HashSet<NodeId>,
    readers: HashMap<NodeId, Vec<NodeId>>,
    /// Cells written in place, with the node that is assigned.
    in_place: HashMap<NodeId, Vec<StorageId>>,
    /// The groups that read the old value of a cell.
    cell_readers: HashMap<StorageId, Vec<NodeId>>,
}

impl<'a> Groups<'a> {
    /// Forms groups. `in_place` lists the assignments whose value is stored straight into the cell.
    /// Without `fuse` every group stays a single node.
    pub(super) fn form(
        cx: &'a Context<'a>,
        in_place: &[(StorageId, NodeId)],
        fuse: bool,
    ) -> Result<Groups<'a>, Failure> {
        let graph = cx.graph;
        let roots: HashSet<NodeId> = graph.roots().collect();
        let computed =
            |id: &NodeId| cx.selection.stored[id.index()] && (!lives_in_memory(graph, *id) || roots.contains(id));
        let nodes: Vec<NodeId> = graph.ids().filter(computed).collect();
        // All results of one scan come from one loop.
        let mut members: Vec<Vec<NodeId>> = Vec::new();
        let mut group_of = HashMap::new();
        let mut loops: HashMap<(&Scan, &[NodeId]), GroupId> = HashMap::new();
        for &id in &nodes {
            let node = graph.node(id);
            let group = match &node.op {
                Op::Scan { scan, .. } => *loops.entry((&**scan, &node.args)).or_insert(members.len()),
                _ => members.len(),
            };
            match members.get_mut(group) {
                Some(all) => all.push(id),
                None => members.push(vec![id]),
            }
            group_of.insert(id, group);
        }
        let mut groups = Groups {
            cx,
            members,
            group_of,
            roots,
            readers: HashMap::new(),
            in_place: HashMap::new(),
            cell_readers: HashMap::new(),
        };
        for &(cell, node) in in_place {
            groups.in_place.entry(node).or_default().push(cell);
        }
        for &id in &nodes {
            let own = lives_in_memory(graph, id).then_some(id);
            for &read in cx.selection.reads[id.index()].iter().chain(&own) {
                groups.readers.entry(read).or_default().push(id);
                if let Op::Storage { id: cell, .. } = graph.node(read).op {
                    groups.cell_readers.entry(cell).or_default().push(id);
                }
            }
        }
        for group in groups.ids() {
            if !groups.is_scan(group) {
                groups.lower(group)?;
            }
        }
        for &id in nodes.iter().filter(|_| fuse) {
            groups.grow(id);
        }
        Ok(groups)
    }

    /// The groups that are not empty.
    pub(super) fn ids(&self) -> Vec<GroupId> {
        (0..self.members.len()).filter(|g| !self.members[*g].is_empty()).collect()
    }

    pub(super) fn members(&self, group: GroupId) -> &[NodeId] {
        &self.members[group]
    }

    /// Whether a group is the results of a scan, which become a loop and not a kernel.
    pub(super) fn is_scan(&self, group: GroupId) -> bool {
        matches!(self.cx.graph.node(self.members[group][0]).op, Op::Scan { .. })
    }

    /// Lowers a group as it is.
    pub(super) fn lower(&self, group: GroupId) -> Result<Kernel, Failure> {
        self.lower_members(&self.members[group])
    }

    fn lower_members(&self, members: &[NodeId]) -> Result<Kernel, Failure> {
        lower(self.cx, members, &|id| self.kept(id, members))
    }

    /// Whether something outside a set of members reads a node.
    fn kept(&self, id: NodeId, members: &[NodeId]) -> bool {
        self.roots.contains(&id) || self.readers.get(&id).into_iter().flatten().any(|r| !members.contains(r))
    }

    /// The groups that must run before one: those it reads, and those that read a cell it overwrites.
    pub(super) fn before(&self, group: GroupId) -> HashSet<GroupId> {
        let mut before = HashSet::new();
        for id in &self.members[group] {
            before.extend(self.cx.selection.reads[id.index()].iter().filter_map(|r| self.group_of.get(r)));
            for cell in self.in_place.get(id).into_iter().flatten() {
                before.extend(self.cell_readers.get(cell).into_iter().flatten().map(|r| self.group_of[r]));
            }
        }
        before.remove(&group);
        before
    }

    /// Merges the group of a node with the groups it reads from.
    fn grow(&mut self, id: NodeId) {
        let mut candidates: Vec<NodeId> = self.cx.selection.reads[id.index()].clone();
        candidates.retain(|r| self.group_of.contains_key(r));
        candidates.sort_by_key(|r| (self.rank(self.group_of[r]), std::cmp::Reverse(*r)));
        for read in candidates {
            let (from, into) = (self.group_of[&id], self.group_of[&read]);
            if from != into && self.mergeable(into, from) {
                self.merge(into, from);
            }
        }
    }

    /// The order in which partners are tried.
    fn rank(&self, group: GroupId) -> u32 {
        let of = |id: &NodeId| match self.cx.graph.node(*id).op {
            Op::Contract(_) => 0,
            Op::Reduce { .. } => 1,
            _ => 2,
        };
        self.members[group].iter().map(of).min().unwrap_or(3)
    }

    fn mergeable(&self, a: GroupId, b: GroupId) -> bool {
        if self.is_scan(a) || self.is_scan(b) {
            return false;
        }
        let mut members: Vec<NodeId> = self.members[a].iter().chain(&self.members[b]).copied().collect();
        members.sort();
        self.profitable(&members) && !self.cyclic(a, b) && self.lower_members(&members).is_ok()
    }

    /// A reduction takes in the tensor it reduces only where that leaves enough independent rows, contiguous ones.
    fn profitable(&self, members: &[NodeId]) -> bool {
        let graph = self.cx.graph;
        for id in members {
            let Op::Reduce { axes, .. } = &graph.node(*id).op else { continue };
            let space = &graph.ty(*id).shape;
            let wide = |m: &NodeId| {
                let node = graph.node(*m);
                !matches!(node.op, Op::Reduce { .. }) && node.ty.shape != *space && self.kept(*m, members)
            };
            let rank = graph.ty(graph.node(*id).args[0]).shape.rank();
            let trailing = axes.iter().copied().eq(rank - axes.len()..rank);
            if members.iter().any(wide) && !(trailing && space.count(self.cx.max_batch) >= 8) {
                return false;
            }
        }
        true
    }

    /// Whether a path leads from one of the two groups through another back to one of the two.
    fn cyclic(&self, a: GroupId, b: GroupId) -> bool {
        let mut stack: Vec<GroupId> =
            self.before(a).into_iter().chain(self.before(b)).filter(|g| *g != a && *g != b).collect();
        let mut seen: HashSet<GroupId> = stack.iter().copied().collect();
        while let Some(g) = stack.pop() {
            for next in self.before(g) {
                if next == a || next == b {
                    return true;
                }
                if seen.insert(next) {
                    stack.push(next);
                }
            }
        }
        false
    }

    fn merge(&mut self, into: GroupId, from: GroupId) {
        let moved = std::mem::take(&mut self.members[from]);
        for id in &moved {
            self.group_of.insert(*id, into);
        }
        self.members[into].extend(moved);
        self.members[into].sort();
    }
}
