//! HDF5 files from outside: tensors and texts by path. Weights can be in several files that are read as one.
//!
//! A tensor is read for a shape that the model has already, so that nothing in the file decides how much memory it takes.

use std::fmt::Display;

use hdf5_pure::{AttrValue, Dataset, File, Group};

use super::half::half;

/// Elements of a list of names.
const MAX_NAMES: usize = 1 << 20;

/// Open files; what several of them have of a group belongs together.
pub(super) struct Store {
    files: Vec<File>,
    bytes: u64,
}

/// Numbers of a dataset.
pub(super) enum Numbers {
    Float(Vec<f32>),
    Int(Vec<i64>),
}

impl Numbers {
    pub fn floats(self) -> Vec<f32> {
        match self {
            Numbers::Float(values) => values,
            Numbers::Int(values) => values.into_iter().map(|x| x as f32).collect(),
        }
    }

    /// The number of a scalar that counts something.
    pub fn count(&self) -> Option<u32> {
        match self {
            Numbers::Float(values) => {
                values.first().filter(|x| x.fract() == 0.0 && (0.0..4e9).contains(*x)).map(|x| *x as u32)
            }
            Numbers::Int(values) => values.first().and_then(|x| u32::try_from(*x).ok()),
        }
    }
}

/// Elements that all chunks of a dataset may hold beyond what it has, for chunks are as large at its edges as inside.
const MAX_MARGIN: u64 = 1 << 20;

/// Fails for chunks whose contents would be much larger than their dataset, or more of them than it has places: all are
/// unpacked before it is put together.
fn chunks(dataset: &Dataset, shape: &[usize]) -> Result<(), String> {
    let Some(chunk) = dataset.chunk_shape().map_err(text)? else { return Ok(()) };
    if chunk.len() != shape.len() || chunk.contains(&0) {
        return Err(format!("has the shape {shape:?} and chunks of {chunk:?}"));
    }
    let product = |list: &[u64]| list.iter().try_fold(1u64, |n, extent| n.checked_mul(*extent));
    let along: Vec<u64> = shape.iter().zip(&chunk).map(|(n, c)| (*n as u64).div_ceil(*c)).collect();
    let places = product(&along).unwrap_or(u64::MAX);
    let padded = product(&chunk).and_then(|size| size.checked_mul(places));
    let count = shape.iter().map(|n| *n as u64).product::<u64>();
    if padded.is_none_or(|padded| padded > count.saturating_mul(8).saturating_add(MAX_MARGIN)) {
        return Err(format!("has {count} elements in chunks of {chunk:?}, which are too large"));
    }
    let found = dataset.chunks().map_err(text)?.len() as u64;
    match found <= places {
        true => Ok(()),
        false => Err(format!("has {found} chunks, in places for {places}")),
    }
}

fn text(e: impl Display) -> String {
    e.to_string()
}

impl Store {
    pub fn open(bytes: Vec<u8>) -> Result<Store, String> {
        let mut store = Store::none();
        store.join(bytes)?;
        Ok(store)
    }

    /// No file yet.
    pub fn none() -> Store {
        Store { files: Vec::new(), bytes: 0 }
    }

    /// Adds a file.
    pub fn join(&mut self, bytes: Vec<u8>) -> Result<(), String> {
        self.bytes += bytes.len() as u64;
        self.files.push(File::from_bytes(bytes).map_err(|e| format!("this is no readable HDF5 file: {e}"))?);
        Ok(())
    }

    fn groups(&self, path: &str) -> impl Iterator<Item = Group> {
        self.files.iter().filter_map(move |f| if path.is_empty() { Some(f.root()) } else { f.group(path).ok() })
    }

    fn group(&self, path: &str) -> Option<Group> {
        self.groups(path).next()
    }

    pub fn has(&self, path: &str) -> bool {
        self.group(path).is_some()
    }

    /// How many datasets a group has; none where there is no group.
    pub fn count(&self, path: &str) -> Result<Option<usize>, String> {
        self.groups(path).try_fold(None, |sum, group| {
            let names = group.datasets().map_err(text)?;
            Ok(Some(sum.unwrap_or(0) + names.len()))
        })
    }

    fn dataset(&self, path: &str) -> Result<Dataset, String> {
        let mut found = self.files.iter().map(|file| file.dataset(path));
        let first = found.next().ok_or_else(|| format!("`{path}`: there is no file"))?;
        first.or_else(|e| found.find_map(Result::ok).ok_or(e)).map_err(|e| format!("`{path}`: {e}"))
    }

    /// The shape of a dataset.
    pub fn shape(&self, path: &str) -> Result<Vec<usize>, String> {
        let shape = self.dataset(path)?.shape().map_err(|e| format!("`{path}`: {e}"))?;
        shape.into_iter().map(|n| usize::try_from(n).map_err(text)).collect()
    }

