//! What users of libraries for C come upon: files of two builds, names that headers have too, training that goes on from
//! a file, results without rows, and memory that is not there.

use std::fs;
use std::path::Path;

use bakelite::Input;
use bakelite_compiler::backend::cranelift::TargetCpu;
use bakelite_compiler::compile::compile;
use bakelite_compiler::jit::JitModel;
use bakelite_compiler::library::LibraryOptions;
use bakelite_compiler::prelude::*;

use super::{library, succeeded, tool};

/// Compiles a text and links what is given; the compiler's output, `None` without one.
fn compiled(compiler: &str, folder: &Path, text: &str, link: &[&Path]) -> Option<std::process::Output> {
    let language = if compiler == "g++" { ["-xc++", "-std=c++17"] } else { ["-xc", "-std=gnu11"] };
    let main = folder.join("main.c");
    fs::write(&main, text).unwrap();
    let include = format!("-I{}", folder.display());
    let to = folder.join("main");
    let flags = ["-Wall", "-Wextra", "-Werror", "-pedantic", &include, "-o", to.to_str().unwrap()];
    let mut arguments = [&language[..], &flags, &[main.to_str().unwrap(), "-xnone"]].concat();
    arguments.extend(link.iter().map(|file| file.to_str().unwrap()));
    arguments.extend(["-lm", "-lpthread"]);
    tool(compiler, &arguments, &[])
}

/// What `main` of a text prints; its folder is the only argument.
fn run(compiler: &str, folder: &Path, text: &str, link: &Path) -> Option<String> {
    succeeded(compiler, &compiled(compiler, folder, text, &[link])?);
    let program = folder.join("main");
    Some(succeeded("main", &tool(program.to_str().unwrap(), &[folder.to_str().unwrap()], &[]).unwrap()))
}

/// The beginning of a `main` that opens a model named `net` on one thread.
const OPEN: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#define CHECK(code) do { int found = (code); if (found != NET_OK) { fprintf(stderr, "%s: %s\n", #code, net_error_text(found)); exit(1); } } while (0)
static void *block(size_t bytes) { return aligned_alloc(NET_ALIGN, (bytes / NET_ALIGN + 1) * NET_ALIGN); }
int main(int count, char **arguments)
{
    net_t m;
    char path[4096];
    snprintf(path, sizeof path, "%s/net.safetensors", arguments[count - 1]);
    CHECK(net_open(&m, block(NET_STORAGE_BYTES), block(NET_ARENA_BYTES), block(NET_SCRATCH_BYTES(1)), 1));
"#;

fn linear(units: usize) -> Model {
    let m = Model::new("net");
    m.output(&Dense::new(units).name("y").apply(&m.input("x", 2, F32)));
    m
}

#[test]
fn a_header_links_with_its_own_library_alone() {
    let folder = tempfile::tempdir().unwrap();
    let text =
        format!("#include \"net.h\"\n{OPEN}    CHECK(net_load(&m, path));\n    net_close(&m);\n    return 0;\n}}\n");
    let old = library(&linear(3), &LibraryOptions::new(folder.path()));
    let header = fs::read(&old.header).unwrap();
    let Some(_) = run("gcc", folder.path(), &text, &old.library) else { return };
    // Nothing but a shape differs, or nothing but the most rows of a call.
    for (units, max_batch) in [(4, None), (3, Some(7))] {
        let options = LibraryOptions { max_batch, ..LibraryOptions::new(folder.path()) };
        let new = library(&linear(units), &options);
        assert!(run("gcc", folder.path(), &text, &new.library).is_some(), "a new header and its library");
        fs::write(&new.header, &header).unwrap();
        let output = compiled("gcc", folder.path(), &text, &[&new.library]).unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && stderr.contains("undefined reference to `net_open_"), "{stderr}");
    }
    // The same model again is the same library.
    library(&linear(3), &LibraryOptions::new(folder.path()));
    assert!(fs::read(&old.header).unwrap() == header);
}

