//! Runs the CUDA text on the host: compiles it with g++ against the emulation headers beside this file, and calls its
//! entry points in a process of their own.

use std::fmt::Write as _;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use bakelite_compiler::backend::cuda::{Arg, CudaEntry, CudaModule, Launch};

const HEADERS: [(&str, &str); 3] = [
    ("device.hpp", include_str!("device.hpp")),
    ("blocks.hpp", include_str!("blocks.hpp")),
    ("driver.hpp", include_str!("driver.hpp")),
];

/// Products are not fused, as in the interpreter, and what C++ leaves undefined traps.
const FLAGS: [&str; 10] = [
    "-std=c++17",
    "-O1",
    "-Wall",
    "-Werror",
    // A sum over no elements reads none of its arguments.
    "-Wno-unused-variable",
    // Shapes are literals, so that some comparisons are known.
    "-Wno-tautological-compare",
    "-ffp-contract=off",
    "-fno-strict-aliasing",
    "-fsanitize=signed-integer-overflow,shift,integer-divide-by-zero,float-cast-overflow,alignment,bool,bounds",
    "-fsanitize-undefined-trap-on-error",
];

/// The order in which the threads of a block, and the blocks of a grid, run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    Forwards,
    Backwards,
    Shuffled(u32),
}

impl Order {
    /// One of each kind.
    pub const ALL: [Order; 3] = [Order::Forwards, Order::Backwards, Order::Shuffled(7)];

    fn word(self) -> u64 {
        match self {
            Order::Forwards => 0,
            Order::Backwards => 1,
            Order::Shuffled(seed) => 2 + seed as u64,
        }
    }
}

/// Whether there is a g++; the reason for skipping is printed where there is none.
pub fn available() -> bool {
    let found = Command::new("g++").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        eprintln!("skipped: the host emulation of CUDA needs g++");
    }
    found
}

/// A module compiled for the host.
pub struct HostModule {
    module: CudaModule,
    program: PathBuf,
    /// The symbols of the module's kernels, in the program's order.
    symbols: Vec<String>,
}

