//! Arrays of NumPy, alone and in archives.
#![no_main]

use bakelite::DType;
use bakelite_compiler::tool::npz::Npz;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), bytes).expect("room for it");
    let Ok(mut npz) = Npz::open(file.path()) else { return };
    for array in npz.arrays().to_vec() {
        let _ = npz.values(&array, DType::F32);
    }
});
