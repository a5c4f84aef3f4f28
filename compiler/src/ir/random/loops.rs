//! Random loops.

use std::sync::Arc;

use super::{Bounds, Generator, Kind, LEAF, ROUNDING, TOLERANCE, measure};
use crate::ir::scan::Scan;
use crate::ir::{BinaryFn, DType, Dim, NodeId, Op, Shape, StorageId, TensorType};

/// The error that a carry of float type may have after any number of steps.
const CARRY_ERROR: f64 = TOLERANCE / 128.0;
/// Largest magnitude of a carry.
const CARRY_VALUE: f64 = 32.0;

/// Whether a carry can start with a tensor of this type and bounds.
fn may_start(ty: &TensorType, b: Bounds) -> bool {
    !ty.dtype.is_float() || b.size() <= CARRY_VALUE && b.error <= CARRY_ERROR
}

impl Generator {
    /// A loop over a body of a few operations, around nothing in particular.
    pub(super) fn some_loop(&mut self) -> Option<NodeId> {
        self.looped(None, 0, &[]).map(|(last, _)| last)
    }

    /// A loop over a body of a few operations, and all its results that are small enough.
    ///
    /// `around` is a node that it reads, and what as; the body follows a chain from there, inside so many further loops,
    /// until the chain comes out of the loop or ends. Gives the result where it came out, or else any, and what is left of
    /// the chain.
    ///
    /// What is known about a carry must hold after every step: its new value is brought into the interval of the
    /// first, and is one whose error stays below [`CARRY_ERROR`] if the error before did. The exception is a carry that a
    /// chain leaves through: no step reads it.
    pub(super) fn looped<'k>(
        &mut self,
        around: Option<(NodeId, Kind)>,
        depth: usize,
        chain: &'k [Kind],
    ) -> Option<(NodeId, &'k [Kind])> {
        let (mut length, reverse) = (1 + self.rng.below(4), self.rng.one_in(2));
        let mut carries: Vec<NodeId> = (0..1 + self.rng.below(2)).filter_map(|_| self.initial()).collect();
        let (mut sequences, mut invariants) = (Vec::new(), Vec::new());
        match around {
            Some((x, Kind::Carry)) => {
                let b = self.bounds(x);
                carries.insert(0, Some(x).filter(|_| may_start(&self.ty(x), b))?);
            }
            Some((x, Kind::Step)) => {
                length = self.dims(x).first()?.as_fixed().filter(|n| (1..=6).contains(n))?;
                sequences.push(x);
            }
            Some((x, _)) => invariants.push(x),
            None => {}
        }
        for _ in 0..self.rng.below(3) {
            let dtype = self.dtype();
            let shape = self.shape();
            let found = self.find(|t, _| t.shape.first() == Some(&Dim::fixed(length)));
            let stacked = Shape(std::iter::once(Dim::fixed(length)).chain(shape.iter().copied()).collect());
            sequences.push(found.or_else(|| self.leaf_of(TensorType::new(dtype, stacked)))?);
        }
        for _ in 0..self.rng.below(3) {
            invariants.push(self.any()?);
        }
        if carries.is_empty() && sequences.is_empty() && invariants.is_empty() {
            return None;
        }
        let rng = super::Rng::new(self.rng.bits());
        let graph = self.graph.body();
        let mut body = Generator { rng, graph, cells: Vec::new(), bounds: Vec::new(), loops: self.loops, body: true };
        // Where the chain begins in the body.
        let mut first = None;
        let mut limits = Vec::new();
        for (i, &carry) in carries.iter().enumerate() {
            let (ty, b) = (self.ty(carry), self.bounds(carry));
            let limit = match ty.dtype.is_float() {
                true => Bounds { error: CARRY_ERROR, ..b.join(Bounds::exact(LEAF)) },
                false => Bounds::of_type(ty.dtype),
            };
            limits.push(limit);
            let read = body.push(Op::Storage { id: StorageId(i as u32), ty }, &[], limit)?;
            first = first.or(matches!(around, Some((_, Kind::Carry))).then_some(read));
            body.damped(read);
        }
        for (i, &input) in sequences.iter().chain(&invariants).enumerate() {
            let mut ty = self.ty(input);
            if i < sequences.len() {
                ty.shape.0.remove(0);
            }
            body.graph.inputs.push(crate::ir::graph::InputDecl::new(format!("in {i}"), ty.clone()));
            let read = body.push(Op::Input { index: i, ty }, &[], self.bounds(input))?;
            let wanted = match around {
                Some((_, Kind::Step)) => i == 0,
                Some((_, Kind::Held)) => i == sequences.len(),
                _ => false,
            };
            first = first.or(wanted.then_some(read));
        }
        let followed = match first {
            Some(first) => Some(body.enter(first, depth, chain)?),
            None => None,
        };
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
        let (end, left) = followed.unzip();
        let left = left.unwrap_or(&[]);
        // The result through which the chain comes out: a carry that begins anywhere, or an output.
        let leaves = match (end, left.first()) {
            (Some(end), Some(Kind::Final)) => {
                let ty = body.ty(end);
                body.graph.assign(StorageId(carries.len() as u32), end);
                limits.push(body.bounds(end));
                carries.push(self.leaf_of(ty)?);
                Some(carries.len() - 1)
            }
            (Some(_), _) => Some(carries.len()),
            (None, _) => None,
        };
        let outputs: Vec<NodeId> =
            end.into_iter().chain((0..1 + self.rng.below(2)).filter_map(|_| body.any()).collect::<Vec<_>>()).collect();
        for (i, &output) in outputs.iter().enumerate() {
            body.graph.output(format!("out {i}"), output);
        }
        let known: Vec<Bounds> = limits.into_iter().chain(outputs.iter().map(|o| body.bounds(*o))).collect();
        let types = carries.iter().map(|c| self.ty(*c)).collect();
        let scan = Arc::new(Scan::new(body.graph, length, reverse, types, sequences.len()));
        let args = [carries, sequences, invariants].concat();
        let mut results = Vec::new();
        for (result, bounds) in known.into_iter().enumerate() {
            results.push(self.push(Op::Scan { scan: scan.clone(), result }, &args, bounds));
        }
        let result = match leaves {
            Some(place) => results[place]?,
            None => results.into_iter().flatten().last()?,
        };
        Some((result, left.get(1..).unwrap_or(&[])))
    }

    /// A node that a carry can start with.
    fn initial(&mut self) -> Option<NodeId> {
        self.find(may_start)
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
