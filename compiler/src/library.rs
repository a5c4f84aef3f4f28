//! Finishing a model for programs in C, or for Rust programs without a build script: a folder with a static library,
//! its header and C source, a CMake file, a Rust module, weights, the graph and a report.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use bakelite::names::{printable_json, printable_lines};
use bakelite_kernels::manifest::Level;
use target_lexicon::{Architecture, Triple};

use crate::backend::BackendError;
use crate::backend::cranelift::{Products, TargetCpu};
use crate::build::{failed, interface, internal, write};
use crate::compile::{Options, compile};
use crate::diag::{Code, Diagnostics, Problem};
use crate::emit::image::ModelImage;
use crate::emit::library::{self, CcError, Kernels};
pub use crate::emit::library::{Parity, ParityElement};
use crate::emit::names::snake;
use crate::emit::select::select;
use crate::emit::{Hash, archive, bindings, object};
use crate::ir::Module;
use crate::jit::JitModel;
use crate::model::Model;
use crate::report::{Report, StageTime};

/// The kernels, compiled for the system that this crate was built for.
const KERNELS: &[u8] = include_bytes!(env!("BAKELITE_KERNELS_OBJECT"));

/// The values that parameters and state begin with.
#[derive(Default)]
pub enum Weights<'a> {
    /// What the entry point `init` sets for a seed; no file of weights for a model without it.
    Seed(u64),
    /// What a function sets on the model, whose weights have no values before.
    Set(&'a dyn Fn(&mut bakelite::Model) -> Result<(), bakelite::Error>),
    /// No file of weights.
    #[default]
    None,
}

impl fmt::Debug for Weights<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Weights::Seed(seed) => write!(f, "Seed({seed})"),
            Weights::Set(_) => f.write_str("Set"),
            Weights::None => f.write_str("None"),
        }
    }
}

/// What [`build_library`] makes.
#[derive(Debug)]
pub struct LibraryOptions<'a> {
    /// The folder for all files, made if it is not there.
    pub out_dir: PathBuf,
    /// The name in files, functions and constants; the model's own by default.
    pub name: Option<String>,
    /// The most rows of a call; the model's own by default.
    pub max_batch: Option<usize>,
    /// The entry points to compile; all by default. Without those of training, the library has no memory for it.
    pub entries: Option<Vec<String>>,
    /// The target's triple. For any other than this crate was built for, the matrix kernels are loops of generated
    /// code, and its C compiler has to be there.
    pub target: String,
    pub target_cpu: TargetCpu,
    pub weights: Weights<'a>,
    /// Answers of the program that the model comes from, for the library to check itself against: `NAME_verify`.
    pub parity: Option<Parity>,
    pub compile: Options,
}

impl<'a> LibraryOptions<'a> {
    /// Everything by default, for this machine's system.
    pub fn new(out_dir: impl Into<PathBuf>) -> LibraryOptions<'a> {
        LibraryOptions {
            out_dir: out_dir.into(),
            name: None,
            max_batch: None,
            entries: None,
            target: env!("BAKELITE_KERNELS_TARGET").to_string(),
            target_cpu: TargetCpu::Portable,
            weights: Weights::Seed(0),
            parity: None,
            compile: Options::default(),
        }
    }
}

/// The files of a library.
#[derive(Clone, Debug)]
pub struct BuiltLibrary {
    /// The static library: `libNAME.a`.
    pub library: PathBuf,
    /// The C header.
    pub header: PathBuf,
    /// The C source behind the header, which is in the library too.
    pub source: PathBuf,
    /// The CMake file.
    pub cmake: PathBuf,
    /// The Rust module, for programs that depend on `bakelite` and link the library.
    pub bindings: PathBuf,
    /// The parameters and state, where the options gave any.
    pub weights: Option<PathBuf>,
    /// The tensor graphs in text form.
    pub graph: PathBuf,
    pub report: Report,
}

impl Model {
    /// Compiles the model into a library for C: see [`build_library`].
    pub fn build_library(&self, options: &LibraryOptions<'_>) -> Result<BuiltLibrary, Diagnostics> {
        build_library(self.lower()?, options)
    }
}

