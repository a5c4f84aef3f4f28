//! Random loops.

use std::sync::Arc;

use super::{Bounds, Generator, LEAF, ROUNDING, TOLERANCE, measure};
use crate::ir::scan::Scan;
use crate::ir::{BinaryFn, DType, Dim, NodeId, Op, Shape, StorageId, TensorType};

/// The error that a carry of float type may have after any number of steps.
const CARRY_ERROR: f64 = TOLERANCE / 128.0;
/// Largest magnitude of a carry.
const CARRY_VALUE: f64 = 32.0;

impl Generator {
    /// A loop over a body of a few operations, and all its results that are small enough.
    ///
    /// What is known about a carry must hold after every step: its new value is brought into the interval of the
    /// first, and is one whose error stays below [`CARRY_ERROR`] if the error before did.
    pub(super) fn scan(&mut self) -> Option<NodeId> {
        let (length, reverse) = (1 + self.rng.below(4), self.rng.one_in(2));
        let carries: Vec<NodeId> = (0..1 + self.rng.below(2)).filter_map(|_| self.initial()).collect();
        let mut inputs = Vec::new();
        for _ in 0..self.rng.below(3) {
            let dtype = self.dtype();
            let shape = self.shape();
            let found = self.find(|t, _| t.shape.first() == Some(&Dim::fixed(length)));
            let stacked = Shape(std::iter::once(Dim::fixed(length)).chain(shape.iter().copied()).collect());
            inputs.push(found.or_else(|| self.leaf_of(TensorType::new(dtype, stacked)))?);
        }
        let sequences = inputs.len();
        for _ in 0..self.rng.below(3) {
            inputs.push(self.any()?);
        }
        if carries.is_empty() && inputs.is_empty() {
            return None;
        }
        let rng = super::Rng::new(self.rng.bits());
        let graph = self.graph.body();
        let mut body = Generator { rng, graph, cells: Vec::new(), bounds: Vec::new(), loops: self.loops, body: true };
        let mut limits = Vec::new();
        for (i, &carry) in carries.iter().enumerate() {
            let (ty, b) = (self.ty(carry), self.bounds(carry));
            let limit = match ty.dtype.is_float() {
                true => Bounds { error: CARRY_ERROR, ..b.join(Bounds::exact(LEAF)) },
                false => Bounds::of_type(ty.dtype),
            };
            limits.push(limit);
            let read = body.push(Op::Storage { id: StorageId(i as u32), ty }, &[], limit)?;
            body.damped(read);
        }
        for (i, &input) in inputs.iter().enumerate() {
            let mut ty = self.ty(input);
            if i < sequences {
                ty.shape.0.remove(0);
            }
            body.graph.inputs.push(crate::ir::graph::InputDecl::new(format!("in {i}"), ty.clone()));
            body.push(Op::Input { index: i, ty }, &[], self.bounds(input))?;
        }
        for _ in 0..4 + body.rng.below(8) {
            body.enter_site();
            body.operation();
        }
        for (i, limit) in limits.iter().enumerate() {
            let ty = self.ty(carries[i]);
            let next = body.find(|t, b| *t == ty && (!t.dtype.is_float() || b.error <= limit.error));
            let next = next.and_then(|node| match ty.dtype.is_float() {
                true => body.clamp(node, (limit.low, limit.high)),
                false => Some(node),
            });
            next.filter(|_| !self.rng.one_in(8)).into_iter().for_each(|n| body.graph.assign(StorageId(i as u32), n));
        }
        let outputs: Vec<NodeId> = (0..1 + self.rng.below(2)).filter_map(|_| body.any()).collect();
        for (i, &output) in outputs.iter().enumerate() {
            body.graph.output(format!("out {i}"), output);
        }
        let known: Vec<Bounds> = limits.into_iter().chain(outputs.iter().map(|o| body.bounds(*o))).collect();
        let types = carries.iter().map(|c| self.ty(*c)).collect();
        let scan = Arc::new(Scan::new(body.graph, length, reverse, types, sequences));
        let args = [carries, inputs].concat();
        let mut last = None;
        for (result, bounds) in known.into_iter().enumerate() {
            last = self.push(Op::Scan { scan: scan.clone(), result }, &args, bounds).or(last);
        }
        last
    }

    /// A node that a carry can start with.
    fn initial(&mut self) -> Option<NodeId> {
        self.find(|t, b| !t.dtype.is_float() || b.size() <= CARRY_VALUE && b.error <= CARRY_ERROR)
    }

    /// An eighth of a carry: what is computed of it has an error that a carry may have.
    fn damped(&mut self, carry: NodeId) -> Option<NodeId> {
        if self.ty(carry).dtype != DType::F32 {
            return None;
        }
        let (eighth, b) = (self.splat(carry, 0.125)?, self.bounds(carry));
        let scaled = measure(Bounds { error: 0.0, ..b }, self.bounds(eighth), |x, y| x * y, false);
        let bounds = Bounds { error: b.error / 8.0 + ROUNDING * b.size(), ..scaled };
        self.push(Op::Binary(BinaryFn::Mul), &[carry, eighth], bounds)
    }
}
