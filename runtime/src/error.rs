//! Everything that can go wrong at run time. A failed call leaves the model as it was.

use std::fmt;

use crate::dtype::DType;
use crate::level::Level;
use crate::names::{printable, printable_lines};

/// An error of the runtime. `Debug` prints what `Display` prints, with the causes below, so that
/// `fn main() -> Result<(), bakelite::Error>` shows text for people. Names and paths cannot turn the direction of writing:
/// such characters, and control characters, are shown as escapes.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The image holds no descriptor.
    #[error("not a Bakelite model: its descriptor starts with {found:#018x}")]
    Magic { found: u64 },
    /// The object was compiled for another version of the binary interface.
    #[error(
        "the model has ABI version {found}, this runtime has {expected}: use the same release of `bakelite` and `bakelite-compiler`"
    )]
    AbiVersion { expected: u32, found: u32 },
    /// The descriptor contradicts itself.
    #[error("the descriptor of model `{}` is damaged: {}", printable(.model), printable(.what))]
    Descriptor { model: String, what: String },
    /// The object has no code for any level of this CPU, or none for the level that was asked for.
    #[error("model `{}` has code for {carried}; {wanted}", printable(.model))]
    Level { model: String, carried: String, wanted: String },
    /// A level by this name does not exist.
    #[error("unknown instruction set level `{}`, known are {known}", printable(.name))]
    UnknownLevel { name: String, known: String },
    /// A forced level that this CPU cannot execute.
    #[error("this CPU cannot execute {level}")]
    UnsupportedLevel { level: Level },
    /// The allocator refused a block.
    #[error("out of memory: {bytes} bytes for the {purpose}")]
    OutOfMemory { purpose: &'static str, bytes: usize },
    /// The operating system refused a thread.
    #[error("the system starts no more threads ({0}): open the model with fewer, or with `Options::threads(1)`")]
    Threads(std::io::Error),

    /// No entry point by this name.
    #[error("model `{}` has no entry point `{}`, it has {}{}", printable(.model), printable(.name), printable(.known), printable(.hint))]
    UnknownEntry { model: String, name: String, known: String, hint: String },
    /// No parameter or state by this name.
    #[error("model `{}` has no parameter `{}`{}", printable(.model), printable(.name), printable(.hint))]
    UnknownParam { model: String, name: String, hint: String },
    /// Parameters that were never given a value: their names, and how many they are.
    #[error("{} needs {}, {}", printable(.what), printable(.params), without_value(*.count))]
    NoValue { what: String, params: String, count: usize },
    /// A learning rate that no training can go by.
    #[error("a learning rate of {rate}: it has to be a finite number of at least 0")]
    LearningRate { rate: f32 },
    /// A number of threads that no call can have.
    #[error("{found} threads: a model runs on 1 to {max}")]
    ThreadCount { found: usize, max: usize },
    /// A call with too few or too many arguments.
    #[error("`{}` has {expected} {kind}s, the call has {found}", printable(.entry))]
    ArgumentCount { entry: String, kind: &'static str, expected: usize, found: usize },
    /// A batch of zero, or of more rows than the model was compiled for.
    #[error("`{}`: a batch of {found} rows, it takes 1 to {max}{}", printable(.entry), more_rows(*.found))]
    Batch { entry: String, found: usize, max: usize },
    /// A slice of another element type.
    #[error("{} is {expected}, got {found}", printable(.what))]
    DType { what: String, expected: DType, found: DType },
    /// A slice of another length.
    #[error("{} is {shape} = {expected} elements{}, got {found}", printable(.what), at(*.batch))]
    Length { what: String, shape: String, batch: Option<usize>, expected: usize, found: usize },
    /// An element of an input that is an index, or a label, of nothing. Rows are counted from 0.
    #[error("{}: row {row} has {value}, the values are {} to {}", printable(.what), range.start, range.end - 1)]
    Index { what: String, row: usize, value: f64, range: std::ops::Range<i64> },
    /// A tensor of another shape.
    #[error("{} has shape {expected:?}, got {found:?}{}", printable(.what), reshaped(.expected, .found))]
    Shape { what: String, expected: Vec<usize>, found: Vec<usize> },
    /// The entry point does not have the form that the caller relies on.
    #[error("`{}` of model `{}` {}", printable(.entry), printable(.model), printable(.what))]
    EntryForm { model: String, entry: String, what: String },

    /// Text that an input cannot be made of, or a layer over text that contradicts itself.
    #[cfg(feature = "text")]
    #[error("{}", printable_lines(.what))]
    Text { what: String },

    /// A file cannot be read or written.
    #[cfg(feature = "safetensors")]
    #[error("cannot {action} {}", printable(&path.to_string_lossy()))]
    Io { action: &'static str, path: std::path::PathBuf, source: std::io::Error },
    /// The contents of a file are not what its format demands.
    #[cfg(feature = "safetensors")]
    #[error("{}: {}", printable(&path.to_string_lossy()), printable_lines(.what))]
    File { path: std::path::PathBuf, what: String },

    /// Data that the training loop cannot use.
    #[cfg(feature = "fit")]
    #[error("{}", printable_lines(.what))]
    Data { what: String },
    /// A callback ended the training.
    #[cfg(feature = "fit")]
    #[error("a callback failed: {0}")]
    Callback(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What parameters without values are to be given.
fn without_value(count: usize) -> &'static str {
    match count {
        1 => "which has no value yet: call `init(seed)`, load weights, or set it",
        _ => "which have no values yet: call `init(seed)`, load weights, or set them",
    }
}

/// How to get along with a batch of this size.
fn more_rows(found: usize) -> &'static str {
    match found {
        0 => "",
        _ => ": call it in parts, or compile the model with a larger `max_batch`",
    }
}

/// How to make one shape of the other, where that is a matter of shape alone.
fn reshaped(expected: &[usize], found: &[usize]) -> &'static str {
    let elements = |shape: &[usize]| shape.iter().product::<usize>();
    match elements(expected) == elements(found) {
        true => ": reshape it, if its elements are in this order",
        false => "",
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable_lines(&self.to_string()))?;
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            write!(f, "\n  caused by: {}", printable_lines(&cause.to_string()))?;
            source = cause.source();
        }
        Ok(())
    }
}

fn at(batch: Option<usize>) -> String {
    batch.map_or(String::new(), |batch| format!(" at a batch of {batch}"))
}

impl Error {
    /// For lists of names in messages: `a`, `b` and 3 more.
    pub(crate) fn names<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
        const SHOWN: usize = 8;
        let more = names.len().saturating_sub(SHOWN);
        if names.len() == 0 {
            return "none".to_string();
        }
        let mut text = names.take(SHOWN).map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
        if more > 0 {
            text += &format!(" and {more} more");
        }
        text
    }
}
