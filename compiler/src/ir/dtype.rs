//! Element types.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The type of one tensor element.
///
/// `F32` is what models compute in; `F64` exists for the interpreter and for gradient tests; the integer types carry
/// labels, indices and random bits; `Bool` is the result of comparisons and takes one byte in memory (0 or 1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum DType {
    F32,
    F64,
    I32,
    U32,
    U8,
    Bool,
}

impl DType {
    /// Every type, in the order of [`bakelite::abi::DTYPE_NAMES`].
    pub const ALL: [DType; 6] = [DType::F32, DType::F64, DType::I32, DType::U32, DType::U8, DType::Bool];

    /// Bytes of one element in memory.
    pub const fn size(self) -> usize {
        match self {
            DType::F64 => 8,
            DType::F32 | DType::I32 | DType::U32 => 4,
            DType::U8 | DType::Bool => 1,
        }
    }

    /// True for `F32` and `F64`.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F64)
    }

    /// True for `I32`, `U32` and `U8`.
    pub const fn is_int(self) -> bool {
        matches!(self, DType::I32 | DType::U32 | DType::U8)
    }

    /// The name in the text form: `f32`, `bool`, ...
    pub const fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::I32 => "i32",
            DType::U32 => "u32",
            DType::U8 => "u8",
            DType::Bool => "bool",
        }
    }

    /// Inverse of [`DType::name`].
    pub fn parse(name: &str) -> Option<DType> {
        DType::ALL.into_iter().find(|d| d.name() == name)
    }

    /// Wraps an exact integer result to the range of an integer type, as the hardware does; `Bool` becomes 0 or 1.
    pub const fn wrap(self, value: i64) -> i64 {
        match self {
            DType::I32 => value as i32 as i64,
            DType::U32 => value as u32 as i64,
            DType::U8 => value as u8 as i64,
            DType::Bool => (value != 0) as i64,
            DType::F32 | DType::F64 => value,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
