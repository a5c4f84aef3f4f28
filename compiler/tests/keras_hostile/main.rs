//! Damaged and hostile files: an error or a model, never a panic, within bounded memory and time.
//!
//! A test binary of its own, since it counts the memory of the process.
//!
//! `BAKELITE_HOSTILE_COUNT` is about how many files are damaged, 1,500 unless set; `BAKELITE_HOSTILE_SEED` begins elsewhere.
#![cfg(feature = "cli")]

mod bounded;
mod formats;

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::io::{Cursor, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bakelite_compiler::backend::cranelift::TargetCpu;
use bakelite_compiler::compile::{self, compile};
use bakelite_compiler::diag::Diagnostics;
use bakelite_compiler::import::{KerasFile, KerasModel, load_weights};
use bakelite_compiler::jit::JitModel;
use bakelite_compiler::model::Model;
use serde_json::{Value, json};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

struct Counting;

/// Held by a test while it counts the memory of the process.
static ALONE: Mutex<()> = Mutex::new(());
static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn count(bytes: usize) {
    let now = NOW.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(now, Ordering::Relaxed);
}

// SAFETY: forwards to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: forwarded.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: forwarded.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, data: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: forwarded.
        unsafe { System.dealloc(data, layout) }
    }

    unsafe fn realloc(&self, data: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: forwarded.
        unsafe { System.realloc(data, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes and time that one file of less than a megabyte may need; time is longer for builds that are not optimised, and
/// where other tests run beside it.
const MEMORY: usize = 1 << 30;
const TIME: Duration = Duration::from_secs(if cfg!(debug_assertions) { 30 } else { 10 });
/// The most of both that was needed, in bytes and milliseconds.
static LARGEST: AtomicUsize = AtomicUsize::new(0);
static LONGEST: AtomicUsize = AtomicUsize::new(0);

/// Says how far a test went.
fn tell(what: &str, tried: usize, accepted: usize) {
    let (bytes, time) = (LARGEST.load(Ordering::Relaxed), LONGEST.load(Ordering::Relaxed));
    eprintln!("{what}: {tried} tried, {accepted} accepted; at most {} KB and {time} ms so far", bytes >> 10);
}

/// How many files of a kind to try, of which there are this many unless the environment says otherwise.
fn rounds(usual: usize) -> usize {
    let count = std::env::var("BAKELITE_HOSTILE_COUNT").map_or(1500, |count| count.parse::<usize>().unwrap());
    (usual * count).div_ceil(1500)
}

/// A small generator of numbers.
struct Chooser(u64);

impl Chooser {
    /// Numbers of a test, which the environment may begin elsewhere.
    fn new(seed: u64) -> Chooser {
        let more = std::env::var("BAKELITE_HOSTILE_SEED").map_or(0, |seed| seed.parse::<u64>().unwrap());
        Chooser((seed ^ more.wrapping_mul(0xD134_2543_DE82_EF95)) | 1)
    }

    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % below.max(1)
    }

    fn pick<'t, T>(&mut self, from: &'t [T]) -> &'t T {
        &from[self.next(from.len())]
    }
}

/// Damages bytes: cut off, flipped, overwritten with large numbers, moved, repeated.
fn damage(bytes: &mut Vec<u8>, chooser: &mut Chooser) {
    if bytes.is_empty() {
        return;
    }
    let at = chooser.next(bytes.len());
    match chooser.next(6) {
        0 => bytes.truncate(at),
        1 => (0..1 + chooser.next(8)).for_each(|_| {
            let at = chooser.next(bytes.len());
            bytes[at] ^= 1 << chooser.next(8);
        }),
        2 => {
            let number = *chooser.pick(&[u64::MAX, 1 << 63, 1 << 40, 1 << 31, u32::MAX as u64, 0]);
            let end = bytes.len().min(at + 8);
            bytes[at..end].copy_from_slice(&number.to_le_bytes()[..end - at]);
        }
        3 => {
            let end = bytes.len().min(at + chooser.next(64));
            bytes.drain(at..end);
        }
        4 => {
            let part = bytes[at..bytes.len().min(at + 1 + chooser.next(64))].to_vec();
            let to = chooser.next(bytes.len());
            bytes.splice(to..to, part);
        }
        _ => (0..64).for_each(|_| {
            let at = chooser.next(bytes.len());
            bytes[at] = chooser.next(256) as u8;
        }),
    }
}

