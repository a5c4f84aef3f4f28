//! Which operations meet: coverage of random graphs.
//!
//! A mistake of a compiler often needs two or three operations in a certain order: a gather that reads through a reshape
//! that merged what a broadcast repeated. So the measure of random graphs is not how many there are but which ordered
//! pairs and triples of operations they hold, each reading the one before: [`Coverage`] counts them, views included and
//! across the borders of loops, and says which have not met yet, so that further graphs can be aimed at those
//! ([`super::aimed`]).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use crate::ir::scan::Scan;
use crate::ir::{Dim, Graph, NodeId, Op, Shape, StorageId, reshape_groups};

/// What an operation is to the one whose result it reads.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// A scalar function, a choice, a conversion.
    Map,
    /// A reshape that merges axes.
    Merge,
    /// A reshape that splits axes, or adds some of extent 1.
    Split,
    Permute,
    Broadcast,
    /// A slice that reads forwards.
    Slice,
    /// A slice with an axis that it reads backwards.
    Reverse,
    Pad,
    Concat,
    Window,
    Fold,
    Reduce,
    Contract,
    /// Gathering from the tensor.
    Gather,
    /// Gathering or scattering at the indices in the tensor.
    Pick,
    /// Scattering the tensor.
    Scatter,
    /// In the body of a loop, the slice of a sequence outside.
    Step,
    /// In the body of a loop, a carry; it reads the initial value and the one of the step before.
    Carry,
    /// In the body of a loop, a tensor outside.
    Held,
    /// The stack of what the steps of a loop put out.
    Stack,
    /// The last value of a carry.
    Final,
}

impl Kind {
    pub const ALL: [Kind; 21] = {
        use Kind::*;
        [
            Map, Merge, Split, Permute, Broadcast, Slice, Reverse, Pad, Concat, Window, Fold, Reduce, Contract, Gather,
            Pick, Scatter, Step, Carry, Held, Stack, Final,
        ]
    };

    /// In small letters, at most nine.
    pub fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// The kind with a name.
    pub fn named(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Operations, each of which reads the one before.
pub type Chain = [Kind; 3];

/// How an operation reads its operand of this index.
pub(super) fn kinds(graph: &Graph, id: NodeId, operand: usize) -> Vec<Kind> {
    let node = graph.node(id);
    let one = match &node.op {
        Op::Unary(_) | Op::Binary(_) | Op::Select | Op::Cast(_) => Kind::Map,
        Op::Reshape(to) => return reshaped(&graph.ty(node.args[0]).shape, to),
        Op::Permute(_) => Kind::Permute,
        Op::Broadcast { .. } => Kind::Broadcast,
        Op::Slice(axes) if axes.iter().any(|a| a.step < 0) => Kind::Reverse,
        Op::Slice(_) => Kind::Slice,
        Op::Pad { .. } => Kind::Pad,
        Op::Concat { .. } => Kind::Concat,
        Op::Window(_) => Kind::Window,
        Op::Fold { .. } => Kind::Fold,
        Op::Reduce { .. } => Kind::Reduce,
        Op::Contract(_) => Kind::Contract,
        Op::Gather { .. } => [Kind::Gather, Kind::Pick][operand],
        Op::ScatterAdd { .. } => [Kind::Pick, Kind::Scatter][operand],
        Op::Input { .. } | Op::Storage { .. } | Op::Const { .. } | Op::Iota { .. } | Op::Scan { .. } => {
            return Vec::new();
        }
    };
    vec![one]
}

fn reshaped(from: &Shape, to: &Shape) -> Vec<Kind> {
    let long = |dims: &[Dim]| dims.iter().filter(|d| **d != Dim::ONE).count();
    let groups = reshape_groups(from, to).unwrap_or_default();
    let merges = groups.iter().any(|(a, b)| long(&from[a.clone()]) > 1 && long(&to[b.clone()]) == 1);
    let splits = groups.iter().any(|(a, b)| long(&from[a.clone()]) == 1 && long(&to[b.clone()]) > 1);
    let mixes = groups.iter().any(|(a, b)| long(&from[a.clone()]) > 1 && long(&to[b.clone()]) > 1);
    match (merges || mixes, splits || mixes) {
        (true, true) => vec![Kind::Merge, Kind::Split],
        (true, false) => vec![Kind::Merge],
        (false, _) => vec![Kind::Split],
    }
}

/// How often each ordered pair and triple of operations has met.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    pairs: BTreeMap<[Kind; 2], usize>,
    triples: BTreeMap<Chain, usize>,
    /// How often each triple was aimed at.
    aims: BTreeMap<Chain, usize>,
}

impl Coverage {
    /// Counts what meets in a graph, as far as its results depend on it.
    pub fn add(&mut self, graph: &Graph) {
        let mut flow = Flow::default();
        flow.enter(graph, &|_| None);
        for reader in &flow.places {
            for (middle, third) in reader.reads() {
                for second in flow.places[middle].kinds() {
                    *self.pairs.entry([second, third]).or_default() += 1;
                }
                for (first, second) in flow.places[middle].reads() {
                    for first in flow.places[first].kinds() {
                        *self.triples.entry([first, second, third]).or_default() += 1;
                    }
                }
            }
        }
    }

