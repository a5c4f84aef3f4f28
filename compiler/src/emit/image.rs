//! A model as the backend takes it, and its descriptor as data of an object. Objects for linking and code in process
//! are built from the same image.

use std::collections::HashMap;
use std::mem::offset_of;

use bakelite::abi::{self, Cell, CellKind, Descriptor, Entry, Extent, Port, Table};
use bakelite_kernels::manifest::Level;
use cranelift_module::{DataDescription, DataId, FuncId, Linkage, Module};

use super::bindings;
use crate::backend::BackendError;
use crate::backend::cranelift::threads;
use crate::backend::cranelift::{Compiler, PlannedEntry, Products, Variant};
use crate::compile::Compiled;
use crate::ir::graph::InputDecl;
use crate::ir::{DType, Dim, Shape, StorageKind};
use crate::pass::panels;
use crate::schedule::Verified;
use crate::schedule::cost;
use crate::schedule::program::{BufferId, Program, StorageLayout};

/// A storage cell as loaders see it.
#[derive(Clone, PartialEq, Debug)]
pub struct CellImage {
    pub name: String,
    pub dtype: DType,
    pub kind: CellKind,
    pub trainable: bool,
    /// Width of the column panels in which the cell is kept; 0 for row-major.
    pub panel: usize,
    /// The logical extents.
    pub shape: Vec<usize>,
    pub bytes: usize,
    /// The value of every element when a model is opened, if it has one.
    pub first: Option<f64>,
}

/// A model ready for code generation.
pub struct ModelImage<'a> {
    pub name: String,
    /// The symbol of the descriptor.
    pub symbol: String,
    pub max_batch: usize,
    pub cells: Vec<CellImage>,
    pub storage: &'a StorageLayout,
    pub entries: Vec<EntryImage<'a>>,
}

/// An entry point ready for code generation.
pub struct EntryImage<'a> {
    pub program: &'a Verified<Program>,
    /// The inputs as the graph declares them, for what the program does not know of them; empty for none.
    pub inputs: &'a [InputDecl],
    /// The cells whose values before a call matter, and those that it gives new ones.
    pub reads: Vec<u32>,
    pub writes: Vec<u32>,
    /// See [`abi::Entry::parallel_batch`].
    pub parallel_batch: [usize; abi::SHARES],
    /// Floating-point operations per row and per call.
    pub flops_row: u64,
    pub flops_fixed: u64,
}

