//! What long work shows on standard error while it runs.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use bakelite::names::printable_lines;
use indicatif::{ProgressBar, ProgressStyle};

use super::mistake::at;
use crate::diag::{Diagnostic, Diagnostics};

/// Writes to standard error, if anybody reads it: a closed pipe or a full disk behind it never ends the work. Names
/// in the text cannot turn the direction of writing.
pub fn say(text: &str) {
    let _ = io::stderr().write_all(printable_lines(text).as_bytes());
}

/// Whether anything is shown, beside results and mistakes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    Shown,
    Quiet,
}

impl Progress {
    /// Shows what is being done, on a terminal, until the result is dropped.
    pub fn stage(self, what: impl Into<String>) -> Stage {
        let bar = match self {
            Progress::Shown => ProgressBar::new_spinner(),
            Progress::Quiet => ProgressBar::hidden(),
        };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}  {elapsed}") {
            bar.set_style(style);
        }
        bar.set_message(what.into());
        bar.enable_steady_tick(Duration::from_millis(120));
        Stage(bar)
    }

    /// Shows what is no mistake, and probably not meant, in a model that came from a file.
    pub fn warn(self, path: &Path, warnings: Vec<Diagnostic>) {
        if self == Progress::Shown && !warnings.is_empty() {
            let about = at(path, Diagnostics { model: String::new(), list: warnings });
            say(&about.each());
        }
    }

    /// Shows a line that stays.
    pub fn note(self, text: &str) {
        if self == Progress::Shown {
            say(&format!("note: {text}\n"));
        }
    }
}

/// A stage of the work that is being shown.
pub struct Stage(ProgressBar);

impl Drop for Stage {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
