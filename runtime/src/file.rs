//! Files that appear whole under their name, or not at all.
//!
//! New bytes go into a temporary file beside the target, `.NAME.PID-N.tmp`, which is flushed to the disk and then given
//! the target's name. Its writer holds a lock on it. A process that is killed leaves its temporary file behind without
//! one, and the next writer of the same target removes it.
//!
//! - A target that is a symbolic link stays one: the file that it leads to is replaced.
//! - A file that was there hands on its permissions, and its owner where the system allows; one that may not be written
//!   to is an error, as it is for any other program. New files get the permissions of the process.
//! - What is no regular file, such as a pipe or `/dev/stdout`, cannot be replaced and is written to.
//! - A folder that may be written to and not listed will do.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Writes a file so that it appears whole under its name, or not at all; what was there stays until then. What is no
/// regular file is written to as it is.
pub fn write_atomically(path: &Path, write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>) -> io::Result<()> {
    match Target::of(path)? {
        Target::Special(file) => fill(&file, write),
        Target::Regular { path, old } => {
            remove_stale(&path);
            let temporary = Temporary::beside(&path)?;
            if let Some(old) = &old {
                temporary.inherit(old)?;
            }
            fill(&temporary.file, write)?;
            temporary.file.sync_all()?;
            temporary.rename(&path)?;
            sync_directory(&path);
            Ok(())
        }
    }
}

/// Fails where [`write_atomically`] could not write: to be asked before long work. Leaves everything as it is, but for
/// temporary files of this target whose writer is gone.
pub fn check_writable(path: &Path) -> io::Result<()> {
    match Target::of(path)? {
        Target::Special(_) => Ok(()),
        Target::Regular { path, .. } => {
            remove_stale(&path);
            Temporary::beside(&path).map(drop)
        }
    }
}

fn fill(file: &File, write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>) -> io::Result<()> {
    let mut writer = BufWriter::with_capacity(1 << 20, file);
    write(&mut writer)?;
    writer.flush()
}

/// What a path leads to.
enum Target {
    /// A regular file, or none yet, at the end of all links.
    Regular { path: PathBuf, old: Option<fs::Metadata> },
    /// A pipe, a terminal or the like, open for writing.
    Special(File),
}

/// Links that are followed before a path counts as going round in circles.
const MAX_LINKS: usize = 40;

impl Target {
    fn of(path: &Path) -> io::Result<Target> {
        let old = match fs::metadata(path) {
            Ok(old) => Some(old),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(e),
        };
        match &old {
            Some(old) if old.is_dir() => return Err(io::Error::other("it is a folder")),
            Some(old) if !old.is_file() => return OpenOptions::new().write(true).open(path).map(Target::Special),
            // Whether it may be written to: opening alone changes nothing.
            Some(_) => drop(OpenOptions::new().write(true).open(path)?),
            None => {}
        }
        let mut path = path.to_path_buf();
        for _ in 0..MAX_LINKS {
            match fs::read_link(&path) {
                // From the folder of the link, unless it is absolute.
                Ok(next) => path = path.parent().unwrap_or(Path::new("")).join(next),
                Err(_) => return Ok(Target::Regular { path, old }),
            }
        }
        Err(io::Error::other("its symbolic links go round in circles"))
    }
}

/// A new file beside a target, locked, and removed when dropped unless it was renamed.
struct Temporary {
    path: PathBuf,
    file: File,
    renamed: bool,
}

impl Temporary {
    /// A file in the folder of `path`, under a name that no other writer uses.
    fn beside(path: &Path) -> io::Result<Temporary> {
        static COUNTER: AtomicUsize = AtomicUsize::new(0);
        let name =
            path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
        loop {
            let count = COUNTER.fetch_add(1, Ordering::Relaxed);
            let mut temporary = prefix(name);
            temporary.push(format!("{}-{count}{SUFFIX}", std::process::id()));
            let temporary = path.with_file_name(temporary);
            match File::create_new(&temporary) {
                Ok(file) => {
                    // A file system without locks keeps stale files, and works otherwise.
                    let _ = file.lock();
                    let temporary = Temporary { path: temporary, file, renamed: false };
                    // Another writer may have taken it for a stale one before it was locked.
                    if temporary.file.metadata().is_ok_and(|metadata| is_linked(&metadata)) {
                        return Ok(temporary);
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(e) => return Err(e),
            }
        }
    }

    /// Takes over who may do what with an older file.
    fn inherit(&self, old: &fs::Metadata) -> io::Result<()> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::{MetadataExt, fchown};
            let new = self.file.metadata()?;
            // Only some may give files away; a file that stays one's own is no error.
            if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
                let _ = fchown(&self.file, Some(old.uid()), Some(old.gid()));
            }
        }
        self.file.set_permissions(old.permissions())
    }

    fn rename(mut self, to: &Path) -> io::Result<()> {
        fs::rename(&self.path, to)?;
        self.renamed = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.renamed {
            // The error that is reported is the one that led here.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// How names of temporary files of a target begin, and how they end.
fn prefix(target: &OsStr) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(target);
    prefix.push(".");
    prefix
}
const SUFFIX: &str = ".tmp";

/// Removes the temporary files of a target that no writer holds any more. What cannot be looked at stays.
fn remove_stale(path: &Path) {
    let Some(name) = path.file_name() else { return };
    let prefix = prefix(name);
    let Ok(entries) = fs::read_dir(directory(path)) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let inside = name.as_encoded_bytes().strip_prefix(prefix.as_encoded_bytes());
        let inside = inside.and_then(|rest| rest.strip_suffix(SUFFIX.as_bytes()));
        let numbers = inside.and_then(|inside| std::str::from_utf8(inside).ok()?.split_once('-'));
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !numbers.is_some_and(|(process, count)| is_number(process) && is_number(count)) {
            continue;
        }
        // A link, or a pipe that blocks, is none of ours.
        if !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let Ok(file) = File::open(entry.path()) else { continue };
        match file.try_lock() {
            // While the lock is held nobody else removes the file, or gives its name to another.
            Ok(()) if file.metadata().is_ok_and(|metadata| is_linked(&metadata)) => {
                let _ = fs::remove_file(entry.path());
            }
            Ok(()) | Err(TryLockError::WouldBlock) | Err(TryLockError::Error(_)) => {}
        }
    }
}

