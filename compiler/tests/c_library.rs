//! Libraries for C, used as their users do: programs in C are compiled against the header, linked with the library, and
//! do what the Rust runtime does, to the bit.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bakelite::{Contents, Input, Level, Options, Output as Port};
use bakelite_compiler::backend::cranelift::TargetCpu;
use bakelite_compiler::compile::compile;
use bakelite_compiler::ir::{BinaryFn, Dim, Graph, Module, Op, Shape, TensorType, UnaryFn};
use bakelite_compiler::jit::JitModel;
use bakelite_compiler::library::{BuiltLibrary, LibraryOptions, Parity, Weights, build_library};
use bakelite_compiler::prelude::*;

#[path = "c_library/users.rs"]
mod users;

const ROWS: usize = 32;
const STEPS: usize = 20;

/// A convnet with weights in panels, state of its own, random numbers and scalar functions.
fn convnet() -> Model {
    let m = Model::new("net");
    m.max_batch(ROWS);
    let image = m.input("image", [8, 8, 1], F32);
    let x = Conv2D::new(32, 3).activation(Relu).apply(&image);
    let x = MaxPooling2D::new(2).apply(&x);
    let x = BatchNormalization::new().apply(&x);
    let x = Dense::new(64).activation(Tanh).apply(&Flatten.apply(&x));
    let x = Dropout::new(0.1).apply(&x);
    m.output(&Dense::new(10).name("digit").apply(&x));
    m.compile(Adam::new(0.01), SparseCategoricalCrossentropy::from_logits(), [Accuracy]);
    m
}

/// The convnet of the example `digits`, on images of 28x28.
fn digits() -> Model {
    let m = Model::new("digits");
    let image = m.input("image", [28, 28, 1], F32);
    let x = Conv2D::new(32, 3).activation(Relu).apply(&image);
    let x = MaxPooling2D::new(2).apply(&x);
    let x = Conv2D::new(64, 3).padding(Same).activation(Relu).apply(&x);
    let x = Dropout::new(0.3).apply(&Flatten.apply(&x));
    m.output(&Dense::new(10).name("digit").apply(&x));
    m.compile(RMSprop::new(1e-3), SparseCategoricalCrossentropy::from_logits(), [Accuracy]);
    m
}

fn library(model: &Model, options: &LibraryOptions<'_>) -> BuiltLibrary {
    model.build_library(options).unwrap_or_else(|d| panic!("{d}"))
}

