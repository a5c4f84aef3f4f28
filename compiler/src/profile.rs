//! Where the time of an entry point goes, kernel by kernel.
//!
//! The entry point is compiled once more, with a barrier before every kernel ([`JitModel::traced`]). The profiler owns
//! that barrier, so it sees each kernel begin and the one before it end. Barriers between kernels that need none cost
//! some tens of nanoseconds, and take away what threads gain by running ahead of each other.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use bakelite::abi::{Descriptor, Image};

use crate::backend::BackendError;
use crate::compile::Compiled;
use crate::jit::JitModel;
use crate::schedule::cost;

/// What one kernel of an entry point takes in one call, all its runs together.
#[derive(Clone, PartialEq, Debug)]
pub struct KernelTime {
    pub name: String,
    /// How often it runs.
    pub repeats: usize,
    /// The least that a call spent in it.
    pub microseconds: f64,
    pub flops: f64,
    pub bytes: f64,
}

/// The times of all kernels of an entry point, in order.
#[derive(Clone, PartialEq, Debug)]
pub struct Profile {
    pub entry: String,
    pub batch: usize,
    pub threads: usize,
    pub kernels: Vec<KernelTime>,
}

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub batch: usize,
    pub threads: usize,
    /// Calls go on for this long.
    pub time: Duration,
}

/// Calls an entry point of a model with the given inputs, as bytes in the entry's order, again and again and takes the
/// time of each kernel. Storage begins as `init` leaves it, where the model has that.
pub fn profile(
    compiled: &Compiled,
    entry: &str,
    inputs: &[Vec<u8>],
    options: Options,
) -> Result<Profile, BackendError> {
    let fail = |reason: &str| BackendError::internal(format!("a profile of `{entry}`"), reason);
    let program = compiled.program(entry).ok_or_else(|| fail("no such entry point"))?;
    let Options { batch, threads, .. } = options;
    if batch == 0 || batch > program.max_batch || threads == 0 {
        return Err(fail("batch or threads out of range"));
    }
    let bytes = |id| program.buffer(id).bytes(batch);
    if inputs.len() != program.inputs.len() || inputs.iter().zip(&program.inputs).any(|(x, id)| x.len() != bytes(*id)) {
        return Err(fail("inputs of other sizes"));
    }
    let model = JitModel::traced(compiled)?;
    let mut memory = run::Memory::new(model.descriptor(), threads);
    if let Some(init) = compiled.program("init") {
        let seed: Vec<Vec<u8>> = init.inputs.iter().map(|id| vec![0; init.buffer(*id).bytes(1)]).collect();
        memory.call(&model, "init", &seed, 1, 1).ok_or_else(|| fail("no code for this machine"))?;
    }

    let sequence: Vec<usize> = program.sequence().into_iter().map(|s| s.0).collect();
    let mut best = vec![Duration::MAX; program.kernels.len()];
    let start = Instant::now();
    for round in 0.. {
        if round > 2 && start.elapsed() >= options.time {
            break;
        }
        let starts = memory.call(&model, entry, inputs, batch, threads).ok_or_else(|| fail("no code"))?;
        let mut spent: HashMap<usize, Duration> = HashMap::new();
        for (kernel, times) in sequence.iter().zip(starts.windows(2)) {
            *spent.entry(*kernel).or_default() += times[1] - times[0];
        }
        for (kernel, time) in spent {
            best[kernel] = best[kernel].min(time);
        }
    }
    let kernels = program.kernels.iter().zip(best).enumerate().map(|(k, (kernel, time))| {
        let (cost, repeats) = (cost::cost(program, kernel, batch), program.repeats(k));
        KernelTime {
            name: kernel.name.clone(),
            repeats,
            microseconds: time.as_secs_f64() * 1e6,
            flops: cost.flops * repeats as f64,
            bytes: cost.bytes * repeats as f64,
        }
    });
    Ok(Profile { entry: entry.to_string(), batch, threads, kernels: kernels.collect() })
}

impl Profile {
    /// Of all kernels together.
    pub fn microseconds(&self) -> f64 {
        self.kernels.iter().map(|k| k.microseconds).sum()
    }
}

/// A table, the slowest kernel first.
impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.microseconds();
        writeln!(f, "{}, batch {}, {} threads: {all:.1} us in kernels", self.entry, self.batch, self.threads)?;
        writeln!(f, "{:>10} {:>6} {:>6} {:>8} {:>7}  kernel", "us", "share", "runs", "GFLOP/s", "GB/s")?;
        let mut kernels: Vec<&KernelTime> = self.kernels.iter().collect();
        kernels.sort_by(|a, b| b.microseconds.total_cmp(&a.microseconds));
        for k in kernels {
            let us = k.microseconds.max(1e-3);
            let (share, flops, bytes) = (k.microseconds / all, k.flops / us / 1e3, k.bytes / us / 1e3);
            writeln!(f, "{us:>10.1} {:>5.1}% {:>6} {flops:>8.1} {bytes:>7.1}  {}", 100.0 * share, k.repeats, k.name)?;
        }
        Ok(())
    }
}

#[allow(unsafe_code, reason = "compiled code is called with memory that its descriptor asks for")]
mod run {
    use std::ffi::c_void;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Instant;

