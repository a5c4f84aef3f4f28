//! Random modules for tests: every operation, small shapes with and without the batch, and numbers for which all
//! runtimes must agree with the interpreter. A module holds the scalar function whose turn it is with the seed.
//!
//! Beside each node the generator keeps a bound on its values and on the error of an `f32` computation. Operands are
//! clamped into the domain of a function; a function with jumps takes only operands that `f32` computes exactly; a
//! node whose error bound passes [`TOLERANCE`] is not made. No value is NaN or infinite.

use super::dtype::DType;
use super::eval::Tensor;
use super::graph::{Graph, Module, NodeId, Storage, StorageKind};
use super::op::{Literal, Number, Op, ReduceFn, StorageId};
use super::scalar::{BinaryFn, Class, UnaryFn};
use super::shape::{Dim, Shape, TensorType};
use super::site::{Site, SourceLine};

mod loops;
mod meet;
mod structure;

pub use meet::{Chain, Coverage, Kind};

/// How far a result computed in `f32` may be from the interpreter's, absolutely for results below 1, else relatively.
pub const TOLERANCE: f64 = 1e-3;
/// The largest batch of random modules; their sizes and errors are bounded for it.
pub const MAX_BATCH: usize = 4;

/// Most elements of a tensor at the largest batch.
const MAX_ELEMENTS: usize = 1024;
/// Largest magnitude of a float.
const MAX_VALUE: f64 = 1e4;
/// The error of one operation in `f32`, relative to the largest result.
const ROUNDING: f64 = 4.0 * f32::EPSILON as f64;
/// Leaves of float type are multiples of 1/8 in this interval.
const LEAF: (f64, f64) = (-3.0, 3.0);

/// How often something that is asked for is tried.
const TRIES: usize = 12;
/// Element types, as often as they are to be found.
const DTYPES: [DType; 9] = {
    use DType::{Bool, F32, I32, U8, U32};
    [F32, F32, F32, F32, F32, I32, U32, U8, Bool]
};

/// A small deterministic generator (SplitMix64): tests draw from it so that a seed names a case for ever.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// A number below `n`; 0 for `n = 0`.
    pub fn below(&mut self, n: usize) -> usize {
        ((self.bits() >> 32) as usize * n) >> 32
    }

    /// True once in `n`.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// An element of a slice that is not empty.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// A number of an interval that is exact in `f32`.
    pub fn float(&mut self, (low, high): (f64, f64)) -> f64 {
        let unit = (self.bits() >> 40) as f64 / (1u64 << 24) as f64;
        ((low + (high - low) * unit) as f32) as f64
    }

    /// Numbers of an interval.
    pub fn floats(&mut self, count: usize, domain: (f64, f64)) -> Vec<f64> {
        (0..count).map(|_| self.float(domain)).collect()
    }

    /// A number that leaves of a type hold in random modules.
    fn leaf(&mut self, dtype: DType) -> f64 {
        let (low, high) = leaf_range(dtype);
        match dtype {
            DType::F32 | DType::F64 => low + self.below(((high - low) * 8.0) as usize + 1) as f64 / 8.0,
            _ => low + self.below((high - low) as usize + 1) as f64,
        }
    }

    /// A tensor that an input or storage cell of a random module can hold.
    pub fn tensor(&mut self, ty: &TensorType, batch: usize) -> Tensor {
        let numbers: Vec<f64> = (0..ty.shape.count(batch)).map(|_| self.leaf(ty.dtype)).collect();
        Tensor::from_numbers(ty.dtype, &ty.shape.at(batch), &numbers)
    }
}

/// Values for the inputs of an entry point.
pub fn inputs(rng: &mut Rng, entry: &Graph, batch: usize) -> Vec<Tensor> {
    entry.inputs.iter().map(|i| rng.tensor(&i.ty, batch)).collect()
}

/// Values for the storage of a module.
pub fn storage(rng: &mut Rng, module: &Module) -> Vec<Tensor> {
    module.storage.iter().map(|c| rng.tensor(&c.ty, 1)).collect()
}

/// A module with one entry point that has about as many operations as told.
pub fn module(seed: u64, operations: usize) -> Module {
    generate(seed, operations, false, &[])
}

/// A module with loops among its operations.
pub fn module_with_loops(seed: u64, operations: usize) -> Module {
    generate(seed, operations, true, &[])
}

/// A module with loops among its operations that also holds the given chains, as far as they can be made.
pub fn aimed(seed: u64, operations: usize, chains: &[Chain]) -> Module {
    generate(seed, operations, true, chains)
}

