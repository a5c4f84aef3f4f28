//! One operand's view of an axis group: extents and strides, merged where neighbours are affine.

use super::{AxisGroup, ContractAxis, MAX_AXES};

/// The address of each flattened index of an axis group in one operand.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    len: usize,
    extent: [usize; MAX_AXES],
    stride: [isize; MAX_AXES],
}

/// Consecutive flattened indices whose addresses are `offset, offset + stride, ...`.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub offset: isize,
    pub len: usize,
    pub stride: isize,
}

impl Walk {
    /// The walk of a group in the operand whose strides `stride` selects, at a run-time batch.
    #[inline(always)]
    pub fn new(group: &AxisGroup, batch: usize, stride: impl Fn(&ContractAxis) -> isize) -> Walk {
        let mut walk = Walk { len: 0, extent: [1; MAX_AXES], stride: [0; MAX_AXES] };
        for i in 0..group.len.min(MAX_AXES) {
            let axis = &group.axes[i];
            let (extent, stride) = (extent(axis, batch), stride(axis));
            if extent == 1 {
                continue;
            }
            let inner = walk.len.wrapping_sub(1);
            if inner < MAX_AXES && walk.stride[inner] == stride.wrapping_mul(extent as isize) {
                walk.extent[inner] *= extent;
                walk.stride[inner] = stride;
            } else if walk.len < MAX_AXES {
                walk.extent[walk.len] = extent;
                walk.stride[walk.len] = stride;
                walk.len += 1;
            }
        }
        walk
    }

    /// The one stride between neighbours, if there is one. A walk of at most one element has every stride; it says 1.
    #[inline(always)]
    pub fn affine(&self) -> Option<isize> {
        match self.len {
            0 => Some(1),
            1 => Some(self.stride[0]),
            _ => None,
        }
    }

    /// The stride between panels of `width` elements that each lie contiguous in memory, if that is how the walk goes.
    #[inline(always)]
    pub fn panels(&self, width: usize) -> Option<isize> {
        match self.len {
            0 => Some(width as isize),
            1 if self.stride[0] == 1 => Some(width as isize),
            2 if self.stride[1] == 1 && self.extent[1] == width => Some(self.stride[0]),
            _ => None,
        }
    }

    /// Stride and length of the innermost runs.
    #[inline(always)]
    pub fn innermost(&self) -> (isize, usize) {
        match self.len {
            0 => (1, 1),
            n => (self.stride[(n - 1) % MAX_AXES], self.extent[(n - 1) % MAX_AXES]),
        }
    }

    /// The address of a flattened index.
    #[inline(always)]
    pub fn offset(&self, index: usize) -> isize {
        if self.len <= 1 {
            return index as isize * self.stride[0];
        }
        let (mut rest, mut offset) = (index, 0);
        for i in (1..self.len.min(MAX_AXES)).rev() {
            // Extents in a walk are never 1, and a walk over nothing is never asked; 1 also keeps the division total.
            let extent = self.extent[i].max(1);
            offset += (rest % extent) as isize * self.stride[i];
            rest /= extent;
        }
        offset + rest as isize * self.stride[0]
    }

    /// The longest run that starts at `index` and stays below `end`.
    #[inline(always)]
    pub fn run(&self, index: usize, end: usize) -> Run {
        let (stride, extent) = self.innermost();
        let len = if self.len <= 1 { end - index } else { (extent - index % extent.max(1)).min(end - index) };
        Run { offset: self.offset(index), len, stride }
    }
}

/// The run-time extent of an axis.
#[inline(always)]
pub fn extent(axis: &ContractAxis, batch: usize) -> usize {
    if axis.batch != 0 { axis.extent * batch } else { axis.extent }
}

/// Number of elements of a group.
#[inline(always)]
pub fn elements(group: &AxisGroup, batch: usize) -> usize {
    let mut product = 1;
    for i in 0..group.len.min(MAX_AXES) {
        product *= extent(&group.axes[i], batch);
    }
    product
}