#[test]
fn inputs_are_called_as_macros_and_keywords_are() {
    const NAMES: [&str; 12] =
        ["errno", "stdin", "EOF", "assert", "I", "linux", "unix", "NULL", "class", "restrict", "model", "batch"];
    let m = Model::new("net");
    let inputs: Vec<Tensor> = NAMES.iter().map(|name| m.input(*name, 1, F32)).collect();
    m.output_as("errno", &Add.apply_many(&inputs.iter().collect::<Vec<_>>()));
    m.output_as("NAN", &Multiply.apply_many(&[&inputs[0], &inputs[1]]));
    let folder = tempfile::tempdir().unwrap();
    let built = library(&m, &LibraryOptions::new(folder.path()));
    let before =
        "#include <assert.h>\n#include <errno.h>\n#include <math.h>\n#include <stddef.h>\n#include <stdio.h>\n";
    let pointers = NAMES.map(|_| "&x").join(", ");
    let text = format!(
        "#include \"net.h\"\n{OPEN}    float x = 0.5f, sum, product;\n    CHECK(net_predict(&m, 1, {pointers}, &sum, \
         &product));\n    printf(\"%g %g\\n\", (double)sum, (double)product);\n    net_close(&m);\n    return 0;\n}}\n"
    );
    for (compiler, complex) in [("gcc", "#include <complex.h>\n#include <iso646.h>\n"), ("g++", "")] {
        if let Some(printed) = run(compiler, folder.path(), &format!("{before}{complex}{text}"), &built.library) {
            assert_eq!(printed, "6 0.25\n", "{compiler}");
        }
    }
}

/// A file of weights has no state of the optimizer: it begins as `compile` says.
#[test]
fn a_file_of_weights_is_trained_at_the_first_learning_rate() {
    let m = linear(2);
    m.compile(SGD::new(0.25).momentum(0.5), MeanSquaredError, ());
    let folder = tempfile::tempdir().unwrap();
    let built = library(&m, &LibraryOptions::new(folder.path()));
    let text = format!(
        "#include \"net.h\"\n{OPEN}    float x[4] = {{1, 2, 3, -4}}, y[4] = {{1, 0, 0, 1}}, loss[2], kernel[4], rate;\n    \
         if (net_train_step(&m, 2, x, y, loss) != NET_ERROR_NO_VALUE) return 1;\n    \
         CHECK(net_load(&m, path));\n    \
         CHECK(net_param_get(&m, NET_PARAM_OPTIMIZER_LEARNING_RATE, &rate, sizeof rate));\n    \
         CHECK(net_train_step(&m, 2, x, y, &loss[0]));\n    CHECK(net_train_step(&m, 2, x, y, &loss[1]));\n    \
         CHECK(net_param_get(&m, NET_PARAM_Y_KERNEL, kernel, sizeof kernel));\n    \
         printf(\"%.9g %.9g %.9g %.9g %.9g %.9g %.9g\\n\", rate, loss[0], loss[1], kernel[0], kernel[1], kernel[2], kernel[3]);\n    \
         net_close(&m);\n    return 0;\n}}\n"
    );
    let Some(printed) = run("gcc", folder.path(), &text, &built.library) else { return };
    let found: Vec<f32> = printed.split_whitespace().map(|number| number.parse().unwrap()).collect();

    let image = JitModel::new(&compile(m.lower().unwrap(), &Default::default()).unwrap(), TargetCpu::Portable).unwrap();
    let mut run = bakelite::Model::open(image).unwrap();
    run.load(built.weights.unwrap()).unwrap();
    let before: Vec<f32> = run.param("y/kernel").unwrap().to_vec().unwrap();
    let step = run.entry("train_step").unwrap();
    let mut expected = vec![0.25];
    for _ in 0..2 {
        let mut loss = [0.0f32];
        let inputs = [Input::new(&[1.0f32, 2.0, 3.0, -4.0]), Input::new(&[1.0f32, 0.0, 0.0, 1.0])];
        run.call(step, &inputs, &mut [(&mut loss).into()], 2).unwrap();
        expected.extend(loss);
    }
    let after: Vec<f32> = run.param("y/kernel").unwrap().to_vec().unwrap();
    assert!(before.iter().zip(&after).all(|(a, b)| a != b), "{before:?} to {after:?}");
    expected.extend(after);
    assert_eq!(found, expected);
}

