//! Provenance: where in the user's model, and through which transformations, a node came to be.

use std::borrow::Cow;
use std::fmt;
use std::panic::Location;

/// A position in the user's source, usually a line of `build.rs`; or a file as a whole, with line 0.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SourceLine {
    pub file: String,
    /// Counted from 1; 0 for the file as a whole.
    pub line: u32,
}

impl SourceLine {
    /// The line of the caller, through every `#[track_caller]` function in between.
    #[track_caller]
    pub fn caller() -> SourceLine {
        let at = Location::caller();
        SourceLine { file: at.file().to_string(), line: at.line() }
    }

    /// A file without lines.
    pub fn file(path: impl AsRef<std::path::Path>) -> SourceLine {
        SourceLine { file: path.as_ref().display().to_string(), line: 0 }
    }
}

impl fmt::Display for SourceLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

/// The origin of a node: a layer path such as `encoder/block2/fc1`, the line that added the layer, and the
/// transformations since, outermost last. Prints as `grad(encoder/block2/fc1)`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Site {
    pub path: String,
    pub source: Option<SourceLine>,
    pub derived: Vec<Cow<'static, str>>,
}

impl Site {
    /// A site with a path only.
    pub fn path(path: impl Into<String>) -> Site {
        Site { path: path.into(), source: None, derived: Vec::new() }
    }

    /// This site seen through one more transformation. A repeated transformation is named once.
    pub fn derive(&self, by: &'static str) -> Site {
        let mut site = self.clone();
        if site.derived.last().is_none_or(|last| last != by) {
            site.derived.push(Cow::Borrowed(by));
        }
        site
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for by in self.derived.iter().rev() {
            write!(f, "{by}(")?;
        }
        f.write_str(if self.path.is_empty() { "?" } else { &self.path })?;
        for _ in &self.derived {
            f.write_str(")")?;
        }
        Ok(())
    }
}

/// Index into a graph's table of sites.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct SiteId(pub u32);