fn generate(seed: u64, operations: usize, loops: bool, chains: &[Chain]) -> Module {
    let mut module = Module { name: format!("random {seed}"), max_batch: MAX_BATCH, ..Module::default() };
    let graph = Graph::new("step");
    let mut g = Generator { rng: Rng::new(seed), graph, cells: Vec::new(), bounds: Vec::new(), loops, body: false };
    for _ in 0..4 {
        g.leaf(DType::F32);
    }
    g.function(seed);
    for chain in chains {
        g.chain(*chain);
    }
    let mut attempts = 0;
    while g.graph.nodes().len() < operations && attempts < 20 * operations {
        attempts += 1;
        g.enter_site();
        g.operation();
    }
    g.finish();
    module.storage = g.cells;
    module.entries.push(g.graph);
    module
}

fn leaf_range(dtype: DType) -> (f64, f64) {
    match dtype {
        DType::F32 | DType::F64 => LEAF,
        DType::I32 => (-8.0, 8.0),
        DType::U32 => (0.0, 40.0),
        DType::U8 => (0.0, 255.0),
        DType::Bool => (0.0, 1.0),
    }
}

/// What is known about the values of a node: an interval, and the error in `f32` (0: exact).
#[derive(Clone, Copy, Debug)]
struct Bounds {
    low: f64,
    high: f64,
    error: f64,
}

impl Bounds {
    fn exact((low, high): (f64, f64)) -> Bounds {
        Bounds { low, high, error: 0.0 }
    }

    fn of_type(dtype: DType) -> Bounds {
        Bounds::exact((ReduceFn::Max.neutral(dtype), ReduceFn::Min.neutral(dtype)))
    }

    fn size(self) -> f64 {
        self.low.abs().max(self.high.abs())
    }

    fn join(self, other: Bounds) -> Bounds {
        let (low, high) = (self.low.min(other.low), self.high.max(other.high));
        Bounds { low, high, error: self.error.max(other.error) }
    }

    fn negated(self) -> Bounds {
        Bounds { low: -self.high, high: -self.low, error: self.error }
    }

    /// The sum of up to `n` such values.
    fn times(self, n: usize) -> Bounds {
        let n = n as f64;
        let (low, high) = (self.low.min(0.0) * n, self.high.max(0.0) * n);
        Bounds { low, high, error: n * self.error + ROUNDING * low.abs().max(high.abs()) }
    }
}

struct Generator {
    rng: Rng,
    graph: Graph,
    cells: Vec<Storage>,
    bounds: Vec<Bounds>,
    /// Whether to make loops.
    loops: bool,
    /// Whether this is the body of one, where new leaves are constants.
    body: bool,
}

impl Generator {
    /// Adds a node, unless its type or its values are not wanted.
    fn push(&mut self, op: Op, args: &[NodeId], bounds: Bounds) -> Option<NodeId> {
        let types: Vec<&TensorType> = args.iter().map(|a| self.graph.ty(*a)).collect();
        let ty = op.infer(&types).ok()?;
        let wild = ty.dtype.is_float()
            && (bounds.size() > MAX_VALUE || bounds.error > TOLERANCE / 4.0 || bounds.error.is_nan());
        if ty.shape.count(MAX_BATCH) > MAX_ELEMENTS || ty.shape.rank() > 6 || wild {
            return None;
        }
        let id = self.graph.push(op, args);
        if id.index() == self.bounds.len() {
            self.bounds.push(if ty.dtype.is_float() { bounds } else { Bounds { error: 0.0, ..bounds } });
        }
        Some(id)
    }

    fn bounds(&self, id: NodeId) -> Bounds {
        self.bounds[id.index()]
    }

    fn ty(&self, id: NodeId) -> TensorType {
        self.graph.ty(id).clone()
    }

    fn dims(&self, id: NodeId) -> Vec<Dim> {
        self.graph.ty(id).shape.0.clone()
    }

    fn enter_site(&mut self) {
        let mut site = Site::path(self.rng.pick(&["", "fc1", "block/conv_1", "a \"quoted\"\nname", "?"]));
        if self.rng.one_in(2) {
            site.source = Some(SourceLine { file: "build.rs".into(), line: self.rng.below(100) as u32 });
        }
        for _ in 0..self.rng.below(3) {
            site = site.derive(self.rng.pick(&["grad", "fold"]));
        }
        let site = self.graph.site_id(&site);
        self.graph.set_site(site);
    }

