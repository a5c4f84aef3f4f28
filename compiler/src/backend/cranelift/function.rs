//! One function per kernel: `fn(call, steps, scratch, thread, threads)`. `steps` is an array that holds the current step
//! of every loop of the program that the kernel is in.

use std::collections::HashMap;

use bakelite::abi::Call;
use bakelite_kernels::manifest;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{AbiParam, InstBuilder, MemFlagsData, Signature, Value, types};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{DataId, Module};

use crate::backend::BackendError;
use crate::schedule::program::{AxisId, BufferId, Kernel, Place, Program, StorageLayout};

use super::emitter::{Bound, Emitter, Lane, Range};
use super::facts::Facts;
use super::lanes::LANES;
use super::nest::{Nest, SlotId};
use super::target::Variant;

/// What every function of an entry point shares.
pub struct Scope<'a> {
    pub program: &'a Program,
    pub storage: &'a StorageLayout,
    pub variant: &'a Variant,
    /// The data objects of constant buffers.
    pub consts: &'a HashMap<BufferId, DataId>,
}

/// The parameters of a kernel function.
#[derive(Clone, Copy)]
pub struct Params {
    pub frame: Frame,
    pub scratch: Value,
    pub thread: Value,
    pub threads: Value,
}

/// Where a kernel's buffers are found.
#[derive(Clone, Copy)]
pub struct Frame {
    pub call: Value,
    pub steps: Value,
}

impl Params {
    /// From the parameters of a function with the [`kernel_signature`].
    pub fn new(params: &[Value]) -> Params {
        let frame = Frame { call: params[0], steps: params[1] };
        Params { frame, scratch: params[2], thread: params[3], threads: params[4] }
    }
}

pub fn kernel_signature(call_conv: CallConv) -> Signature {
    pointers(call_conv, 5)
}

/// A signature of `n` address-sized parameters without results.
pub fn pointers(call_conv: CallConv, n: usize) -> Signature {
    let mut signature = Signature::new(call_conv);
    signature.params.extend(std::iter::repeat_n(AbiParam::new(types::I64), n));
    signature
}

/// Loads a field of a structure of the runtime.
pub fn field(b: &mut FunctionBuilder, structure: Value, offset: usize) -> Value {
    b.ins().load(types::I64, MemFlagsData::trusted(), structure, offset as i32)
}

/// Opens the entry block of a function and returns its parameters.
pub fn open(b: &mut FunctionBuilder) -> Vec<Value> {
    let block = b.create_block();
    b.append_block_params_for_function_params(block);
    b.switch_to_block(block);
    b.seal_block(block);
    b.block_params(block).to_vec()
}

/// Builds the function of a kernel of plain loops.
pub fn build_loops(
    module: &mut impl Module,
    scope: &Scope,
    kernel: &Kernel,
    nest: &Nest,
    ctx: &mut cranelift_codegen::Context,
    fctx: &mut FunctionBuilderContext,
) -> Result<(), BackendError> {
    let facts = Facts::new(kernel, scope.program)?;
    ctx.func.signature = kernel_signature(scope.variant.isa.default_call_conv());
    let mut b = FunctionBuilder::new(&mut ctx.func, fctx);
    let params = open(&mut b);
    let params = Params::new(&params);
    let mut emitter = emitter(module, scope, kernel, &facts, nest, &mut b, params.frame, params.scratch);
    if let Some(axis) = kernel.parallel {
        emitter.share(axis, params);
    }
    emitter.nest(nest)?;
    b.ins().return_(&[]);
    b.finalize(module.target_config());
    Ok(())
}

/// An emitter at the start of a function, with the addresses that the kernel needs.
pub fn emitter<'a, 'f>(
    module: &mut impl Module,
    scope: &Scope<'a>,
    kernel: &'a Kernel,
    facts: &'a Facts,
    nest: &'a Nest,
    b: &'a mut FunctionBuilder<'f>,
    frame: Frame,
    scratch: Value,
) -> Emitter<'a, 'f> {
    let batch = field(b, frame.call, std::mem::offset_of!(Call, batch));
    let table = field(b, frame.call, std::mem::offset_of!(Call, kernels));
    let (reads, writes) = kernel.touches();
    let mut bases = HashMap::new();
    for buffer in reads.into_iter().chain(writes) {
        bases.entry(buffer).or_insert_with(|| base(module, scope, b, frame, buffer));
    }
    Emitter {
        b,
        features: scope.variant.features,
        program: scope.program,
        kernel,
        facts,
        slots: &nest.slots,
        batch,
        bases,
        scratch,
        table,
        tile: None,
        index: HashMap::new(),
        known: HashMap::new(),
        order: Vec::new(),
        ranges: HashMap::new(),
        vector: None,
        lanes: vec![Lane::SINGLE],
        accs: HashMap::new(),
        bound: HashMap::new(),
        frames: Vec::new(),
    }
}

