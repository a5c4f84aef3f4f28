//! Small programs written by hand, for tests of what prints Programs.

use bakelite_compiler::ir::{BinaryFn, DType, Dim, Number, ReduceFn, Shape, Site, StorageId, UnaryFn};
use bakelite_compiler::schedule::program::{
    Acc, AccId, Access, Affine, AxisId, Buffer, BufferId, Expr, ExprId, Indirect, Kernel, Place, Program, Stage, Store,
    StoreMode,
};

/// An empty program.
pub fn program(name: &str, max_batch: usize) -> Program {
    Program {
        name: name.into(),
        max_batch,
        buffers: Vec::new(),
        kernels: Vec::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        loops: Vec::new(),
        arena_bytes: 0,
    }
}

/// Adds a buffer; inputs and outputs are also listed on the program.
pub fn buffer(p: &mut Program, name: &str, dtype: DType, shape: impl Into<Shape>, place: Place) -> BufferId {
    let id = BufferId(p.buffers.len() as u32);
    match place {
        Place::Input(i) => {
            assert_eq!(i, p.inputs.len());
            p.inputs.push(id);
        }
        Place::Output(i) => {
            assert_eq!(i, p.outputs.len());
            p.outputs.push(id);
        }
        Place::Storage(_) | Place::Arena { .. } | Place::Const(_) | Place::Slice { .. } => {}
    }
    p.buffers.push(Buffer { name: name.into(), dtype, shape: shape.into(), place });
    id
}

/// An input with the batch as its leading axis.
pub fn input(p: &mut Program, name: &str, dtype: DType, dims: &[usize]) -> BufferId {
    let place = Place::Input(p.inputs.len());
    buffer(p, name, dtype, Shape::batched(dims), place)
}

/// An output with the batch as its leading axis.
pub fn output(p: &mut Program, name: &str, dtype: DType, dims: &[usize]) -> BufferId {
    let place = Place::Output(p.outputs.len());
    buffer(p, name, dtype, Shape::batched(dims), place)
}

/// A storage cell; cells are numbered in order.
pub fn storage(p: &mut Program, name: &str, dtype: DType, dims: &[usize]) -> BufferId {
    let cells = p.buffers.iter().filter(|b| matches!(b.place, Place::Storage(_))).count();
    buffer(p, name, dtype, Shape::fixed(dims), Place::Storage(StorageId(cells as u32)))
}

/// An arena buffer after all earlier ones.
pub fn arena(p: &mut Program, name: &str, dtype: DType, shape: impl Into<Shape>) -> BufferId {
    let place = Place::Arena { offset: p.arena_bytes };
    let id = buffer(p, name, dtype, shape, place);
    p.arena_bytes += p.buffer(id).bytes(p.max_batch).next_multiple_of(64);
    id
}

/// A kernel over axes of these extents, the first `outer` of them outer.
pub fn kernel(name: &str, axes: &[Dim], outer: usize) -> Kernel {
    Kernel {
        name: name.into(),
        sites: vec![Site::path(name)],
        axes: axes.to_vec(),
        outer: (0..outer as u32).map(AxisId).collect(),
        exprs: Vec::new(),
        accs: Vec::new(),
        stages: Vec::new(),
        contract: None,
        parallel: None,
    }
}

/// `base + sum of coefficient * axis`.
pub fn affine(base: i64, terms: &[(u32, i64)]) -> Affine {
    Affine { base, terms: terms.iter().map(|&(axis, c)| (AxisId(axis), c)).collect() }
}

/// An element at an affine address.
pub fn at(buffer: BufferId, terms: &[(u32, i64)]) -> Access {
    Access { buffer, index: affine(0, terms), indirect: None }
}

/// An element at an address with a run-time addend.
pub fn at_index(buffer: BufferId, terms: &[(u32, i64)], index: ExprId, stride: i64, extent: usize) -> Access {
    Access { buffer, index: affine(0, terms), indirect: Some(Indirect { index, stride, extent }) }
}

/// Short spellings for filling a kernel.
pub trait Build {
    fn load(&mut self, p: &Program, access: Access) -> ExprId;
    fn number(&mut self, x: f64, dtype: DType) -> ExprId;
    fn unary(&mut self, f: UnaryFn, x: ExprId) -> ExprId;
    fn binary(&mut self, f: BinaryFn, x: ExprId, y: ExprId) -> ExprId;
    fn fold(&mut self, f: ReduceFn, value: ExprId) -> AccId;
    fn acc(&mut self, acc: AccId) -> ExprId;
    fn stage(&mut self, axes: &[u32], accs: &[AccId], stores: Vec<Store>);
}

