//! Element types, and the typed slices that cross the border to compiled code.

use std::fmt;
use std::marker::PhantomData;

use crate::abi;

/// The type of one tensor element. `Bool` takes one byte, 0 or 1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u32)]
pub enum DType {
    F32,
    F64,
    I32,
    U32,
    U8,
    Bool,
}

impl DType {
    /// Every type, in the order of [`abi::DTYPE_NAMES`].
    pub const ALL: [DType; 6] = [DType::F32, DType::F64, DType::I32, DType::U32, DType::U8, DType::Bool];

    /// The type with this index in [`abi::DTYPE_NAMES`].
    pub fn from_index(index: u32) -> Option<DType> {
        DType::ALL.get(index as usize).copied()
    }

    /// `f32`, `bool`, ...
    pub const fn name(self) -> &'static str {
        abi::DTYPE_NAMES[self as usize]
    }

    /// Bytes of one element.
    pub const fn size(self) -> usize {
        abi::DTYPE_SIZES[self as usize]
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

mod sealed {
    pub trait Sealed {}
}

/// A Rust type that is the memory of one [`DType`].
pub trait Element: sealed::Sealed + Copy + Default + fmt::Debug + Send + Sync + 'static {
    const DTYPE: DType;
}

macro_rules! elements {
    ($($ty:ty => $dtype:ident),+) => {$(
        impl sealed::Sealed for $ty {}
        impl Element for $ty {
            const DTYPE: DType = DType::$dtype;
        }
    )+};
}

elements!(f32 => F32, f64 => F64, i32 => I32, u32 => U32, u8 => U8, bool => Bool);

/// An argument of a call: a borrowed dense slice with its element type.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    pub(crate) data: *const u8,
    pub(crate) len: usize,
    pub(crate) dtype: DType,
    borrow: PhantomData<&'a [u8]>,
}

// SAFETY: an `Input` is a shared slice of a type that is `Sync`.
unsafe impl Send for Input<'_> {}
// SAFETY: as above.
unsafe impl Sync for Input<'_> {}

impl<'a> Input<'a> {
    /// The elements as an argument.
    pub fn new<T: Element>(values: &'a [T]) -> Input<'a> {
        Input { data: values.as_ptr().cast(), len: values.len(), dtype: T::DTYPE, borrow: PhantomData }
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True without elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements, if they are of this type.
    pub fn as_slice<T: Element>(&self) -> Option<&'a [T]> {
        // SAFETY: the value was made from a slice of `T` with this length and lifetime.
        (self.dtype == T::DTYPE).then(|| unsafe { std::slice::from_raw_parts(self.data.cast(), self.len) })
    }
}

/// A result of a call: a mutably borrowed dense slice with its element type.
pub struct Output<'a> {
    pub(crate) data: *mut u8,
    pub(crate) len: usize,
    pub(crate) dtype: DType,
    borrow: PhantomData<&'a mut [u8]>,
}

// SAFETY: an `Output` is an exclusive slice of a type that is `Send`.
unsafe impl Send for Output<'_> {}

impl<'a> Output<'a> {
    /// Room for the elements of a result.
    pub fn new<T: Element>(values: &'a mut [T]) -> Output<'a> {
        Output { data: values.as_mut_ptr().cast(), len: values.len(), dtype: T::DTYPE, borrow: PhantomData }
    }

    /// The same room, for a shorter time.
    pub fn reborrow(&mut self) -> Output<'_> {
        Output { ..*self }
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True without elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<'a, T: Element> From<&'a [T]> for Input<'a> {
    fn from(values: &'a [T]) -> Input<'a> {
        Input::new(values)
    }
}

impl<'a, T: Element> From<&'a Vec<T>> for Input<'a> {
    fn from(values: &'a Vec<T>) -> Input<'a> {
        Input::new(values)
    }
}

impl<'a, T: Element, const N: usize> From<&'a [T; N]> for Input<'a> {
    fn from(values: &'a [T; N]) -> Input<'a> {
        Input::new(values)
    }
}

impl<'a, T: Element> From<&'a mut [T]> for Output<'a> {
    fn from(values: &'a mut [T]) -> Output<'a> {
        Output::new(values)
    }
}

impl<'a, T: Element> From<&'a mut Vec<T>> for Output<'a> {
    fn from(values: &'a mut Vec<T>) -> Output<'a> {
        Output::new(values)
    }
}

impl<'a, T: Element, const N: usize> From<&'a mut [T; N]> for Output<'a> {
    fn from(values: &'a mut [T; N]) -> Output<'a> {
        Output::new(values)
    }
}
