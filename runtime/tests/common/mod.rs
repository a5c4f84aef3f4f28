//! A model written by hand against the binary interface: linear regression `y = x W + b` from 3 to 4 columns, trained
//! by gradient descent on the mean squared error. Its threads share every entry point's work as generated code does.
#![allow(dead_code)]

use std::hint::black_box;

use bakelite::abi::{
    ABI_VERSION, Call, Cell, CellKind, Descriptor, Entry, EntryFn, Extent, Linked, MAGIC, Port, SHARES, Table,
};
use bakelite::{Model, Options};

pub const INPUTS: usize = 3;
pub const OUTPUTS: usize = 4;
pub const MAX_BATCH: usize = 16;
/// Width of the column panels that the kernel is kept in.
pub const PANEL: usize = 2;

pub const KERNEL: &str = "dense/kernel";
pub const BIAS: &str = "dense/bias";
pub const ROWS_SEEN: &str = "counter/rows";
pub const FLAGS: &str = "counter/flags";

const KERNEL_AT: usize = 0;
const BIAS_AT: usize = 64;
const ROWS_AT: usize = 128;
const FLAGS_AT: usize = 192;
const RATE_AT: usize = 256;
const STORAGE: usize = 320;
/// Prediction errors of the whole batch.
const ARENA: usize = MAX_BATCH * OUTPUTS * 4;
const SCRATCH: usize = 64;

/// The descriptor; tests damage copies of it.
pub fn descriptor() -> Descriptor {
    let cells = vec![
        cell(KERNEL, 0, CellKind::Param, &[INPUTS, OUTPUTS], KERNEL_AT, PANEL),
        cell(BIAS, 0, CellKind::Param, &[OUTPUTS], BIAS_AT, 0),
        cell(ROWS_SEEN, 3, CellKind::State, &[], ROWS_AT, 0),
        cell(FLAGS, 5, CellKind::State, &[2], FLAGS_AT, 0),
        cell(bakelite::LEARNING_RATE, 0, CellKind::Training, &[], RATE_AT, 0),
    ];
    let x = || port("x", 0, &[(1, 1), (INPUTS, 0)]);
    let y = || port("y", 0, &[(1, 1), (OUTPUTS, 0)]);
    let target = || port("y_target", 0, &[(1, 1), (OUTPUTS, 0)]);
    let scalars = || vec![port("loss", 0, &[]), port("mean_absolute_error", 0, &[])];
    let entries = vec![
        entry("init", vec![port("seed", 3, &[(2, 0)])], vec![], init, usize::MAX),
        entry("predict", vec![x()], vec![y()], predict, 8),
        entry("train_step", vec![x(), target()], scalars(), train_step, 1),
        entry("evaluate_step", vec![x(), target()], scalars(), evaluate_step, 1),
        entry("phases", vec![], vec![port("total", 3, &[])], phases, 1),
        entry("nothing", vec![], vec![], nothing, usize::MAX),
        entry("nothing_parallel", vec![], vec![], nothing, 1),
        entry("halve", vec![x()], vec![port("half", 0, &[(1, 1), (INPUTS, 0)])], halve, 1),
    ];
    Descriptor {
        magic: MAGIC,
        abi_version: ABI_VERSION,
        reserved: 0,
        name: text("linear"),
        max_batch: MAX_BATCH,
        storage_bytes: STORAGE,
        arena_bytes: ARENA,
        scratch_bytes: SCRATCH,
        cells: table(cells),
        entries: table(entries),
    }
}

pub fn image() -> Linked {
    linked(descriptor())
}

/// Leaks a descriptor, as if it were linked into the program.
pub fn linked(descriptor: Descriptor) -> Linked {
    // SAFETY: either whole, as made above, or damaged only where the loader must notice.
    unsafe { Linked::new(Box::leak(Box::new(descriptor))) }
}

pub fn open(threads: usize) -> Model {
    Model::open_with(image(), Options::new().threads(threads).tune_threads(false)).unwrap()
}

pub fn open_seeded(threads: usize) -> Model {
    let mut model = open(threads);
    model.init(42).unwrap();
    model
}

/// Rows of a linear relation that the model can learn exactly, without randomness.
pub fn samples(rows: usize) -> (Vec<f32>, Vec<f32>) {
    let x: Vec<f32> = (0..rows * INPUTS).map(|i| ((i * 37 + 11) % 64) as f32 / 32.0 - 1.0).collect();
    let y = x
        .chunks(INPUTS)
        .flat_map(|r| (0..OUTPUTS).map(move |j| r[0] * j as f32 - r[1] + 0.5 * r[2] * (j % 2) as f32 + 0.25))
        .collect();
    (x, y)
}

