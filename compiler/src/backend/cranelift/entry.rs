//! The entry point: calls its kernels in order, on one thread or on all, with barriers where data is handed on. Every
//! thread runs the loops around kernels for itself and keeps their steps on its own stack.

use bakelite::abi::Call;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, FuncRef, InstBuilder, MemFlagsData, StackSlotData, StackSlotKind, Value, types};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{FuncId, Module};

use crate::backend::BackendError;
use crate::schedule::program::{Event, Kernel, Loop, LoopId, Program};

use super::facts::may_alias;
use super::function::{field, open, pointers};
use super::target::Variant;

/// What the entry function does at one kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    /// All threads run the kernel, each its share; otherwise the first one runs it alone.
    pub parallel: bool,
    /// Threads wait for each other before the kernel.
    pub barrier: bool,
}

/// Decides where threads must wait: before a kernel that touches memory which another thread may have written, or
/// that writes memory which another thread may still read. `parallel` says which kernels all threads share.
pub fn order(program: &Program, kernels: &[&Kernel], parallel: &[bool]) -> Vec<Slot> {
    let mut since: Vec<usize> = Vec::new();
    let mut slots = Vec::new();
    for event in program.events() {
        let at = match event {
            Event::Kernel(at) => at,
            // Any kernel of the step before may have run since the last barrier.
            Event::Open(LoopId(l)) => {
                since.extend(program.loops[l as usize].kernels.clone());
                continue;
            }
            Event::Close(_) => continue,
        };
        let barrier = since.iter().any(|&before| {
            // The first thread runs serial kernels in order by itself.
            (parallel[before] || parallel[at]) && conflict(program, kernels[before], kernels[at])
        });
        if barrier {
            since.clear();
        }
        since.push(at);
        slots.push(Slot { parallel: parallel[at], barrier });
    }
    slots
}

fn conflict(program: &Program, x: &Kernel, y: &Kernel) -> bool {
    let (reads_x, writes_x) = x.touches();
    let (reads_y, writes_y) = y.touches();
    let meet = |a: &[_], b: &[_]| a.iter().any(|a| b.iter().any(|b| may_alias(program, *a, *b)));
    meet(&writes_x, &reads_y) || meet(&writes_x, &writes_y) || meet(&reads_x, &writes_y)
}

/// Slots that a clock is told about; kernel `k` has slot `FIRST_KERNEL + k`.
pub const BEGIN: u64 = 0;
pub const WAITING: u64 = 1;
pub const FIRST_KERNEL: u64 = 2;

/// Builds the entry function over the kernels' functions. Each thread has `scratch` bytes. Where there is a clock, the
/// address of a C function of one 64-bit slot, the first thread calls it at the beginning and after whatever a slot
/// stands for.
pub fn build(
    module: &mut impl Module,
    variant: &Variant,
    program: &Program,
    kernels: &[(FuncId, Slot)],
    scratch: usize,
    clock: Option<usize>,
    ctx: &mut cranelift_codegen::Context,
    fctx: &mut FunctionBuilderContext,
) -> Result<(), BackendError> {
    ctx.func.signature = pointers(variant.isa.default_call_conv(), 3);
    let mut b = FunctionBuilder::new(&mut ctx.func, fctx);
    let params = open(&mut b);
    let (call, thread, threads) = (params[0], params[1], params[2]);
    let start = field(&mut b, call, std::mem::offset_of!(Call, scratch));
    let offset = b.ins().imul_imm_s(thread, scratch as i64);
    let scratch = b.ins().iadd(start, offset);
    let one = b.ins().iconst(types::I64, 1);
    let zero = b.ins().iconst(types::I64, 0);
    let steps = match program.loops.len() {
        0 => zero,
        n => {
            let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, 8 * n as u32, 3);
            let slot = b.create_sized_stack_slot(slot);
            b.ins().stack_addr(types::I64, slot, 0)
        }
    };
    let tell = |b: &mut FunctionBuilder, slot: u64| {
        if let Some(clock) = clock {
            tell(b, clock, slot, thread);
        }
    };
    tell(&mut b, BEGIN);
    // The block where the first thread's part ends, while one is open.
    let mut alone: Option<Block> = None;
    let mut loops: Vec<OpenLoop> = Vec::new();
    for event in program.events() {
        let (number, (id, slot)) = match event {
            Event::Kernel(k) => (FIRST_KERNEL + k as u64, kernels[k]),
            Event::Open(id) => {
                join(&mut b, alone.take());
                loops.push(OpenLoop::begin(&mut b, id, &program.loops[id.index()], steps));
                continue;
            }
            Event::Close(_) => {
                join(&mut b, alone.take());
                if let Some(open) = loops.pop() {
                    open.end(&mut b);
                }
                continue;
            }
        };
        if slot.parallel || slot.barrier {
            join(&mut b, alone.take());
        }
        if slot.barrier {
            wait(&mut b, call, thread, threads);
            tell(&mut b, WAITING);
        }
        let function = module.declare_func_in_func(id, b.func);
        if slot.parallel {
            run(&mut b, function, [call, steps, scratch, thread, threads]);
            tell(&mut b, number);
            continue;
        }
        if alone.is_none() {
            let (first, done) = (b.create_block(), b.create_block());
            b.ins().brif(thread, done, &[], first, &[]);
            b.switch_to_block(first);
            b.seal_block(first);
            alone = Some(done);
        }
        run(&mut b, function, [call, steps, scratch, zero, one]);
        tell(&mut b, number);
    }
    join(&mut b, alone);
    b.ins().return_(&[]);
    b.finalize(module.target_config());
    Ok(())
}

