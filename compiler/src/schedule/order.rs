//! The order of kernels: any order that respects dependencies is right; this one keeps few bytes alive.

use std::collections::{HashMap, HashSet};

use crate::ir::NodeId;

use super::fuse::{GroupId, Groups};
use super::lower::Context;
use super::select::lives_in_memory;

/// Orders groups greedily: of those that are ready, the one that frees most and allocates least goes first, the
/// earlier in the graph where that is equal. `Err` holds the nodes of groups that wait for each other.
pub(super) fn order(groups: &Groups, cx: &Context) -> Result<Vec<GroupId>, Vec<NodeId>> {
    let ids = groups.ids();
    let mut waiting: HashMap<GroupId, HashSet<GroupId>> = ids.iter().map(|&g| (g, groups.before(g))).collect();
    let mut readers: HashMap<NodeId, usize> = HashMap::new();
    let inputs: HashMap<GroupId, HashSet<NodeId>> = ids.iter().map(|&g| (g, external_reads(groups, cx, g))).collect();
    for read in inputs.values().flatten() {
        *readers.entry(*read).or_default() += 1;
    }
    let mut after: HashMap<GroupId, Vec<GroupId>> = HashMap::new();
    for (&g, before) in &waiting {
        before.iter().for_each(|b| after.entry(*b).or_default().push(g));
    }
    let bytes = |id: &NodeId| cx.graph.ty(*id).bytes(cx.max_batch) as i64;
    let mut ready: Vec<GroupId> = ids.iter().copied().filter(|g| waiting[g].is_empty()).collect();
    let mut order = Vec::new();
    while !ready.is_empty() {
        let growth = |g: &GroupId| {
            let made: i64 = groups.members(*g).iter().filter(|m| readers.contains_key(m)).map(bytes).sum();
            let freed: i64 = inputs[g].iter().filter(|r| readers[r] == 1).map(bytes).sum();
            (made - freed, groups.members(*g)[0])
        };
        let best = (0..ready.len()).min_by_key(|&i| growth(&ready[i])).unwrap_or(0);
        let group = ready.swap_remove(best);
        order.push(group);
        for read in &inputs[&group] {
            if let Some(n) = readers.get_mut(read) {
                *n -= 1;
            }
        }
        for next in after.remove(&group).unwrap_or_default() {
            if let Some(before) = waiting.get_mut(&next) {
                before.remove(&group);
                if before.is_empty() {
                    ready.push(next);
                }
            }
        }
    }
    if order.len() == ids.len() {
        return Ok(order);
    }
    let stuck = ids.iter().filter(|g| !order.contains(g)).flat_map(|g| groups.members(*g).to_vec()).collect();
    Err(stuck)
}

/// The computed nodes outside a group that it reads.
fn external_reads(groups: &Groups, cx: &Context, group: GroupId) -> HashSet<NodeId> {
    let members = groups.members(group);
    let reads = members.iter().flat_map(|m| &cx.selection.reads[m.index()]);
    reads.filter(|r| !members.contains(r) && !lives_in_memory(cx.graph, **r)).copied().collect()
}
