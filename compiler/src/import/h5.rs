//! HDF5 files from outside: tensors and texts by path. Weights can be in several files that are read as one.
//!
//! A tensor is read for a shape that the model has already, so that nothing in the file decides how much memory it takes.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hdf5_pure::{AttrValue, Dataset, Error, File, FileAccessProperties, FormatError, Group, Source, WriteMarkPolicy};

use super::half::half;

/// Elements of a list of names.
const MAX_NAMES: usize = 1 << 20;

/// How often the attributes of one object may read each byte of their file, and the bytes that they may read in any case.
/// Any number of them can refer to one text.
const MAX_READINGS: u64 = 16;
const MIN_READING: u64 = 1 << 20;

/// The bytes of a file, and how many of them have been read: what is made of attributes is no larger than that.
struct Metered {
    bytes: Vec<u8>,
    read: Arc<AtomicU64>,
    /// No more is read once this is reached.
    most: Arc<AtomicU64>,
}

impl Source for Metered {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), FormatError> {
        let length = buffer.len() as u64;
        let read = self.read.fetch_add(length, Ordering::Relaxed).saturating_add(length);
        if read > self.most.load(Ordering::Relaxed) {
            return Err(FormatError::Source("too many bytes are read".into()));
        }
        let from = usize::try_from(offset).ok().and_then(|start| self.bytes.get(start..));
        match from.and_then(|from| from.get(..buffer.len())) {
            Some(from) => buffer.copy_from_slice(from),
            None => {
                return Err(FormatError::UnexpectedEof { expected: buffer.len(), available: self.bytes.len() });
            }
        }
        Ok(())
    }
}

/// An open file.
struct Opened {
    file: File,
    bytes: u64,
    read: Arc<AtomicU64>,
    most: Arc<AtomicU64>,
}

impl Opened {
    fn new(bytes: Vec<u8>) -> Result<Opened, Error> {
        let (read, most) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(u64::MAX)));
        let length = bytes.len() as u64;
        let source = Metered { bytes, read: read.clone(), most: most.clone() };
        // Nobody writes to a copy, whatever the file says.
        let properties = FileAccessProperties::new().with_write_mark_policy(WriteMarkPolicy::AllowSnapshot);
        let file = File::from_source_with_options(source, properties)?;
        Ok(Opened { file, bytes: length, read, most })
    }

    /// The attributes of an object of this file, unless they are much larger than it.
    fn attributes(&self, of: impl FnOnce() -> Result<Attributes, Error>) -> Result<Attributes, String> {
        let most = self.bytes.saturating_mul(MAX_READINGS).saturating_add(MIN_READING);
        self.read.store(0, Ordering::Relaxed);
        self.most.store(most, Ordering::Relaxed);
        let found = of();
        self.most.store(u64::MAX, Ordering::Relaxed);
        // Attributes that could not be read are left out without a word.
        match self.read.load(Ordering::Relaxed) <= most {
            true => found.map_err(text),
            false => Err(format!("its attributes are larger than {most} bytes, in a file of {}", self.bytes)),
        }
    }

    /// A text among the attributes of an object of this file.
    fn text(&self, of: impl FnOnce() -> Result<Attributes, Error>, name: &str) -> Result<Option<String>, String> {
        Ok(self.attributes(of)?.get(name).and_then(AttrValue::as_str).map(str::to_string))
    }
}

type Attributes = HashMap<String, AttrValue>;

