//! The texts for models with usual and unusual names; what rustfmt, rustc and a C compiler say about them.

use std::path::{Path, PathBuf};
use std::process::Command;

use bakelite::abi::{self, CellKind};

use super::bindings::{CellInterface, EntryInterface, Interface, PortInterface, TextPort, rust, symbol};
use super::library::{TYPES, header};
use crate::ir::{DType, Dim, Shape, ValueRange};

fn port(name: &str, dtype: DType, shape: &[Dim]) -> PortInterface {
    PortInterface { name: name.to_string(), dtype, shape: Shape(shape.to_vec()), range: None, text: None }
}

fn rows(name: &str, dtype: DType, shape: &[usize]) -> PortInterface {
    let dims: Vec<Dim> = std::iter::once(Dim::BATCH).chain(shape.iter().map(|n| Dim::fixed(*n))).collect();
    port(name, dtype, &dims)
}

fn entry(name: &str, inputs: Vec<PortInterface>, outputs: Vec<PortInterface>) -> EntryInterface {
    EntryInterface { name: name.to_string(), updates: name != "predict", inputs, outputs }
}

fn cell(name: &str, dtype: DType, shape: &[usize], kind: CellKind) -> CellInterface {
    CellInterface { name: name.to_string(), dtype, shape: shape.to_vec(), kind }
}

fn init() -> EntryInterface {
    entry("init", vec![port("seed", DType::U32, &[Dim::fixed(2)])], vec![])
}

/// The model that the runtime's tests write by hand.
fn linear() -> Interface {
    let f32 = DType::F32;
    let x = || rows("x", f32, &[3]);
    let y = || rows("y", f32, &[4]);
    let target = || rows("y_target", f32, &[4]);
    let scalars = || vec![port("loss", f32, &[]), port("mean_absolute_error", f32, &[])];
    Interface {
        name: "linear".to_string(),
        symbol: symbol("linear"),
        max_batch: 16,
        storage_bytes: 320,
        arena_bytes: 256,
        scratch_bytes: 64,
        cells: vec![
            cell("dense/kernel", f32, &[3, 4], CellKind::Param),
            cell("dense/bias", f32, &[4], CellKind::Param),
            cell("counter/rows", DType::U32, &[], CellKind::State),
            cell("counter/flags", DType::Bool, &[2], CellKind::State),
            cell("optimizer/learning_rate", f32, &[], CellKind::Training),
        ],
        entries: vec![
            init(),
            entry("predict", vec![x()], vec![y()]),
            entry("train_step", vec![x(), target()], scalars()),
            entry("evaluate_step", vec![x(), target()], scalars()),
            entry("phases", vec![], vec![port("total", DType::U32, &[])]),
            entry("nothing", vec![], vec![]),
            entry("nothing_parallel", vec![], vec![]),
        ],
    }
}

/// A model that does whatever names and shapes allow.
fn odd() -> Interface {
    let f32 = DType::F32;
    Interface {
        name: "My odd-model */".to_string(),
        symbol: symbol("My odd-model */"),
        cells: vec![
            cell("a/b", f32, &[1], CellKind::Param),
            cell("a b", f32, &[1], CellKind::Param),
            cell("\"quoted\\", f32, &[], CellKind::State),
        ],
        entries: vec![
            init(),
            entry(
                "predict",
                vec![rows("type", f32, &[2, 3]), port("batch", f32, &[]), rows("self", DType::Bool, &[])],
                vec![rows("type", f32, &[5]), rows("big", DType::U8, &[7]), port("scale", f32, &[])],
            ),
            entry("fit", vec![port("matrix", f32, &[Dim::BATCH, Dim::BATCH])], vec![port("a", f32, &[Dim::fixed(2)])]),
            entry(
                "model",
                vec![],
                vec![rows("only_an_output_of_a_long_name", DType::I32, &[]), port("loss", f32, &[])],
            ),
            entry("halves", vec![port("x", f32, &[Dim { scale: 2, batch: true }, Dim::fixed(3)])], vec![]),
            entry(
                "with a name that is long enough for several lines",
                vec![rows("first_argument_of_many", f32, &[30]), rows("second_argument_of_many", f32, &[30])],
                vec![
                    rows("result_of_many", f32, &[3]),
                    port("first_scalar_of_many", f32, &[]),
                    port("flag", DType::Bool, &[]),
                ],
            ),
        ],
        ..linear()
    }
}

/// Predictions too large to be returned by value.
fn large() -> Interface {
    let image = |name: &str| rows(name, DType::F32, &[256, 256, 3]);
    let entries = vec![entry("predict", vec![image("image")], vec![image("styled")])];
    Interface { name: "large".to_string(), symbol: symbol("large"), entries, cells: vec![], ..linear() }
}

