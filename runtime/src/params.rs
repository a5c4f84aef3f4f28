//! Named access to the cells of a model, in their logical row-major order whatever layout they are kept in.

use std::fmt;

use crate::dtype::{DType, Element};
use crate::error::Error;
use crate::memory::defaults;
use crate::model::Model;
use crate::signature::Cell;

/// A parameter or state of a model.
#[derive(Clone, Copy)]
pub struct Param<'a> {
    cell: &'a Cell,
    data: &'a [u8],
    given: bool,
}

impl<'a> Param<'a> {
    pub(crate) fn new(cell: &'a Cell, data: &'a [u8], given: bool) -> Param<'a> {
        Param { cell, data, given }
    }

    /// The path: `conv_1/kernel`.
    pub fn name(&self) -> &'a str {
        &self.cell.name
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.cell.dtype
    }

    /// The extents.
    pub fn shape(&self) -> &'a [usize] {
        &self.cell.shape
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.cell.len
    }

    /// True without elements.
    pub fn is_empty(&self) -> bool {
        self.cell.len == 0
    }

    /// Name, kind, type and shape.
    pub fn cell(&self) -> &'a Cell {
        self.cell
    }

    /// Whether it has a value: of its own accord, as the optimizer's state and moving statistics do, or because it was
    /// initialised, loaded, set or computed since the model was opened.
    pub fn has_value(&self) -> bool {
        self.given
    }

    /// Copies the elements out.
    ///
    /// # Errors
    /// [`Error::DType`] and [`Error::Length`] where `into` does not fit, [`Error::NoValue`] where there is nothing to copy.
    pub fn read<T: Element>(&self, into: &mut [T]) -> Result<(), Error> {
        check::<T>(self.cell, into.len())?;
        if !self.given {
            let params = format!("`{}`", self.cell.name);
            return Err(Error::NoValue { what: "reading".into(), params, count: 1 });
        }
        // SAFETY: `into` is `len` elements of the cell's type, every pattern of whose stored bytes is a value.
        let bytes = unsafe { std::slice::from_raw_parts_mut(into.as_mut_ptr().cast::<u8>(), size_of_val(into)) };
        self.read_bytes(bytes);
        Ok(())
    }

    /// The elements.
    ///
    /// # Errors
    /// [`Error::DType`] where they are of another type, [`Error::NoValue`], [`Error::OutOfMemory`].
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>, Error> {
        let mut values = defaults(self.cell.len, "elements of a parameter")?;
        self.read(&mut values)?;
        Ok(values)
    }

    /// Copies the elements out as bytes; `into` is as long as the cell.
    pub(crate) fn read_bytes(&self, into: &mut [u8]) {
        for_panels(self.cell, |logical, stored, n| {
            into[logical..logical + n].copy_from_slice(&self.data[stored..stored + n]);
        });
    }
}

/// Writes the elements of a cell from their logical order; `from` and `data` are as long as the cell.
pub(crate) fn write_bytes(cell: &Cell, data: &mut [u8], from: &[u8]) {
    for_panels(cell, |logical, stored, n| {
        data[stored..stored + n].copy_from_slice(&from[logical..logical + n]);
    });
}

/// Type and number of elements.
fn check<T: Element>(cell: &Cell, len: usize) -> Result<(), Error> {
    let what = || format!("parameter `{}`", cell.name);
    if T::DTYPE != cell.dtype {
        return Err(Error::DType { what: what(), expected: cell.dtype, found: T::DTYPE });
    }
    if len != cell.len {
        let shape = format!("{:?}", cell.shape);
        return Err(Error::Length { what: what(), shape, batch: None, expected: cell.len, found: len });
    }
    Ok(())
}

/// Calls `copy(logical, stored, n)` for each run of bytes that is contiguous in both orders.
fn for_panels(cell: &Cell, mut copy: impl FnMut(usize, usize, usize)) {
    let size = cell.dtype.size();
    if cell.panel == 0 || cell.len == 0 {
        return copy(0, 0, cell.len * size);
    }
    let columns = cell.shape[cell.shape.len() - 1];
    let rows = cell.len / columns;
    let run = cell.panel * size;
    for panel in 0..columns / cell.panel {
        for row in 0..rows {
            copy((row * columns + panel * cell.panel) * size, (panel * rows + row) * run, run);
        }
    }
}

impl fmt::Debug for Param<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}{:?}", self.name(), self.dtype(), self.shape())
    }
}

impl Model {
    /// The parameter or state with this name.
    pub fn param(&self, name: &str) -> Result<Param<'_>, Error> {
        Ok(self.param_at(self.signature().cell(name)?))
    }

    /// Every parameter and state.
    pub fn params(&self) -> impl ExactSizeIterator<Item = Param<'_>> {
        (0..self.signature().cells.len()).map(|index| self.param_at(index))
    }

    /// Overwrites a parameter or state.
    pub fn set_param<T: Element>(&mut self, name: &str, values: &[T]) -> Result<(), Error> {
        let index = self.signature().cell(name)?;
        check::<T>(&self.signature().cells[index], values.len())?;
        // SAFETY: the bytes of a slice of plain numbers.
        let bytes = unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), size_of_val(values)) };
        self.overwrite(index, bytes);
        Ok(())
    }

    /// Overwrites a parameter or state with a tensor of the same shape.
    pub fn set_param_shaped<T: Element>(&mut self, name: &str, shape: &[usize], values: &[T]) -> Result<(), Error> {
        let cell = &self.signature().cells[self.signature().cell(name)?];
        if shape != cell.shape {
            let what = format!("parameter `{name}`");
            return Err(Error::Shape { what, expected: cell.shape.clone(), found: shape.to_vec() });
        }
        self.set_param(name, values)
    }

    /// The optimizer's learning rate, `None` in a model without one.
    pub fn learning_rate(&self) -> Option<f32> {
        let mut rate = [0.0f32];
        self.param(LEARNING_RATE).ok()?.read(&mut rate).ok()?;
        Some(rate[0])
    }

    /// Changes the optimizer's learning rate from the next step on.
    ///
    /// # Errors
    /// [`Error::LearningRate`] for a rate that is negative, infinite or not a number, [`Error::UnknownParam`] for a model
    /// without a constant rate.
    pub fn set_learning_rate(&mut self, rate: f32) -> Result<(), Error> {
        if !(rate.is_finite() && rate >= 0.0) {
            return Err(Error::LearningRate { rate });
        }
        self.set_param(LEARNING_RATE, &[rate])
    }
}

/// The cell of the optimizer's learning rate.
pub const LEARNING_RATE: &str = "optimizer/learning_rate";
