//! Addresses, loads and stores.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};

use crate::backend::BackendError;
use crate::ir::{BinaryFn, DType};
use crate::schedule::program::{Access, Indirect, Store, StoreMode};

use super::emitter::{Emitter, Lane, TileSums};
use super::lanes::{self, LANES};
use super::nest::SlotId;
use super::scalar::{self, Operand};

/// An address as a register and a constant.
type Address = (Value, i32);

/// How the elements of a lane lie in memory.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Layout {
    /// All in one place.
    Same,
    Contiguous,
    Reversed,
    /// This many bytes apart.
    Strided(i64),
}

impl Emitter<'_, '_> {
    /// The address of an access at one lane, apart from its indirect term.
    fn address(&mut self, access: &Access, lane: Lane) -> Address {
        let size = self.program.buffer(access.buffer).dtype.size() as i64;
        let base = self.bases[&access.buffer];
        let (address, offset) = self.sum(Some(base), &access.index, size, lane);
        self.displaced(address.unwrap_or(base), offset)
    }

    fn displaced(&mut self, address: Value, bytes: i64) -> Address {
        match i32::try_from(bytes) {
            // Leaves room for the offsets of the lanes.
            Ok(bytes) if bytes.abs() < i32::MAX / 2 => (address, bytes),
            _ => (self.b.ins().iadd_imm_s(address, bytes), 0),
        }
    }

    fn layout(&self, access: &Access, lane: Lane) -> Layout {
        let step = self.vector.map_or(0, |v| access.index.coefficient(v));
        match step {
            _ if !lane.wide => Layout::Same,
            0 => Layout::Same,
            1 => Layout::Contiguous,
            -1 => Layout::Reversed,
            c => Layout::Strided(c * self.program.buffer(access.buffer).dtype.size() as i64),
        }
    }

    /// The indices of an indirect term: one for all lanes, or one per lane.
    fn indices(&mut self, indirect: &Indirect, lane: usize) -> Result<Vec<Value>, BackendError> {
        let dtype = self.kernel.expr(indirect.index).dtype;
        let each = self.lanes[lane].wide && self.vector.is_some_and(|v| self.facts.varies_with(indirect.index, v));
        let index = self.eval(indirect.index, lane)?;
        let lanes = if each { LANES as u8 } else { 1 };
        Ok((0..lanes).map(|l| lanes::lane_index(self.b, dtype, index, l)).collect())
    }

    /// The value of a load at one lane.
    pub fn load(&mut self, access: &Access, lane_at: usize) -> Result<Value, BackendError> {
        let lane = self.lanes[lane_at];
        let dtype = self.program.buffer(access.buffer).dtype;
        let (mut address, offset) = self.address(access, lane);
        let layout = self.layout(access, lane);
        let Some(indirect) = &access.indirect else { return Ok(self.load_at(dtype, (address, offset), layout)) };
        let bytes = indirect.stride * dtype.size() as i64;
        let indices = self.indices(indirect, lane_at)?;
        let terms: Vec<Value> = indices
            .into_iter()
            .map(|index| {
                let index = lanes::clamp_index(self.b, index, indirect.extent);
                self.b.ins().imul_imm_s(index, bytes)
            })
            .collect();
        if let [term] = terms[..] {
            address = self.b.ins().iadd(address, term);
            return Ok(self.load_at(dtype, (address, offset), layout));
        }
        let each = self.spread((address, offset), dtype, layout);
        let at = [0, 1, 2, 3].map(|l| (self.b.ins().iadd(each[l].0, terms[l]), each[l].1));
        Ok(lanes::load_each(self.b, dtype, at))
    }

    fn load_at(&mut self, dtype: DType, (address, offset): Address, layout: Layout) -> Value {
        match layout {
            Layout::Same => lanes::load_splat(self.b, dtype, address, offset),
            Layout::Contiguous => lanes::load_contiguous(self.b, dtype, address, offset),
            Layout::Reversed => {
                let back = offset - 3 * dtype.size() as i32;
                let x = lanes::load_contiguous(self.b, dtype, address, back);
                lanes::shuffle(self.b, x, [3, 2, 1, 0])
            }
            Layout::Strided(_) => {
                let each = self.spread((address, offset), dtype, layout);
                lanes::load_each(self.b, dtype, each)
            }
        }
    }

