//! Targets: which instruction sets an object carries code for.

use std::sync::Arc;

use bakelite_kernels::manifest::Level;
use cranelift_codegen::isa::{self, TargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use target_lexicon::{Architecture, Triple};

use crate::backend::BackendError;

/// Which levels to emit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TargetCpu {
    /// Every level of the architecture, chosen at load.
    #[default]
    Portable,
    /// This level only.
    Level(Level),
}

/// Who multiplies matrices.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Products {
    /// The driver in the kernel table.
    #[default]
    Driver,
    /// Loops of generated code, for targets that no kernels were compiled for: the table's driver is never called.
    Loops,
}

/// Code for one set of instructions. Cranelift's vectors are 128 bits wide, so that code for x86-64-v3 is the best it
/// has for x86-64-v4 too; the levels differ in the kernel table that the code is handed.
#[derive(Clone)]
pub struct Variant {
    pub name: &'static str,
    /// The levels that this code serves.
    pub levels: &'static [Level],
    pub isa: Arc<dyn TargetIsa>,
    pub features: Features,
}

/// What code generation asks about the instruction set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Features {
    /// Fused multiply-add.
    pub fma: bool,
    /// Instructions that round to an integral value.
    pub round: bool,
}

const BASELINE: (&str, &[Level]) = ("baseline", &[Level::Baseline]);
const V3: (&str, &[Level]) = ("x86-64-v3", &[Level::V3, Level::V4]);
const NEON: (&str, &[Level]) = ("neon", &[Level::Neon]);

const V3_FLAGS: &[&str] = &[
    "has_sse3",
    "has_ssse3",
    "has_cmpxchg16b",
    "has_sse41",
    "has_sse42",
    "has_popcnt",
    "has_avx",
    "has_avx2",
    "has_fma",
    "has_bmi1",
    "has_bmi2",
    "has_lzcnt",
];

/// The variants of a target. `pic` is for objects that a linker places; code that is loaded in process goes without.
pub fn variants(triple: &Triple, cpu: TargetCpu, pic: bool) -> Result<Vec<Variant>, BackendError> {
    let fail = |reason: String| BackendError::Target { target: triple.to_string(), reason };
    let all: &[_] = match triple.architecture {
        Architecture::X86_64 => &[BASELINE, V3],
        Architecture::Aarch64(_) => &[NEON],
        _ => return Err(fail("code is generated for x86-64 and aarch64".into())),
    };
    let wanted = all.iter().filter(|(_, levels)| match cpu {
        TargetCpu::Portable => true,
        TargetCpu::Level(level) => levels.contains(&level),
    });
    let variants: Vec<Variant> =
        wanted.map(|&(name, levels)| variant(triple, name, levels, pic).map_err(fail)).collect::<Result<_, _>>()?;
    match cpu {
        TargetCpu::Level(level) if variants.is_empty() => {
            Err(fail(format!("the architecture has no level {}", level.name())))
        }
        _ => Ok(variants),
    }
}

fn variant(triple: &Triple, name: &'static str, levels: &'static [Level], pic: bool) -> Result<Variant, String> {
    let mut flags = settings::builder();
    let settings = [
        ("opt_level", "speed"),
        ("is_pic", if pic { "true" } else { "false" }),
        ("use_colocated_libcalls", "false"),
        ("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" }),
        ("unwind_info", "false"),
    ];
    for (flag, value) in settings {
        flags.set(flag, value).map_err(|e| e.to_string())?;
    }
    let mut builder = isa::lookup(triple.clone()).map_err(|e| e.to_string())?;
    if name == V3.0 {
        for flag in V3_FLAGS {
            builder.enable(flag).map_err(|e| e.to_string())?;
        }
    }
    let isa = builder.finish(settings::Flags::new(flags)).map_err(|e| e.to_string())?;
    let modern = name != BASELINE.0;
    Ok(Variant { name, levels, isa, features: Features { fma: modern, round: modern } })
}
