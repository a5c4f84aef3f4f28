//! Calling the C compiler of a target.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use target_lexicon::Triple;

/// Why a source was not compiled.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CcError {
    #[error("there is no C compiler for {target}: tried {tried}")]
    Missing { target: String, tried: String },
    #[error("the C compiler `{compiler}` failed:\n{message}")]
    Failed { compiler: String, message: String },
    #[error("cannot write to {path}: {reason}")]
    Io { path: PathBuf, reason: String },
}

/// Position-independent, so that the library can become part of a shared one; the same text gives the same bytes.
const FLAGS: &[&str] = &["-std=c99", "-O2", "-fPIC", "-Wall", "-Wextra", "-c"];

/// The object file of the C source `name.c` and the header that it includes, compiled in `folder`, which holds both.
pub fn compile(target: &Triple, folder: &Path, name: &str) -> Result<Vec<u8>, CcError> {
    let object = folder.join(format!(".{name}.{}.o", std::process::id()));
    let source = format!("{name}.c");
    let candidates = candidates(target);
    for command in &candidates {
        let mut words = command.split_whitespace();
        let Some(program) = words.next() else { continue };
        let run = Command::new(program)
            .args(words)
            .args(FLAGS)
            .arg(&source)
            .arg("-o")
            .arg(&object)
            .current_dir(folder)
            .output();
        let Ok(Output { status, stderr, .. }) = run else { continue };
        if !status.success() {
            // What it left is of no use, and the first error is the one to report.
            let _ = fs::remove_file(&object);
            let message = String::from_utf8_lossy(&stderr).into_owned();
            return Err(CcError::Failed { compiler: command.clone(), message });
        }
        let bytes = fs::read(&object).map_err(|e| CcError::Io { path: object.clone(), reason: e.to_string() });
        let _ = fs::remove_file(&object);
        return bytes;
    }
    Err(CcError::Missing { target: target.to_string(), tried: candidates.join(", ") })
}

/// Commands to try: what the environment names, else those that systems have.
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
