//! Files that are replaced as a whole.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;

use super::mistake::failed;
use crate::diag::Diagnostics;

/// Writes a file as [`bakelite::write_atomically`] does: what was there before stays whole until the new one is.
pub fn replace(path: &Path, write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>) -> Result<(), Diagnostics> {
    bakelite::write_atomically(path, write).map_err(|e| failed(path, "write", &e))
}

/// Fails early, before long work, where [`replace`] could not write.
pub fn check_writable(path: &Path) -> Result<(), Diagnostics> {
    bakelite::check_writable(path).map_err(|e| failed(path, "write", &e))
}
