//! Archives, and whole models in HDF5.
#![no_main]

mod mutate;

use bakelite_compiler::import::KerasFile;
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(file) = KerasFile::parse(bytes) {
        let _ = file.model().build();
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut choose = mutate::Chooser::new(seed);
    let new = if choose.below(4) > 0 { mutate::archive(&data[..size], &mut choose) } else { None };
    new.and_then(|new| mutate::replace(data, max_size, &new)).unwrap_or_else(|| fuzzer_mutate(data, size, max_size))
});
