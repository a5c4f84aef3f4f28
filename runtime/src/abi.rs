//! The binary interface between generated objects and whoever runs them.
//!
//! A compiled model exports one symbol, whose name holds that of the model: a [`Descriptor`]. Everything in it is constant data
//! or a function pointer; nothing in a generated object is mutable and nothing in it allocates. This module has no
//! dependencies, so that the compiler, the Rust runtime and the C header agree on one definition.
//!
//! # Memory
//!
//! The caller owns three blocks, each aligned to [`ALIGN`] bytes: *storage* (`storage_bytes`: every parameter and
//! state cell at its constant offset, with its first value), *arena* (`arena_bytes`: intermediate tensors; contents are undefined between
//! calls), and *scratch* (`scratch_bytes` for each thread). Inputs and outputs are dense row-major arrays whose batch
//! extent is the batch of the call.
//!
//! # Calls
//!
//! An entry point is one function that every participating thread calls with the same [`Call`], its own index and the
//! number of threads. It returns when the whole call is complete on that thread; the call is complete when all
//! threads have returned. Results do not depend on the number of threads.
//!
//! All threads of a call have the same floating-point environment: rounding to nearest, no traps, and subnormal numbers
//! flushed to zero or kept, as the user of the model chose. Callers set it up before and give the thread its own back
//! afterwards.

use core::ffi::c_void;

/// Version of every definition in this module; a loader refuses any other.
pub const ABI_VERSION: u32 = 3;
/// First field of a descriptor: `BAKELITE` in ASCII, little-endian.
pub const MAGIC: u64 = u64::from_le_bytes(*b"BAKELITE");
/// Alignment in bytes of storage, arena and scratch blocks, and of every tensor in them.
pub const ALIGN: usize = 64;
/// The names of element types; an element type is an index into this list.
pub const DTYPE_NAMES: [&str; 6] = ["f32", "f64", "i32", "u32", "u8", "bool"];
/// Bytes of one element of each type.
pub const DTYPE_SIZES: [usize; 6] = [4, 8, 4, 4, 1, 1];
/// Number of instruction set levels: baseline, x86-64-v3, x86-64-v4, neon.
pub const LEVELS: usize = 4;
/// The entry point that gives every cell its first value, from a seed.
pub const INIT: &str = "init";
/// Numbers of threads that [`Entry::parallel_batch`] tells about: 2, 4, ... 256.
pub const SHARES: usize = 8;

/// A counted array inside the object.
#[repr(C)]
pub struct Table<T> {
    pub data: *const T,
    pub len: usize,
}

impl<T> Clone for Table<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Table<T> {}

impl<T> Table<T> {
    /// The elements.
    ///
    /// # Safety
    /// The table belongs to a valid descriptor that outlives the result.
    pub unsafe fn as_slice<'a>(self) -> &'a [T] {
        if self.len == 0 {
            return &[];
        }
        // SAFETY: a table of a valid descriptor holds `len` initialised elements.
        unsafe { core::slice::from_raw_parts(self.data, self.len) }
    }
}

impl Table<u8> {
    /// The text of a name.
    ///
    /// # Safety
    /// As for [`Table::as_slice`]; names in descriptors are UTF-8.
    pub unsafe fn as_str<'a>(self) -> &'a str {
        // SAFETY: forwarded; a name of a valid descriptor is UTF-8.
        unsafe { core::str::from_utf8_unchecked(self.as_slice()) }
    }
}

/// One extent: `scale`, times the batch of the call where `batch` is 1.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    pub scale: usize,
    pub batch: usize,
}

/// What a storage cell is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum CellKind {
    /// A weight.
    Param = 0,
    /// State that predictions read, such as moving statistics.
    State = 1,
    /// State of training only, such as optimizer slots.
    Training = 2,
}

/// A named tensor in the storage block.
#[repr(C)]
pub struct Cell {
    pub name: Table<u8>,
    /// Index into [`DTYPE_NAMES`].
    pub dtype: u32,
    /// A [`CellKind`].
    pub kind: u32,
    /// 1 where the optimizer of `compile` updates it.
    pub trainable: u32,
    /// 0: row-major. Otherwise the cell is kept as column panels of this width: the logical tensor seen as a matrix
    /// `[rows, columns]` (columns = the last axis, a multiple of the width) is stored as
    /// `[columns / width, rows, width]`.
    pub panel: u32,
    /// The logical extents.
    pub shape: Table<usize>,
    /// Byte offset in the storage block.
    pub offset: usize,
    /// Bytes.
    pub bytes: usize,
    /// The bits of the value that every element has when the model is opened, in the low bytes.
    pub first: u64,
    /// 1 where `first` is a value to compute with; 0 where the cell has none until it is initialised, loaded or set.
    pub begins: u32,
    pub reserved: u32,
}