    /// The pairs that there can be.
    pub fn possible_pairs() -> impl Iterator<Item = [Kind; 2]> {
        Kind::ALL.into_iter().flat_map(|a| Kind::ALL.map(|b| [a, b])).filter(|[a, b]| follows(*a, *b))
    }

    /// The triples that there can be.
    pub fn possible_triples() -> impl Iterator<Item = Chain> {
        Coverage::possible_pairs().flat_map(|[a, b]| Kind::ALL.map(|c| [a, b, c])).filter(|[a, b, c]| {
            // What a contraction gives is a rounded float, and stays one.
            follows(*b, *c) && (*a, *c) != (Kind::Contract, Kind::Pick)
        })
    }

    /// The pairs that have not met.
    pub fn missing_pairs(&self) -> Vec<[Kind; 2]> {
        Coverage::possible_pairs().filter(|pair| !self.pairs.contains_key(pair)).collect()
    }

    /// The triples that have not met.
    pub fn missing_triples(&self) -> Vec<Chain> {
        Coverage::possible_triples().filter(|triple| !self.triples.contains_key(triple)).collect()
    }

    /// So many triples to aim at next: those that have met and been aimed at least.
    pub fn rarest(&mut self, count: usize) -> Vec<Chain> {
        let times = |of: &BTreeMap<Chain, usize>, chain: &Chain| of.get(chain).copied().unwrap_or_default();
        // Among equals those that begin alike lie far from each other.
        let mut all: Vec<(usize, usize, Chain)> = Coverage::possible_triples()
            .enumerate()
            .map(|(i, chain)| (times(&self.triples, &chain) + times(&self.aims, &chain), i * 7919 % 9973, chain))
            .collect();
        all.sort();
        let rarest: Vec<Chain> = all.into_iter().map(|(.., chain)| chain).take(count).collect();
        rarest.iter().for_each(|chain| *self.aims.entry(*chain).or_default() += 1);
        rarest
    }

    /// How many of the possible triples have met.
    pub fn triples(&self) -> usize {
        Coverage::possible_triples().filter(|triple| self.triples.contains_key(triple)).count()
    }
}

/// Whether one can read the other. Indices are no floats, which contractions give.
fn follows(first: Kind, second: Kind) -> bool {
    (first, second) != (Kind::Contract, Kind::Pick)
}

impl fmt::Display for Coverage {
    /// The pairs as a table, then how many triples have met.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>9} |", "")?;
        Kind::ALL.iter().try_for_each(|kind| write!(f, "{:>10}", kind.name()))?;
        writeln!(f)?;
        for first in Kind::ALL {
            write!(f, "{:>9} |", first.name())?;
            for second in Kind::ALL {
                match self.pairs.get(&[first, second]) {
                    Some(count) => write!(f, "{count:>10}")?,
                    None => write!(f, "{:>10}", if follows(first, second) { "-" } else { "" })?,
                }
            }
            writeln!(f)?;
        }
        let (met, possible) = (self.triples(), Coverage::possible_triples().count());
        let pairs = Coverage::possible_pairs().count();
        writeln!(f, "{} of {pairs} pairs, {met} of {possible} triples", pairs - self.missing_pairs().len())
    }
}