    use bakelite::abi::{self, Call};
    use bakelite_kernels::manifest::{KernelTable, Level, table};

    use super::{Descriptor, Image, JitModel};

    /// A block of memory, aligned as the interface asks.
    struct Block(Vec<Line>);

    #[repr(C, align(64))]
    #[derive(Clone, Copy)]
    struct Line([u8; abi::ALIGN]);

    const _: () = assert!(align_of::<Line>() == abi::ALIGN);

    impl Block {
        fn new(bytes: usize) -> Block {
            Block(vec![Line([0; abi::ALIGN]); bytes.div_ceil(abi::ALIGN).max(1)])
        }

        fn start(&mut self) -> *mut u8 {
            self.0.as_mut_ptr().cast()
        }
    }

    /// What a model is called with.
    pub struct Memory {
        storage: Block,
        arena: Block,
        scratch: Block,
    }

    /// Threads meet here before every kernel; the last one to arrive looks at the clock.
    struct Clock {
        threads: usize,
        arrived: AtomicUsize,
        generation: AtomicUsize,
        times: Mutex<Vec<Instant>>,
    }

    unsafe extern "C" fn meet(clock: *const c_void) {
        // SAFETY: `Memory::call` passes its clock, which outlives the call.
        let clock = unsafe { &*clock.cast::<Clock>() };
        let generation = clock.generation.load(Ordering::SeqCst);
        if clock.arrived.fetch_add(1, Ordering::SeqCst) + 1 == clock.threads {
            if let Ok(mut times) = clock.times.lock() {
                times.push(Instant::now());
            }
            clock.arrived.store(0, Ordering::SeqCst);
            clock.generation.store(generation.wrapping_add(1), Ordering::SeqCst);
        } else {
            while clock.generation.load(Ordering::SeqCst) == generation {
                std::hint::spin_loop();
            }
        }
    }

    impl Memory {
        /// For calls on so many threads at most.
        pub fn new(model: &Descriptor, threads: usize) -> Memory {
            Memory {
                storage: Block::new(model.storage_bytes),
                arena: Block::new(model.arena_bytes),
                scratch: Block::new(model.scratch_bytes.saturating_mul(threads)),
            }
        }

        /// Runs an entry point with inputs of the right sizes, and returns when each kernel began and when all was done.
        pub fn call(
            &mut self,
            model: &JitModel,
            entry: &str,
            inputs: &[Vec<u8>],
            batch: usize,
            threads: usize,
        ) -> Option<Vec<Instant>> {
            let (level, kernels) = best()?;
            // SAFETY: the descriptor and its tables are valid as long as the model.
            let entries = unsafe { model.descriptor().entries.as_slice() };
            // SAFETY: as above.
            let found = entries.iter().find(|e| unsafe { e.name.as_str() } == entry)?;
            let code = found.code[level as usize]?;
            // SAFETY: as above.
            let ports = unsafe { found.outputs.as_slice() };
            let mut outputs: Vec<Block> = Vec::new();
            for port in ports {
                // SAFETY: as above.
                let extents = unsafe { port.shape.as_slice() };
                let elements: usize =
                    extents.iter().map(|e| if e.batch == 1 { e.scale * batch } else { e.scale }).product();
                outputs.push(Block::new(elements * abi::DTYPE_SIZES[port.dtype as usize]));
            }
            let inputs: Vec<Block> = inputs.iter().map(|bytes| copied(bytes)).collect();
            let inputs: Vec<*const u8> = inputs.iter().map(|b| b.0.as_ptr().cast()).collect();
            let outputs: Vec<*mut u8> = outputs.iter_mut().map(Block::start).collect();
            let (arrived, generation) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let clock = Clock { threads, arrived, generation, times: Mutex::default() };
            let call = Call {
                kernels: std::ptr::from_ref(kernels).cast(),
                storage: self.storage.start(),
                arena: self.arena.start(),
                scratch: self.scratch.start(),
                inputs: inputs.as_ptr(),
                outputs: outputs.as_ptr(),
                batch,
                wait: meet,
                barrier: (&raw const clock).cast(),
            };
            let shared = Shared(&call);
            std::thread::scope(|scope| {
                for thread in 1..threads {
                    let shared = &shared;
                    // SAFETY: the memory is what the descriptor asks for, and each thread has an index of its own.
                    scope.spawn(move || unsafe { code(shared.0, thread, threads) });
                }
                // SAFETY: as above.
                unsafe { code(shared.0, 0, threads) };
            });
            let mut times = clock.times.into_inner().ok()?;
            times.push(Instant::now());
            Some(times)
        }
    }

    /// A call whose threads share it.
    struct Shared<'a>(&'a Call);

    // SAFETY: a call is made to be read by several threads, whose code synchronises what it points to.
    unsafe impl Sync for Shared<'_> {}

    fn copied(bytes: &[u8]) -> Block {
        let mut block = Block::new(bytes.len());
        for (line, chunk) in block.0.iter_mut().zip(bytes.chunks(abi::ALIGN)) {
            line.0[..chunk.len()].copy_from_slice(chunk);
        }
        block
    }

    /// The strongest level of this machine and its kernels.
    fn best() -> Option<(Level, &'static KernelTable)> {
        Level::ALL.into_iter().rev().find_map(|level| Some((level, table(level)?)))
    }
}
