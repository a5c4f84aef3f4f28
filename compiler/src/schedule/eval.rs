//! The reference interpreter of programs: runs a schedule the plainest way, in `f64` and exact integers.
//!
//! Comparing it with [`crate::ir::eval`] tests the schedule without any backend; comparing a backend with it tests the
//! backend without the schedule. Buffers do not share memory here: that they may is the verifier's proof.

use crate::ir::eval::{Tensor, Values};
use crate::ir::{BinaryFn, DType, ReduceFn, StorageId, UnaryFn};

use super::program::{AccId, Access, Affine, AxisId, BufferId, Expr, ExprId, Kernel, Place, Program, StoreMode};
use super::verify::Verified;

/// One element.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Number {
    Float(f64),
    Int(i64),
}

use Number::{Float, Int};

impl Number {
    fn of(x: f64, dtype: DType) -> Number {
        match dtype {
            DType::F32 | DType::F64 => Float(x),
            DType::I32 => Int(x as i32 as i64),
            DType::U32 => Int(x as u32 as i64),
            DType::U8 => Int(x as u8 as i64),
            DType::Bool => Int((x != 0.0) as i64),
        }
    }

    fn float(self) -> f64 {
        match self {
            Float(x) => x,
            Int(x) => x as f64,
        }
    }

    fn int(self) -> i64 {
        match self {
            Float(x) => x as i64,
            Int(x) => x,
        }
    }

    fn cast(self, to: DType) -> Number {
        match (self, to) {
            (Int(x), DType::I32 | DType::U32 | DType::U8 | DType::Bool) => Int(to.wrap(x)),
            (x, _) => Number::of(x.float(), to),
        }
    }
}

/// Runs a program: the outputs in order, and the storage cells afterwards.
pub fn run(
    program: &Verified<Program>,
    batch: usize,
    inputs: &[Tensor],
    storage: &[Tensor],
) -> (Vec<Tensor>, Vec<Tensor>) {
    let mut memory: Vec<Vec<Number>> = Vec::new();
    for buffer in &program.buffers {
        let mut elements = match &buffer.place {
            Place::Input(i) => numbers(&inputs[*i]),
            Place::Storage(StorageId(i)) => numbers(&storage[*i as usize]),
            Place::Const(values) => values.iter().map(|v| Number::of(v.0, buffer.dtype)).collect(),
            // A slice has no elements of its own.
            Place::Output(_) | Place::Arena { .. } | Place::Slice { .. } => Vec::new(),
        };
        elements.resize(buffer.shape.count(program.max_batch).max(elements.len()), Number::of(f64::NAN, buffer.dtype));
        memory.push(elements);
    }
    for (k, steps) in program.sequence() {
        let kernel = &program.kernels[k];
        let offsets = (0..program.buffers.len()).map(|b| place(program, BufferId(b as u32), &steps)).collect();
        let (axes, accs) = (vec![0; kernel.axes.len()], vec![Int(0); kernel.accs.len()]);
        Machine { program, kernel, batch, offsets, axes, accs }.outer(&kernel.outer, &mut memory);
    }
    let tensor = |buffer: &super::program::Buffer, elements: &[Number]| {
        let shape = buffer.shape.at(batch);
        let elements = &elements[..shape.iter().product()];
        let values = if buffer.dtype.is_float() {
            Values::Float(elements.iter().map(|x| x.float()).collect())
        } else {
            Values::Int(elements.iter().map(|x| x.int()).collect())
        };
        Tensor::new(buffer.dtype, &shape, values)
    };
    let outputs = program.outputs.iter().map(|b| tensor(program.buffer(*b), &memory[b.index()])).collect();
    let mut cells = storage.to_vec();
    for (buffer, elements) in program.buffers.iter().zip(&memory) {
        if let Place::Storage(StorageId(i)) = buffer.place {
            cells[i as usize] = tensor(buffer, elements);
        }
    }
    (outputs, cells)
}

/// The memory of a buffer, and where it begins in it at the current steps.
fn place(program: &Program, id: BufferId, steps: &[usize]) -> (usize, usize) {
    match program.buffer(id).place {
        Place::Slice { of, step, stride } => {
            let (memory, start) = place(program, of, steps);
            (memory, start + stride * steps[step.index()])
        }
        _ => (id.index(), 0),
    }
}

fn numbers(tensor: &Tensor) -> Vec<Number> {
    match &tensor.values {
        Values::Float(v) => v.iter().map(|x| Float(*x)).collect(),
        Values::Int(v) => v.iter().map(|x| Int(*x)).collect(),
    }
}

struct Machine<'a> {
    program: &'a Program,
    kernel: &'a Kernel,
    batch: usize,
    /// Of each buffer: its memory, and where it begins there.
    offsets: Vec<(usize, usize)>,
    axes: Vec<i64>,
    accs: Vec<Number>,
}