/// Runs a tool; `None`, and a line that says so, where it is missing.
fn tool(name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Option<Output> {
    match Command::new(name).args(arguments).envs(environment.iter().copied()).output() {
        Ok(output) => Some(output),
        Err(_) => {
            eprintln!("skipped: no {name}");
            None
        }
    }
}

fn succeeded(what: &str, output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{what}: {:?}\n{}", output.status, text(&output.stderr));
    text(&output.stdout)
}

fn source(name: &str) -> String {
    format!("{}/tests/c_library/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Compiles a program of `tests/c_library` and links what is given; `None` without the compiler.
fn program(cc: &str, folder: &Path, name: &str, flags: &[&str], link: &[&str]) -> Option<PathBuf> {
    let to = folder.join(name);
    let include = format!("-I{}", folder.display());
    let file = source(&format!("{name}.c"));
    let mut arguments = vec!["-std=c99", "-O1", "-Wall", "-Wextra", "-Werror", "-pedantic", &include];
    arguments.extend(flags);
    arguments.extend(["-o", to.to_str().unwrap(), &file]);
    arguments.extend(link);
    arguments.extend(["-lm", "-lpthread"]);
    let output = tool(cc, &arguments, &[])?;
    succeeded(cc, &output);
    Some(to)
}

/// The generator of `train.c`.
struct Numbers(u32);

impl Numbers {
    fn draw(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(1664525).wrapping_add(1013904223);
        self.0 >> 8
    }

    fn float(&mut self) -> f32 {
        ((self.draw() % 512) as i32 - 256) as f32 / 256.0
    }
}

/// What `train.c` does, by the Rust runtime: the losses, and the model after them.
fn train(model: &Model, level: Level) -> (Vec<f32>, bakelite::Model) {
    let module = model.lower().unwrap();
    let compiled = compile(module, &Default::default()).unwrap();
    let image = JitModel::new(&compiled, TargetCpu::Level(level)).unwrap();
    let mut run = bakelite::Model::open_with(image, Options::new().threads(1).level(level)).unwrap();
    run.init(42).unwrap();
    let mut numbers = Numbers(1);
    let images: Vec<f32> = (0..ROWS * 64).map(|_| numbers.float()).collect();
    let digits: Vec<i32> = (0..ROWS).map(|_| (numbers.draw() % 10) as i32).collect();
    let step = run.entry("train_step").unwrap();
    let entry = run.entries().iter().find(|entry| entry.name == "train_step").unwrap();
    assert_eq!(entry.threads(ROWS, 2), 2, "the second thread has work");
    let mut losses = Vec::new();
    for i in 0..STEPS {
        let rows = if i < STEPS - 2 { ROWS } else { 5 };
        let (mut loss, mut accuracy) = ([0.0f32], [0.0f32]);
        let inputs = [Input::new(&images[..rows * 64]), Input::new(&digits[..rows])];
        run.call(step, &inputs, &mut [Port::new(&mut loss), Port::new(&mut accuracy)], rows).unwrap();
        losses.push(loss[0]);
    }
    (losses, run)
}

/// The losses that `train.c` printed, once for each number of threads.
fn printed(text: &str) -> Vec<f32> {
    let bits = |line: &str| u32::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap();
    text.lines().map(|line| f32::from_bits(bits(line))).collect()
}

#[test]
fn a_program_in_c_trains_as_the_rust_runtime_does() {
    let folder = tempfile::tempdir().unwrap();
    let model = convnet();
    let built = library(&model, &LibraryOptions::new(folder.path()));
    let Some(program) = program("gcc", folder.path(), "train", &[], &[built.library.to_str().unwrap()]) else { return };
    for level in Level::ALL.into_iter().filter(|level| bakelite::level::supported(*level)) {
        let (losses, run) = train(&model, level);
        let (from_c, from_rust) = (folder.path().join("c.safetensors"), folder.path().join("rust.safetensors"));
        run.save_with(&from_rust, Contents::Training).unwrap();
        let arguments = [from_c.to_str().unwrap(), from_rust.to_str().unwrap()];
        let output = tool(program.to_str().unwrap(), &arguments, &[("BAKELITE_LEVEL", level.name())]).unwrap();
        let text = succeeded("train", &output);
        assert_eq!(String::from_utf8_lossy(&output.stderr).trim(), level.name());
        assert_eq!(printed(&text), [losses.clone(), losses].concat(), "{level}: on one thread, and on two");
        assert!(fs::read(&from_c).unwrap() == fs::read(&from_rust).unwrap(), "{level}: the files differ");
    }
    let leftovers =
        fs::read_dir(folder.path()).unwrap().filter(|f| f.as_ref().unwrap().path().extension() == Some("tmp".as_ref()));
    assert_eq!(leftovers.count(), 0);
    let output = tool(program.to_str().unwrap(), &["c", "r"], &[("BAKELITE_LEVEL", "pentium")]).unwrap();
    assert!(!output.status.success());
}

/// The floating-point environment is the library's own, on every thread; handles outlive fork; threads that do not start
/// are an error.
#[test]
fn threads_in_c() {
    const ROWS: usize = 1 << 14;
    let mut graph = Graph::new("predict");
    let x = graph.input("x", TensorType::new(DType::F32, Shape(vec![Dim::BATCH, Dim::fixed(64)])));
    let half = graph.splat_of(0.5, TensorType::new(DType::F32, Shape(vec![Dim::BATCH, Dim::fixed(64)])));
    let y = graph.push(Op::Binary(BinaryFn::Mul), &[x, half]);
    graph.output("y", y);
    let module = Module { name: "net".into(), max_batch: ROWS, entries: vec![graph], ..Module::default() };
    let compiled = compile(module.clone(), &Default::default()).unwrap();
    let image = JitModel::new(&compiled, TargetCpu::Portable).unwrap();
    let run = bakelite::Model::open(image).unwrap();
    assert_eq!(run.entries()[0].threads(ROWS, 2), 2, "the second thread has work");
    let folder = tempfile::tempdir().unwrap();
    let built = build_library(module, &LibraryOptions::new(folder.path())).unwrap_or_else(|d| panic!("{d}"));
    let Some(program) = program("gcc", folder.path(), "threads", &[], &[built.library.to_str().unwrap()]) else {
        return;
    };
    succeeded("threads", &tool(program.to_str().unwrap(), &[], &[]).unwrap());
}

/// An index of no row of a table and a label of no class are errors, and the model stays as it was.
#[test]
fn inputs_that_are_indices_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let m = Model::new("words");
    let x = m.input("x", 3, I32);
    m.output(&Dense::new(2).name("y").apply(&Flatten.apply(&Embedding::new(10, 4).apply(&x))));
    m.compile(SGD::new(0.1), SparseCategoricalCrossentropy::from_logits(), ());
    let built = library(&m, &LibraryOptions::new(folder.path()));
    let header = fs::read_to_string(&built.header).unwrap();
    assert!(header.contains("in, int32_t[batch, 3], 0 to 9"), "{header}");
    assert!(header.contains("WORDS_ERROR_INDEX, where"), "{header}");
    let main = folder.path().join("main.c");
    let text = "#include <stdlib.h>\n#include \"words.h\"\nint main(void)\n{\n    words_t m;\n    float y[4], loss;\n    \
                int32_t good[6] = {0, 9, 5, 1, 2, 3}, high[6] = {0, 9, 5, 1, 10, 3}, low[6] = {0, 9, 5, 1, 2, -1};\n    \
                int32_t label[2] = {0, 1}, none[2] = {1, 2};\n    \
                if (words_open(&m, aligned_alloc(64, WORDS_STORAGE_BYTES), aligned_alloc(64, WORDS_ARENA_BYTES),\n        \
                aligned_alloc(64, 64 * (WORDS_SCRATCH_BYTES(1) / 64 + 1)), 1) != WORDS_OK) return 1;\n    \
                if (words_init(&m, 1) != WORDS_OK) return 2;\n    \
                if (words_predict(&m, 2, good, y) != WORDS_OK) return 3;\n    \
                if (words_predict(&m, 2, high, y) != WORDS_ERROR_INDEX) return 4;\n    \
                if (words_predict(&m, 1, high, y) != WORDS_OK) return 5;\n    \
                if (words_predict(&m, 2, low, y) != WORDS_ERROR_INDEX) return 6;\n    \
                if (words_train_step(&m, 2, good, none, &loss) != WORDS_ERROR_INDEX) return 7;\n    \
                if (words_train_step(&m, 2, good, label, &loss) != WORDS_OK) return 8;\n    return 0;\n}\n";
    fs::write(&main, text).unwrap();
    let to = folder.path().join("main");
    let include = format!("-I{}", folder.path().display());
    let (to, main, lib) = (to.to_str().unwrap(), main.to_str().unwrap(), built.library.to_str().unwrap());
    let arguments = ["-std=c11", "-Wall", "-Wextra", &include, "-o", to, main, lib, "-lm", "-lpthread"];
    let Some(output) = tool("gcc", &arguments, &[]) else { return };
    succeeded("gcc", &output);
    succeeded("main", &tool(to, &[], &[]).unwrap());
}

/// Models of one program share nothing, not even the names of kernels.
#[test]
fn libraries_of_two_models_link_into_one_program() {
    let folder = tempfile::tempdir().unwrap();
    let mut sources = String::new();
    let mut calls = String::new();
    let mut link = Vec::new();
    for (name, units) in [("one", 3), ("two", 5)] {
        let m = Model::new(name);
        let x = m.input("x", 40, F32);
        m.output(&Dense::new(units).name("y").activation(Sigmoid).apply(&Dense::new(64).apply(&x)));
        m.compile(SGD::new(0.1), MeanSquaredError, [Accuracy]);
        link.push(library(&m, &LibraryOptions::new(folder.path())).library);
        let upper = name.to_uppercase();
        sources += &format!("#include \"{name}.h\"\n");
        calls += &format!(
            "    {{ static {name}_t m; static float x[40], y[{units}];\n      \
             if ({name}_open(&m, aligned_alloc(64, {upper}_STORAGE_BYTES), aligned_alloc(64, {upper}_ARENA_BYTES), \
             aligned_alloc(64, 64 * ({upper}_SCRATCH_BYTES(1) / 64 + 1)), 1) != {upper}_OK) return 1;\n      \
             if ({name}_init(&m, 1) != {upper}_OK || {name}_predict(&m, 1, x, y) != {upper}_OK) return 2;\n      \
             if (y[{units} - 1] != 0.5f) return 3; {name}_close(&m); }}\n"
        );
    }
    let main = folder.path().join("main.c");
    fs::write(&main, format!("#include <stdlib.h>\n{sources}int main(void)\n{{\n{calls}    return 0;\n}}\n")).unwrap();
    let to = folder.path().join("main");
    let mut arguments = vec!["-std=c11", "-o", to.to_str().unwrap(), main.to_str().unwrap()];
    arguments.extend(link.iter().map(|library| library.to_str().unwrap()));
    arguments.extend(["-lm", "-lpthread"]);
    let Some(output) = tool("gcc", &arguments, &[]) else { return };
    succeeded("gcc", &output);
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    succeeded("main", &tool(to.to_str().unwrap(), &[], &[]).unwrap());
}

#[test]
fn the_header_is_c_and_cpp_and_the_files_are_complete() {
    let folder = tempfile::tempdir().unwrap();
    let m = Model::new("Odd_1");
    let x = m.input("class", 3, F32);
    m.output(&Dense::new(2).name("float").apply(&x));
    m.compile(SGD::new(0.1), MeanSquaredError, [Accuracy]);
    let built = library(&m, &LibraryOptions::new(folder.path()));
    for file in [&built.library, &built.header, &built.source, &built.cmake, &built.bindings, &built.graph] {
        assert!(fs::metadata(file).unwrap().len() > 0, "{}", file.display());
    }
    assert!(fs::metadata(built.weights.as_ref().unwrap()).unwrap().len() > 0);
    let header = built.header.to_str().unwrap();
    for (compiler, language, standard) in [("gcc", "c", "-std=c99"), ("g++", "c++", "-std=c++11")] {
        let flags = [standard, "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", "-x", language, header];
        if let Some(output) = tool(compiler, &flags, &[]) {
            succeeded(compiler, &output);
        }
    }
    let flags =
        ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", built.source.to_str().unwrap()];
    if let Some(output) = tool("gcc", &flags, &[]) {
        succeeded("gcc", &output);
    }
}

#[test]
fn a_library_needs_the_c_library_alone_and_is_small() {
    let folder = tempfile::tempdir().unwrap();
    let model = convnet();
    let mut options = LibraryOptions::new(folder.path());
    options.entries = Some(vec!["predict".to_string()]);
    let built = library(&model, &options);
    let size = |library: &BuiltLibrary| fs::metadata(&library.library).unwrap().len();
    assert!(size(&built) < 500 << 10, "{} bytes", size(&built));
    // So is that of the example, whose weights are beside it.
    let mut apart = LibraryOptions::new(folder.path().join("digits"));
    (apart.entries, apart.weights) = (options.entries.clone(), Weights::None);
    let bytes = size(&library(&digits(), &apart));
    assert!(bytes < 500 << 10, "{bytes} bytes");
    let header = fs::read_to_string(&built.header).unwrap();
    assert!(!header.contains("train_step") && !header.contains("OPTIMIZER"), "{header}");

    let Some(defined) = defined_symbols(&built.library) else { return };
    assert!(defined.contains(&"net_predict".to_string()));
    assert!(defined.iter().all(|name| name.starts_with("net_") || name.starts_with("bakelite_net_")), "{defined:?}");

    // Files with the state of training fit.
    let (_, run) = train(&model, Level::Baseline);
    let weights = folder.path().join("training.safetensors");
    run.save_with(&weights, Contents::Training).unwrap();
    let Some(program) = program("gcc", folder.path(), "load", &[], &[built.library.to_str().unwrap()]) else { return };
    let files = [weights.to_str().unwrap(), built.weights.as_ref().unwrap().to_str().unwrap()];
    let text = succeeded("load", &tool(program.to_str().unwrap(), &files, &[]).unwrap());
    assert_eq!(text, "0 -\n0 -\n");
}

/// The symbols that a library defines for others; all that it asks for are names of the C library. `None` without nm.
fn defined_symbols(library: &Path) -> Option<Vec<String>> {
    let symbols = succeeded("nm", &tool("nm", &["-g", library.to_str().unwrap()], &[])?);
    let mut defined = Vec::new();
    for line in symbols.lines() {
        match *line.split_whitespace().collect::<Vec<_>>() {
            ["U", name] => {
                let plain = name.trim_start_matches('_');
                let known = name.starts_with("pthread_") || C_NAMES.contains(&plain) || M_NAMES.contains(&plain);
                assert!(known, "`{name}` is not a name of the C library");
            }
            [_, "T" | "R" | "D", name] => defined.push(name.to_string()),
            _ => {}
        }
    }
    Some(defined)
}

/// What code for targets without kernels asks of the mathematical library.
const M_NAMES: &[&str] = &["cosf", "erff", "expf", "expm1f", "log1pf", "logf", "powf", "sinf", "tanhf"];

/// What the source may ask of the C library, some of it under names that hardened builds give.
const C_NAMES: &[&str] = &[
    "bsearch",
    "clock_gettime",
    "close",
    "errno_location",
    "free",
    "fstat",
    "fstat64",
    "fsync",
    "getenv",
    "getpid",
    "malloc",
    "memcpy",
    "memcpy_chk",
    "memset",
    "open",
    "open64",
    "pread",
    "pread64",
    "qsort",
    "rename",
    "sem_destroy",
    "sem_init",
    "sem_post",
    "sem_wait",
    "snprintf",
    "snprintf_chk",
    "stack_chk_fail",
    "strchr",
    "strcmp",
    "strcpy",
    "strcpy_chk",
    "strlen",
    "strrchr",
    "sysconf",
    "unlink",
    "write",
    "GLOBAL_OFFSET_TABLE_",
];

#[test]
fn hostile_files_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let model = convnet();
    let built = library(&model, &LibraryOptions::new(folder.path()));
    let glue = built.source.to_str().unwrap();
    let link = [glue, built.library.to_str().unwrap()];
    let checks = [
        "-g",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
        "-DSOURCE",
        "-Wl,--allow-multiple-definition",
    ];
    let Some(program) = program("gcc", folder.path(), "load", &checks, &link) else { return };
    let (_, run) = train(&model, Level::Baseline);
    let whole = folder.path().join("whole.safetensors");
    run.save_with(&whole, Contents::Training).unwrap();
    let bytes = fs::read(&whole).unwrap();
    let length = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let with_header = |header: &str| -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &bytes[length..]].concat()
    };
    let header = std::str::from_utf8(&bytes[8..length]).unwrap();
    let edited = |from: &str, to: &str| {
        assert!(header.contains(from), "{from} in {header}");
        with_header(&header.replacen(from, to, 1))
    };
    let bias = header.find("\"digit/bias\"").map(|at| &header[at..]).unwrap();
    let bias = &bias[..=bias.find('}').unwrap()];
    let nested = format!("{{\"a\":{}", "[".repeat(100_000));
    let kernel = "\"digit/kernel\":{\"dtype\":\"F32\",\"shape\":[64,10]";
    // The expected codes are those of `net.h`: 12 damaged, 13 missing, 14 unknown, 15 element type, 16 shape.
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (bytes.clone(), "0 -"),
        (Vec::new(), "12 -"),
        (bytes[..7].to_vec(), "12 -"),
        (bytes[..length - 1].to_vec(), "12 -"),
        (bytes[..bytes.len() - 1].to_vec(), "12 -"),
        ([bytes.clone(), vec![0]].concat(), "12 -"),
        ([&u64::MAX.to_le_bytes(), &bytes[8..]].concat(), "12 -"),
        (with_header(&nested), "12 -"),
        (with_header(""), "12 -"),
        (with_header("{}"), "12 -"),
        (edited("\"digit/kernel\"", "\"digit/other\""), "14 -"),
        (edited("\"digit/kernel\"", "\"digit/\\u006bernel\""), "0 -"),
        (edited("\"digit/kernel\"", "\"digit/\\ud800kernel\""), "12 -"),
        (edited("\"digit/kernel\"", "\"digit/bias\""), "16 digit/bias"),
        (edited(bias, &format!("{bias},{bias}")), "12 digit/bias"),
        (edited(kernel, "\"digit/kernel\":{\"dtype\":\"I32\",\"shape\":[64,10]"), "15 digit/kernel"),
        (edited(kernel, "\"digit/kernel\":{\"dtype\":\"F32\",\"shape\":[10,64]"), "16 digit/kernel"),
        (edited(kernel, "\"digit/kernel\":{\"dtype\":\"F32\",\"shape\":[640]"), "16 digit/kernel"),
        (edited(kernel, "\"digit/kernel\":{\"dtype\":\"F32\",\"shape\":[-64,-10]"), "12 -"),
        (edited(kernel, "\"digit/kernel\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296]"), "12 -"),
        (edited(kernel, "\"digit/kernel\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999]"), "12 -"),
        (edited("\"data_offsets\":[0,", "\"data_offsets\":[18446744073709551615,"), "12 -"),
        (edited("bakelite.training", "bakelite.trainings"), "0 -"),
    ];
    let mut paths = Vec::new();
    let mut expected = Vec::new();
    for (i, (bytes, code)) in cases.iter().enumerate() {
        paths.push(folder.path().join(format!("case{i}")));
        fs::write(&paths[i], bytes).unwrap();
        expected.push(*code);
    }
    let arguments: Vec<&str> = paths.iter().map(|p| p.to_str().unwrap()).collect();
    let text = succeeded("load", &tool(program.to_str().unwrap(), &arguments, &[]).unwrap());
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);

    // Any byte of the header may be anything.
    let mut numbers = Numbers(9);
    let mut mutants = Vec::new();
    for i in 0..300 {
        let mut mutant = bytes.clone();
        for _ in 0..1 + numbers.draw() as usize % 3 {
            mutant[numbers.draw() as usize % length] = numbers.draw() as u8;
        }
        mutants.push(folder.path().join(format!("mutant{i}")));
        fs::write(&mutants[i], mutant).unwrap();
    }
    let arguments: Vec<&str> = mutants.iter().map(|p| p.to_str().unwrap()).collect();
    let text = succeeded("load", &tool(program.to_str().unwrap(), &arguments, &[]).unwrap());
    assert_eq!(text.lines().count(), 300);
}