impl Build for Kernel {
    fn load(&mut self, p: &Program, access: Access) -> ExprId {
        let dtype = p.buffer(access.buffer).dtype;
        self.push(Expr::Load(access), dtype)
    }

    fn number(&mut self, x: f64, dtype: DType) -> ExprId {
        self.push(Expr::Const(Number(x)), dtype)
    }

    fn unary(&mut self, f: UnaryFn, x: ExprId) -> ExprId {
        let dtype = f.row().gives.dtype(self.expr(x).dtype);
        self.push(Expr::Unary(f, x), dtype)
    }

    fn binary(&mut self, f: BinaryFn, x: ExprId, y: ExprId) -> ExprId {
        let dtype = f.row().gives.dtype(self.expr(x).dtype);
        self.push(Expr::Binary(f, x, y), dtype)
    }

    fn fold(&mut self, f: ReduceFn, value: ExprId) -> AccId {
        let dtype = self.expr(value).dtype;
        self.accs.push(Acc { f, value, dtype });
        AccId(self.accs.len() as u32 - 1)
    }

    fn acc(&mut self, acc: AccId) -> ExprId {
        let dtype = self.accs[acc.index()].dtype;
        self.push(Expr::Acc(acc), dtype)
    }

    fn stage(&mut self, axes: &[u32], accs: &[AccId], stores: Vec<Store>) {
        self.stages.push(Stage { axes: axes.iter().map(|&a| AxisId(a)).collect(), accs: accs.to_vec(), stores });
    }
}

/// Overwrites an element.
pub fn set(access: Access, value: ExprId) -> Store {
    Store { access, value, mode: StoreMode::Set }
}

/// Adds to an element.
pub fn add(access: Access, value: ExprId) -> Store {
    Store { access, value, mode: StoreMode::Add }
}

/// `h = relu(x w + b)` with `w: [k, n]` and `b: [n]` in storage, from input 0 to output 0.
pub fn dense(max_batch: usize, k: usize, n: usize) -> Program {
    let mut p = program("dense", max_batch);
    let x = input(&mut p, "x", DType::F32, &[k]);
    let h = output(&mut p, "h", DType::F32, &[n]);
    let w = storage(&mut p, "dense/kernel", DType::F32, &[k, n]);
    let b = storage(&mut p, "dense/bias", DType::F32, &[n]);
    let mut e = kernel("k0_dense_relu", &[Dim::BATCH, Dim::fixed(n), Dim::fixed(k)], 2);
    let left = e.load(&p, at(x, &[(0, k as i64), (2, 1)]));
    let right = e.load(&p, at(w, &[(1, 1), (2, n as i64)]));
    let product = e.binary(BinaryFn::Mul, left, right);
    let sum = e.fold(ReduceFn::Sum, product);
    e.stage(&[2], &[sum], vec![]);
    let (total, bias) = (e.acc(sum), e.load(&p, at(b, &[(1, 1)])));
    let biased = e.binary(BinaryFn::Add, total, bias);
    let activated = e.unary(UnaryFn::Relu, biased);
    e.stage(&[], &[], vec![set(at(h, &[(0, n as i64), (1, 1)]), activated)]);
    p.kernels.push(e);
    p
}

/// Softmax of the rows of input 0 into output 0: three passes over each row.
pub fn softmax(max_batch: usize, n: usize) -> Program {
    let mut p = program("softmax", max_batch);
    let x = input(&mut p, "x", DType::F32, &[n]);
    let y = output(&mut p, "y", DType::F32, &[n]);
    let width = n as i64;
    let mut e = kernel("k0_softmax", &[Dim::BATCH, Dim::fixed(n), Dim::fixed(n), Dim::fixed(n)], 1);
    let first = e.load(&p, at(x, &[(0, width), (1, 1)]));
    let top = e.fold(ReduceFn::Max, first);
    e.stage(&[1], &[top], vec![]);
    let top = e.acc(top);
    let shifted_exp = |e: &mut Kernel, axis: u32| {
        let value = e.load(&p, at(x, &[(0, width), (axis, 1)]));
        let shifted = e.binary(BinaryFn::Sub, value, top);
        e.unary(UnaryFn::Exp, shifted)
    };
    let second = shifted_exp(&mut e, 2);
    let total = e.fold(ReduceFn::Sum, second);
    e.stage(&[2], &[total], vec![]);
    let total = e.acc(total);
    let third = shifted_exp(&mut e, 3);
    let ratio = e.binary(BinaryFn::Div, third, total);
    e.stage(&[3], &[], vec![set(at(y, &[(0, width), (3, 1)]), ratio)]);
    p.kernels.push(e);
    p
}

