//! Archives, and whole models in HDF5.
#![no_main]

use bakelite_compiler::import::KerasFile;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(file) = KerasFile::parse(bytes) {
        let _ = file.model().build();
    }
});