#[test]
fn libraries_for_aarch64_do_the_same_to_rounding() {
    let (compiler, emulator) = ("aarch64-linux-gnu-gcc", "qemu-aarch64");
    if tool(compiler, &["--version"], &[]).is_none() || tool(emulator, &["-version"], &[]).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let model = convnet();
    let mut options = LibraryOptions::new(folder.path());
    options.target = "aarch64-unknown-linux-gnu".to_string();
    let built = library(&model, &options);
    let link = ["-static", built.library.to_str().unwrap()];
    let program = program(compiler, folder.path(), "train", &[], &link).unwrap();
    let (losses, run) = train(&model, Level::Baseline);
    let (from_c, from_rust) = (folder.path().join("c.safetensors"), folder.path().join("rust.safetensors"));
    run.save_with(&from_rust, Contents::Training).unwrap();
    let arguments = [program.to_str().unwrap(), from_c.to_str().unwrap(), from_rust.to_str().unwrap()];
    let output = tool(emulator, &arguments, &[]).unwrap();
    let text = succeeded("train on aarch64", &output);
    assert_eq!(String::from_utf8_lossy(&output.stderr).trim(), "neon");
    let losses = [losses.clone(), losses].concat();
    let found = printed(&text);
    assert_eq!(found.len(), losses.len());
    for (step, (found, expected)) in found.iter().zip(&losses).enumerate() {
        assert!((found - expected).abs() < 1e-4 * expected.abs().max(1.0), "step {step}: {found}, {expected}");
    }
}

