//! Fusion: which stored nodes are computed together by one kernel.
//!
//! Every stored node begins as a group of its own. Walking the nodes in order, a node's group is merged with the
//! groups whose results it reads, contractions first, then reductions, then elementwise work, whenever the merged
//! group is still one kernel. Whether it is, lowering itself decides: a merge is tried and kept if it lowers and makes
//! no cycle between groups. Nothing outside a group needs a member that only the group reads, so fused intermediate
//! values are never stored.

use std::collections::{HashMap, HashSet};

use crate::ir::{NodeId, Op, StorageId};

use super::lower::{Context, Failure, Makeup, lower};
use super::program::Kernel;
use super::select::lives_in_memory;

/// Index of a group.
pub(super) type GroupId = usize;

/// The groups of a graph and what they need from each other.
pub(super) struct Groups<'a> {
    cx: &'a Context<'a>,
    members: Vec<Vec<NodeId>>,
    makeup: Vec<Makeup>,
    /// The group of each node that is computed.
    group_of: Vec<Option<GroupId>>,
    roots: HashSet<NodeId>,
    readers: HashMap<NodeId, Vec<NodeId>>,
    /// What each group waits for: the nodes that it reads, and those that read a cell which it overwrites.
    needs: Vec<Vec<NodeId>>,
}

/// The most members of a group. Kernels of independent work, such as the streams of random numbers of all weights, would
/// otherwise grow with the model, and each attempt to add to them takes as long as they are large.
const MOST_MEMBERS: usize = 48;
/// The most simple instructions of an element of all members together, for the same reason.
const MOST_WORK: u64 = 2048;

impl<'a> Groups<'a> {
    /// Forms groups. `in_place` lists the assignments whose value is stored straight into the cell.
    /// Without `fuse` every group stays a single node.
    pub(super) fn form(
        cx: &'a Context<'a>,
        in_place: &[(StorageId, NodeId)],
        fuse: bool,
    ) -> Result<Groups<'a>, Vec<Failure>> {
        let graph = cx.graph;
        let roots: HashSet<NodeId> = graph.roots().collect();
        let computed =
            |id: &NodeId| cx.selection.stored[id.index()] && (!lives_in_memory(graph, *id) || roots.contains(id));
        let nodes: Vec<NodeId> = graph.ids().filter(computed).collect();
        // All results of one scan come from one loop.
        let mut members: Vec<Vec<NodeId>> = Vec::new();
        let mut group_of = vec![None; graph.nodes().len()];
        let loops = graph.loops(nodes.iter().copied());
        let mut of_loop: Vec<Option<GroupId>> = vec![None; loops.list.len()];
        for &id in &nodes {
            let group = match loops.of(id) {
                Some(at) => *of_loop[at].get_or_insert(members.len()),
                None => members.len(),
            };
            match members.get_mut(group) {
                Some(all) => all.push(id),
                None => members.push(vec![id]),
            }
            group_of[id.index()] = Some(group);
        }
        let mut readers: HashMap<NodeId, Vec<NodeId>> = HashMap::new();
        let mut cell_readers: HashMap<StorageId, Vec<NodeId>> = HashMap::new();
        for &id in &nodes {
            let own = lives_in_memory(graph, id).then_some(id);
            for &read in cx.selection.reads[id.index()].iter().chain(&own) {
                readers.entry(read).or_default().push(id);
                if let Op::Storage { id: cell, .. } = graph.node(read).op {
                    cell_readers.entry(cell).or_default().push(id);
                }
            }
        }
        let mut needs = vec![Vec::new(); members.len()];
        for &id in &nodes {
            needs[group_of[id.index()].unwrap_or(0)].extend(&cx.selection.reads[id.index()]);
        }
        for (cell, node) in in_place {
            needs[group_of[node.index()].unwrap_or(0)].extend(cell_readers.get(cell).into_iter().flatten());
        }
        let makeup = members.iter().map(|all| Makeup::sum(all.iter().map(|id| Makeup::of(cx, *id)))).collect();
        let mut groups = Groups { cx, members, makeup, group_of, roots, readers, needs };
        let single = groups.ids().into_iter().filter(|group| !groups.is_scan(*group));
        let failures: Vec<Failure> = single.filter_map(|group| groups.lower(group).err()).collect();
        if !failures.is_empty() {
            return Err(failures);
        }
        if fuse {
            groups.grow_all(nodes);
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
        self.waits_for(group).collect()
    }