/// A loop around kernels whose body is being built.
struct OpenLoop {
    body: Block,
    step: Value,
    /// The step behind the last one, and the distance to the next.
    end: i64,
    by: i64,
}

impl OpenLoop {
    fn begin(b: &mut FunctionBuilder, id: LoopId, l: &Loop, steps: Value) -> OpenLoop {
        let count = l.count as i64;
        let (first, end, by) = if l.reverse { (count - 1, -1, -1) } else { (0, count, 1) };
        let body = b.create_block();
        let step = b.append_block_param(body, types::I64);
        let first = b.ins().iconst(types::I64, first);
        b.ins().jump(body, &[first.into()]);
        b.switch_to_block(body);
        b.ins().store(MemFlagsData::trusted(), step, steps, 8 * id.0 as i32);
        OpenLoop { body, step, end, by }
    }

    fn end(self, b: &mut FunctionBuilder) {
        let next = b.ins().iadd_imm_s(self.step, self.by);
        let more = b.ins().icmp_imm_s(IntCC::NotEqual, next, self.end);
        let done = b.create_block();
        b.ins().brif(more, self.body, &[next.into()], done, &[]);
        b.seal_block(self.body);
        b.switch_to_block(done);
        b.seal_block(done);
    }
}

fn run(b: &mut FunctionBuilder, function: FuncRef, args: [Value; 5]) {
    b.ins().call(function, &args);
}

/// Calls a clock on the first thread.
fn tell(b: &mut FunctionBuilder, clock: usize, slot: u64, thread: Value) {
    let (first, done) = (b.create_block(), b.create_block());
    b.ins().brif(thread, done, &[], first, &[]);
    b.switch_to_block(first);
    b.seal_block(first);
    let signature = pointers(b.func.signature.call_conv, 1);
    let signature = b.import_signature(signature);
    let clock = b.ins().iconst(types::I64, clock as i64);
    let slot = b.ins().iconst(types::I64, slot as i64);
    b.ins().call_indirect(signature, clock, &[slot]);
    b.ins().jump(done, &[]);
    b.switch_to_block(done);
    b.seal_block(done);
}

fn join(b: &mut FunctionBuilder, block: Option<Block>) {
    if let Some(done) = block {
        b.ins().jump(done, &[]);
        b.switch_to_block(done);
        b.seal_block(done);
    }
}

fn wait(b: &mut FunctionBuilder, call: Value, thread: Value, threads: Value) {
    let (several, done) = (b.create_block(), b.create_block());
    let more = b.ins().icmp_imm_s(IntCC::NotEqual, threads, 1);
    b.ins().brif(more, several, &[], done, &[]);
    b.switch_to_block(several);
    b.seal_block(several);
    let function = field(b, call, std::mem::offset_of!(Call, wait));
    let barrier = field(b, call, std::mem::offset_of!(Call, barrier));
    let signature = pointers(b.func.signature.call_conv, 2);
    let signature = b.import_signature(signature);
    b.ins().call_indirect(signature, function, &[barrier, thread]);
    b.ins().jump(done, &[]);
    b.switch_to_block(done);
    b.seal_block(done);
}
