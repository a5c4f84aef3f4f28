//! Values in registers: four lanes of 32 bits.
//!
//! Every value of a kernel body, scalar or not, is one 128-bit vector: floats as `f32x4`, integers as `i32x4` (a `u8`
//! as its value 0..=255), booleans as `i32x4` masks of all ones or all zeros. A value that is the same for all
//! elements in flight has equal lanes. Loop tails run the same instructions on vectors of equal lanes and store one,
//! so that the bits of an element cannot depend on where it falls.

use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Type, Value, condcodes::IntCC, types};
use cranelift_frontend::FunctionBuilder;

use crate::ir::{DType, ReduceFn};

use super::scalar;

/// Lanes of a vector.
pub const LANES: i64 = 4;

/// The register type of a value.
pub fn register(dtype: DType) -> Type {
    if dtype.is_float() { types::F32X4 } else { types::I32X4 }
}

/// Flags of every access to tensors: it cannot trap, and vectors may lie at any multiple of the element size.
pub fn memory() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

/// A constant vector of 32-bit lanes.
pub fn lanes32(b: &mut FunctionBuilder, ty: Type, lanes: [u32; 4]) -> Value {
    let bytes: Vec<u8> = lanes.iter().flat_map(|l| l.to_le_bytes()).collect();
    let constant = b.func.dfg.constants.insert(bytes.as_slice().into());
    b.ins().vconst(ty, constant)
}

/// A number in every lane, as the bits that [`register`] describes.
pub fn constant(b: &mut FunctionBuilder, dtype: DType, number: f64) -> Value {
    let bits = match dtype {
        DType::F32 | DType::F64 => (number as f32).to_bits(),
        DType::I32 => number as i32 as u32,
        DType::U32 => number as u32,
        DType::U8 => number as u8 as u32,
        DType::Bool => mask_bits(number != 0.0),
    };
    lanes32(b, register(dtype), [bits; 4])
}

fn mask_bits(on: bool) -> u32 {
    if on { u32::MAX } else { 0 }
}

/// Reinterprets the bits.
pub fn cast(b: &mut FunctionBuilder, ty: Type, x: Value) -> Value {
    if b.func.dfg.value_type(x) == ty {
        return x;
    }
    b.ins().bitcast(ty, MemFlagsData::new().with_endianness(cranelift_codegen::ir::Endianness::Little), x)
}

/// Lane `i` of the result is lane `order[i]` of `x`.
pub fn shuffle(b: &mut FunctionBuilder, x: Value, order: [u8; 4]) -> Value {
    let ty = b.func.dfg.value_type(x);
    let mut mask = [0u8; 16];
    for (i, &lane) in order.iter().enumerate() {
        for byte in 0..4 {
            mask[4 * i + byte] = 4 * lane + byte as u8;
        }
    }
    let mask = b.func.dfg.immediates.push(mask.as_slice().into());
    let bytes = cast(b, types::I8X16, x);
    let shuffled = b.ins().shuffle(bytes, bytes, mask);
    cast(b, ty, shuffled)
}

/// `mask ? x : y` in every lane.
pub fn select(b: &mut FunctionBuilder, mask: Value, x: Value, y: Value) -> Value {
    // Integer lanes, like the mask: the code generator then sees that the mask comes from a comparison.
    let ty = b.func.dfg.value_type(x);
    let (x, y) = (cast(b, types::I32X4, x), cast(b, types::I32X4, y));
    let chosen = b.ins().bitselect(mask, x, y);
    cast(b, ty, chosen)
}

/// Folds the four lanes of a partial result; the result is in every lane.
pub fn horizontal(b: &mut FunctionBuilder, f: ReduceFn, dtype: DType, x: Value) -> Value {
    let halves = shuffle(b, x, [2, 3, 0, 1]);
    let x = scalar::reduce(b, f, dtype, x, halves);
    let pairs = shuffle(b, x, [1, 0, 3, 2]);
    let x = scalar::reduce(b, f, dtype, x, pairs);
    // Minima and maxima of zeros of both signs may differ between the lanes.
    if dtype.is_float() && f != ReduceFn::Sum { shuffle(b, x, [0; 4]) } else { x }
}

/// Lane 0 in the form that memory holds.
fn lane_to_memory(b: &mut FunctionBuilder, dtype: DType, x: Value, lane: u8) -> Value {
    let element = b.ins().extractlane(x, lane);
    match dtype {
        DType::F32 | DType::F64 | DType::I32 | DType::U32 => element,
        DType::U8 => b.ins().ireduce(types::I8, element),
        DType::Bool => {
            let byte = b.ins().ireduce(types::I8, element);
            b.ins().band_imm_u(byte, 1)
        }
    }
}

