//! A small builder of programs.

use crate::ir::{BinaryFn, DType, Dim, Number, ReduceFn, Shape, StorageId, UnaryFn};
use crate::schedule::program::{
    Acc, AccId, Access, Affine, AxisId, Buffer, BufferId, Expr, ExprId, Indirect, Kernel, Place, Program, Stage, Store,
    StoreMode,
};

/// Builds one kernel.
pub struct KernelBuilder {
    pub kernel: Kernel,
}

impl KernelBuilder {
    pub fn new(name: &str) -> KernelBuilder {
        KernelBuilder {
            kernel: Kernel {
                name: name.into(),
                sites: Vec::new(),
                axes: Vec::new(),
                outer: Vec::new(),
                exprs: Vec::new(),
                accs: Vec::new(),
                stages: Vec::new(),
                contract: None,
                parallel: None,
            },
        }
    }

    pub fn axis(&mut self, extent: impl Into<Dim>) -> AxisId {
        self.kernel.axes.push(extent.into());
        AxisId(self.kernel.axes.len() as u32 - 1)
    }

    pub fn outer(&mut self, extent: impl Into<Dim>) -> AxisId {
        let axis = self.axis(extent);
        self.kernel.outer.push(axis);
        axis
    }

    pub fn constant(&mut self, x: f64, dtype: DType) -> ExprId {
        self.kernel.push(Expr::Const(Number(x)), dtype)
    }

    pub fn load(&mut self, buffer: u32, terms: &[(AxisId, i64)], dtype: DType) -> ExprId {
        self.kernel.push(Expr::Load(access(buffer, 0, terms, None)), dtype)
    }

    pub fn load_at(&mut self, buffer: u32, base: i64, terms: &[(AxisId, i64)], dtype: DType) -> ExprId {
        self.kernel.push(Expr::Load(access(buffer, base, terms, None)), dtype)
    }

    pub fn gather(&mut self, buffer: u32, terms: &[(AxisId, i64)], index: Indirect, dtype: DType) -> ExprId {
        self.kernel.push(Expr::Load(access(buffer, 0, terms, Some(index))), dtype)
    }

    pub fn unary(&mut self, f: UnaryFn, x: ExprId) -> ExprId {
        let dtype = f.row().gives.dtype(self.kernel.expr(x).dtype);
        self.kernel.push(Expr::Unary(f, x), dtype)
    }

    pub fn binary(&mut self, f: BinaryFn, x: ExprId, y: ExprId) -> ExprId {
        let dtype = f.row().gives.dtype(self.kernel.expr(x).dtype);
        self.kernel.push(Expr::Binary(f, x, y), dtype)
    }

    pub fn select(&mut self, c: ExprId, x: ExprId, y: ExprId) -> ExprId {
        let dtype = self.kernel.expr(x).dtype;
        self.kernel.push(Expr::Select(c, x, y), dtype)
    }

    pub fn cast(&mut self, x: ExprId, to: DType) -> ExprId {
        self.kernel.push(Expr::Cast(x), to)
    }

    /// Adds a stage over the given axes.
    pub fn stage(&mut self, axes: &[AxisId]) -> &mut KernelBuilder {
        self.kernel.stages.push(Stage { axes: axes.to_vec(), ..Stage::default() });
        self
    }

    /// Adds an accumulator to the last stage and gives its final value.
    pub fn acc(&mut self, f: ReduceFn, value: ExprId) -> ExprId {
        let dtype = self.kernel.expr(value).dtype;
        let acc = AccId(self.kernel.accs.len() as u32);
        self.kernel.accs.push(Acc { f, value, dtype });
        if let Some(stage) = self.kernel.stages.last_mut() {
            stage.accs.push(acc);
        }
        self.kernel.push(Expr::Acc(acc), dtype)
    }

    /// Adds a store to the last stage.
    pub fn store(&mut self, buffer: u32, terms: &[(AxisId, i64)], value: ExprId) -> &mut KernelBuilder {
        self.store_with(access(buffer, 0, terms, None), value, StoreMode::Set)
    }

    pub fn store_with(&mut self, access: Access, value: ExprId, mode: StoreMode) -> &mut KernelBuilder {
        if let Some(stage) = self.kernel.stages.last_mut() {
            stage.stores.push(Store { access, value, mode });
        }
        self
    }
}

/// An element of a buffer.
pub fn access(buffer: u32, base: i64, terms: &[(AxisId, i64)], indirect: Option<Indirect>) -> Access {
    let mut index = Affine::constant(base);
    for &(axis, c) in terms {
        index.add_scaled(&Affine::axis(axis), c);
    }
    Access { buffer: BufferId(buffer), index, indirect }
}

/// Builds a program: buffers first, in the order of their ids.
pub struct ProgramBuilder {
    pub program: Program,
}

impl ProgramBuilder {
    pub fn new(max_batch: usize) -> ProgramBuilder {
        ProgramBuilder {
            program: Program {
                name: "test".into(),
                max_batch,
                buffers: Vec::new(),
                kernels: Vec::new(),
                inputs: Vec::new(),
                outputs: Vec::new(),
                loops: Vec::new(),
                arena_bytes: 0,
            },
        }
    }

    fn buffer(&mut self, dtype: DType, shape: Shape, place: Place) -> u32 {
        let name = format!("b{}", self.program.buffers.len());
        self.program.buffers.push(Buffer { name, dtype, shape, place });
        self.program.buffers.len() as u32 - 1
    }

    pub fn input(&mut self, dtype: DType, shape: Shape) -> u32 {
        let id = self.buffer(dtype, shape, Place::Input(self.program.inputs.len()));
        self.program.inputs.push(BufferId(id));
        id
    }

    pub fn output(&mut self, dtype: DType, shape: Shape) -> u32 {
        let id = self.buffer(dtype, shape, Place::Output(self.program.outputs.len()));
        self.program.outputs.push(BufferId(id));
        id
    }

    pub fn arena(&mut self, dtype: DType, shape: Shape) -> u32 {
        let offset = self.program.arena_bytes;
        self.program.arena_bytes +=
            (shape.count(self.program.max_batch) * dtype.size()).next_multiple_of(bakelite::abi::ALIGN);
        self.buffer(dtype, shape, Place::Arena { offset })
    }

    pub fn storage(&mut self, dtype: DType, shape: Shape) -> u32 {
        let id = self.program.buffers.iter().filter(|b| matches!(b.place, Place::Storage(_))).count();
        self.buffer(dtype, shape, Place::Storage(StorageId(id as u32)))
    }

    pub fn kernel(&mut self, kernel: KernelBuilder) {
        self.program.kernels.push(kernel.kernel);
    }
}
