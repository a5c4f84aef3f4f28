//! Descriptions of models.
#![no_main]

use bakelite_compiler::import::KerasModel;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(model) = KerasModel::parse(text) {
        let _ = model.build().and_then(|model| model.lower());
    }
});