/// Every function that has a kernel of its own, on a target without kernels.
#[test]
fn functions_on_aarch64_are_those_of_the_kernels() {
    const N: usize = 64;
    let (compiler, emulator) = ("aarch64-linux-gnu-gcc", "qemu-aarch64");
    if tool(compiler, &["--version"], &[]).is_none() || tool(emulator, &["-version"], &[]).is_none() {
        return;
    }
    let mut graph = Graph::new("predict");
    let ty = TensorType::new(DType::F32, Shape(vec![Dim::BATCH, Dim::fixed(N)]));
    let x = graph.input("x", ty);
    let functions = {
        use UnaryFn::*;
        [Exp, Expm1, Log, Log1p, Tanh, Sigmoid, Erf, Sin, Cos]
    };
    for (i, f) in functions.into_iter().enumerate() {
        let y = graph.push(Op::Unary(f), &[x]);
        graph.output(format!("y{i}"), y);
    }
    let power = graph.push(Op::Binary(BinaryFn::Pow), &[x, x]);
    graph.output("power", power);
    let module = Module { name: "net".into(), max_batch: 1, entries: vec![graph], ..Module::default() };

    let folder = tempfile::tempdir().unwrap();
    let mut options = LibraryOptions::new(folder.path());
    options.target = "aarch64-unknown-linux-gnu".to_string();
    let built = build_library(module.clone(), &options).unwrap_or_else(|d| panic!("{d}"));
    assert!(built.weights.is_none());
    assert!(defined_symbols(&built.library).is_none_or(|defined| defined.contains(&"net_predict".to_string())));
    let link = ["-static", built.library.to_str().unwrap()];
    let program = program(compiler, folder.path(), "functions", &[], &link).unwrap();
    let found = printed(&succeeded("functions", &tool(emulator, &[program.to_str().unwrap()], &[]).unwrap()));

    let image = JitModel::new(&compile(module, &Default::default()).unwrap(), TargetCpu::Portable).unwrap();
    let mut run = bakelite::Model::open(image).unwrap();
    let x: Vec<f32> = (0..N).map(|i| (i + 1) as f32 / 16.0).collect();
    let mut y = vec![[0.0f32; N]; 10];
    let mut outputs: Vec<Port> = y.iter_mut().map(|y| Port::new(y)).collect();
    run.predict_into(1, &[Input::new(&x)], &mut outputs).unwrap();
    let expected = y.concat();
    assert_eq!(found.len(), expected.len());
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let close = (found - expected).abs() <= 2e-6 * expected.abs().max(1.0);
        assert!(close, "function {}, x = {}: {found}, {expected}", i / N, x[i % N]);
    }
}

