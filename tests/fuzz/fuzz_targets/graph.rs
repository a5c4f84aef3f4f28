//! Saved graphs.
#![no_main]

use bakelite_compiler::ir::parse::parse_module;
use bakelite_compiler::ir::verify::verify_module;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(module) = parse_module(text)
        && verify_module(&module).is_ok()
    {
        // What is valid is written as it was read.
        let text = module.to_string();
        assert_eq!(parse_module(&text).map(|module| module.to_string()).ok(), Some(text));
    }
});