/// A number and a row for the whole batch, beside rows.
#[test]
fn results_without_rows() {
    let m = Model::new("net");
    let x = m.input("x", 3, F32);
    m.output_as("largest", &x.max_all()).output_as("mean", &x.mean(&[0])).output_as("twice", &(&x + &x));
    let folder = tempfile::tempdir().unwrap();
    let built = library(&m, &LibraryOptions::new(folder.path()));
    let header = fs::read_to_string(&built.header).unwrap();
    for said in ["out_largest   out, float[]", "out_mean      out, float[3]", "out_twice     out, float[batch, 3]"] {
        assert!(header.contains(said), "{said}: {header}");
    }
    let text = format!(
        "#include \"net.h\"\n{OPEN}    float x[9] = {{1, 2, 3, 3, 2, 7, -1, 5, 5}}, most, mean[3], twice[9];\n    size_t rows;\n    \
         for (rows = 1; rows <= 3; rows++) {{\n        CHECK(net_predict(&m, rows, x, &most, mean, twice));\n        \
         printf(\"%g %g %g %g %g\\n\", most, mean[0], mean[1], mean[2], twice[3 * rows - 1]);\n    }}\n    \
         net_close(&m);\n    return 0;\n}}\n"
    );
    let Some(printed) = run("gcc", folder.path(), &text, &built.library) else { return };
    assert_eq!(printed, "3 1 2 3 6\n7 2 2 5 14\n7 1 3 5 10\n");
}

/// Without memory to read a file, a model is as it was.
#[test]
#[cfg(target_os = "linux")]
fn a_file_that_does_not_fit_the_memory_is_an_error() {
    const INPUTS: usize = 2048;
    let m = Model::new("net");
    m.output(&Dense::new(INPUTS).name("y").apply(&m.input("x", INPUTS, F32)));
    m.max_batch(1);
    let folder = tempfile::tempdir().unwrap();
    let built = library(&m, &LibraryOptions::new(folder.path()));
    // The address space has room for the storage, and not for as much again.
    let text = format!(
        "#define _GNU_SOURCE\n#include \"net.h\"\n#include <sys/resource.h>\n{OPEN}    \
         static float x[{INPUTS}], y[{INPUTS}], again[{INPUTS}];\n    size_t i, pages = 0;\n    FILE *own;\n    \
         struct rlimit limit;\n    for (i = 0; i < {INPUTS}; i++) x[i] = 1;\n    \
         CHECK(net_load(&m, path));\n    CHECK(net_predict(&m, 1, x, y));\n    \
         own = fopen(\"/proc/self/statm\", \"r\");\n    if (own == NULL || fscanf(own, \"%zu\", &pages) != 1) return 2;\n    \
         getrlimit(RLIMIT_AS, &limit);\n    limit.rlim_cur = pages * 4096 + (NET_STORAGE_BYTES / 2);\n    \
         if (setrlimit(RLIMIT_AS, &limit) != 0) return 3;\n    if (net_load(&m, path) != NET_ERROR_MEMORY) return 4;\n    \
         CHECK(net_predict(&m, 1, x, again));\n    for (i = 0; i < {INPUTS}; i++) if (y[i] != again[i]) return 5;\n    \
         net_close(&m);\n    return 0;\n}}\n"
    );
    run("gcc", folder.path(), &text, &built.library);
}
