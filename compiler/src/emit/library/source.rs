//! The C source of a library: the fixed parts under `c/`, with tables and entry points generated around them.

use std::fmt::Write;

use bakelite::abi::{ABI_VERSION, CellKind, DTYPE_SIZES, LEVELS, SHARES};
use bakelite_kernels::manifest::{Level, SLOTS};

use super::super::bindings::Interface;
use super::super::names::{screaming, snake};
use super::{ERRORS, Function, POOL_BYTES, WORKER_BYTES, choices_bytes, functions, is_batched, is_init, named, powers};

/// The types of the binary interface, the same for every model.
pub(in crate::emit) const TYPES: &str = include_str!("c/abi.h");
const THREADS: &str = include_str!("c/threads.c");
const TEMPO: &str = include_str!("c/tempo.c");
const MODEL: &str = include_str!("c/model.c");
const WEIGHTS: &str = include_str!("c/weights.c");
const LOADING: &str = include_str!("c/loading.c");
const STRIPS: &str = include_str!("c/strips.c");

/// The functions whose names the header changes, under their plain names.
const PLAIN: &str = "
/* ---- For callers without the header ---- */

static int open_checked(model_t *model, void *storage, void *arena, void *scratch, size_t threads)
{
    return model_open(model, storage, arena, scratch, threads);
}

static int share_checked(model_t *model, const model_t *other, void *arena, void *scratch, size_t threads)
{
    return model_share(model, other, arena, scratch, threads);
}

#undef model_open
#undef model_share

int model_open(model_t *model, void *storage, void *arena, void *scratch, size_t threads);
int model_share(model_t *model, const model_t *other, void *arena, void *scratch, size_t threads);

int model_open(model_t *model, void *storage, void *arena, void *scratch, size_t threads)
{
    return open_checked(model, storage, arena, scratch, threads);
}

int model_share(model_t *model, const model_t *other, void *arena, void *scratch, size_t threads)
{
    return share_checked(model, other, arena, scratch, threads);
}
";

const INCLUDES: &str = "\
#define _POSIX_C_SOURCE 200809L
#define _FILE_OFFSET_BITS 64

#include \"@header@\"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
";

/// Where the kernel table comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kernels {
    /// The kernels' object, in the same library.
    Object,
    /// The source itself, for code of this level whose matrix products are its own.
    Source(Level),
}

/// The source of a model's functions. `header` is the name of the file that declares them.
pub fn source(interface: &Interface, header: &str, kernels: Kernels) -> String {
    let mut text = format!("/* Written by bakelite {}: the functions of {header}. */\n\n", env!("CARGO_PKG_VERSION"));
    text += &INCLUDES.replace("@header@", header);
    text += "\n/* ---- The model's object ---- */\n\n";
    let _ = writeln!(
        text,
        "/* Version {ABI_VERSION} of the binary interface. */\n#define BAKELITE_LEVELS {LEVELS}\n#define BAKELITE_SHARES {SHARES}\n\n{TYPES}"
    );
    let _ = writeln!(text, "extern const bakelite_model {};", interface.symbol);
    let _ = writeln!(text, "#define DESCRIPTOR {}", interface.symbol);
    let _ = writeln!(text, "#define POOL_BYTES {POOL_BYTES}\n#define WORKER_BYTES {WORKER_BYTES}");
    let _ = writeln!(
        text,
        "#define ENTRIES ((size_t){})\n#define BATCHES ((size_t){})",
        interface.entries.len(),
        powers(interface)
    );
    let _ = writeln!(text, "#define CHOICES_BYTES ((size_t){})", choices_bytes(interface));
    let _ = writeln!(text, "/* The kind of a cell that only training needs. */");
    let _ = writeln!(text, "#define KIND_TRAINING {}\n", CellKind::Training as u32);
    let sizes: Vec<String> = DTYPE_SIZES.iter().map(usize::to_string).collect();
    let _ = writeln!(text, "static const size_t dtype_bytes[] = {{{}}};\n", sizes.join(", "));
    text += &strings("level_names", Level::ALL.iter().map(|level| level.name()));
    text += &strings("cell_names", interface.cells.iter().map(|cell| cell.name.as_str()));
    text += &kernel_table(kernels);
    for part in [THREADS, TEMPO, MODEL, WEIGHTS, LOADING] {
        text += &named(part, interface);
        text += "\n";
    }
    text += "/* ---- Entry points and errors ---- */\n";
    let model = snake(&interface.name);
    for (index, function) in functions(interface).iter().enumerate() {
        let _ = write!(text, "\n{}\n{{\n{}}}\n", function.prototype(&model), body(function, index));
    }
    text + &error_text(interface) + &named(PLAIN, interface)
}