impl Machine<'_> {
    fn outer(&mut self, axes: &[AxisId], memory: &mut [Vec<Number>]) {
        let Some((axis, rest)) = axes.split_first() else { return self.stages(memory) };
        for i in 0..self.kernel.extent(*axis).at(self.batch) as i64 {
            self.axes[axis.index()] = i;
            self.outer(rest, memory);
        }
    }

    fn stages(&mut self, memory: &mut [Vec<Number>]) {
        for (s, stage) in self.kernel.stages.iter().enumerate() {
            for acc in &stage.accs {
                let Acc { f, dtype } = self.acc(*acc);
                self.accs[acc.index()] = Number::of(f.neutral(dtype), dtype);
            }
            self.inner(&stage.axes, s, memory);
        }
    }

    fn acc(&self, id: AccId) -> Acc {
        let acc = &self.kernel.accs[id.index()];
        Acc { f: acc.f, dtype: acc.dtype }
    }

    fn inner(&mut self, axes: &[AxisId], stage: usize, memory: &mut [Vec<Number>]) {
        if let Some((axis, rest)) = axes.split_first() {
            for i in 0..self.kernel.extent(*axis).at(self.batch) as i64 {
                self.axes[axis.index()] = i;
                self.inner(rest, stage, memory);
            }
            return;
        }
        let mut values = vec![None; self.kernel.exprs.len()];
        let stage = &self.kernel.stages[stage];
        let folded: Vec<Number> =
            stage.accs.iter().map(|a| self.value(self.kernel.accs[a.index()].value, &mut values, memory)).collect();
        let stored: Vec<(Option<usize>, Number)> = stage
            .stores
            .iter()
            .map(|s| (self.address(&s.access, true, &mut values, memory), self.value(s.value, &mut values, memory)))
            .collect();
        for (acc, value) in stage.accs.iter().zip(folded) {
            let Acc { f, dtype } = self.acc(*acc);
            self.accs[acc.index()] = binary(f.combine(), self.accs[acc.index()], value, dtype, dtype);
        }
        for (store, (at, value)) in stage.stores.iter().zip(stored) {
            let Some(at) = at else { continue };
            let dtype = self.program.buffer(store.access.buffer).dtype;
            let (block, start) = self.offsets[store.access.buffer.index()];
            let element = &mut memory[block][start + at];
            *element = match store.mode {
                StoreMode::Set => value,
                StoreMode::Add => binary(BinaryFn::Add, *element, value, dtype, dtype),
            };
        }
    }

    fn affine(&self, form: &Affine) -> i64 {
        form.base + form.terms.iter().map(|&(axis, c)| c * self.axes[axis.index()]).sum::<i64>()
    }

    fn address(
        &self,
        access: &Access,
        store: bool,
        values: &mut Vec<Option<Number>>,
        memory: &[Vec<Number>],
    ) -> Option<usize> {
        let mut at = self.affine(&access.index);
        if let Some(indirect) = &access.indirect {
            let index = self.value(indirect.index, values, memory).int();
            let inside = (0..indirect.extent as i64).contains(&index);
            if store && !inside {
                return None;
            }
            at += indirect.stride * index.clamp(0, indirect.extent as i64 - 1);
        }
        Some(at as usize)
    }

    fn value(&self, id: ExprId, values: &mut Vec<Option<Number>>, memory: &[Vec<Number>]) -> Number {
        if let Some(known) = values[id.index()] {
            return known;
        }
        let typed = self.kernel.expr(id);
        let dtype = typed.dtype;
        let value = match &typed.expr {
            Expr::Const(n) => Number::of(n.0, dtype),
            Expr::Size(d) => Number::of(d.at(self.batch) as f64, dtype),
            Expr::Index(form) => Number::of(self.affine(form) as f64, dtype),
            Expr::Load(access) => {
                let at = self.address(access, false, values, memory).unwrap_or(0);
                let (block, start) = self.offsets[access.buffer.index()];
                memory[block][start + at]
            }
            Expr::Acc(acc) => self.accs[acc.index()],
            Expr::Unary(f, x) => unary(*f, self.value(*x, values, memory), self.kernel.expr(*x).dtype, dtype),
            Expr::Binary(f, x, y) => {
                let from = self.kernel.expr(*x).dtype;
                let x = self.value(*x, values, memory);
                binary(*f, x, self.value(*y, values, memory), from, dtype)
            }
            Expr::Select(c, a, b) => {
                let (a, b) = (self.value(*a, values, memory), self.value(*b, values, memory));
                if self.value(*c, values, memory).int() != 0 { a } else { b }
            }
            Expr::Cast(x) => self.value(*x, values, memory).cast(dtype),
        };
        values[id.index()] = Some(value);
        value
    }
}

struct Acc {
    f: ReduceFn,
    dtype: DType,
}

fn unary(f: UnaryFn, x: Number, from: DType, to: DType) -> Number {
    let row = f.row();
    match (x, row.int) {
        (Int(x), Some(int)) if from.is_int() => Int(to.wrap(int(x))),
        (x, _) => Number::of((row.eval)(x.float()), to),
    }
}

fn binary(f: BinaryFn, x: Number, y: Number, from: DType, to: DType) -> Number {
    let row = f.row();
    match (x, y, row.int) {
        (Int(x), Int(y), Some(int)) if !from.is_float() => Int(to.wrap(int(x, y))),
        (x, y, _) => Number::of((row.eval)(x.float(), y.float()), to),
    }
}
