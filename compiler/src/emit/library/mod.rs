//! Libraries for C: the functions of a model as a header, the C source that implements them over the descriptor, and a
//! static library of everything: the model's object, the kernels, and that source, compiled.
//!
//! The source is C, not Rust, for the sake of targets that this machine has no Rust library for: whoever links a C
//! library has a C compiler for its target. It is written once, under `c/`, for a model named `model`, whose name is
//! replaced in every identifier; what differs between models in more than names is generated.

mod cc;
mod cmake;
mod header;
mod source;
mod verify;

pub use cc::{CcError, Compiler};
pub use cmake::cmake;
pub use header::header;
#[cfg(test)]
pub(super) use source::TYPES;
pub use source::{Kernels, source};
pub use verify::{Parity, ParityElement, verify_header, verify_source, verify_symbol};

use bakelite::abi::INIT;

use super::bindings::{EntryInterface, Interface, PortInterface};
use super::names::{Scope, screaming, snake};
use crate::diag::{Code, Problem};
use crate::ir::{DType, Shape};

/// Bytes of a pool of threads and of each worker at the beginning of scratch memory: bounds of what C compilers make
/// of the structures in `c/threads.c`, which checks them.
const POOL_BYTES: usize = 384;
const WORKER_BYTES: usize = 128;
/// Bytes of what a handle knows about the threads of one entry point at one power of two of the batch: a bound of
/// `struct choice` in `c/tempo.c`.
const CHOICE_BYTES: usize = 64;
/// The most threads of a handle.
const MAX_THREADS: usize = 1024;

/// The powers of two that batches reach, each of which has its choices of threads.
fn powers(interface: &Interface) -> usize {
    interface.max_batch.max(1).ilog2() as usize + 1
}

/// Bytes of the choices of one entry point.
fn choices_bytes(interface: &Interface) -> usize {
    (CHOICE_BYTES * powers(interface)).next_multiple_of(WORKER_BYTES)
}

/// The C names of element types.
const C_TYPES: [&str; 6] = ["float", "double", "int32_t", "uint32_t", "uint8_t", "uint8_t"];

/// What can go wrong: the codes from 0 on.
const ERRORS: &[(&str, &str)] = &[
    ("OK", "success"),
    ("ERROR_NULL", "a pointer is null, or the handle is not open"),
    ("ERROR_ALIGNMENT", "storage, arena or scratch is not aligned"),
    ("ERROR_THREADS", "the number of threads is 0 or too large"),
    ("ERROR_THREAD_START", "the system starts no more threads"),
    ("ERROR_LEVEL", "no code for this processor, or not for the level that BAKELITE_LEVEL names"),
    ("ERROR_BATCH", "the batch is 0 or larger than the model was compiled for"),
    ("ERROR_PARAM", "no parameter has this index"),
    ("ERROR_SIZE", "the number of bytes is not the parameter's"),
    ("ERROR_VALUE", "a bool is neither 0 nor 1"),
    ("ERROR_IO", "the file cannot be read or written; errno has the reason"),
    ("ERROR_MEMORY", "out of memory"),
    ("ERROR_FILE", "not a safetensors file, or a damaged one"),
    ("ERROR_MISSING", "the file lacks a parameter"),
    ("ERROR_UNKNOWN", "the file has a parameter that the model lacks"),
    ("ERROR_DTYPE", "a parameter in the file has another element type"),
    ("ERROR_SHAPE", "a parameter in the file has another shape"),
    ("ERROR_INDEX", "an element of an input is out of its range, such as an index of no row of a table"),
    ("ERROR_NO_VALUE", "a parameter has no value yet: call init, load or param_set before"),
];

/// Functions of every library, without the model's name: entry points by these names get another.
#[rustfmt::skip]
const FUNCTIONS: &[&str] = &[
    "open", "share", "close", "set_threads", "tune_threads", "keep_subnormals", "level", "error_text", "param_name", "param_find", "param_dtype",
    "param_shape", "param_bytes", "param_get", "param_set", "save", "load", "fault", "t", "error", "dtype", "contents", "verify",
];

/// The text with its identifiers `model_...` and `MODEL_...` under the name of a model.
fn named(template: &str, interface: &Interface) -> String {
    let (lower, upper) = (snake(&interface.name), screaming(&interface.name));
    let mut text = String::with_capacity(template.len() + template.len() / 8);
    let mut rest = template;
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphabetic() || c == '_') {
        let (before, from) = rest.split_at(start);
        let end = from.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(from.len());
        let (word, after) = from.split_at(end);
        text.push_str(before);
        match (word.strip_prefix("model_"), word.strip_prefix("MODEL_")) {
            (Some(tail), _) => text.extend([&lower, "_", tail]),
            (_, Some(tail)) => text.extend([&upper, "_", tail]),
            _ => text.push_str(word),
        }
        rest = after;
    }
    text + rest
}

/// The entry point of a model that sets its parameters from a seed.
fn is_init(entry: &EntryInterface) -> bool {
    let seed = |port: &PortInterface| port.dtype == DType::U32 && port.shape == Shape::fixed(&[2]);
    entry.name == INIT && matches!(entry.inputs.as_slice(), [one] if seed(one)) && entry.outputs.is_empty()
}

/// Whether the batch of a call matters.
fn is_batched(entry: &EntryInterface) -> bool {
    entry.inputs.iter().chain(&entry.outputs).any(|port| port.shape.iter().any(|dim| dim.batch))
}

