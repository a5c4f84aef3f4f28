//! One row of the op suite: a piece of graph, and where its inputs are drawn from.

use bakelite_compiler::grad::gradients;
use bakelite_compiler::ir::eval::Tensor;
use bakelite_compiler::ir::random::{self, Chain, Kind, Rng};
use bakelite_compiler::ir::{
    DType, Graph, Module, NodeId, Op, Shape, Site, Storage, StorageId, StorageKind, TensorType,
};

/// The largest batch of all rows: odd, and no multiple of a vector.
pub const MAX_BATCH: usize = 13;
/// The batches that every row runs with.
pub const BATCHES: [usize; 3] = [1, 7, MAX_BATCH];

/// What the elements of an input may be.
#[derive(Clone, PartialEq, Debug)]
pub enum Domain {
    /// Uniform in an interval; whole numbers for integer types.
    Between(f64, f64),
    /// One of these.
    OneOf(&'static [f64]),
}

impl Domain {
    fn draw(&self, rng: &mut Rng, ty: &TensorType, batch: usize) -> Tensor {
        let count = ty.shape.count(batch);
        let mut number = || match *self {
            Domain::OneOf(numbers) => rng.pick(numbers),
            Domain::Between(low, high) if ty.dtype.is_float() => rng.float((low, high)),
            Domain::Between(low, high) => {
                low + ((rng.bits() >> 11) as f64 / (1u64 << 53) as f64 * (high - low + 1.0)).floor()
            }
        };
        let numbers: Vec<f64> = (0..count).map(|_| number()).collect();
        Tensor::from_numbers(ty.dtype, &ty.shape.at(batch), &numbers)
    }

    /// Numbers for which most functions are tame.
    pub const COMMON: Domain = Domain::Between(-2.0, 2.0);

    /// Every value of an integer type.
    pub fn all_of(dtype: DType) -> Domain {
        match dtype {
            DType::F32 | DType::F64 => Domain::COMMON,
            DType::I32 => Domain::Between(i32::MIN as f64, i32::MAX as f64),
            DType::U32 => Domain::Between(0.0, u32::MAX as f64),
            DType::U8 => Domain::Between(0.0, 255.0),
            DType::Bool => Domain::Between(0.0, 1.0),
        }
    }
}

/// How the result of a row is compared with the oracle's.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Tolerance {
    /// Equal; NaN equals NaN.
    Exact,
    /// Within this of results below 1, and within this part of larger ones.
    Within(f64),
}

impl Tolerance {
    /// A few roundings of `f32`.
    pub const ROUNDING: Tolerance = Tolerance::Within(2e-6);
    /// Sums and compositions in `f32`.
    pub const COMPOSED: Tolerance = Tolerance::Within(2e-5);
    /// Sums of everything.
    pub const SUM: Tolerance = Tolerance::Within(2e-4);

    /// The first difference between two tensors, as a text.
    pub fn check(self, got: &Tensor, want: &Tensor) -> Result<(), String> {
        if (got.dtype, &got.shape) != (want.dtype, &want.shape) {
            return Err(format!("{}{:?} instead of {}{:?}", got.dtype, got.shape, want.dtype, want.shape));
        }
        // What a 32-bit float cannot hold is not asked of a runtime.
        let held = |x: f64| if want.dtype == DType::F32 { x as f32 as f64 } else { x };
        let exact = !want.dtype.is_float();
        let same = |g: f64, w: f64| match self {
            _ if g == w || g.is_nan() && w.is_nan() => true,
            Tolerance::Within(t) if !exact => (g - w).abs() <= t * w.abs().max(1.0) && w.is_finite(),
            _ => false,
        };
        let (got, want) = (got.to_numbers(), want.to_numbers());
        match got.iter().zip(&want).position(|(&g, &w)| !same(held(g), held(w))) {
            Some(i) => Err(format!("element {i} is {}, the oracle has {}", got[i], want[i])),
            None => Ok(()),
        }
    }
}

type Build = Box<dyn Fn(&mut Graph, &[NodeId]) -> NodeId>;

/// One row.
pub struct Row {
    pub name: String,
    pub tolerance: Tolerance,
    inputs: Vec<(TensorType, Domain)>,
    /// How many of the inputs, from the end, are storage cells.
    cells: usize,
    build: Build,
    /// Whether finite differences make sense: smooth almost everywhere, and no ties are drawn.
    differences: bool,
}

