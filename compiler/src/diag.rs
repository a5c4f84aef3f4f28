//! Mistakes in a model, as data.
//!
//! The builder never stops at the first mistake and never panics: a layer that does not fit records a
//! [`Diagnostic`] and yields a poisoned tensor, which layers after it pass on in silence. Whoever finishes the model
//! gets all of them at once as [`Diagnostics`], whose text names the line of the user's source, the layer path, the
//! shapes that led there, and a way out:
//!
//! ```text
//! error[shape]: Conv2D 3x3 with valid padding needs at least 3 rows, its input has 2
//!   --> build.rs:41   conv_4
//!       input f32[batch, 2, 2, 64]   from pool_3   build.rs:40
//!       trail image [28, 28, 1] -> conv_1 [26, 26, 32] -> ... -> pool_3 [2, 2, 64]
//!   help: use padding(Same), a smaller window, or fewer layers that shrink the image
//! ```

use std::fmt;
use std::path::Path;

use bakelite::names::{printable, printable_lines};

use crate::ir::{Shape, SourceLine, TensorType};
use crate::limit::Limit;

/// What kind of mistake it is; prints as the word in `error[word]`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Code {
    /// Ranks or extents that do not fit.
    Shape,
    /// An axis that a tensor does not have.
    Axis,
    /// A tensor that is too large to exist.
    Size,
    /// An element type that does not fit.
    DType,
    /// An argument outside its domain.
    Value,
    /// A name that is taken, reserved, or no name.
    Name,
    /// A number of inputs or outputs that does not fit.
    Arity,
    /// Something that has to be there and is not.
    Missing,
    /// A name that nothing has.
    Unknown,
    /// Something that no result depends on.
    Unused,
    /// A model that contains itself.
    Cycle,
    /// Tensors of different models in one layer.
    Model,
    /// Targets or losses that do not fit their outputs.
    Loss,
    /// A gradient that does not exist.
    Gradient,
    /// A layer definition that builds an invalid graph.
    Layer,
    /// A description of a model from elsewhere that cannot be read.
    Import,
    /// Data that does not fit the model.
    Data,
    /// A file that cannot be read or written.
    File,
    /// A build that cannot write its files or does not know its target.
    Build,
    /// A mistake of the compiler itself.
    Internal,
}

impl Code {
    /// The word in brackets.
    pub const fn name(self) -> &'static str {
        match self {
            Code::Shape => "shape",
            Code::Axis => "axis",
            Code::Size => "size",
            Code::DType => "dtype",
            Code::Value => "value",
            Code::Name => "name",
            Code::Arity => "arity",
            Code::Missing => "missing",
            Code::Unknown => "unknown",
            Code::Unused => "unused",
            Code::Cycle => "cycle",
            Code::Model => "model",
            Code::Loss => "loss",
            Code::Gradient => "gradient",
            Code::Layer => "layer",
            Code::Import => "import",
            Code::Data => "data",
            Code::File => "file",
            Code::Build => "build",
            Code::Internal => "internal",
        }
    }
}

/// What is wrong and what to do about it, before it is known where: what checks of layers, losses and optimizers
/// return. [`Diagnostic`] adds the place.
#[derive(Clone, PartialEq, Debug)]
pub struct Problem {
    pub code: Code,
    pub message: String,
    pub help: Option<String>,
    /// The entry of the page of limits, where this is not a mistake but something that is not supported.
    pub limit: Option<Limit>,
}

impl Problem {
    pub fn new(code: Code, message: impl Into<String>) -> Problem {
        Problem { code, message: message.into(), help: None, limit: None }
    }

    /// An extent or rank that does not fit.
    pub fn shape(message: impl Into<String>) -> Problem {
        Problem::new(Code::Shape, message)
    }

    /// An argument outside its domain.
    pub fn value(message: impl Into<String>) -> Problem {
        Problem::new(Code::Value, message)
    }

    /// Adds the line that begins with `help:`.
    pub fn help(mut self, help: impl Into<String>) -> Problem {
        self.help = Some(help.into());
        self
    }

    /// Names the entry of the page of limits, on a line that begins with `limits:`.
    pub fn limit(mut self, limit: impl Into<Option<Limit>>) -> Problem {
        self.limit = limit.into();
        self
    }
}

/// One operand of the layer that a diagnostic is about.
#[derive(Clone, PartialEq, Debug)]
pub struct InputNote {
    pub ty: TensorType,
    /// The layer or input that made it.
    pub from: String,
    pub source: Option<SourceLine>,
}

/// Whether something has to be mended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// There is no model before it is.
    Error,
    /// The model does what was said, which is probably not what was meant.
    Warning,
}

/// One mistake, with its place.
#[derive(Clone, PartialEq, Debug)]
pub struct Diagnostic {
    pub severity: Severity,
    pub code: Code,
    pub message: String,
    pub help: Option<String>,
    /// See [`Problem::limit`].
    pub limit: Option<Limit>,
    /// The line of the user's source.
    pub source: Option<SourceLine>,
    /// The path of the layer, output or entry point.
    pub path: String,
    /// The operands.
    pub inputs: Vec<InputNote>,
    /// Layers from a model input to the first operand, with the shape of an item after each.
    pub trail: Vec<(String, Shape)>,
    /// Other places that matter: a word, and where.
    pub related: Vec<(String, Option<SourceLine>)>,
}

