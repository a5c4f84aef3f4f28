//! Finishing a model: into files that a build links, or into this process.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use bakelite::abi::CellKind;
use bakelite::text::{TextInput, TextLayer};
use target_lexicon::Triple;

use crate::backend::cranelift::{Products, TargetCpu};
use crate::compile::{Compiled, Options, compile};
use crate::diag::{Code, Diagnostics, Problem};
use crate::emit::bindings::{self, CellInterface, EntryInterface, Interface, PortInterface, TextPort};
use crate::emit::image::ModelImage;
use crate::emit::object;
use crate::ir::StorageKind;
use crate::jit::JitModel;
use crate::model::Model;
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
    /// Whether to tell cargo what to link, on standard output.
    pub cargo: bool,
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
}

impl Model {
    /// Compiles the model inside a build script: writes the object, the bindings that `bakelite::include_model!`
    /// includes, the graph and the report to `OUT_DIR`, and tells cargo what to link. With the environment variable
    /// `BAKELITE_REPORT` set, the report is shown as cargo warnings.
    ///
    /// Mistakes come back all at once, and go to cargo as errors too.
    pub fn build(&self) -> Result<(), Diagnostics> {
        let built = BuildOptions::from_cargo().and_then(|options| self.build_with(&options));
        match built {
            Ok(built) => {
                if std::env::var_os("BAKELITE_REPORT").is_some() {
                    built.report.to_string().lines().for_each(|line| println!("cargo::warning={line}"));
                }
                Ok(())
            }
            Err(diagnostics) => {
                print!("{}", diagnostics.cargo_lines());
                Err(diagnostics)
            }
        }
    }

    /// [`Model::build`] with everything explicit.
    pub fn build_with(&self, options: &BuildOptions) -> Result<Built, Diagnostics> {
        let start = Instant::now();
        let module = self.lower()?;
        let name = module.name.clone();
        let lowered = StageTime::new("lower", start.elapsed());
        let graph_text = module.to_string();
        let mut compiled = compile(module, &options.compile).map_err(|e| internal(&name, e))?;
        compiled.stages.insert(0, lowered);
        let triple: Triple = options.target.parse().map_err(|e| {
            failed(&name, Problem::new(Code::Build, format!("`{}` is no target triple: {e}", options.target)))
        })?;
        let start = Instant::now();
        let image = ModelImage::new(&compiled);
        let object =
            object::emit(&image, &triple, options.target_cpu, Products::Driver).map_err(|e| internal(&name, e))?;
        compiled.stages.push(StageTime::new("generate code", start.elapsed()));

        let mut report = compiled.report();
        report.object_bytes = Some(object.object.len());
        report.scratch_bytes = object.scratch_bytes;
        report.levels = object.levels.iter().map(|l| l.to_string()).collect();

        let interface = interface(&compiled, &object);
        let file = |suffix: &str| options.out_dir.join(format!("{name}{suffix}"));
        let built = Built {
            library: options.out_dir.join(format!("lib{}.a", object.symbol)),
            bindings: file(".rs"),
            graph: file(".bk"),
            report,
        };
        write(&name, &built.library, &object.archive())?;
        write(&name, &built.bindings, bindings::rust(&interface).as_bytes())?;
        write(&name, &built.graph, graph_text.as_bytes())?;
        write(&name, &file(".report.txt"), built.report.to_string().as_bytes())?;
        let json = serde_json::to_string_pretty(&built.report).map_err(|e| internal(&name, e))?;
        write(&name, &file(".report.json"), json.as_bytes())?;
        if options.cargo {
            println!("cargo::rustc-link-search=native={}", options.out_dir.display());
            println!("cargo::rustc-link-lib=static={}", object.symbol);
        }
        Ok(built)
    }

    /// Compiles the model into this process, for [`bakelite::Model::open`].
    pub fn compile_jit(&self) -> Result<JitModel, Diagnostics> {
        let module = self.lower()?;
        let name = module.name.clone();
        let compiled = compile(module, &Options::default()).map_err(|e| internal(&name, e))?;
        JitModel::new(&compiled, TargetCpu::Portable).map_err(|e| internal(&name, e))
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

pub(crate) fn write(model: &str, path: &Path, bytes: &[u8]) -> Result<(), Diagnostics> {
    fs::write(path, bytes)
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