/// One element of memory in the form of a 32-bit lane.
fn load_element(b: &mut FunctionBuilder, dtype: DType, address: Value, offset: i32) -> Value {
    match dtype {
        DType::F32 | DType::F64 => b.ins().load(types::F32, memory(), address, offset),
        DType::I32 | DType::U32 => b.ins().load(types::I32, memory(), address, offset),
        DType::U8 => b.ins().uload8(types::I32, memory(), address, offset),
        DType::Bool => {
            let byte = b.ins().uload8(types::I32, memory(), address, offset);
            b.ins().ineg(byte)
        }
    }
}

/// Loads one element into every lane.
pub fn load_splat(b: &mut FunctionBuilder, dtype: DType, address: Value, offset: i32) -> Value {
    let element = load_element(b, dtype, address, offset);
    b.ins().splat(register(dtype), element)
}

/// Loads four neighbouring elements.
pub fn load_contiguous(b: &mut FunctionBuilder, dtype: DType, address: Value, offset: i32) -> Value {
    if dtype.size() == 4 {
        return b.ins().load(register(dtype), memory(), address, offset);
    }
    let four = b.ins().load(types::I32, memory(), address, offset);
    let bytes = b.ins().scalar_to_vector(types::I32X4, four);
    let bytes = cast(b, types::I8X16, bytes);
    let words = b.ins().uwiden_low(bytes);
    let lanes = b.ins().uwiden_low(words);
    if dtype == DType::Bool { b.ins().ineg(lanes) } else { lanes }
}

/// Loads one element from each of four addresses.
pub fn load_each(b: &mut FunctionBuilder, dtype: DType, at: [(Value, i32); 4]) -> Value {
    let elements = at.map(|(address, offset)| load_element(b, dtype, address, offset));
    let mut x = b.ins().scalar_to_vector(register(dtype), elements[0]);
    for lane in 1..4 {
        x = b.ins().insertlane(x, elements[lane], lane as u8);
    }
    x
}

/// Stores four neighbouring elements.
pub fn store_contiguous(b: &mut FunctionBuilder, dtype: DType, x: Value, address: Value, offset: i32) {
    if dtype.size() == 4 {
        b.ins().store(memory(), x, address, offset);
        return;
    }
    let lanes = if dtype == DType::Bool {
        let one = lanes32(b, types::I32X4, [1; 4]);
        b.ins().band(x, one)
    } else {
        x
    };
    let words = b.ins().snarrow(lanes, lanes);
    let bytes = b.ins().unarrow(words, words);
    let lanes = cast(b, types::I32X4, bytes);
    let four = b.ins().extractlane(lanes, 0);
    b.ins().store(memory(), four, address, offset);
}

/// Stores one lane.
pub fn store_lane(b: &mut FunctionBuilder, dtype: DType, x: Value, lane: u8, address: Value, offset: i32) {
    let element = lane_to_memory(b, dtype, x, lane);
    b.ins().store(memory(), element, address, offset);
}

/// Adds one lane to an element of memory.
pub fn add_lane(b: &mut FunctionBuilder, dtype: DType, x: Value, lane: u8, address: Value, offset: i32) {
    let element = lane_to_memory(b, dtype, x, lane);
    let ty = b.func.dfg.value_type(element);
    let old = b.ins().load(ty, memory(), address, offset);
    let new = match dtype {
        DType::F32 | DType::F64 => b.ins().fadd(old, element),
        DType::I32 | DType::U32 | DType::U8 => b.ins().iadd(old, element),
        DType::Bool => b.ins().bor(old, element),
    };
    b.ins().store(memory(), new, address, offset);
}

/// A lane of an integer vector as an address-sized number.
pub fn lane_index(b: &mut FunctionBuilder, dtype: DType, x: Value, lane: u8) -> Value {
    let element = b.ins().extractlane(x, lane);
    if dtype == DType::I32 { b.ins().sextend(types::I64, element) } else { b.ins().uextend(types::I64, element) }
}

/// `index` limited to `0..extent`, signed.
pub fn clamp_index(b: &mut FunctionBuilder, index: Value, extent: usize) -> Value {
    let zero = b.ins().iconst(types::I64, 0);
    let last = b.ins().iconst(types::I64, extent as i64 - 1);
    let below = b.ins().icmp(IntCC::SignedLessThan, index, zero);
    let index = b.ins().select(below, zero, index);
    let above = b.ins().icmp(IntCC::SignedGreaterThan, index, last);
    b.ins().select(above, last, index)
}
