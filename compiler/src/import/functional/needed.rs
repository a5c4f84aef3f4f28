//! Which operations become layers.
//!
//! A description lists every operation that Keras met, those too whose results nothing takes. The others are needed: as
//! tensors, or as masks that calls are given.

use std::collections::HashSet;

use super::history::{Endpoint, History};
use super::{Entry, Kind, Net};
use crate::diag::{Code, Problem};
use crate::import::{Reader, join};
use crate::limit;

impl Reader<'_> {
    /// Keeps the calls of those operations that layers and outputs need; the others are left out, known or not.
    pub(super) fn choose(&mut self, net: &mut Net, outputs: &[Endpoint], path: &str) {
        let needed = net.needed(outputs);
        for (at, entry) in net.entries.iter_mut().enumerate() {
            let Kind::Operation { class, module } = &entry.kind else { continue };
            if !needed.contains(&at) {
                entry.calls.clear();
                entry.results.clear();
            } else if !entry.is_known() {
                let limit = limit::of_operation(class);
                let class = class.escape_debug();
                let problem = Problem::new(Code::Import, format!("the operation {class} of {module} is not supported"));
                self.problem(&join(path, &entry.name), problem.limit(limit));
            }
        }
    }
}

impl Entry {
    /// Whether every call of an operation can be made.
    fn is_known(&self) -> bool {
        !self.calls.is_empty() && self.calls.iter().all(|call| call.operation.is_some())
    }
}

impl Net {
    fn place(&self, history: &History) -> Option<usize> {
        self.index.get(&history.layer).copied()
    }

    /// The entries that an entry takes tensors of.
    fn sources(&self, at: usize) -> impl Iterator<Item = usize> {
        self.entries[at].calls.iter().flat_map(|call| &call.tensors).filter_map(|history| self.place(history))
    }

    /// The operations that outputs and layers build on.
    fn needed(&self, outputs: &[Endpoint]) -> HashSet<usize> {
        let layers = || (0..self.entries.len()).filter(|&at| !self.entries[at].is_operation());
        let calls = layers().flat_map(|at| &self.entries[at].calls);
        let masks = calls.flat_map(|call| &call.masks).filter_map(|(_, mask)| self.place(mask));
        let ends = outputs.iter().filter_map(|end| self.place(&end.history));
        let begin = layers().flat_map(|at| self.sources(at)).chain(ends).chain(masks);
        reach(begin.filter(|&at| self.entries[at].is_operation()), |at| {
            self.sources(at).filter(|&at| self.entries[at].is_operation()).collect()
        })
    }
}

/// Everything that can be reached.
fn reach(begin: impl Iterator<Item = usize>, mut next: impl FnMut(usize) -> Vec<usize>) -> HashSet<usize> {
    let mut open: Vec<usize> = begin.collect();
    let mut reached = HashSet::new();
    while let Some(at) = open.pop() {
        if reached.insert(at) {
            open.extend(next(at));
        }
    }
    reached
}