impl Row {
    /// A row of one result. Its gradient is tested too, if the result is a float.
    pub fn new(
        name: impl Into<String>,
        inputs: Vec<(TensorType, Domain)>,
        build: impl Fn(&mut Graph, &[NodeId]) -> NodeId + 'static,
    ) -> Row {
        let (name, build) = (name.into(), Box::new(build));
        Row { name, tolerance: Tolerance::COMPOSED, inputs, cells: 0, build, differences: true }
    }

    pub fn tolerance(mut self, tolerance: Tolerance) -> Row {
        self.tolerance = tolerance;
        self
    }

    /// Makes the last inputs storage cells.
    pub fn cells(mut self, cells: usize) -> Row {
        self.cells = cells;
        self
    }

    /// The gradient is compared with the oracle's, but not with finite differences.
    pub fn without_differences(mut self) -> Row {
        self.differences = false;
        self
    }

    /// The row's result as a module.
    pub fn forward(&self) -> Case {
        let (mut case, xs) = self.start("forward");
        let graph = &mut case.module.entries[0];
        let y = self.result(graph, &xs);
        graph.output("y", y);
        case
    }

    /// The gradients of a weighted sum of the result with respect to all float inputs, behind the sum itself.
    pub fn gradient(&self) -> Option<Case> {
        let (mut case, xs) = self.start("gradient");
        let graph = &mut case.module.entries[0];
        let wrt: Vec<usize> = (0..xs.len()).filter(|&i| graph.ty(xs[i]).dtype.is_float()).collect();
        let y = self.result(graph, &xs);
        let ty = graph.ty(y).clone();
        if !ty.dtype.is_float() || wrt.is_empty() {
            return None;
        }
        let weights = graph.input("weights", ty.clone());
        case.domains.insert(xs.len() - self.cells, (ty, Domain::Between(-1.0, 1.0)));
        let product = graph.mul(y, weights);
        let sum = graph.sum_all(product);
        let nodes: Vec<NodeId> = wrt.iter().map(|&i| xs[i]).collect();
        let found = gradients(graph, sum, &nodes).unwrap_or_else(|e| panic!("{}: {e}", self.name));
        graph.output("sum", sum);
        for (&i, d) in wrt.iter().zip(found) {
            graph.output(format!("d{i}"), d);
        }
        // Cells come after the weights among the values of a call.
        let first_cell = xs.len() - self.cells;
        case.sum = true;
        case.wrt = wrt.into_iter().map(|i| if i < first_cell { i } else { i + 1 }).collect();
        Some(case)
    }

    /// The result with its batch axis in front, where outputs have it.
    fn result(&self, graph: &mut Graph, xs: &[NodeId]) -> NodeId {
        let y = (self.build)(graph, xs);
        let shape = &graph.ty(y).shape;
        match shape.iter().position(|d| d.batch) {
            Some(batch) if batch > 0 => {
                let rest = (0..shape.rank()).filter(|a| *a != batch);
                let perm: Vec<usize> = [batch].into_iter().chain(rest).collect();
                graph.permute(y, &perm)
            }
            _ => y,
        }
    }

    fn start(&self, what: &str) -> (Case, Vec<NodeId>) {
        let mut module = Module { name: "row".into(), max_batch: MAX_BATCH, ..Module::default() };
        let mut graph = Graph::new("row");
        let first_cell = self.inputs.len() - self.cells;
        let mut xs = Vec::new();
        for (i, (ty, _)) in self.inputs.iter().enumerate() {
            let name = format!("x{i}");
            xs.push(if i < first_cell {
                graph.input(name, ty.clone())
            } else {
                let (ty, site) = (ty.clone(), Site::path(&name));
                let id = module.add_storage(Storage {
                    name,
                    ty: ty.clone(),
                    kind: StorageKind::Param,
                    trainable: true,
                    first: None,
                    site,
                });
                graph.push(Op::Storage { id, ty }, &[])
            });
        }
        module.entries.push(graph);
        let case = Case {
            name: format!("{} ({what})", self.name),
            module,
            domains: self.inputs.clone(),
            tolerance: self.tolerance,
            sum: false,
            wrt: Vec::new(),
            differences: self.differences,
        };
        (case, xs)
    }
}

/// A module with the values to run it on.
pub struct Case {
    pub name: String,
    pub module: Module,
    /// Inputs in order, then cells in order. Empty for random modules, which have their own rules.
    domains: Vec<(TensorType, Domain)>,
    pub tolerance: Tolerance,
    /// Whether the first output is a sum of all results, and less exact than they are.
    pub sum: bool,
    /// For a gradient: the values whose gradients are the outputs from the second on.
    pub wrt: Vec<usize>,
    pub differences: bool,
}