/// Whether an open file still has a name.
#[cfg(unix)]
fn is_linked(metadata: &fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::nlink(metadata) > 0
}

#[cfg(not(unix))]
fn is_linked(_: &fs::Metadata) -> bool {
    true
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes the new name itself durable, where the system has such a notion and lets the folder be opened. The file is in
/// its place already.
fn sync_directory(path: &Path) {
    if cfg!(unix)
        && let Ok(directory) = File::open(directory(path))
    {
        let _ = directory.sync_all();
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn put(path: &Path, text: &str) -> io::Result<()> {
        write_atomically(path, |file| file.write_all(text.as_bytes()))
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn links_stay_links() {
        let folder = tempfile::tempdir().unwrap();
        let (at, real) = (folder.path(), folder.path().join("inner/real"));
        fs::create_dir(at.join("inner")).unwrap();
        symlink("inner/second", at.join("first")).unwrap();
        symlink("real", at.join("inner/second")).unwrap();
        // At first the links dangle.
        for text in ["one", "two"] {
            put(&at.join("first"), text).unwrap();
            assert_eq!(fs::read_to_string(&real).unwrap(), text);
            assert!(fs::symlink_metadata(at.join("first")).unwrap().is_symlink());
            assert!(fs::symlink_metadata(at.join("inner/second")).unwrap().is_symlink());
        }
        symlink("round", at.join("round")).unwrap();
        assert!(put(&at.join("round"), "x").is_err());
        assert_eq!((names(at).len(), names(&at.join("inner")).len()), (3, 2));
    }

    #[test]
    fn permissions_are_handed_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        put(&path, "new").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        let plain = folder.path().join("plain");
        fs::write(&plain, "").unwrap();
        assert_eq!(mode(&path), mode(&plain), "the mode of new files is the process's");
        for wanted in [0o600, 0o664, 0o755] {
            fs::set_permissions(&path, fs::Permissions::from_mode(wanted)).unwrap();
            put(&path, "again").unwrap();
            assert_eq!(mode(&path), wanted);
        }
    }

    #[test]
    fn what_is_no_file_is_written_to() {
        assert_eq!(put(Path::new("/dev/full"), "x").unwrap_err().kind(), io::ErrorKind::StorageFull);
        put(Path::new("/dev/null"), "x").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        let folder = tempfile::tempdir().unwrap();
        symlink("/dev/full", folder.path().join("full")).unwrap();
        assert!(put(&folder.path().join("full"), "x").is_err());
        assert!(put(folder.path(), "x").unwrap_err().to_string().contains("folder"));
        check_writable(Path::new("/dev/null")).unwrap();
    }

    #[test]
    fn stale_files_go_and_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let others = [".net.1-x.tmp", ".net.1-.tmp", ".other.1-2.tmp", "net.1-2.tmp", ".net.7-7.tmp"];
        let stale = [".net.1-2.tmp", ".net.99999999-0.tmp"];
        others.iter().chain(&stale).for_each(|name| fs::write(at(name), "").unwrap());
        let held = File::open(at(".net.7-7.tmp")).unwrap();
        held.lock().unwrap();
        check_writable(&at("net")).unwrap();
        let mut left: Vec<&str> = others.to_vec();
        left.sort();
        assert_eq!(names(folder.path()), left);
        drop(held);
        put(&at("net"), "x").unwrap();
        assert!(!at(".net.7-7.tmp").exists() && at("net").exists());
    }

    #[test]
    fn writers_at_once_leave_one_whole_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let path = &path;
                scope.spawn(move || (0..25).for_each(|_| put(path, &format!("{writer}").repeat(10_000)).unwrap()));
            }
        });
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.len() == 10_000 && text.bytes().all(|b| b == text.as_bytes()[0]));
        assert_eq!(names(folder.path()), ["file"]);
    }

    /// As another user than root, whom nothing is refused.
    #[test]
    fn folders_without_reading_will_do_and_read_only_files_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).unwrap();
        fs::set_permissions(&inner, fs::Permissions::from_mode(0o333)).unwrap();
        put(&inner.join("file"), "text").unwrap();
        fs::set_permissions(&inner, fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(inner.join("file"), fs::Permissions::from_mode(0o444)).unwrap();
        let root = File::create_new(inner.join("probe")).is_ok()
            && OpenOptions::new().write(true).open(inner.join("file")).is_ok();
        assert!(root || put(&inner.join("file"), "other").is_err());
    }
}