    fn dtype(&mut self) -> DType {
        self.rng.pick(&DTYPES)
    }

    /// A type that a function accepts.
    fn accepted(&mut self, takes: Class) -> DType {
        let all: Vec<DType> = DTYPES.into_iter().filter(|dtype| takes.accepts(*dtype)).collect();
        self.rng.pick(&all)
    }

    fn shape(&mut self) -> Shape {
        let mut dims: Vec<Dim> = (0..self.rng.below(4)).map(|_| Dim::fixed(1 + self.rng.below(5))).collect();
        if self.rng.one_in(2) {
            dims.insert(0, Dim::BATCH);
        }
        Shape(dims)
    }

    fn leaf(&mut self, dtype: DType) -> Option<NodeId> {
        let shape = self.shape();
        self.leaf_of(TensorType::new(dtype, shape))
    }

    fn leaf_of(&mut self, ty: TensorType) -> Option<NodeId> {
        let bounds = Bounds::exact(leaf_range(ty.dtype));
        let fixed = ty.shape.as_fixed();
        match (self.rng.below(6), fixed) {
            (0, Some(_)) if !self.body => {
                let id = StorageId(self.cells.len() as u32);
                let kind = self.rng.pick(&[StorageKind::Param, StorageKind::State, StorageKind::Training]);
                let trainable = kind == StorageKind::Param && self.rng.one_in(2);
                let site = Site::path("cells");
                let first = (kind != StorageKind::Param).then_some(Number(0.5));
                self.cells.push(Storage {
                    name: format!("cell/{}", id.0),
                    ty: ty.clone(),
                    kind,
                    trainable,
                    first,
                    site,
                });
                self.push(Op::Storage { id, ty }, &[], bounds)
            }
            (1, Some(_)) => {
                let numbers = (0..ty.shape.count(1)).map(|_| Number(self.rng.leaf(ty.dtype))).collect();
                self.push(Op::Const { value: Literal::Dense(numbers), ty }, &[], bounds)
            }
            (2, _) => {
                let value = Literal::Splat(Number(self.rng.leaf(ty.dtype)));
                self.push(Op::Const { value, ty }, &[], bounds)
            }
            (3, _) if ty.dtype != DType::Bool && ty.shape.rank() > 0 => {
                let axis = self.rng.below(ty.shape.rank());
                let last = ty.shape[axis].at(MAX_BATCH) as f64 - 1.0;
                self.push(Op::Iota { axis, ty }, &[], Bounds::exact((0.0, last)))
            }
            (4, _) if !matches!(ty.dtype, DType::Bool | DType::U8) => {
                let scale = 1 + self.rng.below(3);
                let size = Dim { scale, batch: true };
                let range = (0.0, size.at(MAX_BATCH) as f64);
                self.push(Op::Const { value: Literal::Size(size), ty }, &[], Bounds::exact(range))
            }
            _ if self.body => {
                let value = Literal::Splat(Number(self.rng.leaf(ty.dtype)));
                self.push(Op::Const { value, ty }, &[], bounds)
            }
            _ => {
                let index = self.graph.inputs.len();
                // The batch leads in inputs.
                let front = ty.shape.iter().position(|d| d.batch).unwrap_or(0);
                let mut held = ty.clone();
                if front > 0 {
                    held.shape.0[..=front].rotate_right(1);
                }
                let decl = super::graph::InputDecl::new(format!("in {index}"), held.clone());
                self.graph.inputs.push(decl);
                let input = self.push(Op::Input { index, ty: held }, &[], bounds)?;
                let mut perm: Vec<usize> = (0..ty.shape.rank()).collect();
                if front > 0 {
                    perm[..=front].rotate_left(1);
                    return self.push(Op::Permute(perm), &[input], bounds);
                }
                Some(input)
            }
        }
    }

    /// A node that fits, later ones rather than earlier ones.
    fn find(&mut self, fits: impl Fn(&TensorType, Bounds) -> bool) -> Option<NodeId> {
        let found: Vec<NodeId> = self.graph.ids().filter(|id| fits(self.graph.ty(*id), self.bounds(*id))).collect();
        let (a, b) = (self.rng.below(found.len()), self.rng.below(found.len()));
        found.get(a.max(b)).copied()
    }

    /// A node of a type; a new leaf if there is none, and sometimes anyway.
    fn of_type(&mut self, ty: &TensorType, exact: bool) -> Option<NodeId> {
        if !self.rng.one_in(4) {
            let found = self.find(|t, b| t == ty && (!exact || b.error == 0.0));
            if found.is_some() {
                return found;
            }
        }
        self.leaf_of(ty.clone())
    }

