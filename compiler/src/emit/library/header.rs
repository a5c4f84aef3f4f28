//! The header: what there is to call, with every shape, unit and error code.

use std::fmt::Write;

use bakelite::abi::ALIGN;
use bakelite::names::printable;

use super::super::bindings::Interface;
use super::super::names::{Scope, screaming, snake};
use super::{
    C_TYPES, ERRORS, Function, MAX_THREADS, POOL_BYTES, WORKER_BYTES, choices_bytes, functions, is_batched, is_init,
    named, port_type,
};
use crate::ir::DType;

const TEMPLATE: &str = include_str!("c/header.h");

/// The header of a model for a target; `levels` are the instruction sets that it has code for, and `hash` is what it has in
/// common with no other library.
pub fn header(interface: &Interface, target: &str, levels: &[&str], hash: &str) -> String {
    let mut text = introduction(interface, target);
    text += &named(TEMPLATE, interface)
        .replace("@guard@", &format!("BAKELITE_{}_H", screaming(&interface.name)))
        .replace("@hash@", hash)
        .replace("@constants@", &constants(interface))
        .replace("@errors@", &errors(interface))
        .replace("@levels@", &levels.join(", "))
        .replace("@entries@", &entries(interface))
        .replace("@params@", &params(interface));
    text
}

fn introduction(interface: &Interface, target: &str) -> String {
    let name = comment(&interface.name);
    let text = format!(
        "/* The model `{name}` for {target}: written by bakelite {version}.
 *
 * Memory is the caller's: a model works in three blocks whose sizes are constants of this header, and no function but
 * model_load allocates. Arrays are dense and row-major, their first axis the rows of a batch, which are any number
 * from 1 to MODEL_MAX_BATCH. Inputs and outputs of one call do not overlap; they need no alignment beyond that of
 * their element type.
 *
 * Threads: a handle is used by one thread at a time, whichever it is. Handles with storages of their own are
 * independent. Handles that share one storage (model_share) may call at the same time entry points that only read
 * parameters and state, and functions that take a const handle; whatever changes parameters or state has to be alone.
 * Results do not depend on the number of threads. After fork the child may use copies of handles that were in no call:
 * it starts threads of its own, so that any first call in it can return MODEL_ERROR_THREAD_START.
 *
 * Link with the libraries m and pthread. */
",
        version = env!("CARGO_PKG_VERSION"),
    );
    named(&text, interface)
}

fn constants(interface: &Interface) -> String {
    let prefix = screaming(&interface.name);
    // Blocks of no bytes are no arrays in C.
    let block = |bytes: usize| bytes.max(ALIGN);
    let rows = [
        ("The most rows of a call.", "MAX_BATCH", interface.max_batch),
        ("The most threads of a handle.", "MAX_THREADS", MAX_THREADS),
        ("Alignment in bytes of storage, arena and scratch.", "ALIGN", ALIGN),
        // A byte for each cell behind them: see `given` in `c/model.c`.
        (
            "Bytes of all parameters and state.",
            "STORAGE_BYTES",
            block(interface.storage_bytes + interface.cells.len().next_multiple_of(ALIGN)),
        ),
        ("Bytes of the intermediate results of a call.", "ARENA_BYTES", block(interface.arena_bytes)),
    ];
    let mut text = String::new();
    for (doc, name, value) in rows {
        let _ = writeln!(text, "/* {doc} */\n#define {prefix}_{name} {value}");
    }
    let _ = write!(
        text,
        "/* Bytes of working memory for a number of threads. */\n\
         #define {prefix}_SCRATCH_BYTES(threads) ({} + (size_t)(threads) * {})",
        POOL_BYTES + interface.entries.len() * choices_bytes(interface),
        WORKER_BYTES + interface.scratch_bytes
    );
    text
}

