//! What a model says about itself, read from its descriptor once, checked, and owned.
//!
//! Everything after this module relies on it: cells lie inside the storage block without overlap, element types
//! exist, names are unique, and no extent overflows at the largest batch.

use std::collections::HashMap;
use std::ops::Range;

use crate::abi::{self, ALIGN, EntryFn, LEVELS, SHARES};
use crate::dtype::DType;
use crate::error::Error;
use crate::names;

pub use crate::abi::{CellKind, Extent};

/// A named tensor that a model keeps between calls.
#[derive(Clone, Debug)]
pub struct Cell {
    pub name: String,
    pub dtype: DType,
    pub kind: CellKind,
    /// Whether the optimizer of `compile` updates it.
    pub trainable: bool,
    pub shape: Vec<usize>,
    /// Number of elements.
    pub len: usize,
    /// Width of the column panels it is kept in; 0 for row-major.
    pub(crate) panel: usize,
    pub(crate) offset: usize,
    /// The bytes of every element when the model is opened; `None` where it has no value then.
    pub(crate) first: Option<[u8; 8]>,
}

impl Cell {
    /// Bytes of all elements.
    pub(crate) fn bytes(&self) -> usize {
        self.len * self.dtype.size()
    }
}

/// An argument or a result of an entry point.
#[derive(Clone, Debug)]
pub struct Port {
    pub name: String,
    pub dtype: DType,
    pub shape: Vec<Extent>,
    /// What the elements of an input have to be, their fractions cut off, where not everything will do: indices of a
    /// table, labels of classes. A call with others is refused.
    pub range: Option<Range<i64>>,
    /// The layer that makes the argument of text, as JSON.
    pub(crate) text: Option<String>,
    /// Product of the constant factors of all extents.
    scale: usize,
    /// How many extents are multiples of the batch.
    power: u32,
}

impl Port {
    /// Number of elements at a batch.
    pub fn len(&self, batch: usize) -> usize {
        match self.power {
            0 => self.scale,
            1 => self.scale * batch,
            power => self.scale * batch.pow(power),
        }
    }

    /// Elements of one row, where the first extent and no other is a multiple of the batch.
    pub fn row_len(&self) -> Option<usize> {
        (self.power == 1 && self.shape[0].batch == 1).then_some(self.scale)
    }

    /// Whether any extent is a multiple of the batch.
    pub fn is_batched(&self) -> bool {
        self.power > 0
    }

    /// Whether the argument can be made of text: see `Model::encode`, with the feature `text`.
    pub fn is_text(&self) -> bool {
        self.text.is_some()
    }

    /// The shape with the batch by name: `[batch, 28, 28]`.
    pub fn shape_text(&self) -> String {
        let extent = |e: &Extent| match (e.batch, e.scale) {
            (0, n) => n.to_string(),
            (_, 1) => "batch".to_string(),
            (_, n) => format!("{n}*batch"),
        };
        format!("[{}]", self.shape.iter().map(extent).collect::<Vec<_>>().join(", "))
    }
}

/// An entry point.
#[derive(Clone, Debug)]
pub struct Entry {
    pub name: String,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    /// Floating-point operations per row.
    pub flops_row: u64,
    /// Floating-point operations per call, whatever the batch.
    pub flops_fixed: u64,
    parallel_batch: [usize; SHARES],
    /// The cells whose values before a call matter.
    pub(crate) reads: Vec<usize>,
    /// The cells that a call gives new values.
    pub(crate) writes: Vec<usize>,
    pub(crate) code: [Option<EntryFn>; LEVELS],
}

impl Entry {
    /// The most threads that a call at a batch has, of `most`: as many as the compiler, by its estimate when it built the
    /// model, found the fastest where each of them has a processor. Whether fewer are faster is found out while the
    /// program runs: see [`Options::tune_threads`](crate::Options::tune_threads).
    pub fn threads(&self, batch: usize, most: usize) -> usize {
        abi::threads(&self.parallel_batch, batch, most)
    }
}

/// A whole model.
pub(crate) struct Signature {
    pub name: String,
    pub max_batch: usize,
    pub storage_bytes: usize,
    pub arena_bytes: usize,
    pub scratch_bytes: usize,
    pub cells: Vec<Cell>,
    pub entries: Vec<Entry>,
    cell_index: HashMap<String, usize>,
}