/// `y[i] = table[index[i]]`, then `table[index[i]] += index[i]`'s row of input 1, then the sum of the whole table into
/// an arena scalar that output 1 repeats for every row.
pub fn embedding(max_batch: usize, rows: usize, width: usize) -> Program {
    let mut p = program("embedding", max_batch);
    let index = input(&mut p, "index", DType::I32, &[]);
    let update = input(&mut p, "update", DType::F32, &[width]);
    let y = output(&mut p, "y", DType::F32, &[width]);
    let sums = output(&mut p, "sums", DType::F32, &[]);
    let table = storage(&mut p, "embedding/table", DType::F32, &[rows, width]);
    let total = arena(&mut p, "total", DType::F32, Shape::scalar());
    let w = width as i64;

    let mut gather = kernel("k0_gather", &[Dim::BATCH, Dim::fixed(width)], 2);
    let row = gather.load(&p, at(index, &[(0, 1)]));
    let value = gather.load(&p, at_index(table, &[(1, 1)], row, w, rows));
    gather.stage(&[], &[], vec![set(at(y, &[(0, w), (1, 1)]), value)]);

    let mut scatter = kernel("k1_scatter", &[Dim::fixed(width), Dim::BATCH], 1);
    let row = scatter.load(&p, at(index, &[(1, 1)]));
    let value = scatter.load(&p, at(update, &[(0, 1), (1, w)]));
    scatter.stage(&[1], &[], vec![add(at_index(table, &[(0, 1)], row, w, rows), value)]);

    let mut reduce = kernel("k2_sum", &[Dim::fixed(rows), Dim::fixed(width)], 0);
    let value = reduce.load(&p, at(table, &[(0, w), (1, 1)]));
    let sum = reduce.fold(ReduceFn::Sum, value);
    reduce.stage(&[0, 1], &[sum], vec![]);
    let sum = reduce.acc(sum);
    reduce.stage(&[], &[], vec![set(at(total, &[]), sum)]);

    let mut repeat = kernel("k3_repeat", &[Dim::BATCH], 1);
    let value = repeat.load(&p, at(total, &[]));
    repeat.stage(&[], &[], vec![set(at(sums, &[(0, 1)]), value)]);
    p.kernels.extend([gather, scatter, reduce, repeat]);
    p
}

/// Momentum: `v' = 0.9 v - 0.1 g`, `w' = w + 0.9 v - 0.1 g`, the second from the old `v`.
pub fn momentum(n: usize) -> Program {
    let mut p = program("momentum", 1);
    let g = buffer(&mut p, "g", DType::F32, Shape::fixed(&[n]), Place::Input(0));
    let v = storage(&mut p, "velocity", DType::F32, &[n]);
    let w = storage(&mut p, "w", DType::F32, &[n]);
    let mut e = kernel("k0_momentum", &[Dim::fixed(n)], 1);
    let [old_v, old_w, grad] = [v, w, g].map(|b| e.load(&p, at(b, &[(0, 1)])));
    let (keep, rate) = (e.number(0.9, DType::F32), e.number(0.1, DType::F32));
    let kept = e.binary(BinaryFn::Mul, old_v, keep);
    let step = e.binary(BinaryFn::Mul, grad, rate);
    let new_v = e.binary(BinaryFn::Sub, kept, step);
    // Reads the velocity again instead of using `new_v`.
    let moved = e.binary(BinaryFn::Add, old_w, kept);
    let new_w = e.binary(BinaryFn::Sub, moved, step);
    e.stage(&[], &[], vec![set(at(v, &[(0, 1)]), new_v), set(at(w, &[(0, 1)]), new_w)]);
    p.kernels.push(e);
    p
}