#[test]
fn mistakes_in_options_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    let options = || LibraryOptions::new(folder.path());
    let text = |options: LibraryOptions<'_>| convnet().build_library(&options).unwrap_err().to_string();
    let wrong = text(LibraryOptions { entries: Some(vec!["train".into(), "forecast".into()]), ..options() });
    assert!(wrong.contains("`forecast`") && wrong.contains("train_step"), "{wrong}");
    assert!(text(LibraryOptions { name: Some("3x3".into()), ..options() }).contains("cannot name a library"));
    let wrong = text(LibraryOptions {
        target: "aarch64-unknown-linux-gnu".into(),
        target_cpu: TargetCpu::Level(Level::V3),
        ..options()
    });
    assert!(wrong.contains("x86-64-v3") && wrong.contains("neon"), "{wrong}");
    assert!(text(LibraryOptions { max_batch: Some(0), ..options() }).contains("largest batch"));
    assert!(text(LibraryOptions { target: "vax".into(), ..options() }).contains("vax"));
    let wrong = text(LibraryOptions { target: "riscv64gc-unknown-linux-gnu".into(), ..options() });
    assert!(wrong.contains("x86-64 and aarch64"), "{wrong}");
}

#[test]
fn a_library_checks_itself_against_stored_answers() {
    let folder = tempfile::tempdir().unwrap();
    let m = Sequential::new("net").input("x", 5, F32).add(Dense::new(7).activation(Tanh)).add(Dense::new(3));
    m.max_batch(4);
    let mut numbers = Numbers(7);
    let x: Vec<f32> = (0..3 * 5).map(|_| numbers.float()).collect();
    let compiled = compile(m.lower().unwrap(), &Default::default()).unwrap();
    let image = JitModel::new(&compiled, TargetCpu::Portable).unwrap();
    let mut run = bakelite::Model::open(image).unwrap();
    run.init(0).unwrap();
    let mut y = vec![0.0f32; 3 * 3];
    run.predict_into(3, &[Input::new(&x)], &mut [Port::new(&mut y)]).unwrap();
    // Answers with a rounding of their own, and one that is no number.
    y[4] *= 1.0 + 1e-5;
    let options = |parity| LibraryOptions { parity: Some(parity), ..LibraryOptions::new(folder.path()) };
    let built = library(&m, &options(Parity::new(3).input(&x).output(&y)));
    let deviations = |built: &BuiltLibrary| {
        let program = program("gcc", folder.path(), "verify", &[], &[built.library.to_str().unwrap()])?;
        let weights = built.weights.as_ref().unwrap().to_str().unwrap();
        let output = tool(program.to_str().unwrap(), &[weights], &[])?;
        let text = succeeded("verify", &output);
        Some(text.lines().map(|line| line.parse().unwrap()).collect::<Vec<f64>>())
    };
    let Some(found) = deviations(&built) else { return };
    assert!(found[0] > 0.0 && found[0] < 1.1e-5, "{found:?}");
    y[0] = f32::NAN;
    let built = library(&m, &options(Parity::new(3).input(&x).output(&y)));
    assert_eq!(deviations(&built).unwrap()[0], f64::INFINITY);
    let wrong = |parity| m.build_library(&options(parity)).unwrap_err().to_string();
    assert!(wrong(Parity::new(5).input(&x).output(&y)).contains("5 rows"));
    assert!(wrong(Parity::new(3).input(&x[1..]).output(&y)).contains("`x`"));
    assert!(wrong(Parity::new(3).input(&x).output(&y[1..])).contains("9 f32 in 3 rows"));
    assert!(wrong(Parity::new(3).input(&[1i32; 15]).output(&y)).contains("i32"));
    assert!(wrong(Parity::new(3).output(&y)).contains("0 inputs"));
}