impl Signature {
    /// Reads and checks a descriptor, beginning with the two fields whose place never changes.
    pub fn read(descriptor: &abi::Descriptor) -> Result<Signature, Error> {
        if descriptor.magic != abi::MAGIC {
            return Err(Error::Magic { found: descriptor.magic });
        }
        if descriptor.abi_version != abi::ABI_VERSION {
            return Err(Error::AbiVersion { expected: abi::ABI_VERSION, found: descriptor.abi_version });
        }
        let name = text(descriptor.name);
        let damaged = |what: String| Error::Descriptor { model: name.clone(), what };

        // SAFETY: a descriptor of an `Image` is valid while it is borrowed.
        let (cells, entries) = unsafe { (descriptor.cells.as_slice(), descriptor.entries.as_slice()) };
        let cells = cells.iter().map(read_cell).collect::<Result<Vec<_>, _>>().map_err(damaged)?;
        if descriptor.max_batch == 0 {
            return Err(damaged("its largest batch is 0".into()));
        }
        if !descriptor.scratch_bytes.is_multiple_of(ALIGN) {
            return Err(damaged(format!("scratch of {} bytes is not aligned", descriptor.scratch_bytes)));
        }
        check_layout(&cells, descriptor.storage_bytes).map_err(damaged)?;
        let mut cell_index = HashMap::new();
        for (i, cell) in cells.iter().enumerate() {
            if cell_index.insert(cell.name.clone(), i).is_some() {
                return Err(damaged(format!("two cells are named `{}`", cell.name)));
            }
        }
        let entries = entries
            .iter()
            .map(|entry| read_entry(entry, descriptor.max_batch, cells.len()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(damaged)?;
        for (i, entry) in entries.iter().enumerate() {
            if entries[..i].iter().any(|e| e.name == entry.name) {
                return Err(damaged(format!("two entry points are named `{}`", entry.name)));
            }
        }
        Ok(Signature {
            name,
            max_batch: descriptor.max_batch,
            storage_bytes: descriptor.storage_bytes,
            arena_bytes: descriptor.arena_bytes,
            scratch_bytes: descriptor.scratch_bytes,
            cells,
            entries,
            cell_index,
        })
    }

    /// The index of an entry point.
    pub fn entry(&self, name: &str) -> Result<usize, Error> {
        self.entries.iter().position(|e| e.name == name).ok_or_else(|| self.unknown_entry(name))
    }

    /// The error of asking for an entry point that is not there.
    pub fn unknown_entry(&self, name: &str) -> Error {
        let names = || self.entries.iter().map(|e| e.name.as_str());
        let hint = match (names::nearest(name, names()), name) {
            (Some(near), _) => format!(": did you mean `{near}`?"),
            (None, "train_step" | "evaluate_step" | "reset_metrics" | "finalize") => {
                ": describe it with `m.compile(optimizer, loss, metrics)`".to_string()
            }
            (None, "predict") => ": describe it with an output, `m.output(&x)`".to_string(),
            (None, "init") => ": it was compiled without, so load weights or set them".to_string(),
            (None, _) => String::new(),
        };
        let known = Error::names(names());
        Error::UnknownEntry { model: self.name.clone(), name: name.to_string(), known, hint }
    }

    /// The place of the cell with a name.
    pub fn cell(&self, name: &str) -> Result<usize, Error> {
        self.cell_index.get(name).copied().ok_or_else(|| Error::UnknownParam {
            model: self.name.clone(),
            name: name.to_string(),
            hint: self.hint(name),
        })
    }

    /// What a mistyped name may stand for: the nearest one, those in the same layer or with the same last part, or all.
    fn hint(&self, name: &str) -> String {
        let all = || self.cells.iter().map(|c| c.name.as_str());
        if let Some(near) = names::nearest(name, all()) {
            return format!(": did you mean `{near}`?");
        }
        let parts = |name: &str| name.rsplit_once('/').map(|(a, b)| (a.to_string(), b.to_string()));
        let wanted = parts(name);
        let close = |cell: &&str| match (&wanted, parts(cell)) {
            (Some((layer, leaf)), Some((l, f))) => *layer == l || *leaf == f,
            _ => cell.contains(name),
        };
        let mut names: Vec<&str> = all().filter(close).collect();
        if names.is_empty() {
            names = all().collect();
        }
        format!(", it has {}", Error::names(names.into_iter()))
    }
}

fn text(name: abi::Table<u8>) -> String {
    // SAFETY: a name of a descriptor that an `Image` vouches for.
    unsafe { name.as_str() }.to_string()
}

fn read_dtype(index: u32, of: &str) -> Result<DType, String> {
    DType::from_index(index).ok_or_else(|| format!("`{of}` has element type {index}"))
}

fn read_cell(cell: &abi::Cell) -> Result<Cell, String> {
    let name = text(cell.name);
    let dtype = read_dtype(cell.dtype, &name)?;
    let kind = [CellKind::Param, CellKind::State, CellKind::Training]
        .into_iter()
        .find(|kind| *kind as u32 == cell.kind)
        .ok_or_else(|| format!("`{name}` is of kind {}", cell.kind))?;
    // SAFETY: as in `text`.
    let shape = unsafe { cell.shape.as_slice() }.to_vec();
    let len = shape.iter().try_fold(1usize, |n, extent| n.checked_mul(*extent));
    let bytes = len.and_then(|len| len.checked_mul(dtype.size()));
    if bytes != Some(cell.bytes) {
        return Err(format!("`{name}` is {dtype}{shape:?} in {} bytes", cell.bytes));
    }
    let panel = cell.panel as usize;
    if panel > 0 && !shape.last().is_some_and(|columns| columns.is_multiple_of(panel)) {
        return Err(format!("`{name}` of shape {shape:?} cannot have panels of {panel} columns"));
    }
    Ok(Cell {
        dtype,
        kind,
        trainable: cell.trainable != 0,
        len: cell.bytes / dtype.size(),
        shape,
        panel,
        offset: cell.offset,
        first: (cell.begins != 0).then_some(cell.first.to_le_bytes()),
        name,
    })
}

fn read_port(port: &abi::Port, max_batch: usize) -> Result<Port, String> {
    let name = text(port.name);
    let dtype = read_dtype(port.dtype, &name)?;
    // SAFETY: as in `text`.
    let shape = unsafe { port.shape.as_slice() }.to_vec();
    let overflow = || format!("`{name}` is larger than memory");
    let mut scale = 1usize;
    let mut largest = dtype.size();
    for extent in &shape {
        scale = scale.checked_mul(extent.scale).ok_or_else(overflow)?;
        let at_most = if extent.batch != 0 { extent.scale.checked_mul(max_batch) } else { Some(extent.scale) };
        largest = at_most.and_then(|n| largest.checked_mul(n)).ok_or_else(overflow)?;
    }
    let power = shape.iter().filter(|e| e.batch != 0).count() as u32;
    let range = (port.limited != 0).then_some(port.low..port.high);
    if range.as_ref().is_some_and(Range::is_empty) {
        return Err(format!("`{name}` can have no value"));
    }
    let layer = Some(text(port.text)).filter(|layer| !layer.is_empty());
    Ok(Port { dtype, shape, range, text: layer, scale, power, name })
}

fn read_entry(entry: &abi::Entry, max_batch: usize, cells: usize) -> Result<Entry, String> {
    let ports = |table: abi::Table<abi::Port>| {
        // SAFETY: as in `text`.
        unsafe { table.as_slice() }.iter().map(|p| read_port(p, max_batch)).collect::<Result<Vec<_>, _>>()
    };
    let indices = |table: abi::Table<u32>| {
        // SAFETY: as in `text`.
        let list: Vec<usize> = unsafe { table.as_slice() }.iter().map(|i| *i as usize).collect();
        match list.iter().find(|i| **i >= cells) {
            Some(i) => Err(format!("`{}` is about cell {i} of {cells}", text(entry.name))),
            None => Ok(list),
        }
    };
    Ok(Entry {
        name: text(entry.name),
        inputs: ports(entry.inputs)?,
        outputs: ports(entry.outputs)?,
        parallel_batch: entry.parallel_batch,
        flops_row: entry.flops_row,
        flops_fixed: entry.flops_fixed,
        reads: indices(entry.reads)?,
        writes: indices(entry.writes)?,
        code: entry.code,
    })
}

/// Every cell is aligned, inside the block, and disjoint from the others.
fn check_layout(cells: &[Cell], storage_bytes: usize) -> Result<(), String> {
    let mut order: Vec<&Cell> = cells.iter().collect();
    order.sort_by_key(|cell| cell.offset);
    let mut free = 0;
    for cell in order {
        let end = cell.offset.checked_add(cell.len * cell.dtype.size());
        if !cell.offset.is_multiple_of(ALIGN) || cell.offset < free || end.is_none_or(|end| end > storage_bytes) {
            return Err(format!("`{}` is misplaced at byte {} of {storage_bytes}", cell.name, cell.offset));
        }
        free = end.unwrap_or(storage_bytes);
    }
    Ok(())
}
