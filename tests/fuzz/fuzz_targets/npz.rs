//! Arrays of NumPy, alone and in archives.
#![no_main]

mod mutate;

use bakelite::DType;
use bakelite_compiler::tool::npz::Npz;
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|bytes: &[u8]| {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), bytes).expect("room for it");
    let Ok(mut npz) = Npz::open(file.path()) else { return };
    for array in npz.arrays().to_vec() {
        let _ = npz.values(&array, DType::F32);
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut choose = mutate::Chooser::new(seed);
    let new = if choose.below(4) > 0 { mutate::archive(&data[..size], &mut choose) } else { None };
    new.and_then(|new| mutate::replace(data, max_size, &new)).unwrap_or_else(|| fuzzer_mutate(data, size, max_size))
});