pub fn table<T>(items: Vec<T>) -> Table<T> {
    let items = Box::leak(items.into_boxed_slice());
    Table { data: items.as_ptr(), len: items.len() }
}

pub fn text(name: &str) -> Table<u8> {
    table(name.as_bytes().to_vec())
}

pub fn cell(name: &str, dtype: u32, kind: CellKind, shape: &[usize], offset: usize, panel: usize) -> Cell {
    Cell {
        name: text(name),
        dtype,
        kind: kind as u32,
        trainable: (kind == CellKind::Param) as u32,
        panel: panel as u32,
        shape: table(shape.to_vec()),
        offset,
        first: if name == bakelite::LEARNING_RATE { 0.1f32.to_bits().into() } else { 0 },
        begins: (kind != CellKind::Param && dtype != 5) as u32,
        reserved: 0,
        bytes: shape.iter().product::<usize>() * bakelite::abi::DTYPE_SIZES[dtype as usize % 6],
    }
}

pub fn port(name: &str, dtype: u32, shape: &[(usize, usize)]) -> Port {
    let shape = shape.iter().map(|&(scale, batch)| Extent { scale, batch }).collect();
    Port { name: text(name), dtype, limited: 0, shape: table(shape), low: 0, high: 0, text: text("") }
}

pub fn entry(name: &str, inputs: Vec<Port>, outputs: Vec<Port>, code: EntryFn, from: usize) -> Entry {
    Entry {
        name: text(name),
        inputs: table(inputs),
        outputs: table(outputs),
        reads: table(match name {
            "predict" | "evaluate_step" => vec![0, 1],
            "train_step" => vec![0, 1, 2, 4],
            _ => vec![],
        }),
        writes: table(match name {
            "init" => vec![0, 1, 2, 3, 4],
            "train_step" => vec![0, 1, 2],
            _ => vec![],
        }),
        code: [Some(code); 4],
        parallel_batch: [from; SHARES],
        flops_row: 0,
        flops_fixed: 0,
    }
}

/// The arguments of a call, with the pointers that every entry point needs.
#[derive(Clone, Copy)]
struct Frame<'a> {
    call: &'a Call,
    thread: usize,
    threads: usize,
}

impl Frame<'_> {
    fn cell(self, offset: usize) -> *mut f32 {
        // SAFETY: an offset of the descriptor's cells.
        unsafe { self.call.storage.add(offset).cast() }
    }

    fn input<T>(self, i: usize) -> *const T {
        // SAFETY: the entry point has that many inputs.
        unsafe { (*self.call.inputs.add(i)).cast() }
    }

    fn output<T>(self, i: usize) -> *mut T {
        // SAFETY: the entry point has that many outputs.
        unsafe { (*self.call.outputs.add(i)).cast() }
    }

    fn wait(self) {
        if self.threads > 1 {
            // SAFETY: the barrier belongs to the call.
            unsafe { (self.call.wait)(self.call.barrier, self.thread) }
        }
    }

    /// The thread's share of `n` items.
    fn share(self, n: usize) -> std::ops::Range<usize> {
        n * self.thread / self.threads..n * (self.thread + 1) / self.threads
    }
}

fn kernel_at(row: usize, column: usize) -> usize {
    (column / PANEL * INPUTS + row) * PANEL + column % PANEL
}

unsafe fn frame<'a>(call: *const Call, thread: usize, threads: usize) -> Frame<'a> {
    // SAFETY: the contract of an entry point.
    let call = unsafe { &*call };
    // SAFETY: each thread owns its scratch.
    unsafe { call.scratch.add(thread * SCRATCH).write_bytes(thread as u8, SCRATCH) };
    Frame { call, thread, threads }
}

unsafe extern "C" fn init(call: *const Call, thread: usize, threads: usize) {
    // SAFETY: the contract of an entry point; all offsets are inside the storage.
    unsafe {
        let f = frame(call, thread, threads);
        let seed = f.input::<u32>(0);
        let mut state = *seed ^ (*seed.add(1)).rotate_left(16);
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        (0..INPUTS * OUTPUTS).for_each(|i| *f.cell(KERNEL_AT).add(i) = next());
        (0..OUTPUTS).for_each(|i| *f.cell(BIAS_AT).add(i) = 0.0);
        *f.cell(ROWS_AT).cast::<u32>() = 0;
        *f.cell(FLAGS_AT).cast::<[bool; 2]>() = [true, false];
        *f.cell(RATE_AT) = 0.1;
    }
}

