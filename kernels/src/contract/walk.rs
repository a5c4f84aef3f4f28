//! One operand's view of an axis group: extents and strides, merged where neighbours are affine.

use super::{AxisGroup, ContractAxis, MAX_AXES};

/// The address of each flattened index of an axis group in one operand. Axes are kept innermost first.
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
        // A walk over one element has every stride; 1 is the one that copies go fastest with.
        let mut walk = Walk { len: 0, extent: [1; MAX_AXES], stride: [1, 0, 0, 0] };
        for axis in group.axes.iter().take(group.len).rev() {
            let (extent, stride) = (extent(axis, batch), stride(axis));
            if extent == 1 {
                continue;
            }
            let inner = walk.len.wrapping_sub(1);
            if inner < MAX_AXES && stride == walk.stride[inner].wrapping_mul(walk.extent[inner] as isize) {
                walk.extent[inner] *= extent;
            } else if let (Some(e), Some(s)) = (walk.extent.get_mut(walk.len), walk.stride.get_mut(walk.len)) {
                (*e, *s) = (extent, stride);
                walk.len += 1;
            }
        }
        walk
    }

    /// Stride and length of the innermost runs.
    #[inline(always)]
    pub fn innermost(&self) -> (isize, usize) {
        (self.stride[0], self.extent[0])
    }

    /// Whether there is only one run.
    #[inline(always)]
    pub fn is_affine(&self) -> bool {
        self.len <= 1
    }

    /// The one stride between neighbours, if there is one.
    #[inline(always)]
    pub fn affine(&self) -> Option<isize> {
        if self.is_affine() { Some(self.stride[0]) } else { None }
    }

    /// The stride between panels of `width` elements that each lie contiguous in memory, if that is how the walk goes.
    #[inline(always)]
    pub fn panels(&self, width: usize) -> Option<isize> {
        match self.len {
            0 | 1 if self.stride[0] == 1 => Some(width as isize),
            2 if self.stride[0] == 1 && self.extent[0] == width => Some(self.stride[1]),
            _ => None,
        }
    }

    /// The address of a flattened index.
    #[inline(always)]
    pub fn offset(&self, index: usize) -> isize {
        let (mut rest, mut offset) = (index, 0);
        for i in 0..MAX_AXES {
            if i + 1 >= self.len {
                return offset + rest as isize * self.stride[i];
            }
            // Never 0 where an address is asked for; this keeps the division total.
            let extent = self.extent[i].max(1);
            offset += (rest % extent) as isize * self.stride[i];
            rest /= extent;
        }
        offset
    }

    /// The longest run that starts at `index` and stays below `end`.
    #[inline(always)]
    pub fn run(&self, index: usize, end: usize) -> Run {
        let (stride, extent) = self.innermost();
        let len = if self.is_affine() { end - index } else { (extent - index % extent.max(1)).min(end - index) };
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
    for axis in group.axes.iter().take(group.len) {
        product *= extent(axis, batch);
    }
    product
}
