//! Files that are replaced as a whole.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::diag::{Code, Diagnostic, Diagnostics, Problem};
use crate::ir::SourceLine;

/// Writes a file under a temporary name in its folder, flushes it to the disk, and gives it its name: what was there
/// before stays whole until then.
pub fn replace(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), Diagnostics> {
    let replaced = temporary(path).and_then(|(temporary, mut file)| {
        let written = write(&mut file).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&temporary, path));
        if written.is_err() {
            // The first error is the one to report.
            let _ = fs::remove_file(&temporary);
        }
        written.and_then(|()| File::open(folder(path))?.sync_all())
    });
    replaced.map_err(|e| failed(path, "write", &e))
}

/// Fails early, before long work, where [`replace`] could not write.
pub fn check_writable(path: &Path) -> Result<(), Diagnostics> {
    let probe = temporary(path).and_then(|(temporary, file)| {
        drop(file);
        fs::remove_file(temporary)
    });
    probe.map_err(|e| failed(path, "write", &e))
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A new file beside a path, under a name that nobody else uses.
fn temporary(path: &Path) -> io::Result<(PathBuf, File)> {
    static COUNTER: AtomicUsize = AtomicUsize::new(0);
    if path.is_dir() {
        return Err(io::Error::other("it is a folder"));
    }
    let Some(name) = path.file_name() else { return Err(io::Error::other("the path names no file")) };
    loop {
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}-{}.tmp", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed)));
        let hidden = path.with_file_name(hidden);
        match File::create_new(&hidden) {
            Ok(file) => return Ok((hidden, file)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(e) => return Err(e),
        }
    }
}

/// A file that cannot be read or written.
pub fn failed(path: &Path, action: &str, error: &io::Error) -> Diagnostics {
    let what = match error.kind() {
        io::ErrorKind::NotFound if action == "write" => "its folder does not exist".to_string(),
        io::ErrorKind::NotFound => "there is no such file".to_string(),
        io::ErrorKind::PermissionDenied => "permission denied".to_string(),
        io::ErrorKind::StorageFull => "the disk is full".to_string(),
        _ => error.to_string(),
    };
    let problem = Problem::new(Code::File, format!("cannot {action} the file: {what}"));
    Diagnostics { model: String::new(), list: vec![Diagnostic::new(problem, "", Some(SourceLine::file(path)))] }
}