/// An array of C strings; C has no empty arrays.
fn strings<'a>(name: &str, values: impl Iterator<Item = &'a str>) -> String {
    let mut text = format!("static const char *const {name}[] = {{\n");
    values.for_each(|value| {
        let _ = writeln!(text, "    {},", quoted(value));
    });
    text + "    NULL\n};\n\n"
}

/// A C string literal of the UTF-8 bytes.
fn quoted(text: &str) -> String {
    let mut literal = "\"".to_string();
    for byte in text.bytes() {
        match byte {
            // A question mark could begin a trigraph.
            b'"' | b'\\' | b'?' => literal.extend(['\\', byte as char]),
            b' '..=b'~' => literal.push(byte as char),
            _ => {
                let _ = write!(literal, "\\{byte:03o}");
            }
        }
    }
    literal + "\""
}

/// `kernel_table(level)`: the kernels of a level, null where the processor or the library lacks it.
fn kernel_table(kernels: Kernels) -> String {
    match kernels {
        Kernels::Object => "extern const void *bakelite_kernels_table(size_t level);\n\n\
            static const void *kernel_table(size_t level)\n{\n    return bakelite_kernels_table(level);\n}\n\n"
            .to_string(),
        Kernels::Source(level) => {
            let row = |slot: &&str| match *slot {
                // Code that multiplies by itself never calls the driver.
                "contract" => "NULL".to_string(),
                slot => format!("(kernel)strip_{slot}"),
            };
            let rows: Vec<String> = SLOTS.iter().map(row).collect();
            format!(
                "{STRIPS}\ntypedef void (*kernel)(void);\n\nstatic const kernel kernels[] = {{\n    {}\n}};\n\n\
                 static const void *kernel_table(size_t level)\n{{\n    return level == {} ? (const void *)kernels : NULL;\n}}\n\n",
                rows.join(",\n    "),
                level as u32,
            )
        }
    }
}

/// The statements of an entry point.
fn body(function: &Function<'_>, index: usize) -> String {
    let mut text = String::new();
    let array = |text: &mut String, ty: &str, name: &str, values: Vec<String>| {
        let _ = writeln!(text, "    {ty}{name}[{}];", values.len().max(1));
        values
    };
    let (inputs, outputs) = if is_init(function.entry) {
        text += "    const uint32_t words[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};\n";
        (vec!["words".to_string()], vec![])
    } else {
        let names = |ports: &[(String, _)]| ports.iter().map(|port| port.0.clone()).collect::<Vec<_>>();
        (names(function.inputs()), names(function.outputs()))
    };
    let inputs = array(&mut text, "const void *", "inputs", inputs);
    let outputs = array(&mut text, "void *", "outputs", outputs);
    for (array, values) in [("inputs", inputs), ("outputs", outputs)] {
        if values.is_empty() {
            let _ = writeln!(text, "    {array}[0] = NULL;");
        }
        for (i, value) in values.iter().enumerate() {
            let _ = writeln!(text, "    {array}[{i}] = {value};");
        }
    }
    let batch = if is_batched(function.entry) { "batch" } else { "1" };
    let _ = writeln!(text, "    return run_entry(model, {index}, {batch}, inputs, outputs);");
    text
}

fn error_text(interface: &Interface) -> String {
    let (model, prefix) = (snake(&interface.name), screaming(&interface.name));
    let mut text = format!("\nconst char *{model}_error_text(int error)\n{{\n    switch (error) {{\n");
    for (name, doc) in ERRORS {
        let _ = writeln!(text, "    case {prefix}_{name}:\n        return {};", quoted(doc));
    }
    text + "    default:\n        return \"no error of this library\";\n    }\n}\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_but_the_driver_has_a_strip_in_c() {
        for slot in SLOTS.iter().filter(|slot| **slot != "contract") {
            let written = STRIPS.contains(&format!("STRIP({slot},")) || STRIPS.contains(&format!("strip_{slot}("));
            assert!(written, "{slot} is missing in c/strips.c");
        }
    }

    #[test]
    fn any_text_is_a_string_literal() {
        assert_eq!(quoted("a/b \"q\" \\ ??="), r#""a/b \"q\" \\ \?\?=""#);
        assert_eq!(quoted("ß1\n"), r#""\303\2371\012""#);
    }
}