    /// The numbers of a dataset, which must have this shape.
    pub fn read(&self, path: &str, shape: &[usize]) -> Result<Numbers, String> {
        let found = self.shape(path)?;
        if found != shape {
            return Err(format!("`{path}` has the shape {found:?}, the model's has {shape:?}"));
        }
        let dataset = self.dataset(path)?;
        let wrong = |e: &dyn Display| format!("`{path}`: {e}");
        let width = dataset.element_size().map_err(|e| wrong(&e))?;
        let count = shape.iter().product::<usize>() as u64;
        // Deflate, the strongest filter of HDF5, packs less than 1100 bytes into one.
        let needed = count.checked_mul(width).filter(|n| width <= 16 && *n / 1100 <= self.bytes);
        if needed.is_none() {
            return Err(format!("`{path}` has {count} elements of {width} bytes in a file of {} bytes", self.bytes));
        }
        chunks(&dataset, shape).map_err(|why| format!("`{path}` {why}"))?;
        if width == 2 && self.attribute(dataset.attrs(), "dtype").as_deref() == Some("bfloat16") {
            let raw = dataset.read_raw().map_err(|e| wrong(&e))?;
            let wide = |pair: &[u8]| f32::from_bits(u32::from(u16::from_le_bytes([pair[0], pair[1]])) << 16);
            return self.whole(path, count, Numbers::Float(raw.chunks_exact(2).map(wide).collect()));
        }
        use hdf5_pure::DType::*;
        let numbers = match dataset.dtype().map_err(|e| wrong(&e))? {
            I8 | I16 | I32 | I64 | U8 | U16 | U32 | U64 => dataset.read_i64().map(Numbers::Int),
            _ if width == 2 => {
                let raw = dataset.read_raw().map_err(|e| wrong(&e))?;
                let half = |pair: &[u8]| half(u16::from_le_bytes([pair[0], pair[1]]));
                return self.whole(path, count, Numbers::Float(raw.chunks_exact(2).map(half).collect()));
            }
            _ => dataset.read_f32().map(Numbers::Float),
        };
        self.whole(path, count, numbers.map_err(|e| wrong(&e))?)
    }

    /// Fails unless as many numbers were found as the shape has.
    fn whole(&self, path: &str, count: u64, numbers: Numbers) -> Result<Numbers, String> {
        let found = match &numbers {
            Numbers::Float(values) => values.len(),
            Numbers::Int(values) => values.len(),
        };
        match found as u64 == count {
            true => Ok(numbers),
            false => Err(format!("`{path}` holds {found} numbers, its shape says {count}")),
        }
    }

    fn attribute<E>(
        &self,
        attributes: Result<std::collections::HashMap<String, AttrValue>, E>,
        name: &str,
    ) -> Option<String> {
        attributes.ok()?.get(name)?.as_str().map(str::to_string)
    }

    /// A text that is an attribute of a group.
    pub fn text(&self, path: &str, name: &str) -> Option<String> {
        self.attribute(self.group(path)?.attrs(), name)
    }

    /// A list of texts that is an attribute of a group, or several numbered ones where it is long.
    pub fn texts(&self, path: &str, name: &str) -> Result<Option<Vec<String>>, String> {
        let Some(group) = self.group(path) else { return Ok(None) };
        let attributes = group.attrs().map_err(|e| format!("`{path}`: {e}"))?;
        // A list without members has no strings to tell it from a list of numbers.
        let list = |value: &AttrValue| match value.as_strings() {
            Some(list) => list.to_vec(),
            None => value.as_str().map(str::to_string).into_iter().collect(),
        };
        if let Some(value) = attributes.get(name) {
            return Ok(Some(list(value)));
        }
        let mut all = Vec::new();
        for number in 0..MAX_NAMES {
            match attributes.get(&format!("{name}{number}")) {
                Some(value) => all.extend(list(value)),
                None if number == 0 => return Ok(None),
                None => break,
            }
        }
        Ok(Some(all))
    }
}

#[cfg(test)]
mod tests {
    use hdf5_pure::{FileBuilder, MaxExtent};

    use super::*;

    fn read(shape: [u64; 2], chunk: [u64; 2]) -> Result<usize, String> {
        let mut file = FileBuilder::new();
        let values = vec![1.0; (shape[0] * shape[1]) as usize];
        let dataset = file.create_dataset("x").with_f32_data(&values).with_shape(&shape);
        dataset.with_maxshape(&[MaxExtent::Unlimited, MaxExtent::Fixed(1 << 20)]).with_chunks(&chunk).with_deflate(9);
        let store = Store::open(file.finish().map_err(text)?)?;
        store.read("x", &shape.map(|n| n as usize)).map(|numbers| numbers.floats().len())
    }

    #[test]
    fn chunks_much_larger_than_their_dataset_are_refused() {
        assert_eq!(read([3, 2], [3, 2]), Ok(6));
        assert_eq!(read([3, 2], [64, 64]), Ok(6));
        assert_eq!(read([100, 20], [7, 20]), Ok(2000));
        let refused = read([3, 2], [3000, 3500]).unwrap_err();
        assert!(refused.contains("chunks of [3000, 3500]"), "{refused}");
    }
}