/// An entry point with its C names.
struct Function<'a> {
    entry: &'a EntryInterface,
    /// With the model's name.
    name: String,
    /// Names of inputs, then of outputs.
    ports: Vec<(String, &'a PortInterface)>,
}

impl Function<'_> {
    fn inputs(&self) -> &[(String, &PortInterface)] {
        &self.ports[..self.entry.inputs.len()]
    }

    fn outputs(&self) -> &[(String, &PortInterface)] {
        &self.ports[self.entry.inputs.len()..]
    }

    /// `int digits_predict(digits_t *model, size_t batch, const float *in_x, float *out_y)`
    /// on one line, or on several of at most 120 columns.
    fn prototype(&self, model: &str) -> String {
        let mut parameters = vec![format!("{model}_t *model")];
        if is_init(self.entry) {
            parameters.push("uint64_t seed".to_string());
        } else {
            if is_batched(self.entry) {
                parameters.push("size_t batch".to_string());
            }
            let c_type = |port: &PortInterface| C_TYPES[port.dtype as usize];
            parameters.extend(self.inputs().iter().map(|(name, port)| format!("const {} *{name}", c_type(port))));
            parameters.extend(self.outputs().iter().map(|(name, port)| format!("{} *{name}", c_type(port))));
        }
        let mut text = format!("int {}(", self.name);
        let indent = text.len();
        let mut column = indent;
        for (i, parameter) in parameters.iter().enumerate() {
            if i > 0 && column + parameter.len() + 3 > 120 {
                text += &format!(",\n{:indent$}", "");
                column = indent;
            } else if i > 0 {
                text += ", ";
                column += 2;
            }
            text += parameter;
            column += parameter.len();
        }
        text + ")"
    }
}

/// The functions of a model's entry points, in order.
fn functions(interface: &Interface) -> Vec<Function<'_>> {
    let mut names = Scope::with(FUNCTIONS);
    let model = snake(&interface.name);
    // With a prefix, no parameter is a keyword of C or C++, or a macro of some header, whatever inputs are called.
    let ident = |prefix: &str, port: &PortInterface| format!("{prefix}_{}", snake(&port.name).trim_end_matches('_'));
    let mut named = Vec::new();
    for entry in &interface.entries {
        let mut idents = Scope::default();
        let inputs = entry.inputs.iter().map(|port| (ident("in", port), port));
        let ports = inputs.chain(entry.outputs.iter().map(|port| (ident("out", port), port)));
        named.push(Function {
            entry,
            // A name of several words is no keyword, whatever its last one.
            name: format!("{model}_{}", names.unique(snake(&entry.name)).trim_end_matches('_')),
            ports: ports.map(|(ident, port)| (idents.unique(ident), port)).collect(),
        });
    }
    named
}

/// `float[batch, 8, 8, 1]`
fn port_type(port: &PortInterface) -> String {
    let dims: Vec<String> = port.shape.iter().map(|dim| dim.to_string()).collect();
    let range = port.range.map_or(String::new(), |r| format!(", {} to {}", r.low, r.high - 1));
    let text = port.text.as_ref().map_or(String::new(), |text| format!(", as {} makes it of text", text.class));
    format!("{}[{}]{range}{text}", C_TYPES[port.dtype as usize], dims.join(", "))
}

/// The symbols of a library: its functions, and the descriptor for programs in Rust.
pub fn symbols(interface: &Interface, hash: &str) -> Vec<String> {
    let model = snake(&interface.name);
    // `t` and what follows it are names of types.
    let fixed = FUNCTIONS.iter().take_while(|name| **name != "t").map(|name| format!("{model}_{name}"));
    let opened = ["open", "share"].map(|name| format!("{model}_{name}_{hash}"));
    let entries = functions(interface).into_iter().map(|function| function.name);
    fixed.chain(opened).chain(entries).chain([interface.symbol.clone()]).collect()
}

/// What C has in a header under a name that a model's handle, functions or constants would have too.
#[rustfmt::skip]
const TAKEN: &[&str] = &[
    // Types that end in `_t`.
    "blkcnt", "blksize", "char16", "char32", "clock", "clockid", "cnd", "dev", "div", "double", "errno", "fenv", "fexcept",
    "float", "fpos", "fsblkcnt", "fsfilcnt", "gid", "glob", "id", "imaxdiv", "ino", "int16", "int32", "int64", "int8", "intmax",
    "intptr", "key", "ldiv", "lldiv", "locale", "max_align", "mbstate", "mode", "mqd", "mtx", "nlink", "off", "pid", "ptrdiff",
    "pthread", "regex", "regmatch", "regoff", "rsize", "sig_atomic", "siginfo", "sigset", "size", "socklen", "ssize", "stack",
    "suseconds", "thrd", "time", "timer", "tss", "uid", "uint16", "uint32", "uint64", "uint8", "uintmax", "uintptr", "useconds",
    "wchar", "wctrans", "wctype", "wint",
    // Functions such as `sem_open`, and macros such as `R_OK`.
    "dbm", "f", "mq", "r", "sem", "shm", "w", "x",
];

/// Fails for the name of a model that C has taken.
pub fn check_name(name: &str) -> Result<(), Problem> {
    let stem = snake(name);
    if !TAKEN.contains(&stem.as_str()) {
        return Ok(());
    }
    Err(Problem::new(Code::Name, format!("`{name}` cannot name a library: C's headers have `{stem}_...` too"))
        .help("give it a name of its own: `--name`, or `LibraryOptions::name`"))
}