/// Compiles a lowered model into a folder with all that programs in C need, and a Rust module.
pub fn build_library(mut module: Module, options: &LibraryOptions<'_>) -> Result<BuiltLibrary, Diagnostics> {
    apply(&mut module, options)?;
    let name = module.name.clone();
    let triple: Triple = options.target.parse().map_err(|e| {
        failed(&name, Problem::new(Code::Build, format!("`{}` is no target triple: {e}", options.target)))
    })?;
    fs::create_dir_all(&options.out_dir).map_err(|e| {
        let why = match e.kind() {
            std::io::ErrorKind::AlreadyExists => "a file has that name".to_string(),
            std::io::ErrorKind::NotADirectory => "a part of its path is a file".to_string(),
            _ => e.to_string(),
        };
        let text = format!("cannot make the folder {}: {why}", options.out_dir.display());
        failed(&name, Problem::new(Code::Build, text))
    })?;
    let stem = snake(&name);
    let file = |suffix: &str| options.out_dir.join(format!("{stem}{suffix}"));
    let weights = first_weights(&module, options)?;
    if let Some(entries) = &options.entries {
        keep(&mut module, entries)?;
    }
    let graph_text = module.to_string();

    let (kernels, cpu) = kernels_for(&triple, options.target_cpu).map_err(|problem| failed(&name, problem))?;
    let products = match kernels {
        Kernels::Object => Products::Driver,
        Kernels::Source(_) => Products::Loops,
    };
    let mut compiled = compile(module, &options.compile).map_err(|e| internal(&name, e))?;
    let start = Instant::now();
    let hash = Hash::new().text(&graph_text).text(&options.target).value(&cpu).value(&kernels).value(&options.compile);
    let image = ModelImage { symbol: format!("bakelite_{stem}_{hash}"), ..ModelImage::new(&compiled) };
    let object = object::emit(&image, &triple, cpu, products).map_err(|e| no_code(&name, e))?;
    compiled.stages.push(StageTime::new("generate code", start.elapsed()));
    let interface = interface(&compiled, &object);

    let built = BuiltLibrary {
        library: options.out_dir.join(format!("lib{stem}.a")),
        header: file(".h"),
        source: file(".c"),
        cmake: file("-config.cmake"),
        bindings: file(".rs"),
        weights: weights.as_ref().map(|_| file(".safetensors")),
        graph: file(".bk"),
        report: Report {
            object_bytes: Some(object.object.len()),
            scratch_bytes: object.scratch_bytes,
            levels: object.levels.iter().map(|l| l.to_string()).collect(),
            ..compiled.report()
        },
    };
    let header_name = format!("{stem}.h");
    let parity = match &options.parity {
        Some(parity) => Some((parity, parity.check(&interface).map_err(|problem| failed(&name, problem))?)),
        None => None,
    };
    let header = |hash: &str| {
        let text = library::header(&interface, &options.target, &object.levels, hash);
        match parity {
            Some((parity, _)) => library::verify_header(&text, parity, &interface),
            None => text,
        }
    };
    let mut code = library::source(&interface, &header_name, kernels);
    if let Some((parity, predict)) = parity {
        code += &library::verify_source(parity, &interface, predict);
    }
    // Everything that the header says and the library does: a header links with its own library alone.
    let hash = hash.text(&header("")).text(&code).to_string();
    let text = header(&hash);
    let mut symbols = library::symbols(&interface, &hash);
    symbols.extend(parity.is_some().then(|| library::verify_symbol(&interface)));

    let compiler = library::Compiler::find(&triple).map_err(|e| no_glue(&name, e))?;
    let mut parts = vec![object.object.as_slice()];
    if kernels == Kernels::Object {
        parts.push(KERNELS);
    }
    let sources = [(header_name.as_str(), text.as_str()), (&format!("{stem}.c"), code.as_str())];
    let whole = compiler.object(&sources, &parts, &symbols).map_err(|e| no_glue(&name, e))?;
    let symbols: Vec<&str> = symbols.iter().map(String::as_str).collect();
    let archive = archive::write(&[(&format!("{stem}.o"), &whole, &symbols)]);
    let json = serde_json::to_string_pretty(&built.report).map_err(|e| internal(&name, e))?;

    // Everything is made: from here on files appear, each as a whole, the library before what it is used by.
    write(&name, &built.library, &archive)?;
    write(&name, &built.source, code.as_bytes())?;
    write(&name, &built.header, text.as_bytes())?;
    write(&name, &built.cmake, library::cmake(&interface).as_bytes())?;
    write(&name, &built.bindings, bindings::rust(&interface).as_bytes())?;
    write(&name, &built.graph, graph_text.as_bytes())?;
    write(&name, &file(".report.txt"), printable_lines(&built.report.to_string()).as_bytes())?;
    write(&name, &file(".report.json"), printable_json(&json).as_bytes())?;
    if let (Some(path), Some(weights)) = (&built.weights, &weights) {
        weights.save(path).map_err(|e| no_weights(&name, &e))?;
    }
    Ok(built)
}