impl Diagnostic {
    /// A problem at a place.
    pub fn new(problem: Problem, path: impl Into<String>, source: Option<SourceLine>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            code: problem.code,
            message: problem.message,
            help: problem.help,
            limit: problem.limit,
            source,
            path: path.into(),
            inputs: Vec::new(),
            trail: Vec::new(),
            related: Vec::new(),
        }
    }

    /// Something that is no mistake, and probably not meant.
    pub fn warning(problem: Problem, path: impl Into<String>, source: Option<SourceLine>) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::new(problem, path, source) }
    }

    /// Adds another place that matters.
    pub fn related(mut self, what: impl Into<String>, source: Option<SourceLine>) -> Diagnostic {
        self.related.push((what.into(), source));
        self
    }
}

/// A number of things: `1 loss`, `2 losses`.
pub(crate) fn count(n: usize, thing: &str) -> String {
    match (n, thing.ends_with('s')) {
        (1, _) => format!("1 {thing}"),
        (n, true) => format!("{n} {thing}es"),
        (n, false) => format!("{n} {thing}s"),
    }
}

/// The most mistakes that a text shows, before it says how many more there are.
const SHOWN: usize = 40;

/// Trails longer than this are cut after the second layer.
const TRAIL: usize = 6;

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}[{}]: {}", self.code.name(), printable_lines(&self.message))?;
        let at = |source: &Option<SourceLine>| source.as_ref().map_or_else(|| "?".to_string(), |s| s.to_string());
        // Paths of descriptions from elsewhere hold whatever their layers are called.
        match (&self.source, printable(&self.path).as_ref()) {
            (Some(source), "") => write!(f, "\n  --> {source}")?,
            (Some(source), path) => write!(f, "\n  --> {source}   {path}")?,
            (None, "") => {}
            (None, path) => write!(f, "\n  --> {path}")?,
        }
        for input in &self.inputs {
            write!(f, "\n      input {}   from {}   {}", input.ty, printable(&input.from), at(&input.source))?;
        }
        if self.trail.len() > 1 {
            let item = |(name, shape): &(String, Shape)| format!("{} {shape}", printable(name));
            let parts: Vec<String> = if self.trail.len() > TRAIL {
                let (head, tail) = (&self.trail[..2], &self.trail[self.trail.len() - TRAIL + 3..]);
                head.iter().map(item).chain(["...".to_string()]).chain(tail.iter().map(item)).collect()
            } else {
                self.trail.iter().map(item).collect()
            };
            write!(f, "\n      trail {}", parts.join(" -> "))?;
        }
        for (what, source) in &self.related {
            write!(f, "\n      {what}   {}", at(source))?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {}", printable_lines(help))?;
        }
        if let Some(limit) = self.limit {
            write!(f, "\n  limits: {limit}")?;
        }
        Ok(())
    }
}

/// Every mistake of a model; the text shows the first 40. `Debug` prints what `Display` prints, so that `fn main() -> Result<(), Diagnostics>` of
/// a build script shows text for people.
#[derive(Clone, PartialEq)]
pub struct Diagnostics {
    /// The name of the model.
    pub model: String,
    /// In the order in which they were made.
    pub list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// One mistake at a place, of no model in particular.
    pub fn one(problem: Problem, path: impl Into<String>, source: Option<SourceLine>) -> Diagnostics {
        Diagnostics { model: String::new(), list: vec![Diagnostic::new(problem, path, source)] }
    }

    /// One mistake in a file.
    pub fn in_file(problem: Problem, file: impl AsRef<Path>) -> Diagnostics {
        Diagnostics::one(problem, "", Some(SourceLine::file(file)))
    }

    /// Says which model the mistakes are about.
    pub fn of_model(self, name: impl Into<String>) -> Diagnostics {
        Diagnostics { model: name.into(), ..self }
    }

    /// The mistakes, or nothing where there are none.
    pub fn check(list: Vec<Diagnostic>) -> Result<(), Diagnostics> {
        if list.is_empty() { Ok(()) } else { Err(Diagnostics { model: String::new(), list }) }
    }

    /// One after the other, with an empty line behind each: the first of them, and how many more there are.
    pub(crate) fn each(&self) -> String {
        let mut text: String = self.list.iter().take(SHOWN).map(|diagnostic| format!("{diagnostic}\n\n")).collect();
        if let more @ 1.. = self.list.len().saturating_sub(SHOWN) {
            text += &format!("and {more} more\n\n");
        }
        text
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.each())?;
        f.write_str(&count(self.list.len(), "mistake"))?;
        if self.model.is_empty() { Ok(()) } else { write!(f, " in model `{}`", printable(&self.model)) }
    }
}

impl fmt::Debug for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{self}")
    }
}

impl std::error::Error for Diagnostics {}