/// Inputs of text, and one with a range.
fn texts() -> Interface {
    let text = |name: &str, width: usize, class: &'static str, texts: usize| PortInterface {
        text: Some(TextPort { class, texts }),
        range: Some(ValueRange::indices(100)),
        ..rows(name, DType::I32, &[width])
    };
    let inputs =
        vec![text("review", 4, "TextVectorization", 1), text("tags", 2, "Hashing", 2), rows("age", DType::F32, &[1])];
    let entries = vec![entry("predict", inputs, vec![rows("liked", DType::F32, &[1])])];
    Interface { name: "texts".to_string(), symbol: symbol("texts"), entries, cells: vec![], ..linear() }
}

/// A file of the runtime's tests.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/tests/bindings").join(name)
}

/// The runtime's tests compile and call what is expected here. `BAKELITE_BLESS=1` rewrites it.
#[test]
fn bindings_are_as_expected() {
    let texts = [("linear.rs", linear()), ("odd.rs", odd()), ("large.rs", large()), ("texts.rs", texts())];
    for (name, text) in texts.map(|(name, interface)| (name, rust(&interface))) {
        let path = fixture(name);
        if std::env::var_os("BAKELITE_BLESS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(text == expected, "{} differs; run with BAKELITE_BLESS=1 and look at the change", path.display());
    }
}

/// Runs a tool on a file; `None` where the tool is not installed.
fn run(tool: &str, arguments: &[&str], text: &str, extension: &str) -> Option<String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(format!("text.{extension}"));
    std::fs::write(&path, text).unwrap();
    let output = Command::new(tool).args(arguments).arg(&path).current_dir(directory.path()).output().ok()?;
    let message = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    Some(if output.status.success() { String::new() } else { message.into_owned() })
}

#[test]
fn rustfmt_would_not_change_the_bindings() {
    for interface in [linear(), odd(), large(), texts()] {
        match run(
            "rustfmt",
            &["--check", "--edition=2024", "--config=use_small_heuristics=Max"],
            &rust(&interface),
            "rs",
        ) {
            Some(difference) => assert!(difference.is_empty(), "{difference}"),
            None => eprintln!("skipped: no rustfmt"),
        }
    }
}

#[test]
fn a_c_compiler_agrees_on_every_offset() {
    // Headers of several models, one with whatever names allow, in one file with what is behind them.
    let headers = header(&odd(), "here", &[], "0") + &header(&linear(), "here", &[], "0");
    let mut text = format!(
        "{headers}#include <assert.h>\n#define BAKELITE_LEVELS {}\n#define BAKELITE_SHARES {}\n{TYPES}",
        abi::LEVELS,
        abi::SHARES
    );
    macro_rules! same {
        ($rust:ident = $c:literal: $($field:ident = $member:literal),+) => {
            text += &format!("static_assert(sizeof({}) == {}, \"size\");\n", $c, size_of::<abi::$rust>());
            $(text += &format!(
                "static_assert(offsetof({}, {}) == {}, \"{}\");\n",
                $c, $member, std::mem::offset_of!(abi::$rust, $field), $member
            );)+
        };
    }
    same!(Extent = "bakelite_extent": scale = "scale", batch = "batch");
    same!(Cell = "bakelite_cell": name = "name", dtype = "dtype", kind = "kind", trainable = "trainable",
        panel = "panel", shape = "shape", offset = "offset", bytes = "bytes", first = "first",
        begins = "begins", reserved = "reserved");
    same!(Port = "bakelite_port": name = "name", dtype = "dtype", limited = "limited", shape = "shape", low = "low",
        high = "high", text = "text");
    same!(Entry = "bakelite_entry": name = "name", inputs = "inputs", outputs = "outputs", reads = "reads", writes = "writes", code = "code",
        parallel_batch = "parallel_batch", flops_row = "flops_row", flops_fixed = "flops_fixed");
    same!(Descriptor = "bakelite_model": magic = "magic", abi_version = "abi_version", reserved = "reserved",
        name = "name", max_batch = "max_batch", storage_bytes = "storage_bytes", arena_bytes = "arena_bytes",
        scratch_bytes = "scratch_bytes", cells = "cells", entries = "entries");
    same!(Call = "bakelite_call": kernels = "kernels", storage = "storage", arena = "arena", scratch = "scratch",
        inputs = "inputs", outputs = "outputs", batch = "batch", wait = "wait", barrier = "barrier");
    for (tool, language) in [("cc", "c"), ("c++", "cpp")] {
        let standard = if language == "c" { "-std=c11" } else { "-std=c++11" };
        match run(tool, &[standard, "-Wall", "-Wextra", "-Werror", "-fsyntax-only"], &text, language) {
            Some(errors) => assert!(errors.is_empty(), "{errors}"),
            None => eprintln!("skipped: no {tool}"),
        }
    }
}
