//! The generated text itself, for review.

use bakelite_compiler::backend::cuda::PRELUDE;
use bakelite_compiler::schedule::program::Program;

use super::{print, programs};

/// Compares the text of a program, without the prelude, with a file. `BAKELITE_BLESS=1` rewrites the file.
fn check_snapshot(program: &Program) {
    let (module, _) = print(program);
    let text = module.source.strip_prefix(PRELUDE).expect("a module starts with the prelude").trim_start();
    let path = format!("{}/tests/generated/{}.cu", env!("CARGO_MANIFEST_DIR"), program.name);
    if std::env::var_os("BAKELITE_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let want = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(text == want, "{path} differs; look at this text, and bless it with BAKELITE_BLESS=1:\n{text}");
}

#[test]
fn texts_are_as_reviewed() {
    check_snapshot(&programs::dense(128, 784, 512));
    check_snapshot(&programs::softmax(128, 100));
    check_snapshot(&programs::embedding(32, 1000, 64));
    check_snapshot(&programs::momentum(4096));
}
