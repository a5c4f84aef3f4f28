//! From a Program to functions of a Cranelift module.

use std::collections::HashMap;

use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::LibCall;
use cranelift_codegen::{Context, FinalizedRelocTarget, ir::ExternalName};
use cranelift_frontend::FunctionBuilderContext;
use cranelift_module::{DataDescription, DataId, FuncId, Linkage, Module, ModuleReloc};

use crate::backend::BackendError;
use crate::ir::{DType, Number};
use crate::schedule::Verified;
use crate::schedule::program::{BufferId, Kernel, Place, Program, StorageLayout};

use super::coalesce::coalesce;
use super::contract::Contraction;
use super::decompose::decompose;
use super::facts::Facts;
use super::function::{Scope, build_loops};
use super::nest::Nest;
use super::target::{Products, Variant};
use super::{entry, plan, strips};

/// A Program whose kernels are planned for the CPU, whatever the variant.
pub struct PlannedEntry<'a> {
    program: &'a Program,
    kernels: Vec<Planned>,
}

enum Planned {
    Loops { kernel: Box<Kernel>, nest: Nest },
    Contract(Box<Contraction>),
}

impl Planned {
    fn kernel(&self) -> &Kernel {
        match self {
            Planned::Loops { kernel, .. } => kernel,
            Planned::Contract(contraction) => &contraction.kernel,
        }
    }

    /// Whether all threads share the kernel. Decided by the Program: an axis that merged with others still counts.
    fn parallel(&self) -> bool {
        self.kernel().parallel.is_some()
    }

    fn scratch(&self) -> usize {
        match self {
            Planned::Loops { nest, .. } => nest.scratch,
            Planned::Contract(contraction) => contraction.scratch(),
        }
    }
}

impl<'a> PlannedEntry<'a> {
    /// Plans every kernel of a program.
    pub fn new(program: &'a Verified<Program>, products: Products) -> Result<PlannedEntry<'a>, BackendError> {
        let program: &Program = program;
        let kernels = program.kernels.iter().map(|k| plan_kernel(k, program, products)).collect::<Result<_, _>>()?;
        Ok(PlannedEntry { program, kernels })
    }

    /// Bytes of scratch that one thread needs.
    pub fn scratch_bytes(&self) -> usize {
        let most = self.kernels.iter().map(Planned::scratch).max().unwrap_or(0);
        most.next_multiple_of(bakelite::abi::ALIGN)
    }
}

fn plan_kernel(kernel: &Kernel, program: &Program, products: Products) -> Result<Planned, BackendError> {
    let (reads, writes) = kernel.touches();
    let wide = reads.iter().chain(&writes).any(|b| program.buffer(*b).dtype == DType::F64);
    if wide || kernel.exprs.iter().any(|e| e.dtype == DType::F64) {
        return Err(BackendError::Unsupported { kernel: kernel.name.clone(), what: "f64 arithmetic".into() });
    }
    let mut kernel = coalesce(decompose(kernel));
    if products == Products::Driver
        && let Some(contraction) = Contraction::new(&kernel, program)?
    {
        return Ok(Planned::Contract(Box::new(contraction)));
    }
    let facts = Facts::new(&kernel, program)?;
    let vector = plan::choose(&kernel, program, &facts);
    let nest = strips::plan(&mut kernel, program, &facts, &vector, 0, None)?;
    Ok(Planned::Loops { kernel: Box::new(kernel), nest })
}

/// The texts of one function, for inspection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listing {
    pub function: String,
    /// Cranelift's intermediate form.
    pub clif: String,
    /// Machine instructions.
    pub asm: String,
}

/// Compiles entry points into one module.
pub struct Compiler<'m, M: Module> {
    module: &'m mut M,
    /// Constant data by its bytes, so that equal tables are emitted once.
    constants: HashMap<Vec<u8>, DataId>,
    fctx: FunctionBuilderContext,
    prefix: String,
    listings: Option<Vec<Listing>>,
    /// The address of a function that entry points tell about their kernels.
    clock: Option<usize>,
}