/// Where a value is: a node, or the border of a loop.
#[derive(Default)]
struct Place {
    /// The places that it reads, `None` for leaves, and what it is to them.
    reads: Vec<(Option<usize>, Vec<Kind>)>,
}

impl Place {
    /// What it is to anything that it reads, each kind once.
    fn kinds(&self) -> BTreeSet<Kind> {
        self.reads.iter().flat_map(|(_, kinds)| kinds).copied().collect()
    }

    fn reads(&self) -> impl Iterator<Item = (usize, Kind)> + '_ {
        self.reads
            .iter()
            .filter_map(|(from, kinds)| Some((*from)?).map(|from| (from, kinds)))
            .flat_map(|(from, kinds)| kinds.iter().map(move |kind| (from, *kind)))
    }
}

/// The flow of values through a graph and the bodies of its loops.
#[derive(Default)]
struct Flow {
    places: Vec<Place>,
}

impl Flow {
    fn add(&mut self, reads: Vec<(Option<usize>, Vec<Kind>)>) -> usize {
        self.places.push(Place { reads });
        self.places.len() - 1
    }

    /// The place of each node that is alive; leaves that nothing comes from have none.
    fn enter(&mut self, graph: &Graph, leaf: &dyn Fn(&Op) -> Option<usize>) -> Vec<Option<usize>> {
        let live = graph.live();
        let mut at: Vec<Option<usize>> = vec![None; live.len()];
        let mut loops: HashMap<(&Scan, &[NodeId]), Vec<usize>> = HashMap::new();
        for id in graph.ids().filter(|id| live[id.index()]) {
            let node = graph.node(id);
            at[id.index()] = match &node.op {
                Op::Scan { scan, result } => {
                    let key = (scan.as_ref(), node.args.as_slice());
                    let results = loops.entry(key).or_insert_with(|| {
                        let operands: Vec<Option<usize>> = node.args.iter().map(|a| at[a.index()]).collect();
                        self.around(scan, &operands)
                    });
                    Some(results[*result])
                }
                op if op.is_leaf() => leaf(op),
                _ => {
                    let reads = node.args.iter().enumerate();
                    let reads = reads.map(|(i, a)| (at[a.index()], kinds(graph, id, i))).collect();
                    Some(self.add(reads))
                }
            };
        }
        at
    }

    /// The places of a loop's results.
    fn around(&mut self, scan: &Scan, operands: &[Option<usize>]) -> Vec<usize> {
        let split = scan.carries.len();
        let borders: Vec<usize> = operands
            .iter()
            .enumerate()
            .map(|(i, operand)| {
                let kind = match i {
                    _ if i < split => Kind::Carry,
                    _ if i < split + scan.sequences => Kind::Step,
                    _ => Kind::Held,
                };
                self.add(vec![(*operand, vec![kind])])
            })
            .collect();
        let body = self.enter(&scan.body, &|op| match op {
            Op::Storage { id, .. } => borders.get(id.0 as usize).copied(),
            Op::Input { index, .. } => borders.get(split + index).copied(),
            _ => None,
        });
        let mut results = Vec::new();
        for carry in 0..split {
            let next = scan.body.assigns.iter().find(|a| a.target == StorageId(carry as u32));
            let value = next.and_then(|a| body[a.node.index()]);
            // Read again in the next step.
            self.places[borders[carry]].reads.push((value.filter(|v| *v != borders[carry]), vec![Kind::Carry]));
            results.push(self.add(vec![(value, vec![Kind::Final])]));
        }
        for output in &scan.body.outputs {
            results.push(self.add(vec![(body[output.node.index()], vec![Kind::Stack])]));
        }
        results
    }
}
