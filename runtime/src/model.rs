//! A compiled model with its memory: opening one, and calling its entry points.

use std::fmt;
use std::ptr;
use std::sync::Arc;
use std::time::Instant;

use bakelite_kernels::manifest::KernelTable;

use crate::abi::{self, EntryFn, Image};
use crate::dtype::{DType, Input, Output};
use crate::environment::{self, Subnormals};
use crate::error::Error;
use crate::level::{self, Level};
use crate::memory::Block;
use crate::params::{Param, write_bytes};
use crate::pool::{MAX_THREADS, Pool, available_threads, wait_alone};
use crate::range;
use crate::signature::{Entry, Port, Signature};
use crate::tempo::Tempo;
#[cfg(feature = "text")]
use crate::text::Texts;

/// How to open a model.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    threads: Option<usize>,
    tune_threads: bool,
    level: Option<Level>,
    subnormals: Subnormals,
}

impl Default for Options {
    fn default() -> Options {
        Options { threads: None, tune_threads: true, level: None, subnormals: Subnormals::default() }
    }
}

impl Options {
    /// At most as many threads as there are processors, the strongest level that this CPU executes, unless the
    /// environment variable [`level::LEVEL_VARIABLE`] forces another, and no subnormal numbers.
    pub fn new() -> Options {
        Options::default()
    }

    /// The most threads of a call, from 1 to 1024, also where there are fewer processors: opening fails for any other
    /// number. A call has fewer where that is faster: see [`Options::tune_threads`]. It never changes a result.
    pub fn threads(mut self, threads: usize) -> Options {
        self.threads = Some(threads);
        self
    }

    /// Whether calls that may be worth several threads, by [`Entry::threads`], are timed, so that the fastest number of
    /// threads is found while the program runs, as it does unless told otherwise here. A few calls in a thousand then
    /// have another number to compare. Otherwise calls have the number of [`Entry::threads`], and all calls of one entry
    /// point and batch the same.
    pub fn tune_threads(mut self, tune: bool) -> Options {
        self.tune_threads = tune;
        self
    }

    /// Forces a level; opening fails where the CPU or the object lacks it.
    pub fn level(mut self, level: Level) -> Options {
        self.level = Some(level);
        self
    }

    /// What calls do with subnormal numbers: flush them to zero, unless told otherwise here.
    pub fn subnormals(mut self, subnormals: Subnormals) -> Options {
        self.subnormals = subnormals;
        self
    }
}

/// Code and constant data, shared by the forks of a model.
pub(crate) struct Program {
    pub signature: Signature,
    level: Level,
    kernels: &'static KernelTable,
    /// The code of each entry point at the chosen level.
    code: Vec<EntryFn>,
    /// Keeps the code alive.
    _image: Box<dyn Image>,
}

#[cfg(feature = "fit")]
impl Program {
    /// The entry point with this name.
    pub fn entry(&self, name: &str) -> Result<(EntryId, &Entry), Error> {
        let index = self.signature.entry(name)?;
        Ok((EntryId(index), &self.signature.entries[index]))
    }
}

/// Names an entry point of one model in calls; see [`Model::entry`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct EntryId(usize);

impl EntryId {
    /// The entry point at this place in the descriptor.
    pub const fn new(index: usize) -> EntryId {
        EntryId(index)
    }
}

/// A compiled model: its code, its parameters and state, and the memory that calls work in.
///
/// All memory is allocated when the model is opened, and worker threads start with the first call that uses them;
/// calls allocate nothing. A model is used by one thread at a time and can move between threads; [`Model::fork`]
/// makes an independent one.
///
/// Weights have no value until `init` has run, or they have been loaded or set; a call that would compute with one fails
/// with [`Error::NoValue`]. The state of optimizers, metrics and random layers, and moving statistics, have their first
/// values from the beginning, so that training can start from loaded weights.
pub struct Model {
    storage: Block,
    values: Given,
    arena: Block,
    scratch: Block,
    threads: usize,
    /// None where the estimate decides alone.
    tempo: Option<Tempo>,
    subnormals: Subnormals,
    pool: Option<Pool>,
    arguments: Arguments,
    #[cfg(feature = "text")]
    texts: Texts,
    program: Arc<Program>,
}

/// Which cells have a value.
#[derive(Clone)]
struct Given {
    cells: Vec<bool>,
    /// How many have none.
    missing: usize,
}

impl Given {
    /// Those that begin with one.
    fn first(signature: &Signature) -> Given {
        let cells: Vec<bool> = signature.cells.iter().map(|cell| cell.first.is_some()).collect();
        Given { missing: cells.iter().filter(|given| !**given).count(), cells }
    }

    fn mark(&mut self, cell: usize) {
        self.missing -= !std::mem::replace(&mut self.cells[cell], true) as usize;
    }
}