/// The arguments of a call.
#[derive(Clone, Debug)]
pub struct Values {
    pub inputs: Vec<Tensor>,
    pub storage: Vec<Tensor>,
}

impl Values {
    /// Moves some values, numbered through inputs and storage, along directions.
    pub fn moved(&self, wrt: &[usize], directions: &[Vec<f64>], by: f64) -> Values {
        let mut values = self.clone();
        let count = values.inputs.len();
        for (&i, direction) in wrt.iter().zip(directions) {
            let x = if i < count { &mut values.inputs[i] } else { &mut values.storage[i - count] };
            let numbers: Vec<f64> = x.to_numbers().iter().zip(direction).map(|(x, d)| x + by * d).collect();
            *x = Tensor::from_numbers(x.dtype, &x.shape, &numbers);
        }
        values
    }
}

impl Case {
    /// A random graph of about so many operations, with the given chains among them.
    pub fn random(seed: u64, operations: usize, chains: &[Chain]) -> Case {
        let chain = |chain: &Chain| chain.map(Kind::name).join(">");
        Case {
            name: format!("seed {seed} with {}", chains.iter().map(chain).collect::<Vec<_>>().join(" ")),
            module: random::aimed(seed, operations, chains),
            domains: Vec::new(),
            tolerance: Tolerance::Within(random::TOLERANCE),
            sum: false,
            wrt: Vec::new(),
            differences: false,
        }
    }

    /// One entry point of a model. Its parameters are drawn around zero, and its state is kept away from zero, so that
    /// it can be a variance.
    pub fn entry(name: impl Into<String>, mut module: Module, entry: &str) -> Case {
        module.entries.retain(|e| e.name == entry);
        let inputs = module.entries.iter().flat_map(|e| &e.inputs).map(|i| (i.ty.clone(), Domain::COMMON));
        let cells = module.storage.iter().map(|cell| {
            let domain = match (cell.ty.dtype.is_float(), cell.kind) {
                (true, StorageKind::Param) => Domain::Between(-1.0, 1.0),
                (true, StorageKind::State | StorageKind::Training) => Domain::Between(0.5, 1.5),
                (false, _) => Domain::Between(0.0, 3.0),
            };
            (cell.ty.clone(), domain)
        });
        let domains = inputs.chain(cells).collect();
        let (tolerance, wrt) = (Tolerance::SUM, Vec::new());
        Case { name: name.into(), module, domains, tolerance, sum: false, wrt, differences: false }
    }

    pub fn values(&self, batch: usize) -> Values {
        let mut rng = Rng::new(batch as u64);
        if self.domains.is_empty() {
            let inputs = random::inputs(&mut rng, &self.module.entries[0], batch);
            return Values { inputs, storage: random::storage(&mut rng, &self.module) };
        }
        let mut all: Vec<Tensor> = self.domains.iter().map(|(ty, domain)| domain.draw(&mut rng, ty, batch)).collect();
        let storage = all.split_off(self.module.entries[0].inputs.len());
        Values { inputs: all, storage }
    }

    /// A direction for each value that is differentiated.
    pub fn directions(&self, batch: usize) -> Vec<Vec<f64>> {
        let mut rng = Rng::new(batch as u64 + 100);
        self.wrt.iter().map(|&i| rng.floats(self.domains[i].0.shape.count(batch), (-1.0, 1.0))).collect()
    }
}

/// `dtype[batch, dims...]`
pub fn batched(dtype: DType, dims: &[usize]) -> TensorType {
    TensorType::new(dtype, Shape::batched(dims))
}

/// `dtype[dims...]`
pub fn fixed(dtype: DType, dims: &[usize]) -> TensorType {
    TensorType::new(dtype, Shape::fixed(dims))
}

/// Rows of floats from the common domain.
pub fn floats(dims: &[usize]) -> (TensorType, Domain) {
    (batched(DType::F32, dims), Domain::COMMON)
}

/// A constant shape of floats from the common domain: what a weight is.
pub fn weight(dims: &[usize]) -> (TensorType, Domain) {
    (fixed(DType::F32, dims), Domain::Between(-1.0, 1.0))
}

/// The id of a row's cell.
pub fn cell(number: u32) -> StorageId {
    StorageId(number)
}
