//! The static memory plan: where in the arena each intermediate buffer lies.
//!
//! A buffer is live from the first kernel that touches it to the last; one that a loop shares with kernels outside of it,
//! or hands on from step to step, is live for the whole loop. A slice is its whole buffer. Buffers are placed in order of decreasing size
//! at the lowest offset where they overlap no live buffer that is already placed.

use super::program::{BufferId, Place, Program};

/// Alignment of every buffer in bytes: one cache line, one 512-bit vector.
pub const ALIGN: usize = 64;

/// The kernels between which a buffer is live, inclusive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lifetime {
    pub first: usize,
    pub last: usize,
}

impl Lifetime {
    pub fn overlaps(self, other: Lifetime) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// The lifetime of each buffer that some kernel touches; slices have none of their own.
pub fn lifetimes(program: &Program) -> Vec<Option<Lifetime>> {
    let mut lifetimes: Vec<Option<Lifetime>> = vec![None; program.buffers.len()];
    for (k, kernel) in program.kernels.iter().enumerate() {
        let (reads, writes) = kernel.touches();
        for buffer in reads.into_iter().chain(writes) {
            let life = lifetimes[program.whole(buffer).index()].get_or_insert(Lifetime { first: k, last: k });
            life.last = k;
        }
    }
    // Inner loops first, so that what they extend is seen by the loops around them.
    for l in program.loops.iter().rev() {
        let (start, last) = (l.kernels.start, l.kernels.end - 1);
        for life in lifetimes.iter_mut().flatten() {
            let touched = life.overlaps(Lifetime { first: start, last });
            if touched && (life.first < start || life.last > last) {
                *life = Lifetime { first: life.first.min(start), last: life.last.max(last) };
            }
        }
    }
    lifetimes
}

/// Bytes that a buffer occupies in the arena.
pub fn footprint(program: &Program, buffer: BufferId) -> usize {
    program.buffer(buffer).bytes(program.max_batch).next_multiple_of(ALIGN)
}

/// Gives every arena buffer its offset, and the program its arena size.
pub(super) fn plan(program: &mut Program) {
    let lifetimes = lifetimes(program);
    let in_arena = |b: &BufferId| matches!(program.buffer(*b).place, Place::Arena { .. });
    let mut waiting: Vec<(BufferId, Lifetime)> = (0..program.buffers.len() as u32)
        .map(BufferId)
        .filter(in_arena)
        .filter_map(|b| lifetimes[b.index()].map(|life| (b, life)))
        .collect();
    waiting.sort_by_key(|(b, life)| (std::cmp::Reverse(footprint(program, *b)), life.first, *b));
    let mut placed: Vec<(usize, usize, Lifetime)> = Vec::new();
    let mut total = 0;
    for (buffer, life) in waiting {
        let size = footprint(program, buffer);
        let mut taken: Vec<(usize, usize)> = placed.iter().filter(|p| p.2.overlaps(life)).map(|p| (p.0, p.1)).collect();
        taken.sort();
        let mut offset = 0;
        for (start, end) in taken {
            if start >= offset + size {
                break;
            }
            offset = offset.max(end);
        }
        program.buffers[buffer.index()].place = Place::Arena { offset };
        placed.push((offset, offset + size, life));
        total = total.max(offset + size);
    }
    program.arena_bytes = total;
}

/// The largest sum of live arena buffers, the kernel where it occurs, and the buffers live there: no plan needs less.
pub fn peak(program: &Program) -> (usize, usize, Vec<BufferId>) {
    let lifetimes = lifetimes(program);
    let live_at = |k: usize| -> Vec<BufferId> {
        (0..program.buffers.len() as u32)
            .map(BufferId)
            .filter(|b| matches!(program.buffer(*b).place, Place::Arena { .. }))
            .filter(|b| lifetimes[b.index()].is_some_and(|l| l.first <= k && k <= l.last))
            .collect()
    };
    let size = |live: &Vec<BufferId>| live.iter().map(|b| footprint(program, *b)).sum::<usize>();
    let peaks = (0..program.kernels.len()).map(|k| (k, live_at(k)));
    match peaks.max_by_key(|(k, live)| (size(live), std::cmp::Reverse(*k))) {
        Some((k, live)) => (size(&live), k, live),
        None => (0, 0, Vec::new()),
    }
}