    /// [`Self::before`], some of them several times.
    fn waits_for(&self, group: GroupId) -> impl Iterator<Item = GroupId> + '_ {
        self.needs[group].iter().filter_map(|node| self.group_of[node.index()]).filter(move |other| *other != group)
    }

    /// Grows the groups of all nodes. A merge that would make a cycle is tried again when other groups have merged: the
    /// group on the way round may be a part of it by then, as where one kernel updates several cells that read each other.
    fn grow_all(&mut self, mut nodes: Vec<NodeId>) {
        loop {
            let before = self.ids().len();
            nodes.retain(|id| self.grow(*id));
            if nodes.is_empty() || self.ids().len() == before {
                return;
            }
        }
    }

    /// Merges the group of a node with the groups it reads from. Says whether one could not be merged for a cycle.
    fn grow(&mut self, id: NodeId) -> bool {
        let reads = &self.cx.selection.reads[id.index()];
        let mut candidates: Vec<(u32, std::cmp::Reverse<NodeId>)> =
            reads.iter().filter_map(|r| Some((self.rank(self.group_of[r.index()]?), std::cmp::Reverse(*r)))).collect();
        candidates.sort();
        let mut cyclic = false;
        for (_, std::cmp::Reverse(read)) in candidates {
            let (Some(from), Some(into)) = (self.group_of[id.index()], self.group_of[read.index()]) else { continue };
            // What can never be one kernel needs no search for ways round.
            if from == into || !self.is_possible(into, from) {
                continue;
            }
            if self.cyclic(into, from) {
                cyclic = true;
            } else if self.one_kernel(into, from) {
                self.merge(into, from);
            }
        }
        cyclic
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

    /// Whether two groups, and what may join them, are small and alike enough for one kernel.
    fn is_possible(&self, a: GroupId, b: GroupId) -> bool {
        let both = self.makeup[a].and(self.makeup[b]);
        !self.is_scan(a)
            && !self.is_scan(b)
            && both.members() <= MOST_MEMBERS
            && both.work <= MOST_WORK
            && both.is_possible()
    }

    /// Whether two groups can be one kernel, and gain by it.
    fn one_kernel(&self, a: GroupId, b: GroupId) -> bool {
        let mut members: Vec<NodeId> = self.members[a].iter().chain(&self.members[b]).copied().collect();
        members.sort();
        self.profitable(&members) && self.lower_members(&members).is_ok()
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
        let mut seen = vec![false; self.members.len()];
        let mut stack: Vec<GroupId> =
            self.waits_for(a).chain(self.waits_for(b)).filter(|g| *g != a && *g != b).collect();
        while let Some(g) = stack.pop() {
            if g == a || g == b {
                return true;
            }
            if !std::mem::replace(&mut seen[g], true) {
                stack.extend(self.waits_for(g).filter(|next| !seen[*next]));
            }
        }
        false
    }

    fn merge(&mut self, into: GroupId, from: GroupId) {
        let moved = std::mem::take(&mut self.members[from]);
        for id in &moved {
            self.group_of[id.index()] = Some(into);
        }
        let mut needs = std::mem::take(&mut self.needs[from]);
        needs.append(&mut self.needs[into]);
        needs.sort();
        needs.dedup();
        self.needs[into] = needs;
        self.makeup[into] = self.makeup[into].and(self.makeup[from]);
        self.members[into].extend(moved);
        self.members[into].sort();
    }
}
