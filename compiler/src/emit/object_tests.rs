//! Objects, seen from outside: symbols, and a linked program that reads the descriptor.

use std::path::Path;
use std::process::Command;

use target_lexicon::Triple;

use super::image::ModelImage;
use super::object::{Object, emit};
use crate::backend::cranelift::{Products, TargetCpu};
use crate::compile::{Compiled, Options, compile};
use crate::prelude::*;

fn model() -> Compiled {
    let m = Model::new("small");
    m.max_batch(32);
    let x = m.input("x", [20], F32);
    let h = Dense::new(70).activation(Tanh).apply(&x);
    let h = Dense::new(64).activation(Relu).apply(&h);
    m.output(&Dense::new(10).apply(&h));
    m.compile(Adam::new(1e-3), SparseCategoricalCrossentropy::from_logits(), [Accuracy]);
    let module = m.lower().unwrap_or_else(|d| panic!("{d}"));
    compile(module, &Options::default()).unwrap_or_else(|e| panic!("{e}"))
}

fn object(compiled: &Compiled, triple: &str) -> Object {
    let triple: Triple = triple.parse().unwrap();
    emit(&ModelImage::new(compiled), &triple, TargetCpu::Portable, Products::Driver).unwrap_or_else(|e| panic!("{e}"))
}

/// The output of a tool, `None` where it is missing.
fn tool(name: &str, args: &[&Path]) -> Option<String> {
    let output = Command::new(name).args(args).output().ok()?;
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn objects_need_no_symbol_and_export_one() {
    let compiled = model();
    for triple in ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"] {
        let object = object(&compiled, triple);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("small.o");
        std::fs::write(&path, &object.object).unwrap();
        let Some(symbols) = tool("nm", &[&path]) else { return };
        let outside: Vec<&str> = symbols.lines().filter(|l| l.contains(" U ")).collect();
        assert!(outside.is_empty(), "{triple}: {outside:?}");
        let shared: Vec<&str> = symbols
            .lines()
            .filter(|l| l.split_whitespace().nth(1).is_some_and(|k| k != "t" && k != "r" && k != "d"))
            .collect();
        assert_eq!(shared.len(), 1, "{triple}: {shared:?}");
        assert!(shared[0].ends_with("bakelite_model_small"));
    }
}

#[test]
fn the_same_model_gives_the_same_bytes() {
    let compiled = model();
    let triple = "x86_64-unknown-linux-gnu";
    let (first, second) = (object(&compiled, triple), object(&compiled, triple));
    assert_eq!(first, second);
    assert_eq!(first.levels, ["baseline", "x86-64-v3", "x86-64-v4"]);
    assert_eq!(first.archive(), second.archive());
}

#[test]
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn an_archive_links_and_its_descriptor_is_read() {
    let compiled = model();
    let object = object(&compiled, "x86_64-unknown-linux-gnu");
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("libsmall.a");
    std::fs::write(&archive, object.archive()).unwrap();
    let source = dir.path().join("main.c");
    std::fs::write(
        &source,
        "#include <stdint.h>\n#include <stdio.h>\n\
         extern const struct { uint64_t magic; uint32_t version, zero; const char *name; uint64_t name_len, max_batch; } \
         bakelite_model_small;\n\
         int main(void) { printf(\"%.8s %u %.*s %d\\n\", (const char *)&bakelite_model_small.magic, \
         bakelite_model_small.version, (int)bakelite_model_small.name_len, bakelite_model_small.name, \
         (int)bakelite_model_small.max_batch); return 0; }\n",
    )
    .unwrap();
    let program = dir.path().join("main");
    let args = [source.as_path(), &archive, Path::new("-o"), &program];
    if tool("cc", &args).is_none() {
        return;
    }
    let printed = tool(program.to_str().unwrap(), &[]).unwrap();
    assert_eq!(printed, format!("BAKELITE {} small 32\n", bakelite::abi::ABI_VERSION));
}
