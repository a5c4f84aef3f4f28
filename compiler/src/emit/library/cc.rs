//! Calling the C compiler of a target.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

use target_lexicon::{Architecture, Triple};

/// Why a source was not compiled.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CcError {
    #[error("there is no C compiler for {target}: tried {tried}")]
    Missing { target: String, tried: String },
    #[error("`{command}` does not run: {reason}")]
    Start { command: String, reason: String },
    #[error("`{command}` failed:\n{message}")]
    Failed { command: String, message: String },
    #[error("cannot write {path}: {reason}")]
    Io { path: PathBuf, reason: String },
}

/// Position-independent, so that the library can become part of a shared one.
const COMPILE: &[&str] = &["-std=c99", "-O2", "-fPIC", "-Wall", "-Wextra", "-c"];
/// One object out of several, none of which needs an executable stack.
const LINK: &[&str] = &["-r", "-nostdlib", "-Wl,-z,noexecstack"];

/// Atomic operations of AArch64 as instructions, not as functions of the compiler's own library.
const COMPILE_AARCH64: &[&str] = &["-mno-outline-atomics"];

/// A C compiler, with arguments that belong to its name.
pub struct Compiler {
    words: Vec<String>,
    flags: Vec<&'static str>,
}

impl Compiler {
    /// The compiler of a target: what the environment names, else what systems have.
    pub fn find(target: &Triple) -> Result<Compiler, CcError> {
        let candidates = candidates(target);
        for command in &candidates {
            let words: Vec<String> = command.split_whitespace().map(str::to_string).collect();
            if Command::new(&words[0]).args(&words[1..]).arg("--version").output().is_ok() {
                let mut flags = COMPILE.to_vec();
                if matches!(target.architecture, Architecture::Aarch64(_)) {
                    flags.extend(COMPILE_AARCH64);
                }
                return Ok(Compiler { words, flags });
            }
        }
        Err(CcError::Missing { target: target.to_string(), tried: candidates.join(", ") })
    }

    /// One relocatable object of C sources, by name the last of which is compiled and may include the others, and of
    /// other objects, in which only the symbols `exported` are visible. So libraries of several models, and of several
    /// versions, go into one program.
    pub fn object(&self, sources: &[(&str, &str)], objects: &[&[u8]], exported: &[String]) -> Result<Vec<u8>, CcError> {
        let work = Work::new()?;
        for (name, text) in sources {
            work.write(name, text.as_bytes())?;
        }
        if let Some((name, _)) = sources.last() {
            self.run(&work.folder, &self.flags, &[name, "-o", "source.o"])?;
        }
        let mut parts = vec!["source.o".to_string()];
        for (i, object) in objects.iter().enumerate() {
            parts.push(format!("part{i}.o"));
            work.write(&parts[i + 1], object)?;
        }
        let mut arguments = vec!["-o", "all.o"];
        arguments.extend(parts.iter().map(String::as_str));
        self.run(&work.folder, LINK, &arguments)?;
        self.localize(&work.folder, exported)?;
        let path = work.folder.join("library.o");
        fs::read(&path).map_err(|e| io(&path, e))
    }

    /// `all.o` to `library.o`, with local symbols but for some.
    fn localize(&self, folder: &Path, exported: &[String]) -> Result<(), CcError> {
        let printed = self.run(folder, &["-print-prog-name=objcopy"], &[])?;
        let objcopy = String::from_utf8_lossy(&printed).trim().to_string();
        let keep = exported.iter().map(|symbol| format!("--keep-global-symbol={symbol}"));
        let mut arguments: Vec<String> = keep.collect();
        arguments.extend(["--strip-unneeded", "all.o", "library.o"].map(String::from));
        run(&objcopy, Command::new(&objcopy).args(&arguments).current_dir(folder))?;
        Ok(())
    }

    fn run(&self, folder: &Path, flags: &[&str], arguments: &[&str]) -> Result<Vec<u8>, CcError> {
        let mut command = Command::new(&self.words[0]);
        run(&self.words.join(" "), command.args(&self.words[1..]).args(flags).args(arguments).current_dir(folder))
    }
}

/// What a command prints.
fn run(name: &str, command: &mut Command) -> Result<Vec<u8>, CcError> {
    let start = |e: std::io::Error| CcError::Start { command: name.to_string(), reason: e.to_string() };
    let Output { status, stdout, stderr } = command.output().map_err(start)?;
    if status.success() {
        return Ok(stdout);
    }
    Err(CcError::Failed { command: name.to_string(), message: String::from_utf8_lossy(&stderr).into_owned() })
}

fn io(path: &Path, e: std::io::Error) -> CcError {
    CcError::Io { path: path.to_path_buf(), reason: e.to_string() }
}

/// A folder for the compiler's files, among the system's temporary ones, removed when dropped.
struct Work {
    folder: PathBuf,
    /// Held as long as the folder is in use.
    _lock: File,
}

/// How the names of such folders begin, and the file in them that is locked.
const WORK: &str = "bakelite-cc-";
const LOCK: &str = "lock";

impl Work {
    fn new() -> Result<Work, CcError> {
        static COUNTER: AtomicUsize = AtomicUsize::new(0);
        let place = env::temp_dir();
        remove_stale(&place);
        loop {
            let count = COUNTER.fetch_add(1, Ordering::Relaxed);
            let folder = place.join(format!("{WORK}{}-{count}", std::process::id()));
            match fs::create_dir(&folder) {
                Ok(()) => {}
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => continue,
                Err(e) => return Err(io(&folder, e)),
            }
            let lock = File::create(folder.join(LOCK)).map_err(|e| io(&folder, e))?;
            // A file system without locks keeps stale folders, and works otherwise.
            let _ = lock.lock();
            // Another process may have taken it for a stale one before it was locked.
            if folder.join(LOCK).exists() {
                return Ok(Work { folder, _lock: lock });
            }
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), CcError> {
        let path = self.folder.join(name);
        fs::write(&path, bytes).map_err(|e| io(&path, e))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // Whatever happened, the first error is the one to report.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Removes the folders of processes that were killed: nobody holds their locks.
fn remove_stale(place: &Path) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(WORK);
        let free = || File::open(entry.path().join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok());
        if ours && entry.file_type().is_ok_and(|kind| kind.is_dir()) && free() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Commands to try.
fn candidates(target: &Triple) -> Vec<String> {
    let native = *target == Triple::host();
    let mut variables = vec![format!("CC_{}", target.to_string().replace('-', "_"))];
    variables.extend(native.then(|| "CC".to_string()));
    if let Some(named) = variables.iter().find_map(|name| env::var(name).ok().filter(|value| !value.trim().is_empty()))
    {
        return vec![named];
    }
    if native {
        return ["cc", "gcc", "clang"].map(String::from).to_vec();
    }
    let architecture = target.architecture.to_string();
    let rest = format!("{}-{}", target.operating_system, target.environment);
    vec![format!("{architecture}-{rest}-gcc"), format!("{target}-gcc")]
}