/// The pointer arrays of a call, with room for the entry point that has the most.
struct Arguments {
    inputs: Vec<*const u8>,
    outputs: Vec<*mut u8>,
}

// SAFETY: the pointers are read only during the call that wrote them.
unsafe impl Send for Arguments {}
// SAFETY: as above; a shared reference reads none of them.
unsafe impl Sync for Arguments {}

impl Model {
    /// Opens a model with the default [`Options`].
    pub fn open(image: impl Image) -> Result<Model, Error> {
        Model::open_with(image, Options::new())
    }

    /// Opens a model: checks the descriptor, chooses the level, and allocates all memory.
    pub fn open_with(image: impl Image, options: Options) -> Result<Model, Error> {
        let signature = Signature::read(image.descriptor())?;
        let carried: Vec<Level> = Level::ALL
            .into_iter()
            .filter(|level| signature.entries.iter().all(|entry| entry.code[*level as usize].is_some()))
            .collect();
        let forced = match options.level {
            Some(level) => Some(level),
            None => level::from_environment()?,
        };
        let level = level::choose(&signature.name, &carried, forced)?;
        let code = signature.entries.iter().filter_map(|entry| entry.code[level as usize]).collect();
        let kernels = level::kernels(level).ok_or(Error::UnsupportedLevel { level })?;
        let program = Program { signature, level, kernels, code, _image: Box::new(image) };
        Model::with_program(Arc::new(program), options)
    }

    fn with_program(program: Arc<Program>, options: Options) -> Result<Model, Error> {
        let s = &program.signature;
        let threads = options.threads.unwrap_or_else(available_threads);
        let most = |ports: fn(&Entry) -> usize| s.entries.iter().map(ports).max().unwrap_or(0);
        if !(1..=MAX_THREADS).contains(&threads) {
            return Err(Error::ThreadCount { found: threads, max: MAX_THREADS });
        }
        let storage = Block::zeroed(s.storage_bytes, "parameters")?;
        for cell in &s.cells {
            let Some(first) = cell.first.filter(|first| *first != [0; 8]) else { continue };
            // SAFETY: the signature proved that the cell lies inside the storage block, of which there is no other user.
            let bytes = unsafe { std::slice::from_raw_parts_mut(storage.as_ptr().add(cell.offset), cell.bytes()) };
            let element = &first[..cell.dtype.size()];
            bytes.chunks_exact_mut(element.len()).for_each(|to| to.copy_from_slice(element));
        }
        Ok(Model {
            storage,
            values: Given::first(s),
            arena: Block::new(s.arena_bytes, "arena")?,
            scratch: scratch(s, threads)?,
            threads,
            tempo: options.tune_threads.then(|| Tempo::new(s.entries.len(), s.max_batch)),
            subnormals: options.subnormals,
            pool: None,
            arguments: Arguments {
                inputs: Vec::with_capacity(most(|e| e.inputs.len())),
                outputs: Vec::with_capacity(most(|e| e.outputs.len())),
            },
            #[cfg(feature = "text")]
            texts: Texts::read(s)?,
            program,
        })
    }

    /// An independent model with the same code and a copy of all parameters and state.
    pub fn fork(&self) -> Result<Model, Error> {
        let options = Options {
            threads: Some(self.threads),
            tune_threads: self.tempo.is_some(),
            level: None,
            subnormals: self.subnormals,
        };
        let mut fork = Model::with_program(self.program.clone(), options)?;
        // SAFETY: both blocks have `storage_bytes` bytes and are distinct.
        unsafe {
            ptr::copy_nonoverlapping(self.storage.as_ptr(), fork.storage.as_ptr(), self.signature().storage_bytes)
        };
        fork.values = self.values.clone();
        #[cfg(feature = "text")]
        {
            fork.texts = self.texts.clone();
        }
        Ok(fork)
    }

    /// The name that the model was compiled under.
    pub fn name(&self) -> &str {
        &self.signature().name
    }

    /// The most rows of a call.
    pub fn max_batch(&self) -> usize {
        self.signature().max_batch
    }

    /// The instruction set level that the model runs at.
    pub fn level(&self) -> Level {
        self.program.level
    }

    /// Bytes of parameters and state, and of the arena that calls work in.
    pub fn memory(&self) -> (usize, usize) {
        (self.signature().storage_bytes, self.signature().arena_bytes)
    }

    /// The most threads of a call.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// What calls do with subnormal numbers.
    pub fn subnormals(&self) -> Subnormals {
        self.subnormals
    }