/// Replaces some value inside a JSON value.
fn corrupt(value: &mut Value, chooser: &mut Chooser) {
    let replacement = || {
        [
            json!(null),
            json!(-1),
            json!(0),
            json!(1),
            json!(64),
            json!(65_536),
            json!(1_048_576),
            json!(1_100_000_000),
            json!(1u64 << 40),
            json!(u64::MAX),
            json!(i64::MIN),
            json!(0.5),
            json!(1e300),
            json!(-1e-300),
            json!([1u64 << 33, 1u64 << 33]),
            json!([[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]),
            json!("../../etc/passwd"),
            json!("Lambda"),
            json!([]),
            json!({}),
            json!([[["x", 0, 0]]]),
            json!({ "class_name": "Lambda", "config": { "function": { "class_name": "__lambda__", "config": { "code": "4wEAAA==" } } } }),
            json!({ "class_name": "Pickled", "config": {} }),
        ]
    };
    let inside = match value {
        Value::Object(object) if !object.is_empty() => {
            let key = object.keys().nth(chooser.next(object.len())).cloned().unwrap_or_default();
            if chooser.next(12) == 0 {
                object.remove(&key);
                return;
            }
            object.get_mut(&key)
        }
        Value::Array(items) if !items.is_empty() => {
            let at = chooser.next(items.len());
            match chooser.next(10) {
                0 => return drop(items.remove(at)),
                1 => {
                    let copy = items[at].clone();
                    return items.push(copy);
                }
                _ => items.get_mut(at),
            }
        }
        _ => None,
    };
    match inside {
        Some(inside) if chooser.next(8) > 0 => corrupt(inside, chooser),
        Some(inside) => *inside = chooser.pick(&replacement()).clone(),
        None => *value = chooser.pick(&replacement()).clone(),
    }
}

fn members(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = ZipArchive::new(Cursor::new(archive)).unwrap();
    (0..archive.len())
        .map(|i| {
            let mut member = archive.by_index(i).unwrap();
            let mut bytes = Vec::new();
            let name = member.name().unwrap().to_string();
            member.read_to_end(&mut bytes).unwrap();
            (name, bytes)
        })
        .collect()
}

fn archive(members: &[(String, Vec<u8>)], method: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        zip.start_file(name.as_str(), SimpleFileOptions::default().compression_method(method)).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// Runs something that may fail and must not do worse.
fn endure<T>(what: &str, run: impl FnOnce() -> Result<T, Diagnostics>) -> bool {
    let (before, start) = (NOW.load(Ordering::Relaxed), Instant::now());
    PEAK.store(before, Ordering::Relaxed);
    let result = catch_unwind(AssertUnwindSafe(|| match run() {
        Ok(_) => true,
        Err(diagnostics) => {
            assert!(!diagnostics.list.is_empty() && diagnostics.list.iter().all(|d| !d.message.is_empty()));
            false
        }
    }));
    let peak = PEAK.load(Ordering::Relaxed).saturating_sub(before);
    LARGEST.fetch_max(peak, Ordering::Relaxed);
    LONGEST.fetch_max(start.elapsed().as_millis() as usize, Ordering::Relaxed);
    assert!(peak < MEMORY, "{what}: {peak} bytes");
    assert!(start.elapsed() < TIME, "{what}: {:?}", start.elapsed());
    result.unwrap_or_else(|_| panic!("{what}: panicked"))
}

/// The model of a file, compiled: what damaged weights are restored into.
struct Target {
    file: KerasFile,
    model: Model,
    opened: bakelite::Model,
}

fn target(path: &Path) -> Target {
    let file = KerasFile::open(path).unwrap();
    let model = file.model().max_batch(4).build().unwrap();
    let compiled = compile(model.lower().unwrap(), &compile::Options::default()).unwrap();
    let mut opened = bakelite::Model::open(JitModel::new(&compiled, TargetCpu::Portable).unwrap()).unwrap();
    opened.init(1).unwrap();
    Target { file, model, opened }
}

#[test]
fn damaged_files_end_in_errors() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/keras_files/3.15.1");
    let mut chooser = Chooser::new(0x9E37_79B9_7F4A_7C15);
    let mut target = target(&folder.join("mlp.keras"));
    let temporary = tempfile::tempdir().unwrap();
    let safetensors = temporary.path().join("weights.safetensors");
    target.opened.save_with(&safetensors, bakelite::Contents::Training).unwrap();
    let unpack = |name: &str| members(&fs::read(folder.join(name)).unwrap()).swap_remove(0).1;
    let (weights, legacy) = (unpack("mlp.weights.h5.zip"), unpack("mlp.h5.zip"));
    let names = ["mlp", "text", "operations", "several", "attention", "cells", "siamese", "stateful"];
    let older = ["../2.15.0/older", "../2.15.0/inside"];
    let names = names.iter().chain(&older);
    let originals: Vec<Vec<u8>> = names.map(|n| fs::read(folder.join(format!("{n}.keras"))).unwrap()).collect();
    let (mut tried, mut accepted) = (0, 0);
    let mut attempt = |what: String, good: bool| {
        tried += 1;
        accepted += good as usize;
        drop(what);
    };

    // Archives as a whole.
    for round in 0..rounds(150) {
        let mut bytes = chooser.pick(&originals).clone();
        damage(&mut bytes, &mut chooser);
        let what = format!("archive {round}");
        attempt(what.clone(), endure(&what, || KerasFile::parse(&bytes)?.model().build()));
    }
    // Configurations inside of them.
    for round in 0..rounds(250) {
        let original: &Vec<u8> = chooser.pick(&originals);
        let mut parts = members(original);
        let config = parts.iter_mut().find(|(name, _)| name == "config.json").unwrap();
        let mut value: Value = serde_json::from_slice(&config.1).unwrap();
        (0..1 + chooser.next(3)).for_each(|_| corrupt(&mut value, &mut chooser));
        config.1 = value.to_string().into_bytes();
        if chooser.next(10) == 0 {
            damage(&mut config.1, &mut chooser);
        }
        let bytes = archive(&parts, CompressionMethod::Stored);
        let what = format!("configuration {round}: {value}");
        attempt(what.clone(), endure(&what, || KerasFile::parse(&bytes)?.model().build()));
    }
    // Weights inside of them, and on their own.
    for round in 0..rounds(250) {
        let mut parts = members(&originals[0]);
        let inside = parts.iter_mut().find(|(name, _)| name == "model.weights.h5").unwrap();
        damage(&mut inside.1, &mut chooser);
        let bytes = archive(&parts, CompressionMethod::Stored);
        let what = format!("weights {round}");
        let Target { model, opened, .. } = &mut target;
        attempt(what.clone(), endure(&what, || KerasFile::parse(&bytes)?.restore(model, opened)));
    }
    for (name, original) in
        [("weights.h5", &weights), ("h5", &legacy), ("safetensors", &fs::read(&safetensors).unwrap())]
    {
        for round in 0..rounds(100) {
            let mut bytes = original.clone();
            damage(&mut bytes, &mut chooser);
            let path = temporary.path().join(format!("damaged.{name}"));
            fs::write(&path, &bytes).unwrap();
            let what = format!("{name} {round}");
            let Target { model, opened, .. } = &mut target;
            attempt(what.clone(), endure(&what, || load_weights(&path, model, opened)));
            if name == "h5" {
                attempt(what.clone(), endure(&what, || KerasFile::parse(&bytes)?.model().build()));
            }
        }
    }
    assert!(tried >= 500, "{tried} files");
    tell("files", tried, accepted);
    // Bits of the numbers themselves may change; most files are refused, and some of them are not damaged in a way that
    // can be seen.
    assert!(accepted * 2 < tried, "{accepted} of {tried} are accepted");
    // After all of that the whole file still goes in.
    target.file.restore(&target.model, &mut target.opened).unwrap();
}

#[test]
fn hostile_archives_are_refused() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/keras_files/3.15.1");
    let original = members(&fs::read(folder.join("mlp.keras")).unwrap());
    let with = |name: &str, bytes: Vec<u8>| {
        let mut parts = original.clone();
        match parts.iter_mut().find(|(n, _)| n == name) {
            Some(part) => part.1 = bytes,
            None => parts.push((name.to_string(), bytes)),
        }
        parts
    };
    let refused = |what: &str, parts: &[(String, Vec<u8>)], part: &str| {
        let bytes = archive(parts, CompressionMethod::Deflated);
        let error = match KerasFile::parse(&bytes).and_then(|file| file.model().build()) {
            Ok(_) => panic!("{what} is accepted"),
            Err(error) => error.to_string(),
        };
        assert!(error.contains(part), "{what}: {error}");
        assert!(!endure(what, || KerasFile::parse(&bytes)?.model().build()));
    };
    refused("a bomb", &with("config.json", vec![b' '; 300 << 20]), "config.json");
    refused("a bomb of weights", &with("model.weights.h5", vec![0; 300 << 20]), "model.weights.h5");
    refused("a path", &with("../escape", vec![1]), "../escape");
    refused("an absolute path", &with("/etc/passwd", vec![1]), "/etc/passwd");
    refused("no weights", &original[..2], "model.weights.h5");
    refused("text that is none", &with("config.json", vec![0xff; 9]), "config.json");
    refused("weights that are none", &with("model.weights.h5", b"weights".to_vec()), "HDF5");
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    refused("a deep text", &with("config.json", deep.into_bytes()), "config.json");
    let layer = |class: &str, config: Value| {
        let layers = json!([
            { "class_name": "InputLayer", "config": { "batch_shape": [null, 2], "name": "x" } },
            { "class_name": class, "config": config },
        ]);
        json!({ "class_name": "Sequential", "config": { "name": "m", "layers": layers } }).to_string().into_bytes()
    };
    let code = json!({ "function": { "class_name": "__lambda__", "config": { "code": "4wEAAAA=" } } });
    refused("code", &with("config.json", layer("Lambda", code)), "Lambda");
    refused("a foreign class", &with("config.json", layer("os.system", json!({}))), "os.system");
    refused("a negative size", &with("config.json", layer("Dense", json!({ "units": -3 }))), "units");
    refused("a huge size", &with("config.json", layer("Dense", json!({ "units": 1u64 << 60 }))), "kernel");
    let members_of_one_name = {
        let mut bytes = archive(&with("config.jsom", b"{}".to_vec()), CompressionMethod::Stored);
        while let Some(at) = bytes.windows(11).position(|w| w == b"config.jsom") {
            bytes[at..at + 11].copy_from_slice(b"config.json");
        }
        bytes
    };
    assert!(!endure("two members of one name", || KerasFile::parse(&members_of_one_name)?.model().build()));
    for bytes in [&b""[..], b"PK", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", b"keras"] {
        assert!(!endure("a few bytes", || KerasFile::parse(bytes)?.model().build()));
    }
    assert!(!endure("a folder", || KerasFile::open(&folder)?.model().build()));
    assert!(!endure("nothing", || KerasFile::open(folder.join("nobody.keras"))?.model().build()));
    // A text of JSON on its own.
    assert!(KerasModel::parse("{\"class_name\": \"Lambda\"}").is_err());
}