/// The address of a buffer.
pub fn base(module: &mut impl Module, scope: &Scope, b: &mut FunctionBuilder, frame: Frame, buffer: BufferId) -> Value {
    let call = frame.call;
    let block = |b: &mut FunctionBuilder, at: usize, bytes: usize| {
        let start = field(b, call, at);
        b.ins().iadd_imm_s(start, bytes as i64)
    };
    match &scope.program.buffer(buffer).place {
        Place::Input(i) => {
            let inputs = field(b, call, std::mem::offset_of!(Call, inputs));
            field(b, inputs, 8 * i)
        }
        Place::Output(i) => {
            let outputs = field(b, call, std::mem::offset_of!(Call, outputs));
            field(b, outputs, 8 * i)
        }
        Place::Storage(id) => block(b, std::mem::offset_of!(Call, storage), scope.storage.offsets[id.0 as usize]),
        Place::Arena { offset } => block(b, std::mem::offset_of!(Call, arena), *offset),
        Place::Const(_) => {
            let global = module.declare_data_in_func(scope.consts[&buffer], b.func);
            b.ins().symbol_value(types::I64, global)
        }
        Place::Slice { of, step, stride } => {
            let whole = base(module, scope, b, frame, *of);
            let step = field(b, frame.steps, 8 * step.index());
            let bytes = stride * scope.program.buffer(buffer).dtype.size();
            let offset = b.ins().imul_imm_s(step, bytes as i64);
            b.ins().iadd(whole, offset)
        }
    }
}

impl Emitter<'_, '_> {
    /// Limits an axis to this thread's part: contiguous, in whole blocks, the same split for the same extent.
    fn share(&mut self, axis: AxisId, params: Params) {
        let extent = self.kernel.extent(axis);
        let block = block(extent.at(self.program.max_batch));
        let whole = self.dim(extent);
        let total = self.bound_value(whole);
        // blocks = ceil(total / block), each thread takes ceil(blocks / threads) of them.
        let blocks = self.b.ins().iadd_imm_s(total, block - 1);
        let blocks = self.b.ins().ushr_imm_u(blocks, block.trailing_zeros() as i64);
        let blocks = self.b.ins().iadd(blocks, params.threads);
        let blocks = self.b.ins().iadd_imm_s(blocks, -1);
        let each = self.b.ins().udiv(blocks, params.threads);
        let each = self.b.ins().ishl_imm_u(each, block.trailing_zeros() as i64);
        let lo = self.b.ins().imul(params.thread, each);
        let lo = self.smaller(lo, total);
        let hi = self.b.ins().iadd(lo, each);
        let hi = self.smaller(hi, total);
        let multiple = if extent.scale as i64 % block == 0 { block } else { 1 };
        self.ranges.insert(axis, Range { lo: Bound::value(lo), hi: Bound::value(hi), multiple });
    }

    pub fn smaller(&mut self, x: Value, y: Value) -> Value {
        let less = self.b.ins().icmp(IntCC::SignedLessThan, x, y);
        self.b.ins().select(less, x, y)
    }

    /// Calls a strip kernel over whole rows of scratch.
    pub fn strip(&mut self, function: &str, args: &[SlotId]) -> Result<(), BackendError> {
        let unknown = || BackendError::internal(&self.kernel.name, format!("no kernel named {function}"));
        let at = manifest::slot_offset(function).ok_or_else(unknown)?;
        let mut elements = self.iconst(1);
        for &axis in &self.slots[args[0].0].axes {
            let count = self.count(axis);
            elements = self.b.ins().imul(elements, count);
        }
        let rows: Vec<Value> =
            args.iter().map(|s| self.b.ins().iadd_imm_s(self.scratch, self.slots[s.0].offset as i64)).collect();
        let mut values = vec![rows[0]];
        values.extend(&rows);
        values.push(elements);
        let signature = pointers(self.b.func.signature.call_conv, values.len());
        let signature = self.b.import_signature(signature);
        let callee = field(self.b, self.table, at);
        self.b.ins().call_indirect(signature, callee, &values);
        Ok(())
    }
}

/// The granularity in which threads share an extent: cache lines, or single points where there are few.
pub fn block(extent: usize) -> i64 {
    if extent as i64 >= 16 * LANES { 4 * LANES } else { 1 }
}