    fn any(&mut self) -> Option<NodeId> {
        self.find(|_, _| true)
    }

    fn any_float(&mut self) -> Option<NodeId> {
        self.find(|t, _| t.dtype.is_float())
    }

    /// A splat constant of the type of a node.
    fn splat(&mut self, like: NodeId, number: f64) -> Option<NodeId> {
        let ty = self.ty(like);
        let number = if ty.dtype.is_float() { number as f32 as f64 } else { number };
        self.push(Op::Const { value: Literal::Splat(Number(number)), ty }, &[], Bounds::exact((number, number)))
    }

    /// The node with its values brought into an interval.
    fn clamp(&mut self, x: NodeId, (low, high): (f64, f64)) -> Option<NodeId> {
        let mut x = x;
        if self.bounds(x).low < low {
            let (limit, b) = (self.splat(x, low)?, self.bounds(x));
            let bounds = Bounds { low, high: b.high.max(low), error: b.error };
            x = self.push(Op::Binary(BinaryFn::Max), &[x, limit], bounds)?;
        }
        if self.bounds(x).high > high {
            let (limit, b) = (self.splat(x, high)?, self.bounds(x));
            let bounds = Bounds { low: b.low.min(high), high, error: b.error };
            x = self.push(Op::Binary(BinaryFn::Min), &[x, limit], bounds)?;
        }
        Some(x)
    }

    fn operation(&mut self) -> Option<NodeId> {
        if self.loops && self.rng.one_in(if self.body { 40 } else { 10 }) {
            return self.some_loop();
        }
        match self.rng.below(24) {
            0 => {
                let dtype = self.dtype();
                self.leaf(dtype)
            }
            1..=4 => self.unary(),
            5..=8 => self.binary(),
            9 => self.select(),
            10 => self.cast(),
            _ => self.structural(),
        }
    }

    /// The scalar function of a seed, and an output that is its result: as many modules as there are functions, with
    /// seeds that follow each other, hold them all.
    fn function(&mut self, seed: u64) {
        let all = UnaryFn::ALL.len() + BinaryFn::ALL.len();
        let index = (seed % all as u64) as usize;
        let made = (0..TRIES).find_map(|_| {
            self.enter_site();
            match index.checked_sub(UnaryFn::ALL.len()) {
                None => {
                    let f = UnaryFn::ALL[index];
                    let dtype = self.accepted(f.row().takes);
                    self.leaf(dtype)?;
                    self.unary_of(f, dtype)
                }
                Some(index) => {
                    let f = BinaryFn::ALL[index];
                    let dtype = self.accepted(f.row().takes);
                    self.leaf(dtype)?;
                    self.binary_of(f, dtype)
                }
            }
        });
        if let Some(end) = made {
            self.output(end);
        }
    }

    fn unary(&mut self) -> Option<NodeId> {
        let (f, dtype) = (self.rng.pick(UnaryFn::ALL), self.dtype());
        self.unary_of(f, dtype)
    }

    /// A function of a node of this type, if there is one.
    fn unary_of(&mut self, f: UnaryFn, dtype: DType) -> Option<NodeId> {
        let row = f.row();
        let jumps = row.grad.is_none();
        let x = self.find(|t, b| t.dtype == dtype && row.takes.accepts(dtype) && (!jumps || b.error == 0.0))?;
        if !dtype.is_float() {
            return match f {
                UnaryFn::FromBits => self.one_to_two(x),
                _ => self.push(Op::Unary(f), &[x], Bounds::of_type(row.gives.dtype(dtype))),
            };
        }
        let mut x = self.clamp(x, row.domain)?;
        if f == UnaryFn::ToBits {
            // The sign of a zero is not defined.
            let (zero, one) = (self.splat(x, 0.0)?, self.splat(x, 1.0)?);
            let is_zero = self.push(Op::Binary(BinaryFn::Eq), &[x, zero], Bounds::of_type(DType::Bool))?;
            let bounds = self.bounds(x).join(self.bounds(one));
            x = self.push(Op::Select, &[is_zero, one, x], bounds)?;
        }
        if !row.gives.dtype(dtype).is_float() {
            return self.push(Op::Unary(f), &[x], Bounds::of_type(row.gives.dtype(dtype)));
        }
        let exact = jumps || matches!(f, UnaryFn::Neg | UnaryFn::Abs | UnaryFn::Relu);
        let b = self.bounds(x);
        let bounds = measure(b, b, |x, _| (row.eval)(x), exact);
        self.push(Op::Unary(f), &[x], bounds)
    }