/// Open files; what several of them have of a group belongs together.
pub(super) struct Store {
    files: Vec<Opened>,
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
        self.files.push(Opened::new(bytes).map_err(|e| format!("this is no readable HDF5 file: {e}"))?);
        Ok(())
    }

    /// The groups at a path, each with its file.
    fn groups(&self, path: &str) -> impl Iterator<Item = (&Opened, Group)> {
        self.files.iter().filter_map(move |f| {
            let group = if path.is_empty() { Some(f.file.root()) } else { f.file.group(path).ok() };
            Some((f, group?))
        })
    }

    /// The attributes of the group at a path, if there is one.
    fn attributes(&self, path: &str) -> Result<Option<Attributes>, String> {
        let Some((file, group)) = self.groups(path).next() else { return Ok(None) };
        file.attributes(|| group.attrs()).map(Some).map_err(|why| format!("`{path}`: {why}"))
    }

    pub fn has(&self, path: &str) -> bool {
        self.groups(path).next().is_some()
    }

    /// How many datasets a group has; none where there is no group.
    pub fn count(&self, path: &str) -> Result<Option<usize>, String> {
        self.groups(path).try_fold(None, |sum, (_, group)| {
            let names = group.datasets().map_err(text)?;
            Ok(Some(sum.unwrap_or(0) + names.len()))
        })
    }

    fn dataset(&self, path: &str) -> Result<(&Opened, Dataset), String> {
        let mut found = self.files.iter().map(|f| f.file.dataset(path).map(|dataset| (f, dataset)));
        let first = found.next().ok_or_else(|| format!("`{path}`: there is no file"))?;
        first.or_else(|e| found.find_map(Result::ok).ok_or(e)).map_err(|e| format!("`{path}`: {e}"))
    }

    /// The shape of a dataset.
    pub fn shape(&self, path: &str) -> Result<Vec<usize>, String> {
        let shape = self.dataset(path)?.1.shape().map_err(|e| format!("`{path}`: {e}"))?;
        shape.into_iter().map(|n| usize::try_from(n).map_err(text)).collect()
    }

    /// The numbers of a dataset, which must have this shape.
    pub fn read(&self, path: &str, shape: &[usize]) -> Result<Numbers, String> {
        let found = self.shape(path)?;
        if found != shape {
            return Err(format!("`{path}` has the shape {found:?}, the model's has {shape:?}"));
        }
        let (file, dataset) = self.dataset(path)?;
        let wrong = |e: &dyn Display| format!("`{path}`: {e}");
        let width = dataset.element_size().map_err(|e| wrong(&e))?;
        let count = shape.iter().product::<usize>() as u64;
        // Deflate, the strongest filter of HDF5, packs less than 1100 bytes into one.
        let needed = count.checked_mul(width).filter(|n| width <= 16 && *n / 1100 <= self.bytes);
        if needed.is_none() {
            return Err(format!("`{path}` has {count} elements of {width} bytes in a file of {} bytes", self.bytes));
        }
        chunks(&dataset, shape).map_err(|why| format!("`{path}` {why}"))?;
        let kind = if width == 2 { file.text(|| dataset.attrs(), "dtype").map_err(|e| wrong(&e))? } else { None };
        if kind.as_deref() == Some("bfloat16") {
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

    /// A text that is an attribute of a group.
    pub fn text(&self, path: &str, name: &str) -> Result<Option<String>, String> {
        let Some(attributes) = self.attributes(path)? else { return Ok(None) };
        Ok(attributes.get(name).and_then(AttrValue::as_str).map(str::to_string))
    }

    /// A list of texts that is an attribute of a group, or several numbered ones where it is long.
    pub fn texts(&self, path: &str, name: &str) -> Result<Option<Vec<String>>, String> {
        let Some(attributes) = self.attributes(path)? else { return Ok(None) };
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

    /// The checksum of HDF5's metadata (Jenkins, lookup3).
    fn checksum(data: &[u8]) -> u32 {
        let mut s = [0xdead_beef_u32.wrapping_add(data.len() as u32); 3];
        let chunks = data.len().div_ceil(12);
        for (i, chunk) in data.chunks(12).enumerate() {
            for (j, byte) in chunk.iter().enumerate() {
                s[j / 4] = s[j / 4].wrapping_add(u32::from(*byte) << (8 * (j % 4)));
            }
            let [mut a, mut b, mut c] = s;
            if i + 1 < chunks {
                for turn in [4, 6, 8, 16, 19, 4] {
                    a = a.wrapping_sub(c) ^ c.rotate_left(turn);
                    c = c.wrapping_add(b);
                    (a, b, c) = (b, c, a);
                }
            } else {
                for turn in [14, 11, 25, 16, 4, 14, 24] {
                    c = (c ^ b).wrapping_sub(b.rotate_left(turn));
                    (a, b, c) = (b, c, a);
                }
                (a, b, c) = (c, a, b);
            }
            s = [a, b, c];
        }
        s[2]
    }

    /// A file with a list of texts that are all the same long one: the references to what they were are led to it.
    fn echoes(count: usize, length: usize) -> Vec<u8> {
        let mut file = FileBuilder::new();
        file.set_attr("list", AttrValue::VarLenStringArray((0..count).map(|i| format!("{i:04}short")).collect()));
        file.set_attr("long", AttrValue::VarLenString("x".repeat(length)));
        let mut bytes = file.finish().unwrap();
        let number = |bytes: &[u8], at: usize, width: usize| {
            bytes[at..at + width].iter().rev().fold(0, |n, byte| n << 8 | usize::from(*byte))
        };
        let to_heap = |at: &usize| match number(&bytes, at + 4, 8) {
            0 => false,
            address => bytes.get(address..).is_some_and(|heap| heap.starts_with(b"GCOL")),
        };
        let places: Vec<usize> = (0..bytes.len() - 16).filter(to_heap).collect();
        let of_length = |n: usize| places.iter().copied().filter(|at| number(&bytes, *at, 4) == n).collect::<Vec<_>>();
        let (long, short) = (of_length(length)[0], of_length(9));
        assert_eq!(short.len(), count);
        let long = bytes[long..long + 16].to_vec();
        for at in &short {
            bytes[*at..at + 16].copy_from_slice(&long);
        }
        let header = (0..short[0]).rev().find(|at| bytes[*at..].starts_with(b"OHDR")).unwrap();
        let flags = bytes[header + 5];
        let (times, phases, width) = (flags >> 5 & 1, flags >> 4 & 1, 1 << (flags & 3));
        let size = header + 6 + usize::from(times) * 16 + usize::from(phases) * 4;
        let end = size + width + number(&bytes, size, width);
        let sum = checksum(&bytes[header..end]);
        bytes[end..end + 4].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    #[test]
    fn many_attributes_of_one_long_text_are_refused() {
        let few = Store::open(echoes(3, 100_000)).unwrap();
        assert_eq!(few.texts("", "list").unwrap().unwrap(), vec!["x".repeat(100_000); 3]);
        let many = Store::open(echoes(1000, 1 << 20)).unwrap();
        let refused = many.text("", "long").unwrap_err();
        assert!(refused.contains("its attributes are larger than"), "{refused}");
        assert_eq!(many.texts("", "list").unwrap_err(), refused);
        // What lies beside them can be read as before.
        assert_eq!(many.count("").unwrap(), Some(0));
    }
}
