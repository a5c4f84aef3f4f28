//! The generated text itself, for review: of programs, and of the CUDA C++ for them.

use bakelite_compiler::backend::cuda::PRELUDE;
use bakelite_compiler::schedule::program::Program;

use super::{print, programs};

/// Compares a text with a file. `BAKELITE_BLESS=1` rewrites the file.
fn check_snapshot(file: &str, text: &str) {
    let path = format!("{}/tests/generated/{file}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("BAKELITE_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let want = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(text == want, "{path} differs; look at this text, and bless it with BAKELITE_BLESS=1:\n{text}");
}

/// The texts of a program; that of the CUDA module without the prelude.
fn check(program: &Program) {
    check_snapshot(&format!("{}.program", program.name), &program.to_string());
    let (module, _) = print(program);
    let text = module.source.strip_prefix(PRELUDE).expect("a module starts with the prelude").trim_start();
    check_snapshot(&format!("{}.cu", program.name), text);
}

#[test]
fn texts_are_as_reviewed() {
    check(&programs::dense(128, 784, 512));
    check(&programs::softmax(128, 100));
    check(&programs::embedding(32, 1000, 64));
    check(&programs::momentum(4096));
}
