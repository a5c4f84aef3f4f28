//! HDF5 files of weights; the first bytes are always those of the format.
#![no_main]

mod model;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    model::load(&[b"\x89HDF\r\n\x1a\n", bytes].concat());
});