impl<'m, M: Module> Compiler<'m, M> {
    /// `prefix` leads the names of all local symbols.
    pub fn new(module: &'m mut M, prefix: &str) -> Compiler<'m, M> {
        let prefix = prefix.to_string();
        let (constants, fctx) = (HashMap::new(), FunctionBuilderContext::new());
        Compiler { module, constants, fctx, prefix, listings: None, clock: None }
    }

    /// Has entry points call a function of this process after every kernel: see [`crate::profile`].
    pub fn tell(&mut self, clock: usize) {
        self.clock = Some(clock);
    }

    /// The module that is compiled into.
    pub fn module(&mut self) -> &mut M {
        self.module
    }

    /// Keeps the texts of all functions from here on.
    pub fn keep_listings(&mut self) {
        self.listings.get_or_insert_default();
    }

    /// The texts kept so far.
    pub fn take_listings(&mut self) -> Vec<Listing> {
        self.listings.take().unwrap_or_default()
    }

    /// Emits an entry point for one variant. Every thread of a call has `scratch_bytes`, at least what the entry
    /// point asks for.
    pub fn entry(
        &mut self,
        entry: &PlannedEntry,
        storage: &StorageLayout,
        variant: &Variant,
        scratch_bytes: usize,
    ) -> Result<FuncId, BackendError> {
        let program = entry.program;
        let mut consts = HashMap::new();
        for (i, buffer) in program.buffers.iter().enumerate() {
            if let Place::Const(values) = &buffer.place {
                consts.insert(BufferId(i as u32), self.data(&constant_bytes(values, buffer.dtype))?);
            }
        }
        let scope = Scope { program, storage, variant, consts: &consts };
        let name = format!("{}.{}.{}", self.prefix, program.name, variant.name);
        let mut functions = Vec::new();
        for planned in &entry.kernels {
            functions.push(self.kernel(planned, &scope, &name)?);
        }
        let kernels: Vec<&Kernel> = entry.kernels.iter().map(Planned::kernel).collect();
        let parallel: Vec<bool> = entry.kernels.iter().map(Planned::parallel).collect();
        let slots = entry::order(program, &kernels, &parallel);
        let steps: Vec<(FuncId, entry::Slot)> = functions.into_iter().zip(slots).collect();

        let mut ctx = Context::new();
        entry::build(self.module, variant, program, &steps, scratch_bytes, self.clock, &mut ctx, &mut self.fctx)?;
        self.define(&name, &mut ctx, variant)
    }

    fn kernel(&mut self, planned: &Planned, scope: &Scope, entry: &str) -> Result<FuncId, BackendError> {
        let name = format!("{entry}.{}", planned.kernel().name);
        let mut ctx = Context::new();
        match planned {
            Planned::Loops { kernel, nest } => {
                build_loops(self.module, scope, kernel, nest, &mut ctx, &mut self.fctx)?;
            }
            Planned::Contract(contraction) => {
                let plan = self.data(&contraction.plan_bytes())?;
                let epilogue = if contraction.has_epilogue() {
                    contraction.build_epilogue(self.module, scope, &mut ctx, &mut self.fctx)?;
                    Some(self.define(&format!("{name}.epilogue"), &mut ctx, scope.variant)?)
                } else {
                    None
                };
                ctx.clear();
                contraction.build(self.module, scope, plan, epilogue, &mut ctx, &mut self.fctx)?;
            }
        }
        self.define(&name, &mut ctx, scope.variant)
    }

    /// A local data object with the given contents.
    fn data(&mut self, bytes: &[u8]) -> Result<DataId, BackendError> {
        if let Some(id) = self.constants.get(bytes) {
            return Ok(*id);
        }
        let name = format!("{}.const{}", self.prefix, self.constants.len());
        let fail = |e| BackendError::internal(&name, e);
        let id = self.module.declare_data(&name, Linkage::Local, false, false).map_err(fail)?;
        let mut data = DataDescription::new();
        data.define(bytes.into());
        data.set_align(bakelite::abi::ALIGN as u64);
        self.module.define_data(id, &data).map_err(fail)?;
        self.constants.insert(bytes.to_vec(), id);
        Ok(id)
    }

    /// Compiles a function for a variant and adds it to the module.
    fn define(&mut self, name: &str, ctx: &mut Context, variant: &Variant) -> Result<FuncId, BackendError> {
        let clif = self.listings.is_some().then(|| ctx.func.display().to_string());
        ctx.set_disasm(self.listings.is_some());
        if let Err(e) = ctx.compile(&*variant.isa, &mut ControlPlane::default()) {
            return Err(BackendError::internal(name, format!("{:?}", e.inner)));
        }
        let Some(code) = ctx.compiled_code() else {
            return Err(BackendError::internal(name, "the code generator gave no code"));
        };
        for reloc in code.buffer.relocs() {
            if let FinalizedRelocTarget::ExternalName(ExternalName::LibCall(call)) = reloc.target {
                return Err(library_call(name, call));
            }
        }
        let signature = ctx.func.signature.clone();
        let id = self
            .module
            .declare_function(name, Linkage::Local, &signature)
            .map_err(|e| BackendError::internal(name, e))?;
        let relocs: Vec<ModuleReloc> =
            code.buffer.relocs().iter().map(|r| ModuleReloc::from_mach_reloc(r, &ctx.func, id)).collect();
        let alignment = u64::from(code.buffer.alignment).max(16);
        self.module
            .define_function_bytes(id, alignment, code.buffer.data(), &relocs)
            .map_err(|e| BackendError::internal(name, e))?;
        if let (Some(listings), Some(clif)) = (&mut self.listings, clif) {
            let asm = code.vcode.clone().unwrap_or_default();
            listings.push(Listing { function: name.to_string(), clif, asm });
        }
        Ok(id)
    }
}

fn library_call(name: &str, call: LibCall) -> BackendError {
    BackendError::internal(name, format!("the code generator wants to call {call:?}"))
}

/// A constant tensor as it lies in memory.
fn constant_bytes(values: &[Number], dtype: DType) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(values.len() * dtype.size());
    for Number(x) in values {
        match dtype {
            DType::F32 => bytes.extend((*x as f32).to_le_bytes()),
            DType::F64 => bytes.extend(x.to_le_bytes()),
            DType::I32 => bytes.extend((*x as i32).to_le_bytes()),
            DType::U32 => bytes.extend((*x as u32).to_le_bytes()),
            DType::U8 => bytes.push(*x as u8),
            DType::Bool => bytes.push((*x != 0.0) as u8),
        }
    }
    bytes
}
