//! Files that are replaced as a whole.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::mistake::failed;
use crate::diag::Diagnostics;

/// Writes a file under a temporary name in its folder, flushes it to the disk, and gives it its name: what was there
/// before stays whole until then.
pub fn replace(path: &Path, write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>) -> Result<(), Diagnostics> {
    if path.is_dir() {
        return Err(failed(path, "write", &io::Error::other("it is a folder")));
    }
    bakelite::write_atomically(path, write).map_err(|e| failed(path, "write", &e))
}

/// Fails early, before long work, where [`replace`] could not write.
pub fn check_writable(path: &Path) -> Result<(), Diagnostics> {
    probe(path).and_then(fs::remove_file).map_err(|e| failed(path, "write", &e))
}

/// Makes an empty file beside a path, under a name that nobody else uses.
fn probe(path: &Path) -> io::Result<PathBuf> {
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
            Ok(_) => return Ok(hidden),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(e) => return Err(e),
        }
    }
}