fn errors(interface: &Interface) -> String {
    let prefix = screaming(&interface.name);
    let row = |(code, (name, doc)): (usize, &(&str, &str))| {
        let comma = if code + 1 < ERRORS.len() { "," } else { "" };
        format!("    {prefix}_{name} = {code}{comma} /* {doc} */")
    };
    ERRORS.iter().enumerate().map(row).collect::<Vec<_>>().join("\n")
}

fn entries(interface: &Interface) -> String {
    functions(interface).iter().map(|function| entry(function, interface)).collect::<Vec<_>>().join("\n")
}

fn entry(function: &Function<'_>, interface: &Interface) -> String {
    let (model, prefix) = (snake(&interface.name), screaming(&interface.name));
    let entry = function.entry;
    let effect = if entry.updates { "changes parameters or state" } else { "only reads parameters and state" };
    let mut text = format!("/* Entry point `{}`: {effect}.\n", comment(&entry.name));
    let mut rows: Vec<(&str, String)> = Vec::new();
    if is_init(entry) {
        rows.push(("seed", "every seed gives parameters of its own, the same at every call".into()));
    } else if is_batched(entry) {
        rows.push(("batch", format!("rows, from 1 to {prefix}_MAX_BATCH")));
    }
    if !is_init(entry) {
        rows.extend(function.inputs().iter().map(|(name, port)| (name.as_str(), format!("in, {}", port_type(port)))));
        rows.extend(function.outputs().iter().map(|(name, port)| (name.as_str(), format!("out, {}", port_type(port)))));
    }
    let width = rows.iter().map(|row| row.0.len()).max().unwrap_or(0);
    for (name, doc) in &rows {
        let _ = writeln!(text, " *   {name:width$}   {doc}");
    }
    if entry.inputs.iter().chain(&entry.outputs).any(|port| port.dtype == DType::Bool) {
        let _ = writeln!(text, " * Elements of type bool are bytes that are 0 or 1.");
    }
    if entry.inputs.iter().any(|port| port.text.is_some()) {
        let _ =
            writeln!(text, " * This library does not read text: the caller looks up words as the model's layer does.");
    }
    let mut errors = vec![format!("{prefix}_ERROR_NULL")];
    if is_batched(entry) {
        errors.push(format!("{prefix}_ERROR_BATCH"));
    }
    if entry.inputs.iter().any(|port| port.range.is_some()) {
        errors.push(format!("{prefix}_ERROR_INDEX, where an element is out of its range"));
    }
    if !is_init(entry) && !interface.cells.is_empty() {
        errors.push(format!("{prefix}_ERROR_NO_VALUE"));
    }
    let last = errors.pop().unwrap_or_default();
    let errors: String = errors.into_iter().map(|error| format!(", {error}")).collect();
    let _ = writeln!(text, " * Returns {prefix}_OK{errors} or {last}. */");
    let _ = writeln!(text, "{};", function.prototype(&model));
    text
}

fn params(interface: &Interface) -> String {
    let prefix = screaming(&interface.name);
    let mut text = format!(
        "/* Number of parameters and state tensors. */\n#define {prefix}_PARAM_COUNT {}\n",
        interface.cells.len()
    );
    if interface.cells.is_empty() {
        return text;
    }
    let _ = writeln!(
        text,
        "\n/* Their indices, with element types and shapes. */\nenum {}_param {{",
        snake(&interface.name)
    );
    let mut scope = Scope::with(&["COUNT"]);
    for (index, cell) in interface.cells.iter().enumerate() {
        let name = scope.unique(screaming(&cell.name));
        let comma = if index + 1 < interface.cells.len() { "," } else { "" };
        let c_type = C_TYPES[cell.dtype as usize];
        let doc = comment(&format!("{}: {c_type}{:?}", cell.name, cell.shape));
        let _ = writeln!(text, "    {prefix}_PARAM_{name} = {index}{comma} /* {doc} */");
    }
    text + "};\n"
}

/// Text that cannot end the comment that it stands in.
fn comment(text: &str) -> String {
    printable(text).replace("*/", "* /").replace("/*", "/ *")
}