    /// Changes the most threads of a call, from 1 to 1024: see [`Options::threads`].
    ///
    /// # Errors
    /// [`Error::ThreadCount`] for any number but 1 to 1024, [`Error::OutOfMemory`] without memory for their scratch.
    pub fn set_threads(&mut self, threads: usize) -> Result<(), Error> {
        if !(1..=MAX_THREADS).contains(&threads) {
            return Err(Error::ThreadCount { found: threads, max: MAX_THREADS });
        }
        if threads != self.threads {
            self.scratch = scratch(self.signature(), threads)?;
            self.threads = threads;
            self.pool = None;
            if let Some(tempo) = &mut self.tempo {
                *tempo = Tempo::new(self.program.signature.entries.len(), self.program.signature.max_batch);
            }
        }
        Ok(())
    }

    /// Every entry point, in the order of their ids.
    pub fn entries(&self) -> &[Entry] {
        &self.signature().entries
    }

    /// The entry point with this name.
    pub fn entry(&self, name: &str) -> Result<EntryId, Error> {
        self.signature().entry(name).map(EntryId)
    }

    /// Sets every parameter and state from a seed: the entry point [`abi::INIT`].
    pub fn init(&mut self, seed: u64) -> Result<(), Error> {
        let entry = self.entry(abi::INIT)?;
        let words = [seed as u32, (seed >> 32) as u32];
        self.call(entry, &[Input::new(&words)], &mut [], 1)
    }