    /// Random mantissas under a fixed exponent give numbers from 1 to 2.
    fn one_to_two(&mut self, x: NodeId) -> Option<NodeId> {
        let (mask, exponent) = (self.splat(x, 0x007f_ffff as f64)?, self.splat(x, 0x3f80_0000 as f64)?);
        let bits = self.push(Op::Binary(BinaryFn::And), &[x, mask], Bounds::of_type(DType::U32))?;
        let bits = self.push(Op::Binary(BinaryFn::Or), &[bits, exponent], Bounds::of_type(DType::U32))?;
        self.push(Op::Unary(UnaryFn::FromBits), &[bits], Bounds::exact((1.0, 2.0)))
    }

    fn binary(&mut self) -> Option<NodeId> {
        let (f, dtype) = (self.rng.pick(BinaryFn::ALL), self.dtype());
        self.binary_of(f, dtype)
    }

    /// A function of a node of this type, if there is one, and another of its kind.
    fn binary_of(&mut self, f: BinaryFn, dtype: DType) -> Option<NodeId> {
        let row = f.row();
        let jumps = row.grad.is_none() || f == BinaryFn::Rem;
        let x = self.find(|t, b| t.dtype == dtype && row.takes.accepts(dtype) && (!jumps || b.error == 0.0))?;
        let ty = self.ty(x);
        let y = self.of_type(&ty, jumps)?;
        let gives = row.gives.dtype(dtype);
        if !dtype.is_float() {
            return self.push(Op::Binary(f), &[x, y], Bounds::of_type(gives));
        }
        let (x, y) = (self.clamp(x, row.domain[0])?, self.clamp(y, row.domain[1])?);
        if !gives.is_float() {
            return self.push(Op::Binary(f), &[x, y], Bounds::of_type(gives));
        }
        let exact = matches!(f, BinaryFn::Min | BinaryFn::Max);
        let bounds = measure(self.bounds(x), self.bounds(y), row.eval, exact);
        self.push(Op::Binary(f), &[x, y], bounds)
    }

    fn select(&mut self) -> Option<NodeId> {
        let x = self.any()?;
        let ty = self.ty(x);
        let y = self.of_type(&ty, false)?;
        let c = self.of_type(&TensorType::new(DType::Bool, ty.shape), false)?;
        self.push(Op::Select, &[c, x, y], self.bounds(x).join(self.bounds(y)))
    }

    fn cast(&mut self) -> Option<NodeId> {
        let to = self.dtype();
        let x = self.find(|t, b| to.is_float() || !t.dtype.is_float() || b.error == 0.0)?;
        let b = self.bounds(x);
        let exact = b.size() <= (1 << 24) as f64 || self.ty(x).dtype.is_float();
        let bounds = if !to.is_float() {
            Bounds::of_type(to)
        } else {
            Bounds { error: if exact { b.error } else { ROUNDING * b.size() }, ..b }
        };
        self.push(Op::Cast(to), &[x], bounds)
    }

    /// Names a node as an output, with the batch in front.
    fn output(&mut self, id: NodeId) {
        let name = format!("out {}", id.0);
        if self.graph.outputs.iter().any(|o| o.name == name) {
            return;
        }
        let shape = self.ty(id).shape;
        let front = shape.iter().position(|d| d.batch).unwrap_or(0);
        let mut perm: Vec<usize> = (0..shape.rank()).collect();
        let mut node = Some(id);
        if front > 0 {
            perm[..=front].rotate_right(1);
            node = self.push(Op::Permute(perm), &[id], self.bounds(id));
        }
        if let Some(node) = node {
            self.graph.output(name, node);
        }
    }

    /// Names what nothing reads as outputs, all but a few, and assigns some cells.
    fn finish(&mut self) {
        let uses = self.graph.use_counts();
        for id in self.graph.ids().collect::<Vec<_>>() {
            if uses[id.index()] == 0 && !self.rng.one_in(10) || self.rng.one_in(20) {
                self.output(id);
            }
        }
        for cell in 0..self.cells.len() {
            let ty = self.cells[cell].ty.clone();
            if let Some(node) = self.find(|t, _| *t == ty).filter(|_| !self.rng.one_in(4)) {
                self.graph.assign(StorageId(cell as u32), node);
            }
        }
    }
}