impl HostModule {
    /// Compiles a module, or finds the program that an earlier run made of the same text. `None`, with the reason
    /// printed, where there is no g++.
    ///
    /// # Panics
    /// If g++ refuses the text.
    pub fn build(module: &CudaModule) -> Option<HostModule> {
        if !available() {
            return None;
        }
        let launches = module.entries.iter().flat_map(|e| &e.launches);
        let main = main_text(&launches.clone().collect::<Vec<_>>());
        let symbols = launches.map(|l| l.symbol.clone()).collect();

        let mut hasher = DefaultHasher::new();
        (&module.source, &main, HEADERS, FLAGS).hash(&mut hasher);
        // Cargo names a folder for integration tests only.
        let parent = option_env!("CARGO_TARGET_TMPDIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let folder = parent.join(format!("cuda_host-{:016x}", hasher.finish()));
        let program = folder.join("program");
        if !program.exists() {
            fs::create_dir_all(&folder).expect("the folder for host programs is writable");
            for (name, text) in HEADERS.into_iter().chain([("module.cu", module.source.as_str()), ("main.cpp", &main)])
            {
                fs::write(folder.join(name), text).expect("the folder for host programs is writable");
            }
            // Tests of one text may run at the same time: each builds its own and moves it into place.
            static BUILDS: AtomicU32 = AtomicU32::new(0);
            let number = BUILDS.fetch_add(1, Ordering::Relaxed);
            let fresh = folder.join(format!("program-{}-{number}", std::process::id()));
            let made = Command::new("g++")
                .args(FLAGS)
                .arg("-o")
                .arg(&fresh)
                .arg("main.cpp")
                .current_dir(&folder)
                .output()
                .expect("g++ starts");
            let log = String::from_utf8_lossy(&made.stderr);
            assert!(made.status.success(), "g++ refuses {}:\n{log}", folder.join("module.cu").display());
            fs::rename(&fresh, &program).expect("the folder for host programs is writable");
        }
        Some(HostModule { module: module.clone(), program, symbols })
    }

    /// Calls an entry point: storage is updated, the outputs are returned. All arrays are bytes as the ABI lays them
    /// out.
    pub fn run(
        &self,
        entry: &str,
        inputs: &[Vec<u8>],
        storage: &mut Vec<u8>,
        batch: usize,
        order: Order,
    ) -> Result<Vec<Vec<u8>>, String> {
        let entry = self.module.entry(entry).ok_or_else(|| format!("no entry point {entry}"))?;
        check_arguments(entry, inputs, storage.len(), self.module.storage_bytes, batch)?;
        let job = self.job(entry, inputs, storage, batch, order);
        let mut child = Command::new(&self.program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| e.to_string())?;
        // A child that fails early stops reading; its own message says more than the broken pipe.
        let sent = child.stdin.take().expect("the input is piped").write_all(&job);
        let result = child.wait_with_output().map_err(|e| e.to_string())?;
        if !result.status.success() {
            return Err(format!("{}{}", String::from_utf8_lossy(&result.stderr), result.status));
        }
        sent.map_err(|e| e.to_string())?;

        let mut rest = result.stdout.as_slice();
        let mut take = |bytes: usize| {
            let (head, tail) = rest.split_at_checked(bytes).ok_or("a result that ends early")?;
            rest = tail;
            Ok::<_, String>(head.to_vec())
        };
        *storage = take(storage.len())?;
        entry.outputs.iter().map(|port| take(port.bytes(batch))).collect()
    }

    fn job(&self, entry: &CudaEntry, inputs: &[Vec<u8>], storage: &[u8], batch: usize, order: Order) -> Vec<u8> {
        let mut words = vec![batch as u64, order.word(), storage.len() as u64, entry.arena_bytes as u64];
        words.push(inputs.len() as u64);
        words.extend(inputs.iter().map(|i| i.len() as u64));
        words.push(entry.outputs.len() as u64);
        words.extend(entry.outputs.iter().map(|port| port.bytes(batch) as u64));
        let mut launches = entry.sequence();
        launches.retain(|(launch, _)| launch.grid(batch) > 0);
        words.extend([entry.loops.len() as u64, launches.len() as u64]);
        for (launch, steps) in launches {
            let kernel = self.symbols.iter().position(|s| *s == launch.symbol).expect("every launch has a kernel");
            let sizes = [kernel, launch.grid(batch), launch.block(), launch.shared, launch.has_barriers() as usize];
            words.extend(sizes.iter().chain(&steps).map(|n| *n as u64));
        }
        let mut job: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
        job.extend_from_slice(storage);
        job.extend(inputs.iter().flatten());
        job
    }
}

fn check_arguments(
    entry: &CudaEntry,
    inputs: &[Vec<u8>],
    storage: usize,
    storage_bytes: usize,
    batch: usize,
) -> Result<(), String> {
    if batch == 0 || batch > entry.max_batch {
        return Err(format!("batch {batch} is not in 1..={}", entry.max_batch));
    }
    if storage != storage_bytes {
        return Err(format!("{storage} bytes of storage where the module has {storage_bytes}"));
    }
    let wanted: Vec<usize> = entry.inputs.iter().map(|port| port.bytes(batch)).collect();
    let got: Vec<usize> = inputs.iter().map(Vec::len).collect();
    if wanted == got { Ok(()) } else { Err(format!("inputs of {got:?} bytes where {wanted:?} are expected")) }
}

/// The program around a module: a table of its kernels, each called with the arguments of its launch.
fn main_text(launches: &[&Launch]) -> String {
    let mut text = String::from(
        "#include \"device.hpp\"\n\n#include \"module.cu\"\n\n#include \"driver.hpp\"\n\nstatic const host::Kernel kernels[] = {\n",
    );
    for launch in launches {
        let args: Vec<String> = launch.args.iter().map(|arg| argument(*arg)).collect();
        let (symbol, args) = (&launch.symbol, args.join(", "));
        writeln!(text, "    {{\"{symbol}\", [](const host::Call& call) {{ {symbol}({args}); }}}},").unwrap();
    }
    text.push_str("    {nullptr, nullptr},\n};\n\n");
    writeln!(text, "int main() {{ return host::serve(kernels, {}); }}", launches.len()).unwrap();
    text
}

fn argument(arg: Arg) -> String {
    match arg {
        Arg::Batch => "call.batch".into(),
        Arg::Storage => "call.storage".into(),
        Arg::Arena => "call.arena".into(),
        Arg::Input(i) => format!("host::Pointer{{call.inputs[{i}]}}"),
        Arg::Output(i) => format!("host::Pointer{{call.outputs[{i}]}}"),
        Arg::Step(i) => format!("call.steps[{i}]"),
    }
}