impl<'a> EntryImage<'a> {
    pub fn new(program: &'a Verified<Program>) -> EntryImage<'a> {
        let flops = |batch: usize| -> f64 {
            let kernels = program.kernels.iter().enumerate();
            kernels.map(|(k, kernel)| cost::cost(program, kernel, batch).flops * program.repeats(k) as f64).sum()
        };
        // Work is linear in the batch.
        let (one, two) = (flops(1), flops(2));
        let row = (two - one).max(0.0);
        EntryImage {
            program,
            inputs: &[],
            reads: Vec::new(),
            writes: Vec::new(),
            parallel_batch: threads::parallel_batch(program),
            flops_row: row as u64,
            flops_fixed: (one - row).max(0.0) as u64,
        }
    }
}

impl<'a> ModelImage<'a> {
    /// The image of a compiled model.
    pub fn new(compiled: &'a Compiled) -> ModelImage<'a> {
        let module = &compiled.module;
        let cells = module.storage.iter().enumerate().map(|(i, cell)| {
            let logical = module.panels.get(&crate::ir::StorageId(i as u32));
            CellImage {
                name: cell.name.clone(),
                dtype: cell.ty.dtype,
                kind: match cell.kind {
                    StorageKind::Param => CellKind::Param,
                    StorageKind::State => CellKind::State,
                    StorageKind::Training => CellKind::Training,
                },
                trainable: cell.trainable,
                panel: if logical.is_some() { panels::WIDTH } else { 0 },
                shape: logical.unwrap_or(&cell.ty.shape).at(1),
                bytes: cell.ty.bytes(1),
                first: cell.first.map(|first| first.0),
            }
        });
        ModelImage {
            name: module.name.clone(),
            symbol: bindings::symbol(&module.name),
            max_batch: module.max_batch,
            cells: cells.collect(),
            storage: &compiled.storage,
            entries: compiled
                .programs
                .iter()
                .zip(&module.entries)
                .map(|(program, graph)| EntryImage {
                    inputs: &graph.inputs,
                    reads: graph.reads().into_iter().map(|id| id.0).collect(),
                    writes: graph.writes().into_iter().map(|id| id.0).collect(),
                    ..EntryImage::new(program)
                })
                .collect(),
        }
    }
}

/// What was emitted into a module.
pub struct Emitted {
    pub descriptor: DataId,
    pub scratch_bytes: usize,
    pub arena_bytes: usize,
}

/// Emits code for all entry points and variants, and the descriptor.
pub fn emit<M: Module>(
    image: &ModelImage,
    compiler: &mut Compiler<M>,
    variants: &[Variant],
    products: Products,
) -> Result<Emitted, BackendError> {
    let planned: Vec<PlannedEntry> =
        image.entries.iter().map(|e| PlannedEntry::new(e.program, products)).collect::<Result<_, _>>()?;
    let scratch_bytes = planned.iter().map(PlannedEntry::scratch_bytes).max().unwrap_or(0);
    let arena_bytes = image.entries.iter().map(|e| e.program.arena_bytes).max().unwrap_or(0);
    let mut code = Vec::new();
    for entry in &planned {
        let mut levels: [Option<FuncId>; abi::LEVELS] = [None; abi::LEVELS];
        for variant in variants {
            let function = compiler.entry(entry, image.storage, variant, scratch_bytes)?;
            for &level in variant.levels {
                levels[level as usize] = Some(function);
            }
        }
        code.push(levels);
    }
    let descriptor = describe(image, compiler.module(), &code, scratch_bytes, arena_bytes)?;
    Ok(Emitted { descriptor, scratch_bytes, arena_bytes })
}

const _: () = assert!(Level::COUNT == abi::LEVELS);

/// Emits the descriptor with all its tables.
fn describe(
    image: &ModelImage,
    module: &mut impl Module,
    code: &[[Option<FuncId>; abi::LEVELS]],
    scratch_bytes: usize,
    arena_bytes: usize,
) -> Result<DataId, BackendError> {
    let mut tables = Tables { module, prefix: image.symbol.clone(), count: 0, texts: HashMap::new() };

    let mut cells = Record::new(size_of::<Cell>() * image.cells.len());
    for (i, cell) in image.cells.iter().enumerate() {
        let at = i * size_of::<Cell>();
        tables.text(&mut cells, at + offset_of!(Cell, name), &cell.name)?;
        cells.word32(at + offset_of!(Cell, dtype), cell.dtype as u32);
        cells.word32(at + offset_of!(Cell, kind), cell.kind as u32);
        cells.word32(at + offset_of!(Cell, trainable), cell.trainable as u32);
        cells.word32(at + offset_of!(Cell, panel), cell.panel as u32);
        let mut shape = Record::new(8 * cell.shape.len());
        for (axis, extent) in cell.shape.iter().enumerate() {
            shape.word(8 * axis, *extent as u64);
        }
        tables.table(&mut cells, at + offset_of!(Cell, shape), shape, cell.shape.len())?;
        cells.word(at + offset_of!(Cell, offset), image.storage.offsets[i] as u64);
        cells.word(at + offset_of!(Cell, bytes), cell.bytes as u64);
        cells.word(at + offset_of!(Cell, first), cell.first.map_or(0, |first| bits(cell.dtype, first)));
        cells.word32(at + offset_of!(Cell, begins), cell.first.is_some() as u32);
    }

    let mut entries = Record::new(size_of::<Entry>() * image.entries.len());
    for (i, (entry, code)) in image.entries.iter().zip(code).enumerate() {
        let at = i * size_of::<Entry>();
        let program = entry.program;
        tables.text(&mut entries, at + offset_of!(Entry, name), &program.name)?;
        tables.ports(&mut entries, at + offset_of!(Entry, inputs), program, &program.inputs, entry.inputs)?;
        tables.ports(&mut entries, at + offset_of!(Entry, outputs), program, &program.outputs, &[])?;
        tables.indices(&mut entries, at + offset_of!(Entry, reads), &entry.reads)?;
        tables.indices(&mut entries, at + offset_of!(Entry, writes), &entry.writes)?;
        for (level, function) in code.iter().enumerate() {
            if let Some(function) = function {
                entries.functions.push((at + offset_of!(Entry, code) + 8 * level, *function));
            }
        }
        for (share, batch) in entry.parallel_batch.iter().enumerate() {
            entries.word(at + offset_of!(Entry, parallel_batch) + 8 * share, *batch as u64);
        }
        entries.word(at + offset_of!(Entry, flops_row), entry.flops_row);
        entries.word(at + offset_of!(Entry, flops_fixed), entry.flops_fixed);
    }

    let mut model = Record::new(size_of::<Descriptor>());
    model.word(offset_of!(Descriptor, magic), abi::MAGIC);
    model.word32(offset_of!(Descriptor, abi_version), abi::ABI_VERSION);
    tables.text(&mut model, offset_of!(Descriptor, name), &image.name)?;
    model.word(offset_of!(Descriptor, max_batch), image.max_batch as u64);
    model.word(offset_of!(Descriptor, storage_bytes), image.storage.bytes as u64);
    model.word(offset_of!(Descriptor, arena_bytes), arena_bytes as u64);
    model.word(offset_of!(Descriptor, scratch_bytes), scratch_bytes as u64);
    tables.table(&mut model, offset_of!(Descriptor, cells), cells, image.cells.len())?;
    tables.table(&mut model, offset_of!(Descriptor, entries), entries, image.entries.len())?;
    tables.define(&image.symbol, Linkage::Export, model)
}

/// An element's bits, in the low bytes.
fn bits(dtype: DType, x: f64) -> u64 {
    match dtype {
        DType::F32 => (x as f32).to_bits().into(),
        DType::F64 => x.to_bits(),
        DType::I32 => (x as i32 as u32).into(),
        DType::U32 => (x as u32).into(),
        DType::U8 => (x as u8).into(),
        DType::Bool => (x != 0.0).into(),
    }
}

/// Bytes of a structure under construction, and the addresses in it.
struct Record {
    bytes: Vec<u8>,
    functions: Vec<(usize, FuncId)>,
    data: Vec<(usize, DataId)>,
}

impl Record {
    fn new(bytes: usize) -> Record {
        Record { bytes: vec![0; bytes], functions: Vec::new(), data: Vec::new() }
    }