/// An argument or a result of an entry point.
#[repr(C)]
pub struct Port {
    pub name: Table<u8>,
    /// Index into [`DTYPE_NAMES`].
    pub dtype: u32,
    /// 1 for an input whose elements have to be in `low..high`, once fractions are cut off. Code relies on nothing of it;
    /// callers check it.
    pub limited: u32,
    pub shape: Table<Extent>,
    pub low: i64,
    pub high: i64,
    /// For an input that is made of text: the layer that does it, as JSON. Empty for any other.
    pub text: Table<u8>,
}

/// The machine code of an entry point; see the module's documentation.
pub type EntryFn = unsafe extern "C" fn(call: *const Call, thread: usize, threads: usize);

/// An entry point.
#[repr(C)]
pub struct Entry {
    pub name: Table<u8>,
    pub inputs: Table<Port>,
    pub outputs: Table<Port>,
    /// Indices of the cells whose values before the call matter.
    pub reads: Table<u32>,
    /// Indices of the cells that the call gives new values, all of their elements.
    pub writes: Table<u32>,
    /// The code for each level; null where the object carries none.
    pub code: [Option<EntryFn>; LEVELS],
    /// At `i`: the smallest batch from which on the build-time cost model finds `2 << i` threads faster than any power
    /// of two below; `usize::MAX` for never.
    pub parallel_batch: [usize; SHARES],
    /// Floating-point operations per row and per call.
    pub flops_row: u64,
    pub flops_fixed: u64,
}

/// How many threads a call should have, `most` at most: see [`Entry::parallel_batch`]. Where nothing between two powers
/// of two is known, all that there are share what is worth the smaller one.
pub fn threads(parallel_batch: &[usize; SHARES], batch: usize, most: usize) -> usize {
    let worth = |i: &usize| 2 << i <= most && batch >= parallel_batch[*i];
    match (0..SHARES).rev().find(worth) {
        Some(i) if most < 4 << i => most,
        Some(i) => 2 << i,
        None => 1,
    }
}

/// A compiled model.
#[repr(C)]
pub struct Descriptor {
    pub magic: u64,
    pub abi_version: u32,
    pub reserved: u32,
    pub name: Table<u8>,
    /// The largest batch of a call.
    pub max_batch: usize,
    pub storage_bytes: usize,
    pub arena_bytes: usize,
    /// Scratch bytes of one thread, a multiple of [`ALIGN`].
    pub scratch_bytes: usize,
    pub cells: Table<Cell>,
    pub entries: Table<Entry>,
}

// SAFETY: a descriptor is immutable data inside an object.
unsafe impl Sync for Descriptor {}
// SAFETY: as above; nothing in it belongs to a thread.
unsafe impl Send for Descriptor {}

/// The arguments of one call, shared by its threads.
#[repr(C)]
pub struct Call {
    /// Kernel table of the level whose code is called (`bakelite_kernels::KernelTable`).
    pub kernels: *const c_void,
    pub storage: *mut u8,
    pub arena: *mut u8,
    /// `threads * scratch_bytes` bytes.
    pub scratch: *mut u8,
    /// One pointer per input, in the entry's order.
    pub inputs: *const *const u8,
    /// One pointer per output, in the entry's order.
    pub outputs: *const *mut u8,
    /// From 1 to `max_batch`.
    pub batch: usize,
    /// Blocks until every thread of the call has called it, each with its own index, with sequentially consistent
    /// ordering of all memory accesses before and after. Never called when there is one thread.
    pub wait: unsafe extern "C" fn(barrier: *const c_void, thread: usize),
    pub barrier: *const c_void,
}

/// Whatever keeps a descriptor and its code alive: the running program for a linked object, an owner of executable
/// memory for code compiled in process.
///
/// # Safety
/// Every call of `descriptor` returns the same valid descriptor: its tables hold what they claim, names are UTF-8,
/// code follows the contracts of this module, and all of it stays valid and unchanged until the image is dropped.
pub unsafe trait Image: Send + Sync + 'static {
    /// The model.
    fn descriptor(&self) -> &Descriptor;
}

/// A descriptor that is part of the running program.
#[derive(Clone, Copy)]
pub struct Linked(&'static Descriptor);

impl Linked {
    /// Vouches for a descriptor.
    ///
    /// # Safety
    /// The descriptor was emitted by `bakelite-compiler`, or fulfils the contract of [`Image`] otherwise.
    pub const unsafe fn new(descriptor: &'static Descriptor) -> Linked {
        Linked(descriptor)
    }
}

// SAFETY: the caller of `Linked::new` vouched for the descriptor, and statics are never dropped.
unsafe impl Image for Linked {
    fn descriptor(&self) -> &Descriptor {
        self.0
    }
}