    /// The addresses of the four elements of a lane.
    fn spread(&mut self, (address, offset): Address, dtype: DType, layout: Layout) -> [Address; 4] {
        let bytes = match layout {
            Layout::Same => 0,
            Layout::Contiguous => dtype.size() as i64,
            Layout::Reversed => -(dtype.size() as i64),
            Layout::Strided(bytes) => bytes,
        };
        [0, 1, 2, 3].map(|l| {
            let total = offset as i64 + bytes * l;
            self.displaced(address, total)
        })
    }

    /// Performs a store at one lane.
    pub fn store(&mut self, store: &Store, lane_at: usize) -> Result<(), BackendError> {
        let lane = self.lanes[lane_at];
        let dtype = self.program.buffer(store.access.buffer).dtype;
        let value = self.eval(store.value, lane_at)?;
        let (address, offset) = self.address(&store.access, lane);
        let layout = self.layout(&store.access, lane);
        let Some(indirect) = &store.access.indirect else {
            self.store_at(dtype, value, (address, offset), layout, lane.wide, store.mode);
            return Ok(());
        };
        let bytes = indirect.stride * dtype.size() as i64;
        let indices = self.indices(indirect, lane_at)?;
        let each = self.spread((address, offset), dtype, layout);
        let alone = indices.len() == 1;
        for (l, index) in indices.into_iter().enumerate() {
            let then = self.b.create_block();
            let done = self.b.create_block();
            // An index below 0 is a large number here.
            let inside = self.b.ins().icmp_imm_s(IntCC::UnsignedLessThan, index, indirect.extent as i64);
            self.b.ins().brif(inside, then, &[], done, &[]);
            self.b.switch_to_block(then);
            self.b.seal_block(then);
            let term = self.b.ins().imul_imm_s(index, bytes);
            if alone {
                let address = self.b.ins().iadd(address, term);
                self.store_at(dtype, value, (address, offset), layout, lane.wide, store.mode);
            } else {
                let (address, offset) = each[l];
                let address = self.b.ins().iadd(address, term);
                self.store_one(dtype, value, l as u8, (address, offset), store.mode);
            }
            self.b.ins().jump(done, &[]);
            self.b.switch_to_block(done);
            self.b.seal_block(done);
        }
        Ok(())
    }

    fn store_at(&mut self, dtype: DType, value: Value, at: Address, layout: Layout, wide: bool, mode: StoreMode) {
        let (address, offset) = at;
        match layout {
            _ if !wide => self.store_one(dtype, value, 0, at, mode),
            Layout::Contiguous => {
                let value = match mode {
                    StoreMode::Set => value,
                    StoreMode::Add => {
                        let old = lanes::load_contiguous(self.b, dtype, address, offset);
                        self.added(dtype, old, value)
                    }
                };
                lanes::store_contiguous(self.b, dtype, value, address, offset);
            }
            Layout::Same | Layout::Reversed | Layout::Strided(_) => {
                let each = self.spread(at, dtype, layout);
                for (l, at) in each.into_iter().enumerate() {
                    self.store_one(dtype, value, l as u8, at, mode);
                }
            }
        }
    }

    fn added(&mut self, dtype: DType, x: Value, y: Value) -> Value {
        let f = if dtype == DType::Bool { BinaryFn::Or } else { BinaryFn::Add };
        scalar::binary(self.b, f, dtype, (x, y), (Operand::Lanes, Operand::Lanes)).unwrap_or(y)
    }