    fn word(&mut self, at: usize, value: u64) {
        self.bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }

    fn word32(&mut self, at: usize, value: u32) {
        self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
}

/// Adds tables to a module.
struct Tables<'a, M: Module> {
    module: &'a mut M,
    prefix: String,
    count: usize,
    texts: HashMap<String, DataId>,
}

impl<M: Module> Tables<'_, M> {
    fn define(&mut self, name: &str, linkage: Linkage, record: Record) -> Result<DataId, BackendError> {
        let fail = |e| BackendError::internal(name, e);
        let id = self.module.declare_data(name, linkage, false, false).map_err(fail)?;
        let mut data = DataDescription::new();
        for (at, function) in record.functions {
            let function = self.module.declare_func_in_data(function, &mut data);
            data.write_function_addr(at as u32, function);
        }
        for (at, target) in record.data {
            let target = self.module.declare_data_in_data(target, &mut data);
            data.write_data_addr(at as u32, target, 0);
        }
        data.define(record.bytes.into());
        data.set_align(16);
        self.module.define_data(id, &data).map_err(fail)?;
        Ok(id)
    }

    /// Writes a [`Table`] of `len` elements at `at`.
    fn table(&mut self, into: &mut Record, at: usize, elements: Record, len: usize) -> Result<(), BackendError> {
        if len > 0 {
            let name = format!("{}.table{}", self.prefix, self.count);
            self.count += 1;
            let id = self.define(&name, Linkage::Local, elements)?;
            into.data.push((at + offset_of!(Table<u8>, data), id));
        }
        into.word(at + offset_of!(Table<u8>, len), len as u64);
        Ok(())
    }

    /// Writes a table of indices.
    fn indices(&mut self, into: &mut Record, at: usize, list: &[u32]) -> Result<(), BackendError> {
        let mut record = Record::new(4 * list.len());
        list.iter().enumerate().for_each(|(i, index)| record.word32(4 * i, *index));
        self.table(into, at, record, list.len())
    }

    /// Writes a text, which is in the object once however often it is named.
    fn text(&mut self, into: &mut Record, at: usize, text: &str) -> Result<(), BackendError> {
        match self.texts.get(text) {
            Some(id) => into.data.push((at + offset_of!(Table<u8>, data), *id)),
            None => {
                let record = Record { bytes: text.as_bytes().to_vec(), functions: Vec::new(), data: Vec::new() };
                self.table(into, at, record, text.len())?;
                if let Some((_, id)) = into.data.last().filter(|_| !text.is_empty()) {
                    self.texts.insert(text.to_string(), *id);
                }
            }
        }
        into.word(at + offset_of!(Table<u8>, len), text.len() as u64);
        Ok(())
    }

    fn ports(
        &mut self,
        into: &mut Record,
        at: usize,
        program: &Program,
        buffers: &[BufferId],
        declared: &[InputDecl],
    ) -> Result<(), BackendError> {
        let mut ports = Record::new(size_of::<Port>() * buffers.len());
        for (i, id) in buffers.iter().enumerate() {
            let buffer = program.buffer(*id);
            let at = i * size_of::<Port>();
            self.text(&mut ports, at + offset_of!(Port, name), &buffer.name)?;
            ports.word32(at + offset_of!(Port, dtype), buffer.dtype as u32);
            self.extents(&mut ports, at + offset_of!(Port, shape), &buffer.shape)?;
            let input = declared.get(i);
            if let Some(range) = input.and_then(|input| input.range) {
                ports.word32(at + offset_of!(Port, limited), 1);
                ports.word(at + offset_of!(Port, low), range.low as u64);
                ports.word(at + offset_of!(Port, high), range.high as u64);
            }
            if let Some(text) = input.and_then(|input| input.text.as_ref()) {
                self.text(&mut ports, at + offset_of!(Port, text), text)?;
            }
        }
        self.table(into, at, ports, buffers.len())
    }

    fn extents(&mut self, into: &mut Record, at: usize, shape: &Shape) -> Result<(), BackendError> {
        let mut extents = Record::new(size_of::<Extent>() * shape.rank());
        for (i, &Dim { scale, batch }) in shape.iter().enumerate() {
            let at = i * size_of::<Extent>();
            extents.word(at + offset_of!(Extent, scale), scale as u64);
            extents.word(at + offset_of!(Extent, batch), batch as u64);
        }
        self.table(into, at, extents, shape.rank())
    }
}
