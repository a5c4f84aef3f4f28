//! HDF5 files of weights; the first bytes are always those of the format.
#![no_main]

mod model;

const MAGIC: &[u8] = b"\x89HDF\r\n\x1a\n";

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let inside = bytes.get(MAGIC.len()..).unwrap_or_default();
    model::load(&[MAGIC, inside].concat());
});
