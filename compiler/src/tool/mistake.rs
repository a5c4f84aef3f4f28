//! Mistakes in files and models, as diagnostics.

use std::io;
use std::path::Path;

use crate::diag::{Code, Diagnostics, Problem};
use crate::ir::SourceLine;

/// A file that cannot be read or written.
pub fn failed(path: &Path, action: &str, error: &io::Error) -> Diagnostics {
    let what = match error.kind() {
        io::ErrorKind::NotFound if action == "write" && !path.parent().is_some_and(Path::exists) => {
            "its folder does not exist".to_string()
        }
        io::ErrorKind::NotFound if action == "write" => "it cannot be made in its folder".to_string(),
        io::ErrorKind::NotFound => "there is no such file".to_string(),
        io::ErrorKind::IsADirectory => "it is a folder".to_string(),
        io::ErrorKind::PermissionDenied => "permission denied".to_string(),
        io::ErrorKind::StorageFull => "the disk is full".to_string(),
        _ => error.to_string(),
    };
    Diagnostics::in_file(Problem::new(Code::File, format!("cannot {action} the file: {what}")), path)
}

/// A mistake in a file, at one of its parts.
pub fn wrong(path: &Path, part: &str, what: impl Into<String>) -> Diagnostics {
    Diagnostics::one(Problem::new(Code::Import, what), part, Some(SourceLine::file(path)))
}

/// Mistakes of a model that came from a file: no line of a program is to blame.
pub fn at(path: &Path, mut diagnostics: Diagnostics) -> Diagnostics {
    let source = SourceLine::file(path);
    for diagnostic in &mut diagnostics.list {
        diagnostic.source = Some(source.clone());
        diagnostic.inputs.iter_mut().for_each(|input| input.source = Some(source.clone()));
        diagnostic.related.iter_mut().for_each(|(_, line)| *line = Some(source.clone()));
    }
    diagnostics
}

/// An error of the runtime as a diagnostic about a file.
pub fn runtime(model: &str, path: &Path, error: &bakelite::Error) -> Diagnostics {
    use bakelite::Error;
    let code = match error {
        Error::OutOfMemory { .. } => Code::Size,
        Error::Io { .. } | Error::File { .. } => Code::File,
        _ => Code::Data,
    };
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    Diagnostics::in_file(Problem::new(code, text), path).of_model(model)
}
