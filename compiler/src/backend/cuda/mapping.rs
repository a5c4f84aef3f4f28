//! Which threads compute which outer points of a kernel.

use crate::schedule::program::{AxisId, Kernel, Program, Stage, StoreMode};

/// Threads in a block where each computes points of its own.
const THREADS: usize = 256;
/// Fewer outer points than this cannot occupy a device with a thread each.
const FEW_POINTS: usize = 1024;
/// A stage with fewer points than this is not worth sharing out.
const LONG_STAGE: usize = 32;

/// How a kernel's outer points are spread over the grid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mapping {
    /// One thread computes one outer point.
    Thread,
    /// One block of this many threads (a power of two) computes one outer point: it shares out the points of each
    /// stage and combines their accumulators in a fixed tree.
    Block(usize),
}

impl Mapping {
    /// Chooses the mapping of a kernel from its extents at the largest batch.
    pub fn of(program: &Program, kernel: &Kernel) -> Mapping {
        let at_most = |axes: &[AxisId]| -> usize {
            axes.iter().map(|a| kernel.extent(*a).at(program.max_batch)).fold(1, usize::saturating_mul)
        };
        let longest = kernel.stages.iter().map(|s| at_most(&s.axes)).max().unwrap_or(1);
        if at_most(&kernel.outer) >= FEW_POINTS || longest < LONG_STAGE || kernel.stages.iter().any(points_meet) {
            return Mapping::Thread;
        }
        Mapping::Block(longest.next_power_of_two().min(THREADS))
    }

    /// Threads in a block.
    pub const fn threads(self) -> usize {
        match self {
            Mapping::Thread => THREADS,
            Mapping::Block(threads) => threads,
        }
    }

    /// Outer points that a block computes.
    pub const fn points_per_block(self) -> usize {
        match self {
            Mapping::Thread => THREADS,
            Mapping::Block(_) => 1,
        }
    }
}

/// Whether different points of a stage may add to one element, which ties them to one thread.
fn points_meet(stage: &Stage) -> bool {
    !stage.axes.is_empty()
        && stage.stores.iter().any(|store| match store.mode {
            StoreMode::Set => false,
            StoreMode::Add => true,
        })
}