/// One element of the prediction.
unsafe fn forward(f: Frame<'_>, row: usize, column: usize) -> f32 {
    // SAFETY: forwarded from the entry points.
    unsafe {
        let x = f.input::<f32>(0).add(row * INPUTS);
        (0..INPUTS)
            .fold(*f.cell(BIAS_AT).add(column), |sum, i| sum + *x.add(i) * *f.cell(KERNEL_AT).add(kernel_at(i, column)))
    }
}

unsafe extern "C" fn predict(call: *const Call, thread: usize, threads: usize) {
    // SAFETY: the contract of an entry point.
    unsafe {
        let f = frame(call, thread, threads);
        for row in f.share(f.call.batch) {
            (0..OUTPUTS).for_each(|j| *f.output::<f32>(0).add(row * OUTPUTS + j) = forward(f, row, j));
        }
    }
}

/// Errors of the whole batch into the arena, then loss and metric by the first thread.
unsafe fn errors(f: Frame<'_>) -> *mut f32 {
    // SAFETY: forwarded from the entry points.
    unsafe {
        let errors = f.call.arena.cast::<f32>();
        let elements = f.call.batch * OUTPUTS;
        for row in f.share(f.call.batch) {
            for j in 0..OUTPUTS {
                let i = row * OUTPUTS + j;
                *errors.add(i) = forward(f, row, j) - *f.input::<f32>(1).add(i);
            }
        }
        f.wait();
        if f.thread == 0 {
            let sum = |of: fn(f32) -> f32| (0..elements).map(|i| of(*errors.add(i))).sum::<f32>() / elements as f32;
            *f.output(0) = sum(|e| e * e);
            *f.output(1) = sum(f32::abs);
        }
        errors
    }
}

unsafe extern "C" fn evaluate_step(call: *const Call, thread: usize, threads: usize) {
    // SAFETY: the contract of an entry point.
    unsafe {
        errors(frame(call, thread, threads));
    }
}

unsafe extern "C" fn train_step(call: *const Call, thread: usize, threads: usize) {
    // SAFETY: the contract of an entry point; after the barrier each thread updates its own columns.
    unsafe {
        let f = frame(call, thread, threads);
        let errors = errors(f);
        let x = f.input::<f32>(0);
        let rate = *f.cell(RATE_AT) * 2.0 / (f.call.batch * OUTPUTS) as f32;
        for j in f.share(OUTPUTS) {
            let gradient = |of: &dyn Fn(usize) -> f32| {
                (0..f.call.batch).map(|row| *errors.add(row * OUTPUTS + j) * of(row)).sum::<f32>()
            };
            for i in 0..INPUTS {
                *f.cell(KERNEL_AT).add(kernel_at(i, j)) -= rate * gradient(&|row| *x.add(row * INPUTS + i));
            }
            *f.cell(BIAS_AT).add(j) -= rate * gradient(&|_| 1.0);
        }
        if thread == 0 {
            let rows = f.cell(ROWS_AT).cast::<u32>();
            *rows = (*rows).wrapping_add(f.call.batch as u32);
        }
    }
}

/// Half of every number.
unsafe extern "C" fn halve(call: *const Call, thread: usize, threads: usize) {
    // SAFETY: the contract of an entry point.
    unsafe {
        let f = frame(call, thread, threads);
        for i in f.share(f.call.batch * INPUTS) {
            *f.output::<f32>(0).add(i) = black_box(*f.input::<f32>(0).add(i)) * black_box(0.5);
        }
    }
}

/// Passes a value from thread to thread through the arena, 16 barriers deep; the total tells whether any was missed.
unsafe extern "C" fn phases(call: *const Call, thread: usize, threads: usize) {
    // SAFETY: the contract of an entry point; between two barriers only the owner of the phase touches the arena.
    unsafe {
        let f = frame(call, thread, threads);
        let total = f.call.arena.cast::<u32>();
        if thread == 0 {
            *total = 0;
        }
        for phase in 0..16 {
            f.wait();
            if phase % threads == thread {
                *total += phase as u32;
            }
        }
        f.wait();
        if thread == 0 {
            *f.output(0) = *total;
        }
    }
}

unsafe extern "C" fn nothing(_call: *const Call, _thread: usize, _threads: usize) {}