/// The options that change the model.
fn apply(module: &mut Module, options: &LibraryOptions<'_>) -> Result<(), Diagnostics> {
    if let Some(name) = &options.name {
        let mut letters = name.chars();
        let first = letters.next().is_some_and(|c| c.is_ascii_alphabetic());
        if !first || !letters.all(|c| c.is_ascii_alphanumeric() || c == '_') {
            let problem = Problem::new(Code::Name, format!("`{}` cannot name a library", name.escape_debug())).help(
                "it begins the names of C functions: use letters, digits and underscores, and begin with a letter",
            );
            return Err(failed(&module.name, problem));
        }
        module.name = name.clone();
    }
    library::check_name(&module.name).map_err(|problem| failed(&module.name, problem))?;
    match options.max_batch {
        Some(0) => {
            let problem = Problem::new(Code::Value, "the largest batch is 0").help("calls have at least one row");
            Err(failed(&module.name, problem))
        }
        Some(max_batch) => {
            module.max_batch = max_batch;
            Ok(())
        }
        None => Ok(()),
    }
}

/// Keeps some entry points. `train` and `evaluate` are short for the steps of those names.
fn keep(module: &mut Module, entries: &[String]) -> Result<(), Diagnostics> {
    let full = |name: &String| match name.as_str() {
        short @ ("train" | "evaluate") if module.entry(short).is_none() => format!("{short}_step"),
        name => name.to_string(),
    };
    let wanted: Vec<String> = entries.iter().map(full).collect();
    let known: Vec<String> = module.entries.iter().map(|e| e.name.clone()).collect();
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    select(module, &wanted).map_err(|unknown| {
        let problem = Problem::new(Code::Unknown, format!("the model has no entry point `{}`", unknown.escape_debug()))
            .help(format!("it has {}", known.join(", ")));
        failed(&module.name, problem)
    })?;
    if module.entries.is_empty() {
        return Err(failed(&module.name, Problem::new(Code::Missing, "no entry point is wanted")));
    }
    Ok(())
}

/// Where the kernels of a target come from, and the levels to carry code for.
fn kernels_for(target: &Triple, cpu: TargetCpu) -> Result<(Kernels, TargetCpu), Problem> {
    if env!("BAKELITE_KERNELS_TARGET").parse::<Triple>().is_ok_and(|here| here == *target) {
        return Ok((Kernels::Object, cpu));
    }
    // One level that every processor of the architecture has, so that nothing is to be chosen at run time.
    let level = match target.architecture {
        Architecture::Aarch64(_) => Level::Neon,
        _ => Level::Baseline,
    };
    match cpu {
        TargetCpu::Level(other) if other != level => {
            Err(Problem::new(Code::Build, format!("a library for {target} has code for {level}, not for {other}"))
                .help("other levels are there for the system that bakelite itself was built for"))
        }
        _ => Ok((Kernels::Source(level), TargetCpu::Level(level))),
    }
}

/// The model here, whatever the target, with the values that its parameters and state begin with; nothing where no file
/// of them is wanted.
fn first_weights(module: &Module, options: &LibraryOptions<'_>) -> Result<Option<bakelite::Model>, Diagnostics> {
    let name = &module.name;
    let set: &dyn Fn(&mut bakelite::Model) -> Result<(), bakelite::Error> = match &options.weights {
        Weights::Seed(_) if module.entry("init").is_none() => return Ok(None),
        Weights::Seed(seed) => &|model| model.init(*seed),
        Weights::Set(set) => *set,
        Weights::None => return Ok(None),
    };
    // Every cell is there, whichever entry points are compiled; the code of the others is not needed.
    let mut init = module.clone();
    init.entries.retain(|entry| entry.name == "init");
    let compiled = compile(init, &options.compile).map_err(|e| internal(name, e))?;
    let image = JitModel::new(&compiled, TargetCpu::Portable).map_err(|e| internal(name, e))?;
    let opened = bakelite::Model::open(image).and_then(|mut model| set(&mut model).map(|()| model));
    opened.map(Some).map_err(|e| no_weights(name, &e))
}

fn no_weights(model: &str, error: &bakelite::Error) -> Diagnostics {
    failed(model, Problem::new(Code::Build, format!("cannot write the weights: {error:?}")))
}

fn no_code(model: &str, error: BackendError) -> Diagnostics {
    match &error {
        BackendError::Target { .. } | BackendError::Unsupported { .. } => {
            failed(model, Problem::new(Code::Build, error.to_string()))
        }
        BackendError::Internal { .. } => internal(model, error),
    }
}

fn no_glue(model: &str, error: CcError) -> Diagnostics {
    let problem = Problem::new(Code::Build, error.to_string());
    let problem = match &error {
        CcError::Missing { target, .. } => problem.help(format!(
            "install one, or name it in the environment variable CC_{}; the library's functions are C source",
            target.replace('-', "_")
        )),
        CcError::Start { .. } | CcError::Failed { .. } | CcError::Io { .. } => problem,
    };
    failed(model, problem)
}
