//! Safetensors.
#![no_main]

mod model;
mod mutate;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|bytes: &[u8]| {
    model::load(bytes);
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut choose = mutate::Chooser::new(seed);
    let new = if choose.below(4) > 0 { header(&data[..size], &mut choose) } else { None };
    new.and_then(|new| mutate::replace(data, max_size, &new)).unwrap_or_else(|| fuzzer_mutate(data, size, max_size))
});

/// Changes a value of the header, which is JSON behind its length.
fn header(bytes: &[u8], choose: &mut mutate::Chooser) -> Option<Vec<u8>> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let (header, numbers) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let header = mutate::json(header, choose)?;
    Some([&(header.len() as u64).to_le_bytes(), header.as_slice(), numbers].concat())
}
