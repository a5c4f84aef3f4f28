//! How many threads a call may be worth: an estimate, made when a model is built.
//!
//! Threads share the kernels that have an axis for it and wait for each other between them. The estimate of a call adds
//! up the largest part of every kernel, the waiting, and the handing over of the call. It takes the processors for idle
//! and their caches for one, and so says the most that can be worth it; among fewer, the runtime finds the number by timing
//! calls. Only the handing over counts dear, so that calls of some microseconds neither wake threads nor are timed.

use bakelite::abi::{INIT, SHARES};

use crate::schedule::cost;
use crate::schedule::program::{AxisId, Kernel, Program};

use super::entry;
use super::function::block;

/// Handing a call over to a second thread and awaiting its end, in nanoseconds: three times what it takes while that one spins.
const CALL_NS: f64 = 2000.0;
/// Starting or waking a second thread, and awaiting its end.
const WAKE_NS: f64 = 100_000.0;
/// Waiting for a second thread at a barrier.
const WAIT_NS: f64 = 350.0;
/// What each doubling of the threads adds to both, as a part of them.
const DOUBLING: f64 = 0.4;
/// What a part of a kernel takes, of its proportion: caches and memory are shared, operands are packed twice.
const UNEVEN: f64 = 1.15;
/// More threads have to bring a call down to this part of its time.
const GAIN: f64 = 0.9;

/// For 2, 4, 8, ... threads the smallest batch from which on they are faster than fewer; `usize::MAX` for never.
pub fn parallel_batch(program: &Program) -> [usize; SHARES] {
    let kernels: Vec<&Kernel> = program.kernels.iter().collect();
    let shared: Vec<bool> = kernels.iter().map(|k| k.parallel.is_some()).collect();
    let mut from = [usize::MAX; SHARES];
    if !shared.contains(&true) {
        return from;
    }
    let slots = entry::order(program, &kernels, &shared);
    let repeats: Vec<f64> = (0..kernels.len()).map(|k| program.repeats(k) as f64).collect();
    let waits: f64 = slots.iter().zip(&repeats).filter(|(slot, _)| slot.barrier).map(|(_, repeats)| repeats).sum();
    // Parameters are initialised once: no thread waits for that, and nothing is found out by timing it.
    let handing_over = if program.name == INIT { WAKE_NS } else { CALL_NS };
    let mut open = [true; SHARES];
    for batch in batches(program.max_batch) {
        let mut times = [0.0; SHARES + 1];
        for (kernel, repeats) in kernels.iter().zip(&repeats) {
            let alone = cost::cost(program, kernel, batch).nanoseconds * repeats;
            let pieces = pieces(program, kernel, batch);
            times[0] += alone;
            for (i, time) in times[1..].iter_mut().enumerate() {
                let largest = pieces.div_ceil(2 << i) as f64 / pieces as f64;
                *time += alone * (largest * UNEVEN).min(1.0);
            }
        }
        let mut best = times[0];
        for (i, time) in times[1..].iter().enumerate() {
            let time = time + (handing_over + WAIT_NS * waits) * (1.0 + DOUBLING * i as f64);
            open[i] &= time <= GAIN * best;
            if open[i] {
                from[i] = batch;
            }
            best = best.min(time);
        }
    }
    from
}

/// Batches to look at, from the largest to 1.
fn batches(max: usize) -> impl Iterator<Item = usize> {
    let halves = std::iter::successors(Some(max), |batch| Some(batch / 2).filter(|half| *half > 0));
    halves.flat_map(|batch| [batch, batch - batch / 4]).filter({
        let mut last = usize::MAX;
        move |batch| std::mem::replace(&mut last, *batch) != *batch
    })
}

/// Into how many parts of equal size a kernel can be cut at a batch.
fn pieces(program: &Program, kernel: &Kernel, batch: usize) -> usize {
    let extent = |axis: &AxisId| kernel.extent(*axis).at(batch);
    match (&kernel.parallel, &kernel.contract) {
        (None, _) => 1,
        // Tiles of the result.
        (Some(_), Some(roles)) => {
            let product = |axes: &[AxisId]| axes.iter().map(extent).product::<usize>();
            product(&roles.batch) * product(&roles.m).div_ceil(TILE.0) * product(&roles.n).div_ceil(TILE.1)
        }
        (Some(axis), None) => {
            let whole = kernel.extent(*axis).at(program.max_batch);
            extent(axis).div_ceil(block(whole) as usize)
        }
    }
    .max(1)
}

/// Rows and columns that are not cut in a contraction.
const TILE: (usize, usize) = (4, 32);