    fn store_one(&mut self, dtype: DType, value: Value, lane: u8, (address, offset): Address, mode: StoreMode) {
        match mode {
            StoreMode::Set => lanes::store_lane(self.b, dtype, value, lane, address, offset),
            StoreMode::Add => lanes::add_lane(self.b, dtype, value, lane, address, offset),
        }
    }

    /// The address of a slot's element at one lane, and the bytes between neighbours along the vector axis.
    fn slot_address(&mut self, slot: SlotId, lane: Lane) -> (Address, Option<Value>) {
        let slot = &self.slots[slot.0];
        let mut address = self.scratch;
        let mut stride = None;
        let mut offset = slot.offset as i64;
        let mut along = None;
        for (place, &axis) in slot.axes.iter().enumerate().rev() {
            let range = self.range(axis);
            let lo = self.bound_value(range.lo);
            let index = self.index[&axis];
            let index = if range.lo.known == Some(0) { index } else { self.b.ins().isub(index, lo) };
            let bytes = match stride {
                None => self.b.ins().ishl_imm_u(index, 2),
                Some(stride) => self.b.ins().imul(index, stride),
            };
            address = self.b.ins().iadd(address, bytes);
            if self.vector == Some(axis) {
                match stride {
                    None => offset += 4 * lane.offset,
                    Some(stride) => {
                        let bytes = self.b.ins().imul_imm_s(stride, lane.offset);
                        address = self.b.ins().iadd(address, bytes);
                    }
                }
                along = Some(stride);
            }
            if place > 0 {
                let count = self.count(axis);
                stride = Some(match stride {
                    None => self.b.ins().ishl_imm_u(count, 2),
                    Some(stride) => self.b.ins().imul(count, stride),
                });
            }
        }
        let step = match along {
            None => Some(self.b.ins().iconst(types::I64, 0)),
            Some(stride) => stride,
        };
        (self.displaced(address, offset), step)
    }

    /// The lanes of a scratch row, as bits in a float vector whatever they mean.
    pub fn load_slot(&mut self, slot: SlotId, lane: Lane) -> Value {
        let uniform = !lane.wide || !self.vector.is_some_and(|v| self.slots[slot.0].axes.contains(&v));
        let ((address, offset), step) = self.slot_address(slot, lane);
        match step {
            _ if uniform => lanes::load_splat(self.b, DType::F32, address, offset),
            None => lanes::load_contiguous(self.b, DType::F32, address, offset),
            Some(step) => {
                let mut at = address;
                let each = [0, 1, 2, 3].map(|l| {
                    if l > 0 {
                        at = self.b.ins().iadd(at, step);
                    }
                    (at, offset)
                });
                lanes::load_each(self.b, DType::F32, each)
            }
        }
    }

    /// Writes a value to a scratch row.
    pub fn store_slot(&mut self, slot: SlotId, value: Value, lane: Lane) {
        let value = lanes::cast(self.b, types::F32X4, value);
        let ((address, offset), step) = self.slot_address(slot, lane);
        match step {
            _ if !lane.wide => lanes::store_lane(self.b, DType::F32, value, 0, address, offset),
            None => lanes::store_contiguous(self.b, DType::F32, value, address, offset),
            Some(step) => {
                let mut at = address;
                for l in 0..4 {
                    lanes::store_lane(self.b, DType::F32, value, l, at, offset);
                    at = self.b.ins().iadd(at, step);
                }
            }
        }
    }

    /// The finished sums of a contraction's tile.
    pub fn load_tile(&mut self, tile: TileSums, lane: Lane) -> Value {
        let mut address = tile.origin;
        if let Some(row) = tile.row {
            let index = self.index[&row];
            let bytes = self.b.ins().imul(index, tile.row_bytes);
            address = self.b.ins().iadd(address, bytes);
        }
        let column = self.scaled(tile.column, 4);
        let address = self.b.ins().iadd(address, column);
        let offset = 4 * lane.offset as i32;
        if lane.wide {
            lanes::load_contiguous(self.b, DType::F32, address, offset)
        } else {
            lanes::load_splat(self.b, DType::F32, address, offset)
        }
    }
}
