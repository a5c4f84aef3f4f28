//! The storage cells of a model while it is lowered: which layer owns which, and how each begins.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use bakelite::abi::INIT;

use super::initializer::Initializer;
use super::layer::Weight;
use super::random::{self, Key};
use crate::ir::{DType, Graph, NodeId, Number, Site, SourceLine, Storage, StorageId, StorageKind, TensorType};

/// How a cell begins.
#[derive(Clone, Debug)]
enum Start {
    /// Drawn or filled by an initializer.
    Weight(Initializer),
    Splat(f64),
    /// The argument of `init`.
    Seed,
}

impl Start {
    /// The value that a cell has before anything is initialised or loaded: what is no matter of chance and nothing that
    /// the model learns. So state that a file of weights lacks is what it is at the beginning of a training. Weights have
    /// none: whoever forgets them is told so. Random draws begin with the seed 0.
    fn first(&self, kind: StorageKind) -> Option<Number> {
        match self {
            _ if kind == StorageKind::Param => None,
            Start::Weight(initializer) => initializer.constant().map(Number),
            Start::Splat(x) => Some(Number(*x)),
            Start::Seed => Some(Number(0.0)),
        }
    }
}

/// Storage cells, in order of their ids.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub cells: Vec<Storage>,
    starts: Vec<Start>,
    /// What the layer declared, for the cells that are weights.
    weights: HashMap<StorageId, Weight>,
    owned: HashMap<(u64, String), StorageId>,
    named: HashMap<String, StorageId>,
    /// Those that some training step changes.
    pub trained: HashSet<StorageId>,
}

/// First components of storage names that belong to the compiler. A layer that is called like one has an underscore
/// behind its name in the names of its cells: `optimizer_/kernel`.
pub(crate) const RESERVED: [&str; 3] = ["metrics", "optimizer", "random"];

/// The name of the cell that holds the seed of every random draw.
pub(crate) const SEED: &str = "random/seed";
/// The name of the cell that counts the calls that drew random numbers.
pub(crate) const STEP: &str = "random/step";

impl Store {
    fn add(&mut self, mut cell: Storage, start: Start) -> StorageId {
        cell.first = start.first(cell.kind);
        let id = StorageId(self.cells.len() as u32);
        self.named.insert(cell.name.clone(), id);
        self.cells.push(cell);
        self.starts.push(start);
        id
    }

    /// The cell of a layer's weight. The first path that a shared layer is met under names it.
    pub fn weight(
        &mut self,
        layer: u64,
        path: &str,
        source: &Option<SourceLine>,
        trainable: bool,
        weight: &Weight,
    ) -> StorageId {
        if let Some(&id) = self.owned.get(&(layer, weight.name.clone())) {
            return id;
        }
        let cell = Storage {
            name: self.cell_name(path, &weight.name),
            ty: weight.ty(),
            kind: weight.kind,
            trainable: trainable && weight.trainable && weight.kind == StorageKind::Param,
            first: None,
            site: Site { path: path.to_string(), source: source.clone(), derived: Vec::new() },
        };
        let id = self.add(cell, Start::Weight(weight.initializer));
        if !weight.ones.is_empty() {
            self.cells[id.0 as usize].first = None;
        }
        self.owned.insert((layer, weight.name.clone()), id);
        self.weights.insert(id, weight.clone());
        id
    }

    /// The name of a new cell at a path: no other cell has it, and none of the compiler's own ever will.
    fn cell_name(&self, path: &str, weight: &str) -> String {
        let (head, rest) = match path.split_once('/') {
            Some((head, rest)) => (head, format!("/{rest}")),
            None => (path, String::new()),
        };
        let mut head = head.to_string();
        loop {
            let name = format!("{head}{rest}/{weight}");
            if !RESERVED.contains(&head.as_str()) && !self.named.contains_key(&name) {
                return name;
            }
            head.push('_');
        }
    }

    /// Where users find a weight: the path of its layer and the name of the weight there.
    pub fn place(&self, id: StorageId) -> String {
        let cell = self.cell(id);
        match self.weights.get(&id) {
            Some(weight) => format!("{}/{}", cell.site.path, weight.name),
            None => cell.name.clone(),
        }
    }

    /// The cell of a layer's weight, if it was declared.
    pub fn find(&self, layer: u64, name: &str) -> Option<StorageId> {
        self.owned.get(&(layer, name.to_string())).copied()
    }

    /// The cell with a full name.
    pub fn named(&self, name: &str) -> Option<StorageId> {
        self.named.get(name).copied()
    }

    /// A cell of training state with a constant first value, added where it is new.
    pub fn training(&mut self, name: &str, ty: TensorType, start: f64) -> StorageId {
        self.training_cell(name, ty, Start::Splat(start))
    }

    fn training_cell(&mut self, name: &str, ty: TensorType, start: Start) -> StorageId {
        if let Some(id) = self.named(name) {
            return id;
        }
        let (kind, site) = (StorageKind::Training, Site::path(name));
        self.add(Storage { name: name.to_string(), ty, kind, trainable: false, first: None, site }, start)
    }

    /// The cells of the seed and of the step of random draws.
    pub fn random(&mut self) -> (StorageId, StorageId) {
        let seed = self.training_cell(SEED, random::seed_type(), Start::Seed);
        (seed, self.training(STEP, TensorType::scalar(DType::U32), 0.0))
    }

    pub fn cell(&self, id: StorageId) -> &Storage {
        &self.cells[id.0 as usize]
    }

    /// The declaration behind a cell that is a weight.
    pub fn declaration(&self, id: StorageId) -> Option<&Weight> {
        self.weights.get(&id)
    }

    /// The parameters that training may change, in order.
    pub fn trainable(&self) -> Vec<StorageId> {
        (0..self.cells.len() as u32).map(StorageId).filter(|&id| self.cell(id).trainable).collect()
    }

    /// Reads a cell.
    pub fn read(&self, g: &mut Graph, id: StorageId) -> NodeId {
        let ty = self.cell(id).ty.clone();
        g.push(crate::ir::Op::Storage { id, ty }, &[])
    }

    /// The entry point `init`: gives every cell its first value.
    pub fn init(&self) -> Graph {
        let mut g = Graph::new(INIT);
        let seed = g.input("seed", random::seed_type());
        let root = Key::from_seed(&mut g, seed);
        for (i, (cell, start)) in self.cells.iter().zip(&self.starts).enumerate() {
            let site = g.site_id(&cell.site.derive("init"));
            g.set_site(site);
            let value = match start {
                Start::Splat(x) => g.splat_of(*x, cell.ty.clone()),
                Start::Seed => seed,
                Start::Weight(initializer) => {
                    let key = root.derive(&mut g, &cell.name, None);
                    let value = initializer.value(&mut g, key, &cell.ty);
                    let ones = self.weights.get(&StorageId(i as u32)).map_or(0..0, |w| w.ones.clone());
                    with_ones(&mut g, value, ones)
                }
            };
            g.assign(StorageId(i as u32), value);
        }
        g
    }
}

/// A tensor with ones in some places along its last axis.
fn with_ones(g: &mut Graph, x: NodeId, places: Range<usize>) -> NodeId {
    let shape = g.ty(x).shape.clone();
    if places.is_empty() || shape.rank() == 0 {
        return x;
    }
    let place = g.iota(shape.rank() - 1, DType::I32, shape);
    let (start, end) = (g.lit_like(place, places.start as f64), g.lit_like(place, places.end as f64));
    let (from, to) = (g.ge(place, start), g.lt(place, end));
    let inside = g.and(from, to);
    let one = g.lit_like(x, 1.0);
    g.select(inside, one, x)
}
