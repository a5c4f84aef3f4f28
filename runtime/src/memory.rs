//! Aligned blocks of memory, allocated once for the life of a model.

use std::alloc::{Layout, alloc, dealloc};
use std::ptr::NonNull;

use crate::abi::ALIGN;
use crate::error::Error;

/// Blocks of at least this size are aligned to it and offered to the kernel as huge pages.
const HUGE_PAGE: usize = 2 << 20;

/// An owned block, aligned to at least [`ALIGN`] bytes. Its contents are undefined until written.
pub(crate) struct Block {
    data: NonNull<u8>,
    layout: Layout,
}

// SAFETY: a block owns its memory, which belongs to no thread.
unsafe impl Send for Block {}
// SAFETY: a shared block hands out nothing but its address and length.
unsafe impl Sync for Block {}

impl Block {
    /// A block of `bytes` bytes for the named purpose.
    pub fn new(bytes: usize, purpose: &'static str) -> Result<Block, Error> {
        let refused = || Error::OutOfMemory { purpose, bytes };
        let align = if bytes >= HUGE_PAGE { HUGE_PAGE } else { ALIGN };
        let layout = Layout::from_size_align(bytes.max(1), align).map_err(|_| refused())?;
        // SAFETY: the layout's size is not zero.
        let data = NonNull::new(unsafe { alloc(layout) }).ok_or_else(refused)?;
        if align == HUGE_PAGE {
            advise_huge_pages(data, bytes);
        }
        Ok(Block { data, layout })
    }

    /// A block of zeros.
    pub fn zeroed(bytes: usize, purpose: &'static str) -> Result<Block, Error> {
        let block = Block::new(bytes, purpose)?;
        // SAFETY: the block owns `layout.size()` bytes.
        unsafe { block.data.as_ptr().write_bytes(0, block.layout.size()) };
        Ok(block)
    }

    /// The first byte.
    pub fn as_ptr(&self) -> *mut u8 {
        self.data.as_ptr()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout in `new`.
        unsafe { dealloc(self.data.as_ptr(), self.layout) }
    }
}

/// As many defaults of a type, for the named purpose.
pub(crate) fn defaults<T: Clone + Default>(len: usize, purpose: &'static str) -> Result<Vec<T>, Error> {
    let mut values = Vec::new();
    let refused = |_| Error::OutOfMemory { purpose, bytes: len.saturating_mul(size_of::<T>()) };
    values.try_reserve_exact(len).map_err(refused)?;
    values.resize(len, T::default());
    Ok(values)
}

/// Asks for huge pages; a refusal changes nothing.
#[cfg(target_os = "linux")]
fn advise_huge_pages(data: NonNull<u8>, bytes: usize) {
    use std::ffi::{c_int, c_void};
    unsafe extern "C" {
        fn madvise(address: *mut c_void, length: usize, advice: c_int) -> c_int;
    }
    const MADV_HUGEPAGE: c_int = 14;
    // SAFETY: the range is page-aligned memory that the caller owns; the advice does not change its contents.
    unsafe { madvise(data.as_ptr().cast(), bytes, MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn advise_huge_pages(_data: NonNull<u8>, _bytes: usize) {}
