//! Which operations become layers.
//!
//! Masks that layers make for each other are in a description as operations (`x != 0`), and as arguments of calls. Here
//! they travel with their tensors, so that most of those operations are not needed, known or not.

use std::collections::{HashMap, HashSet};

use super::history::{Endpoint, History};
use super::{Entry, Kind, Net};
use crate::diag::{Code, Problem};
use crate::import::{Reader, join};
use crate::limit::Limit;

impl Reader<'_> {
    /// Keeps the calls of those operations that layers and outputs need, and of those that make masks where they are
    /// all known; the others are left out.
    pub(super) fn choose(&mut self, net: &mut Net, outputs: &[Endpoint], path: &str) {
        let needed = net.needed(outputs);
        for (at, entry) in net.entries.iter_mut().enumerate() {
            let Kind::Operation { class, module } = &entry.kind else { continue };
            if !needed.contains(&at) {
                entry.calls.clear();
                entry.results.clear();
            } else if !entry.is_known() {
                let class = class.escape_debug();
                let problem = Problem::new(Code::Import, format!("the operation {class} of {module} is not supported"));
                self.problem(&join(path, &entry.name), problem.limit(Limit::Operations));
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
        let unknown = self.unknown();
        let layers = || (0..self.entries.len()).filter(|&at| !self.entries[at].is_operation());
        let masks = layers().flat_map(|at| &self.entries[at].calls).filter_map(|call| self.place(call.mask.as_ref()?));
        let masks = masks.filter(|at| !unknown.contains(at));
        let ends = outputs.iter().filter_map(|end| self.place(&end.history));
        let begin = layers().flat_map(|at| self.sources(at)).chain(ends).chain(masks);
        reach(begin.filter(|&at| self.entries[at].is_operation()), |at| {
            self.sources(at).filter(|&at| self.entries[at].is_operation()).collect()
        })
    }

    /// The operations that cannot be made, and those that build on them.
    fn unknown(&self) -> HashSet<usize> {
        let operations = || (0..self.entries.len()).filter(|&at| self.entries[at].is_operation());
        let mut users: HashMap<usize, Vec<usize>> = HashMap::new();
        for at in operations() {
            self.sources(at).for_each(|from| users.entry(from).or_default().push(at));
        }
        let begin = operations().filter(|&at| !self.entries[at].is_known());
        reach(begin, |at| users.remove(&at).unwrap_or_default())
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
