//! Calling the C compiler of a target.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

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

    /// One relocatable object of the C source `NAME.c` in a folder and of other objects, in which only the symbols
    /// `exported` are visible. So libraries of several models, and of several versions, go into one program.
    pub fn object(
        &self,
        folder: &Path,
        name: &str,
        objects: &[&[u8]],
        exported: &[String],
    ) -> Result<Vec<u8>, CcError> {
        let work = folder.join(format!(".{name}.{}", std::process::id()));
        let io = |path: &Path, e: std::io::Error| CcError::Io { path: path.to_path_buf(), reason: e.to_string() };
        fs::create_dir_all(&work).map_err(|e| io(&work, e))?;
        let result = (|| {
            self.run(folder, &self.flags, &[&format!("{name}.c"), "-o", &path_text(&work.join("source.o"))])?;
            let mut parts = vec!["source.o".to_string()];
            for (i, object) in objects.iter().enumerate() {
                parts.push(format!("part{i}.o"));
                let path = work.join(&parts[i + 1]);
                fs::write(&path, object).map_err(|e| io(&path, e))?;
            }
            let mut arguments = vec!["-o", "all.o"];
            arguments.extend(parts.iter().map(String::as_str));
            self.run(&work, LINK, &arguments)?;
            self.localize(&work, exported)?;
            let path = work.join("library.o");
            fs::read(&path).map_err(|e| io(&path, e))
        })();
        // Whatever happened, the first error is the one to report.
        let _ = fs::remove_dir_all(&work);
        result
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

fn path_text(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()).display().to_string()
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
