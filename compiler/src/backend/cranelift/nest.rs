//! The plan of a kernel: what is left of a kernel before instructions are printed.
//!
//! A kernel whose expressions are all native is one [`Region`]: its outer loops, and inside them one [`Step`] per
//! stage, with accumulators in registers. Strip functions (`exp`, `tanh`, ...) are calls over rows of memory, so a
//! kernel that uses them is cut into a sequence of [`Item`]s over a *tile* of outer points: a region that writes
//! arguments into a scratch row, the call, a region that reads the result, and so on. Rows are short enough to stay
//! in the first-level cache.

use crate::schedule::program::{AccId, AxisId, ExprId, Kernel, Store};

/// A scratch row of a kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotId(pub usize);

/// A dense array of 32-bit lanes in scratch memory: one element per point of the axes within the current tile,
/// outermost first. An axis stands for its points in the current tile or chunk, not for its whole extent.
#[derive(Clone, PartialEq, Debug)]
pub struct Slot {
    pub axes: Vec<AxisId>,
    /// Byte offset in the kernel's scratch.
    pub offset: usize,
    /// Elements at most.
    pub capacity: usize,
}

/// Loops over a step's own axes, accumulation, and stores.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Step {
    /// Inner loops, outermost first; the vector axis is last.
    pub axes: Vec<AxisId>,
    /// The axis whose points fill the lanes, where the region has none.
    pub vector: Option<AxisId>,
    pub accs: Vec<AccId>,
    /// Accumulators that go on from a scratch row and return to it.
    pub resumed: Vec<(AccId, SlotId)>,
    pub stores: Vec<Store>,
    /// Values written to scratch rows.
    pub saves: Vec<(ExprId, SlotId)>,
}

impl Step {
    /// The expressions that the step evaluates.
    pub fn roots(&self, kernel: &Kernel) -> Vec<ExprId> {
        let accs = self.accs.iter().map(|a| kernel.accs[a.index()].value);
        let stores = self.stores.iter().flat_map(|s| {
            let index = s.access.indirect.as_ref().map(|i| i.index);
            std::iter::once(s.value).chain(index)
        });
        accs.chain(stores).chain(self.saves.iter().map(|s| s.0)).collect()
    }
}

/// A loop nest without calls: independent loops around steps.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Region {
    /// Outer loops, outermost first; the vector axis is last.
    pub axes: Vec<AxisId>,
    /// The axis whose points fill the lanes of every step.
    pub vector: Option<AxisId>,
    pub steps: Vec<Step>,
    /// Expressions whose values lie in scratch rows.
    pub bound: Vec<(ExprId, SlotId)>,
}

/// One piece of a tile's work, in order.
#[derive(Clone, PartialEq, Debug)]
pub enum Item {
    Region(Region),
    /// A kernel of the table over whole rows, by its name in the manifest. The result replaces the first argument.
    Call {
        function: &'static str,
        args: Vec<SlotId>,
    },
    /// The items for every point of `axes`, and along `along` for chunks of `size` points.
    Chunks {
        axes: Vec<AxisId>,
        along: AxisId,
        size: usize,
        items: Vec<Item>,
    },
}

/// How many points of a tile's axis are taken at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TileSize {
    Fixed(usize),
    /// As many as fit, so that the rows of a tile have this many elements: the extent of the other axis is only known
    /// at run time.
    Elements(usize),
}

/// A planned kernel.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Nest {
    /// Done once, before the loops: values that vary with no axis.
    pub prologue: Vec<Item>,
    /// Loops around the tiles, outermost first.
    pub axes: Vec<AxisId>,
    /// The axis that is cut into tiles.
    pub tile: Option<(AxisId, TileSize)>,
    pub items: Vec<Item>,
    pub slots: Vec<Slot>,
    /// Bytes of scratch that the slots take.
    pub scratch: usize,
}