    /// Calls an entry point. Inputs and outputs come in its order, and their lengths are those of their shapes at
    /// this batch. The batch is 1 for an entry point without batched shapes.
    ///
    /// # Errors
    /// Arguments that do not fit: [`Error::Batch`], [`Error::ArgumentCount`], [`Error::DType`], [`Error::Length`],
    /// [`Error::Index`]. [`Error::NoValue`] where the entry point computes with parameters that were never given one.
    pub fn call(
        &mut self,
        entry: EntryId,
        inputs: &[Input<'_>],
        outputs: &mut [Output<'_>],
        batch: usize,
    ) -> Result<(), Error> {
        self.call_each(entry, inputs.iter().copied(), outputs.iter_mut().map(Output::reborrow), batch)
    }

    /// Calls the entry point `predict`.
    pub fn predict_into(
        &mut self,
        batch: usize,
        inputs: &[Input<'_>],
        outputs: &mut [Output<'_>],
    ) -> Result<(), Error> {
        let entry = self.entry("predict")?;
        self.call(entry, inputs, outputs, batch)
    }

    /// [`Model::call`] for arguments that are made one by one.
    #[inline]
    pub(crate) fn call_each<'a>(
        &mut self,
        entry: EntryId,
        inputs: impl ExactSizeIterator<Item = Input<'a>>,
        outputs: impl ExactSizeIterator<Item = Output<'a>>,
        batch: usize,
    ) -> Result<(), Error> {
        let program = &*self.program;
        let signature = &program.signature;
        let Some(shape) = signature.entries.get(entry.0) else {
            return Err(signature.unknown_entry(&format!("#{}", entry.0)));
        };
        if batch == 0 || batch > signature.max_batch {
            return Err(Error::Batch { entry: shape.name.clone(), found: batch, max: signature.max_batch });
        }
        if self.values.missing > 0 && !shape.reads.iter().all(|cell| self.values.cells[*cell]) {
            let reads = shape.reads.iter().map(|cell| self.param_at(*cell)).collect::<Vec<_>>();
            self.have_values(reads.iter(), || format!("`{}`", shape.name))?;
        }
        check_count(shape, "input", shape.inputs.len(), inputs.len())?;
        check_count(shape, "output", shape.outputs.len(), outputs.len())?;
        self.arguments.inputs.clear();
        for (port, input) in shape.inputs.iter().zip(inputs) {
            check_port(shape, "input", port, input.dtype, input.len, batch)?;
            range::check(port, input, || format!("input `{}` of `{}`", port.name, shape.name))?;
            self.arguments.inputs.push(input.data);
        }
        self.arguments.outputs.clear();
        for (port, output) in shape.outputs.iter().zip(outputs) {
            check_port(shape, "output", port, output.dtype, output.len, batch)?;
            self.arguments.outputs.push(output.data);
        }

        let mut call = abi::Call {
            kernels: ptr::from_ref(program.kernels).cast(),
            storage: self.storage.as_ptr(),
            arena: self.arena.as_ptr(),
            scratch: self.scratch.as_ptr(),
            inputs: self.arguments.inputs.as_ptr(),
            outputs: self.arguments.outputs.as_ptr(),
            batch,
            wait: wait_alone,
            barrier: ptr::null(),
        };
        let (code, subnormals) = (program.code[entry.0], self.subnormals);
        let most = shape.threads(batch, self.threads);
        let mut choice = match &mut self.tempo {
            Some(tempo) if most > 1 => Some((tempo.choice(entry.0, batch), Instant::now())),
            _ => None,
        };
        let threads = choice.as_ref().map_or(most, |(choice, _)| choice.threads(most));
        if threads == 1 {
            // SAFETY: the descriptor is valid, its code is executable here, and the call has what it asks for.
            environment::with(subnormals, || unsafe { code(&call, 0, 1) });
        } else {
            let pool = match &mut self.pool {
                Some(pool) if pool.is_alive() => pool,
                none => none.insert(Pool::new(self.threads)?),
            };
            pool.start(threads)?;
            (call.wait, call.barrier) = pool.barrier();
            // SAFETY: as above; there is scratch for each thread of the pool, and the barrier is the pool's.
            unsafe { pool.run(threads, code, &call, subnormals) };
        }
        if let Some((choice, start)) = &mut choice {
            choice.took(most, start.elapsed());
        }
        self.wrote(entry.0);
        Ok(())
    }

    /// Notes that a call gave cells their values.
    #[inline]
    fn wrote(&mut self, entry: usize) {
        if self.values.missing > 0 {
            let program = self.program.clone();
            program.signature.entries[entry].writes.iter().for_each(|cell| self.values.mark(*cell));
        }
    }

    /// Fails where any of some cells has no value yet.
    pub(crate) fn have_values<'p>(
        &self,
        params: impl Iterator<Item = &'p Param<'p>>,
        what: impl FnOnce() -> String,
    ) -> Result<(), Error> {
        let without: Vec<&str> = params.filter(|param| !param.has_value()).map(|param| param.name()).collect();
        if without.is_empty() {
            return Ok(());
        }
        Err(Error::NoValue { what: what(), params: Error::names(without.iter().copied()), count: without.len() })
    }

    pub(crate) fn signature(&self) -> &Signature {
        &self.program.signature
    }

    /// The layers that make inputs of text.
    #[cfg(feature = "text")]
    pub(crate) fn texts(&self) -> &Texts {
        &self.texts
    }

    #[cfg(feature = "text")]
    pub(crate) fn texts_mut(&mut self) -> &mut Texts {
        &mut self.texts
    }

    /// The program apart from the model, for those who look at it while the model is called.
    #[cfg(feature = "fit")]
    pub(crate) fn program(&self) -> Arc<Program> {
        self.program.clone()
    }

    /// The cell at a place.
    pub(crate) fn param_at(&self, index: usize) -> Param<'_> {
        let cell = &self.signature().cells[index];
        // SAFETY: the signature proved that the cell lies inside the storage block, which is initialised; no call
        // runs while the model is borrowed.
        let data = unsafe { std::slice::from_raw_parts(self.storage.as_ptr().add(cell.offset), cell.bytes()) };
        Param::new(cell, data, self.values.cells[index])
    }

    /// Overwrites the cell at a place with bytes in logical order, as many as it has and valid for its element type.
    pub(crate) fn overwrite(&mut self, index: usize, from: &[u8]) {
        let cell = &self.program.signature.cells[index];
        // SAFETY: as above, with the model borrowed exclusively.
        let data = unsafe { std::slice::from_raw_parts_mut(self.storage.as_ptr().add(cell.offset), cell.bytes()) };
        write_bytes(cell, data, from);
        self.values.mark(index);
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model")
            .field("name", &self.name())
            .field("level", &self.level())
            .field("threads", &self.threads)
            .field("max_batch", &self.max_batch())
            .field("entries", &self.entries().iter().map(|e| &e.name).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

fn scratch(signature: &Signature, threads: usize) -> Result<Block, Error> {
    Block::new(signature.scratch_bytes.saturating_mul(threads), "scratch of the threads")
}

fn check_count(entry: &Entry, kind: &'static str, expected: usize, found: usize) -> Result<(), Error> {
    if expected == found {
        return Ok(());
    }
    Err(Error::ArgumentCount { entry: entry.name.clone(), kind, expected, found })
}

#[inline]
fn check_port(entry: &Entry, kind: &str, port: &Port, dtype: DType, len: usize, batch: usize) -> Result<(), Error> {
    let expected = port.len(batch);
    if dtype == port.dtype && len == expected {
        return Ok(());
    }
    Err(mismatch(entry, kind, port, dtype, len, batch))
}

#[cold]
fn mismatch(entry: &Entry, kind: &str, port: &Port, dtype: DType, len: usize, batch: usize) -> Error {
    let what = format!("{kind} `{}` of `{}`", port.name, entry.name);
    if dtype != port.dtype {
        return Error::DType { what, expected: port.dtype, found: dtype };
    }
    let expected = port.len(batch);
    Error::Length { what, shape: port.shape_text(), batch: port.is_batched().then_some(batch), expected, found: len }
}
