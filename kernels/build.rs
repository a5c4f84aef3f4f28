//! Compiles the kernels, fully optimised whatever the profile, into an object of their own: the inner loops of every
//! generated program, which a debug build of an application must not slow down. The object is freestanding; the crate
//! links it, and whoever makes C libraries can carry it along (`DEP_BAKELITE_KERNELS_OBJECT`).

use std::path::{Path, PathBuf};
use std::process::{Command, exit};
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rustc-check-cfg=cfg(bakelite_kernels_object)");
    let folder = PathBuf::from(variable("OUT_DIR"));
    let object = folder.join("bakelite_kernels.o");
    let status = Command::new(variable("RUSTC"))
        .args(["--crate-name", "bakelite_kernels", "--edition", "2024", "--crate-type", "lib", "--emit", "obj"])
        .args(["--cfg", "bakelite_kernels_object", "--target", &variable("TARGET")])
        .args(["-C", "opt-level=3", "-C", "codegen-units=1", "-C", "panic=abort", "-C", "relocation-model=pic"])
        .arg("-o")
        .arg(&object)
        .arg("src/lib.rs")
        .status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => fail(&format!("rustc could not compile the kernels: {status}")),
        Err(error) => fail(&format!("rustc does not start: {error}")),
    }
    if let Err(error) = archive(&object, &folder.join("libbakelite_kernels_object.a")) {
        fail(&format!("the archive of the kernels cannot be written: {error}"));
    }
    println!("cargo::rustc-link-search=native={}", folder.display());
    println!("cargo::rustc-link-lib=static=bakelite_kernels_object");
    println!("cargo::metadata=object={}", object.display());
}

/// An archive of one member, without an index: rustc reads the members and makes its own.
fn archive(object: &Path, to: &Path) -> std::io::Result<()> {
    let data = fs::read(object)?;
    let mut bytes = b"!<arch>\n".to_vec();
    bytes.extend(format!("{:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", "kernels.o/", 0, 0, 0, 644, data.len()).into_bytes());
    bytes.extend(&data);
    if bytes.len() % 2 == 1 {
        bytes.push(b'\n');
    }
    fs::write(to, bytes)
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| fail(&format!("cargo sets {name}")))
}

fn fail(message: &str) -> ! {
    println!("cargo::error={message}");
    exit(1);
}
