//! Finishing a model: into files that a build links, or into this process.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use bakelite::abi::CellKind;
use bakelite::names::{printable_json, printable_lines};
use bakelite::text::{TextInput, TextLayer};
use target_lexicon::Triple;

use crate::backend::cranelift::{Products, TargetCpu};
use crate::cargo;
pub use crate::cargo::read_to_string;
use crate::compile::{Compiled, Options, compile};
use crate::diag::{Code, Diagnostic, Diagnostics, Problem};
use crate::emit::bindings::{self, CellInterface, EntryInterface, Interface, PortInterface, TextPort};
use crate::emit::image::ModelImage;
use crate::emit::names::snake;
use crate::emit::{Hash, object};
use crate::ir::StorageKind;
use crate::jit::JitModel;
use crate::model::{Lowered, Model};
use crate::report::{Report, StageTime};

/// Where and how [`Model::build_with`] writes.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// The folder for all files.
    pub out_dir: PathBuf,
    /// The target's triple, such as `x86_64-unknown-linux-gnu`.
    pub target: String,
    /// The levels to carry code for; all of the architecture by default.
    pub target_cpu: TargetCpu,
    /// Whether to tell cargo on standard output what to link, what the model was made of, and what to warn of.
    pub cargo: bool,
    /// The package that the model belongs to: part of its symbol, so that models of one name in several packages get on
    /// in one program.
    pub package: Option<String>,
    pub compile: Options,
}

impl BuildOptions {
    /// The options of a build script: cargo's `OUT_DIR` and `TARGET`.
    pub fn from_cargo() -> Result<BuildOptions, Diagnostics> {
        let variable = |name: &str| {
            std::env::var(name).map_err(|_| {
                let problem = Problem::new(Code::Build, format!("the environment variable {name} is not set"))
                    .help("call this from a build script, or use `build_with` and name the folder and the target");
                failed("", problem)
            })
        };
        Ok(BuildOptions {
            out_dir: PathBuf::from(variable("OUT_DIR")?),
            target: variable("TARGET")?,
            target_cpu: TargetCpu::Portable,
            cargo: true,
            package: std::env::var("CARGO_PKG_NAME").ok(),
            compile: Options { passes: crate::pass::PassOptions::from_env(), ..Options::default() },
        })
    }
}

/// The files of a built model.
#[derive(Clone, Debug)]
pub struct Built {
    /// The static library with the object.
    pub library: PathBuf,
    /// The Rust module, for `bakelite::include_model!`.
    pub bindings: PathBuf,
    /// The tensor graphs in text form, for `bakelite inspect`.
    pub graph: PathBuf,
    pub report: Report,
    /// What is no mistake, and probably not meant: see [`Model::warnings`].
    pub warnings: Vec<Diagnostic>,
}

impl Model {
    /// Compiles the model inside a build script: writes the object, the bindings that `bakelite::include_model!`
    /// includes, the graph and the report to `OUT_DIR`, and tells cargo what to link.
    ///
    /// Cargo runs the script again when its source changes, a file that the model was made of ([`KerasFile::open`],
    /// [`load_weights`], [`read_to_string`]), or the environment variable `BAKELITE_REPORT`: where that is set, the report
    /// is shown as warnings of cargo. [`Model::warnings`] are shown in any case.
    ///
    /// [`KerasFile::open`]: crate::import::KerasFile::open
    /// [`load_weights`]: crate::import::load_weights
    ///
    /// # Errors
    /// All mistakes of the model at once. Return them from the script's `main`: cargo shows them.
    pub fn build(&self) -> Result<(), Diagnostics> {
        let built = self.build_with(&BuildOptions::from_cargo()?)?;
        if std::env::var_os(cargo::REPORT).is_some() {
            printable_lines(&built.report.to_string()).lines().for_each(|line| println!("cargo::warning={line}"));
        }
        Ok(())
    }

    /// [`Model::build`] with everything explicit.
    pub fn build_with(&self, options: &BuildOptions) -> Result<Built, Diagnostics> {
        let start = Instant::now();
        let Lowered { module, warnings } = self.lowered()?;
        let name = module.name.clone();
        let file = |suffix: &str| options.out_dir.join(format!("{name}{suffix}"));
        self.claim(&file(".rs"))?;
        let lowered = StageTime::new("lower", start.elapsed());
        let graph_text = module.to_string();
        let mut compiled = compile(module, &options.compile).map_err(|e| internal(&name, e))?;
        compiled.stages.insert(0, lowered);
        let triple: Triple = options.target.parse().map_err(|e| {
            failed(&name, Problem::new(Code::Build, format!("`{}` is no target triple: {e}", options.target)))
        })?;
        let start = Instant::now();
        let (stem, hash) = symbol(&name, options, &graph_text);
        let image = ModelImage { symbol: format!("{stem}_{hash}"), ..ModelImage::new(&compiled) };
        let object =
            object::emit(&image, &triple, options.target_cpu, Products::Driver).map_err(|e| internal(&name, e))?;
        compiled.stages.push(StageTime::new("generate code", start.elapsed()));

        let mut report = compiled.report();
        report.object_bytes = Some(object.object.len());
        report.scratch_bytes = object.scratch_bytes;
        report.levels = object.levels.iter().map(|l| l.to_string()).collect();

        let interface = interface(&compiled, &object);
        let built = Built {
            library: options.out_dir.join(format!("lib{}.a", object.symbol)),
            bindings: file(".rs"),
            graph: file(".bk"),
            report,
            warnings,
        };
        remove_older(&options.out_dir, &format!("lib{stem}_"), &built.library);
        write(&name, &built.library, &object.archive())?;
        write(&name, &built.bindings, bindings::rust(&interface).as_bytes())?;
        write(&name, &built.graph, graph_text.as_bytes())?;
        write(&name, &file(".report.txt"), printable_lines(&built.report.to_string()).as_bytes())?;
        let json = serde_json::to_string_pretty(&built.report).map_err(|e| internal(&name, e))?;
        write(&name, &file(".report.json"), printable_json(&json).as_bytes())?;
        if options.cargo {
            println!("cargo::rustc-link-search=native={}", options.out_dir.display());
            println!("cargo::rustc-link-lib=static={}", object.symbol);
            // What `bakelite::include_model!` includes; without it, it says that the model was not built.
            println!("cargo::rustc-env=BAKELITE_MODEL_{name}={}", built.bindings.display());
            print!("{}", cargo::reruns());
            for warning in &built.warnings {
                warning.to_string().lines().for_each(|line| println!("cargo::warning={line}"));
            }
        }
        Ok(built)
    }

