//! What a build script and cargo have to tell each other: which files a model was made of, and which models share the
//! folder of one script.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::diag::{Code, Diagnostic, Diagnostics, Problem};
use crate::ir::SourceLine;

/// The environment variables that change what a build script does.
const VARIABLES: [&str; 2] = [REPORT, "BAKELITE_STOP_AFTER"];
/// Where it is set, the report is shown while building.
pub(crate) const REPORT: &str = "BAKELITE_REPORT";

/// Every file that was read in this process.
static READ: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
/// Every model whose files were written by this process.
static BUILT: Mutex<Vec<Claim>> = Mutex::new(Vec::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes a file that a model may be made of.
pub(crate) fn reads(path: &Path) {
    lock(&READ).insert(std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()));
}

/// Reads a file that a model is made of, such as a vocabulary, and has cargo run the build script again when it changes.
/// Of files that a script reads in other ways cargo knows nothing: name them with
/// `println!("cargo::rerun-if-changed=PATH")`.
///
/// # Errors
/// A file that cannot be read, or is no UTF-8.
pub fn read_to_string(path: impl AsRef<Path>) -> Result<String, Diagnostics> {
    let path = path.as_ref();
    reads(path);
    std::fs::read_to_string(path)
        .map_err(|e| Diagnostics::in_file(Problem::new(Code::File, format!("cannot read the file: {e}")), path))
}

/// The directives that have cargo run the build script again when, and only when, something changed that its models
/// were made of: a file, a variable of the environment, or the script itself.
pub(crate) fn reruns() -> String {
    let mut text = String::new();
    // Cargo watches the script's own source, wherever it is; but only a directive keeps it from watching all else. One
    // that names no file would run the script every time.
    let own = if Path::new("build.rs").exists() { "build.rs" } else { "Cargo.toml" };
    let _ = writeln!(text, "cargo::rerun-if-changed={own}");
    for path in lock(&READ).iter() {
        let _ = writeln!(text, "cargo::rerun-if-changed={}", path.display());
    }
    for variable in VARIABLES {
        let _ = writeln!(text, "cargo::rerun-if-env-changed={variable}");
    }
    text
}

/// A model that has files in a folder.
struct Claim {
    /// As file systems without case see it.
    bindings: PathBuf,
    /// The model's identity.
    model: u64,
    source: SourceLine,
}

/// Takes the names of a model's files in a folder; an error where they belong to another model of this process, which
/// would be overwritten.
pub(crate) fn claim(bindings: &Path, name: &str, model: u64, source: &SourceLine) -> Result<(), Box<Diagnostic>> {
    let bindings = PathBuf::from(bindings.to_string_lossy().to_lowercase());
    let mut built = lock(&BUILT);
    if let Some(other) = built.iter().find(|claim| claim.bindings == bindings) {
        if other.model == model {
            return Ok(());
        }
        let problem = Problem::new(Code::Name, format!("another model of this build script is called `{name}` too"))
            .help("the second would replace the files of the first: give one of them another name");
        let diagnostic = Diagnostic::new(problem, name, Some(source.clone()));
        return Err(Box::new(diagnostic.related("the other one", Some(other.source.clone()))));
    }
    built.push(Claim { bindings, model, source: source.clone() });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_were_read_are_watched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("words.txt");
        std::fs::write(&path, "a\nb\n").unwrap();
        assert_eq!(read_to_string(&path).unwrap(), "a\nb\n");
        let missing = folder.path().join("missing.txt");
        assert!(read_to_string(&missing).unwrap_err().to_string().contains("missing.txt"));
        let text = reruns();
        // A file that is not there yet is watched too.
        for path in [&path, &missing] {
            assert!(text.contains(&format!("cargo::rerun-if-changed={}\n", path.display())), "{text}");
        }
        assert!(text.contains("cargo::rerun-if-env-changed=BAKELITE_REPORT\n"));
    }
}
