//! Descriptions of models.
#![no_main]

mod mutate;

use bakelite_compiler::import::KerasModel;
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|text: &str| {
    if let Ok(model) = KerasModel::parse(text) {
        let _ = model.build().and_then(|model| model.lower());
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut choose = mutate::Chooser::new(seed);
    let new = if choose.below(8) > 0 { mutate::json(&data[..size], &mut choose) } else { None };
    new.and_then(|new| mutate::replace(data, max_size, &new)).unwrap_or_else(|| fuzzer_mutate(data, size, max_size))
});