    /// Takes the files of the model, unless another one has them.
    fn claim(&self, bindings: &Path) -> Result<(), Diagnostics> {
        let net = self.net.borrow();
        let name = &net.graph.name;
        cargo::claim(bindings, name, net.core.id, &net.source)
            .map_err(|diagnostic| Diagnostics { model: name.clone(), list: vec![*diagnostic] })
    }

    /// Compiles the model into this process, for [`bakelite::Model::open`].
    pub fn compile_jit(&self) -> Result<JitModel, Diagnostics> {
        let module = self.lower()?;
        let name = module.name.clone();
        let compiled = compile(module, &Options::default()).map_err(|e| internal(&name, e))?;
        JitModel::new(&compiled, TargetCpu::Portable).map_err(|e| internal(&name, e))
    }
}

/// The symbol of a model's descriptor in two parts: names, and a hash of all that the object is made of.
fn symbol(name: &str, options: &BuildOptions, graph: &str) -> (String, Hash) {
    let package = options.package.as_deref().map_or(String::new(), |package| format!("{}_", snake(package)));
    let hash = Hash::new().text(graph).text(&package).text(&options.target);
    let hash = hash.value(&options.target_cpu).value(&options.compile);
    (format!("bakelite_{package}{}", snake(name)), hash)
}

/// Removes the libraries that earlier builds of a model left in a folder, whose names differ in the hash.
fn remove_older(folder: &Path, prefix: &str, but: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let hash = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(".a"));
        let is_hash = |text: &str| text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if hash.is_some_and(is_hash) && entry.path() != but {
            // One that stays does no harm: nothing links it.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// What the bindings say about a compiled model.
pub(crate) fn interface(compiled: &Compiled, object: &object::Object) -> Interface {
    let module = &compiled.module;
    let cells = module.storage.iter().enumerate().map(|(i, cell)| {
        let logical = module.panels.get(&crate::ir::StorageId(i as u32)).unwrap_or(&cell.ty.shape);
        CellInterface {
            name: cell.name.clone(),
            dtype: cell.ty.dtype,
            shape: logical.at(1),
            kind: match cell.kind {
                StorageKind::Param => CellKind::Param,
                StorageKind::State => CellKind::State,
                StorageKind::Training => CellKind::Training,
            },
        }
    });
    let entries = module.entries.iter().map(|entry| EntryInterface {
        name: entry.name.clone(),
        updates: !entry.assigns.is_empty(),
        inputs: entry.inputs.iter().map(input).collect(),
        outputs: entry.outputs.iter().map(|o| port(&o.name, entry.ty(o.node))).collect(),
    });
    Interface {
        name: module.name.clone(),
        symbol: object.symbol.clone(),
        max_batch: module.max_batch,
        storage_bytes: compiled.storage.bytes,
        arena_bytes: object.arena_bytes,
        scratch_bytes: object.scratch_bytes,
        cells: cells.collect(),
        entries: entries.collect(),
    }
}

fn port(name: &str, ty: &crate::ir::TensorType) -> PortInterface {
    PortInterface { name: name.to_string(), dtype: ty.dtype, shape: ty.shape.clone(), range: None, text: None }
}

fn input(input: &crate::ir::graph::InputDecl) -> PortInterface {
    let text = input.text.as_ref().and_then(|form| TextInput::from_json(form).ok()).map(|text| TextPort {
        class: match text.layer() {
            TextLayer::TextVectorization(_) => "TextVectorization",
            TextLayer::StringLookup(_) => "StringLookup",
            TextLayer::Hashing(_) => "Hashing",
        },
        texts: text.texts(),
    });
    PortInterface { range: input.range, text, ..port(&input.name, &input.ty) }
}

/// Writes a file as a whole: it is there with all its bytes, or as it was.
pub(crate) fn write(model: &str, path: &Path, bytes: &[u8]) -> Result<(), Diagnostics> {
    bakelite::write_atomically(path, |file| file.write_all(bytes))
        .map_err(|e| failed(model, Problem::new(Code::Build, format!("cannot write {}: {e}", path.display()))))
}

pub(crate) fn failed(model: &str, problem: Problem) -> Diagnostics {
    Diagnostics::one(problem, "", None).of_model(model)
}

/// A bug of the compiler, as the user sees it.
pub(crate) fn internal(model: &str, bug: impl std::fmt::Display) -> Diagnostics {
    let problem = Problem::new(Code::Internal, bug.to_string())
        .help("this is a mistake of Bakelite, not of your model; please report it with the graph");
    failed(model, problem)
}