/// Bounds on a function over intervals, from samples: its values, its slopes times the operands' errors, and rounding
/// unless it is exact.
fn measure(x: Bounds, y: Bounds, f: impl Fn(f64, f64) -> f64, exact: bool) -> Bounds {
    const STEPS: usize = 24;
    let point = |b: Bounds, i: usize| b.low + (b.high - b.low) * i as f64 / STEPS as f64;
    let (dx, dy) = ((x.high - x.low) / STEPS as f64, (y.high - y.low) / STEPS as f64);
    let (mut low, mut high, mut error, mut margin) = (f64::INFINITY, f64::NEG_INFINITY, 0.0f64, 0.0f64);
    for i in 0..=STEPS {
        for j in 0..=STEPS {
            let value = f(point(x, i), point(y, j));
            (low, high) = (low.min(value), high.max(value));
            let (along_x, along_y) = (f(point(x, i + 1), point(y, j)), f(point(x, i), point(y, j + 1)));
            let steps = [(along_x, i, dx, x.error), (along_y, j, dy, y.error)];
            let mut here = 0.0;
            for (next, index, step, operand_error) in steps {
                if index < STEPS && step > 0.0 {
                    margin = margin.max((next - value).abs());
                    here += 2.0 * (next - value).abs() / step * operand_error;
                }
            }
            error = error.max(here);
        }
    }
    let (low, high) = (low - margin, high + margin);
    let rounding = if exact { 0.0 } else { ROUNDING * low.abs().max(high.abs()) };
    Bounds { low, high, error: error + rounding }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::ir::eval::{Values, evaluate};
    use crate::ir::verify::verify_module;

    /// What an operation is called in the text form, with its function.
    fn word(op: &Op) -> String {
        match op {
            Op::Unary(f) => f.row().name.into(),
            Op::Binary(f) => f.row().name.into(),
            Op::Reduce { f, .. } => format!("reduce_{}", f.name()),
            op => op.name().into(),
        }
    }

    #[test]
    fn modules_whose_seeds_follow_each_other_hold_every_scalar_function() {
        let all: Vec<&str> =
            (UnaryFn::ALL.iter().map(|f| f.row().name)).chain(BinaryFn::ALL.iter().map(|f| f.row().name)).collect();
        for first in [0, 1000] {
            // So few operations that there is no room for others by luck.
            let modules: Vec<Module> = (0..all.len() as u64).map(|i| module(first + i, 1)).collect();
            let ops = modules.iter().flat_map(|m| m.entries[0].nodes());
            let seen: HashSet<String> = ops.map(|n| word(&n.op)).collect();
            let missing: Vec<&str> = all.iter().copied().filter(|name| !seen.contains(*name)).collect();
            assert!(missing.is_empty(), "from seed {first}: {missing:?}");
        }
    }

    #[test]
    fn modules_are_valid_cover_everything_and_stay_finite() {
        let mut seen = HashSet::new();
        for seed in 0..600 {
            let module = if seed % 2 == 0 { module(seed, 40) } else { module_with_loops(seed, 40) };
            verify_module(&module).unwrap_or_else(|v| panic!("seed {seed}: {}\n{module}", v[0]));
            let entry = &module.entries[0];
            assert!(entry.nodes().len() >= 30, "seed {seed}");
            seen.extend(entry.nodes().iter().map(|n| word(&n.op)));
            for batch in [1, MAX_BATCH] {
                let mut rng = Rng::new(seed);
                let (inputs, cells) = (inputs(&mut rng, entry, batch), storage(&mut rng, &module));
                for (out, value) in entry.outputs.iter().zip(evaluate(entry, batch, &inputs, &cells).unwrap().outputs) {
                    if let Values::Float(v) = value.values {
                        assert!(v.iter().all(|x| x.abs() <= MAX_VALUE), "seed {seed}, {}\n{module}", out.node);
                    }
                }
            }
        }
        let structural = ["input", "storage", "const", "iota", "select", "cast", "contract", "reshape", "permute"];
        let more = ["broadcast", "slice", "pad", "concat", "window", "fold", "gather", "scatter_add", "scan"];
        let reductions = ReduceFn::ALL.iter().map(|f| format!("reduce_{}", f.name()));
        let scalars = UnaryFn::ALL.iter().map(|f| f.row().name).chain(BinaryFn::ALL.iter().map(|f| f.row().name));
        let words = structural.into_iter().chain(more).chain(scalars).map(String::from).chain(reductions);
        let missing: Vec<String> = words.filter(|w| !seen.contains(w)).collect();
        assert!(missing.is_empty(), "never generated: {missing:?}");
    }
}
