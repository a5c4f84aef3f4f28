//! NumPy's `.npy` format: the header, the types of elements, and conversion between them.
//!
//! <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>

use std::fmt;
use std::io::{self, Read, Write};

use bakelite::{DType, Element, Values};

use crate::import::half::half;

/// The first bytes of every file.
pub const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// The longest header that is read; NumPy itself refuses more than 10,000 bytes.
const LONGEST_HEADER: usize = 1 << 16;
/// The most axes; NumPy has at most 64.
const MOST_AXES: usize = 64;

/// What the elements of an array are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ElementType {
    Bool,
    Int(usize),
    Uint(usize),
    Float(usize),
    /// A type that no model takes, as NumPy writes it.
    Other(String),
}

impl ElementType {
    /// Reads a type such as `<f4`: byte order, kind, bytes. Also whether the order is that of big-endian machines.
    fn parse(text: &str) -> (ElementType, bool) {
        let other = || (ElementType::Other(text.to_string()), false);
        let (order, rest) = match text.chars().next() {
            Some(order @ ('<' | '>' | '|' | '=')) => (order, &text[1..]),
            _ => ('=', text),
        };
        let Some((kind, size)) = rest.split_at_checked(1) else { return other() };
        let element = match (kind, size.parse()) {
            ("b", Ok(1)) => ElementType::Bool,
            ("i", Ok(size @ (1 | 2 | 4 | 8))) => ElementType::Int(size),
            ("u", Ok(size @ (1 | 2 | 4 | 8))) => ElementType::Uint(size),
            ("f", Ok(size @ (2 | 4 | 8))) => ElementType::Float(size),
            _ => return other(),
        };
        (element, order == '>')
    }

    /// Bytes of one element, where a model could take it.
    pub fn size(&self) -> Option<usize> {
        match self {
            ElementType::Bool => Some(1),
            ElementType::Int(size) | ElementType::Uint(size) | ElementType::Float(size) => Some(*size),
            ElementType::Other(_) => None,
        }
    }

    /// The number in some bytes, whose order is little-endian. 64-bit integers are rounded to 53 bits.
    fn number(&self, bytes: [u8; 8]) -> f64 {
        let word = u64::from_le_bytes(bytes);
        match self {
            ElementType::Bool => f64::from(word != 0),
            ElementType::Uint(_) | ElementType::Other(_) => word as f64,
            ElementType::Int(size) => {
                let unused = 64 - 8 * *size as u32;
                ((word << unused) as i64 >> unused) as f64
            }
            ElementType::Float(2) => f64::from(half(word as u16)),
            ElementType::Float(4) => f64::from(f32::from_bits(word as u32)),
            ElementType::Float(_) => f64::from_bits(word),
        }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ElementType::Bool => f.write_str("bool"),
            ElementType::Int(size) => write!(f, "int{}", 8 * size),
            ElementType::Uint(size) => write!(f, "uint{}", 8 * size),
            ElementType::Float(size) => write!(f, "float{}", 8 * size),
            ElementType::Other(name) => f.write_str(&name.escape_debug().to_string()),
        }
    }
}

/// What a file says about its array.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    pub element: ElementType,
    big_endian: bool,
    /// Whether the first axis is the one whose elements are neighbours.
    fortran: bool,
    pub shape: Vec<usize>,
    /// Bytes before the first element.
    pub length: u64,
}

impl Header {
    /// Reads the header, and nothing behind it.
    pub fn read(mut from: impl Read) -> Result<Header, String> {
        let broken = |e: io::Error| format!("the header cannot be read: {e}");
        let mut lead = [0; 10];
        from.read_exact(&mut lead).map_err(broken)?;
        if lead[..6] != *MAGIC {
            return Err("this is no array of NumPy".to_string());
        }
        let mut length = usize::from(u16::from_le_bytes([lead[8], lead[9]]));
        let mut before = 10;
        match lead[6] {
            1 => {}
            2 | 3 => {
                let mut more = [0; 2];
                from.read_exact(&mut more).map_err(broken)?;
                length += usize::from(u16::from_le_bytes(more)) << 16;
                before += 2;
            }
            version => return Err(format!("format version {version} is not known")),
        }
        if length > LONGEST_HEADER {
            return Err(format!("a header of {length} bytes"));
        }
        let mut text = vec![0; length];
        from.read_exact(&mut text).map_err(broken)?;
        let text = std::str::from_utf8(&text).map_err(|_| "the header is no text".to_string())?;
        let (element, big_endian, fortran, shape) = Dict(text)
            .parse()
            .ok_or_else(|| format!("the header is malformed: {:.200}", text.trim().escape_debug()))?;
        Ok(Header { element, big_endian, fortran, shape, length: (before + length) as u64 })
    }

    /// Number of elements; none where it overflows.
    pub fn elements(&self) -> Option<usize> {
        self.shape.iter().try_fold(1usize, |n, extent| n.checked_mul(*extent))
    }

    /// Bytes of the whole file; none for elements of other types, or more than can be counted.
    pub fn file_bytes(&self) -> Option<u64> {
        let bytes = self.elements()?.checked_mul(self.element.size()?)?;
        self.length.checked_add(bytes as u64)
    }

    /// The elements as numbers of the given type, in row-major order. `from` begins behind the header. Memory grows
    /// with the bytes that are there, whatever the header claims.
    pub fn values(&self, from: impl Read, dtype: DType) -> Result<Values<'static>, String> {
        Ok(match dtype {
            DType::F32 => self.numbers::<f32>(from)?.into(),
            DType::F64 => self.numbers::<f64>(from)?.into(),
            DType::I32 => self.numbers::<i32>(from)?.into(),
            DType::U32 => self.numbers::<u32>(from)?.into(),
            DType::U8 => self.numbers::<u8>(from)?.into(),
            DType::Bool => self.numbers::<bool>(from)?.into(),
        })
    }

    fn numbers<T: Number>(&self, mut from: impl Read) -> Result<Vec<T>, String> {
        const BLOCK: usize = 1 << 13;
        let (Some(size), Some(count)) = (self.element.size(), self.elements()) else {
            return Err(format!("its elements are {}, which are no numbers", self.element));
        };
        let mut numbers = Vec::with_capacity(count.min(BLOCK));
        let mut block = vec![0; BLOCK * size];
        while numbers.len() < count {
            let more = BLOCK.min(count - numbers.len());
            numbers.try_reserve(more).map_err(|_| {
                format!("out of memory: {} bytes for its elements", count.saturating_mul(size_of::<T>()))
            })?;
            let block = &mut block[..more * size];
            from.read_exact(block).map_err(|e| match e.kind() {
                io::ErrorKind::UnexpectedEof => format!("it ends before element {} of {count}", numbers.len()),
                _ => e.to_string(),
            })?;
            for bytes in block.chunks_exact(size) {
                let mut word = [0; 8];
                word[..size].copy_from_slice(bytes);
                if self.big_endian {
                    word[..size].reverse();
                }
                let x = self.element.number(word);
                numbers.push(T::from_number(x).ok_or_else(|| {
                    let at = self.place(numbers.len());
                    format!("element {at:?} is {x}, which is no {}", T::DTYPE)
                })?);
            }
        }
        // Whoever checks sums does so at the end.
        match from.read(&mut [0]) {
            Ok(0) => Ok(if self.fortran { self.row_major(&numbers) } else { numbers }),
            Ok(_) => Err("it goes on behind its last element".to_string()),
            Err(e) => Err(e.to_string()),
        }
    }

    /// The indices of an element, from its place in the file.
    fn place(&self, mut at: usize) -> Vec<usize> {
        let mut indices = vec![0; self.shape.len()];
        let axes: Vec<usize> =
            if self.fortran { (0..indices.len()).collect() } else { (0..indices.len()).rev().collect() };
        for axis in axes {
            indices[axis] = at % self.shape[axis].max(1);
            at /= self.shape[axis].max(1);
        }
        indices
    }

    /// The elements of an array whose first axis varies fastest, with the last one varying fastest.
    fn row_major<T: Number>(&self, from: &[T]) -> Vec<T> {
        let mut strides = vec![1; self.shape.len()];
        for axis in 1..strides.len() {
            strides[axis] = strides[axis - 1] * self.shape[axis - 1];
        }
        let mut indices = vec![0; self.shape.len()];
        let mut at = 0;
        let mut into = Vec::with_capacity(from.len());
        for _ in 0..from.len() {
            into.push(from[at]);
            for axis in (0..indices.len()).rev() {
                indices[axis] += 1;
                at += strides[axis];
                if indices[axis] < self.shape[axis] {
                    break;
                }
                at -= strides[axis] * self.shape[axis];
                indices[axis] = 0;
            }
        }
        into
    }
}

/// A header's text, a Python dictionary, as far as it has not been read.
struct Dict<'a>(&'a str);

impl<'a> Dict<'a> {
    fn parse(mut self) -> Option<(ElementType, bool, bool, Vec<usize>)> {
        let (mut element, mut fortran, mut shape) = (None, None, None);
        self.eat('{')?;
        while self.eat('}').is_none() {
            let key = self.string()?;
            self.eat(':')?;
            match key {
                "descr" => element = Some(self.element()?),
                "fortran_order" => {
                    fortran = Some(self.word("True").map(|()| true).or(self.word("False").map(|()| false))?)
                }
                "shape" => shape = Some(self.shape()?),
                _ => return None,
            }
            if self.eat(',').is_none() {
                self.eat('}')?;
                break;
            }
        }
        let (element, big_endian) = element?;
        self.0.trim().is_empty().then_some(())?;
        Some((element, big_endian, fortran?, shape?))
    }

    /// The type; a list describes a structure, which is one type here.
    fn element(&mut self) -> Option<(ElementType, bool)> {
        if let Some(text) = self.string() {
            return Some(ElementType::parse(text));
        }
        self.eat('[')?;
        let (_, rest) = self.0.rsplit_once(']').filter(|(list, _)| !list.contains("'shape'"))?;
        self.0 = rest;
        Some((ElementType::Other("structures".to_string()), false))
    }

    fn shape(&mut self) -> Option<Vec<usize>> {
        let mut shape = Vec::new();
        self.eat('(')?;
        while self.eat(')').is_none() {
            let rest = self.0.trim_start();
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            shape.push(rest[..digits].parse().ok().filter(|_| shape.len() < MOST_AXES)?);
            self.0 = &rest[digits..];
            // Python 2 marked long numbers.
            let _ = self.eat('L');
            if self.eat(',').is_none() {
                self.eat(')')?;
                break;
            }
        }
        Some(shape)
    }

    fn eat(&mut self, c: char) -> Option<()> {
        self.0 = self.0.trim_start().strip_prefix(c)?;
        Some(())
    }

    fn word(&mut self, word: &str) -> Option<()> {
        self.0 = self.0.trim_start().strip_prefix(word)?;
        Some(())
    }

    /// A text in quotes, without escapes.
    fn string(&mut self) -> Option<&'a str> {
        let rest = self.0.trim_start();
        let quote = rest.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let (text, rest) = rest[1..].split_once(quote)?;
        self.0 = rest;
        Some(text)
    }
}

/// A type that models compute with.
trait Number: Element {
    /// The number in this type: rounded for floats, and nothing where it is no integer of the type.
    fn from_number(x: f64) -> Option<Self>;
}

macro_rules! numbers {
    ($($ty:ty: |$x:ident| $from:expr),+ $(,)?) => { $(
        impl Number for $ty {
            fn from_number($x: f64) -> Option<$ty> {
                $from
            }
        }
    )+ };
}

numbers! {
    f32: |x| Some(x as f32),
    f64: |x| Some(x),
    i32: |x| (f64::from(x as i32) == x).then_some(x as i32),
    u32: |x| (f64::from(x as u32) == x).then_some(x as u32),
    u8: |x| (f64::from(x as u8) == x).then_some(x as u8),
    bool: |x| (x == 0.0 || x == 1.0).then_some(x == 1.0),
}

/// Writes an array with its header.
pub fn write(into: &mut impl Write, shape: &[usize], values: &Values<'_>) -> io::Result<()> {
    let descr = match values.dtype() {
        DType::F32 => "<f4",
        DType::F64 => "<f8",
        DType::I32 => "<i4",
        DType::U32 => "<u4",
        DType::U8 => "|u1",
        DType::Bool => "|b1",
    };
    let extents: String = shape.iter().map(|extent| format!("{extent}, ")).collect();
    let extents = if shape.len() == 1 { extents.trim_end() } else { extents.trim_end_matches(", ") };
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({extents}), }}");
    // The elements begin at a multiple of 64 bytes.
    let length = (10 + text.len() + 1).next_multiple_of(64) - 10;
    text += &" ".repeat(length - text.len() - 1);
    text.push('\n');
    into.write_all(MAGIC)?;
    into.write_all(&[1, 0])?;
    into.write_all(&(length as u16).to_le_bytes())?;
    into.write_all(text.as_bytes())?;
    match values {
        Values::F32(v) => v.iter().try_for_each(|x| into.write_all(&x.to_le_bytes())),
        Values::F64(v) => v.iter().try_for_each(|x| into.write_all(&x.to_le_bytes())),
        Values::I32(v) => v.iter().try_for_each(|x| into.write_all(&x.to_le_bytes())),
        Values::U32(v) => v.iter().try_for_each(|x| into.write_all(&x.to_le_bytes())),
        Values::U8(v) => into.write_all(v),
        Values::Bool(v) => v.iter().try_for_each(|x| into.write_all(&[u8::from(*x)])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(text: &str) -> Result<Header, String> {
        let mut bytes = [MAGIC.as_slice(), &[1, 0], &(text.len() as u16).to_le_bytes()].concat();
        bytes.extend(text.as_bytes());
        Header::read(bytes.as_slice())
    }

    fn array(descr: &str, fortran: &str, shape: &str) -> Header {
        header(&format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}  \n")).unwrap()
    }

    fn numbers<T: Number>(descr: &str, bytes: &[u8]) -> Result<Vec<T>, String> {
        let mut header = array(descr, "False", "()");
        header.shape = vec![bytes.len() / header.element.size().unwrap()];
        header.numbers(bytes)
    }

    #[test]
    fn written_arrays_are_read() {
        for shape in [vec![], vec![0], vec![6], vec![2, 3], vec![1, 6, 1]] {
            let count: usize = shape.iter().product();
            let values = Values::from((0..count as i32).collect::<Vec<_>>());
            let mut bytes = Vec::new();
            write(&mut bytes, &shape, &values).unwrap();
            let header = Header::read(bytes.as_slice()).unwrap();
            assert_eq!((header.shape.clone(), header.length % 64), (shape, 0));
            assert_eq!(header.file_bytes(), Some(bytes.len() as u64));
            let read = header.values(&bytes[header.length as usize..], DType::F32).unwrap();
            assert_eq!(read.as_slice::<f32>().unwrap(), (0..count).map(|x| x as f32).collect::<Vec<_>>());
        }
    }

    #[test]
    fn every_element_type_is_converted() {
        let i64s: Vec<u8> = [-3i64, 1 << 31].iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(numbers::<f32>("<i8", &i64s).unwrap(), [-3.0, 2147483648.0]);
        assert!(numbers::<i32>("<i8", &i64s).unwrap_err().contains("element [1] is 2147483648, which is no i32"));
        assert_eq!(numbers::<i32>(">i2", &[0xff, 0xfe, 0, 7]).unwrap(), [-2, 7]);
        assert_eq!(numbers::<i32>("|i1", &[0xff, 5]).unwrap(), [-1, 5]);
        assert_eq!(numbers::<f32>("|u1", &[0xff, 5]).unwrap(), [255.0, 5.0]);
        assert_eq!(numbers::<bool>("|b1", &[0, 1]).unwrap(), [false, true]);
        assert_eq!(numbers::<f32>("|b1", &[0, 1]).unwrap(), [0.0, 1.0]);
        assert_eq!(numbers::<f32>("<f2", &[0x00, 0x3c, 0x00, 0xc0, 0x01, 0x00]).unwrap(), [1.0, -2.0, 2f32.powi(-24)]);
        assert!(numbers::<f32>("<f2", &[0x01, 0x7c]).unwrap()[0].is_nan());
        let doubles: Vec<u8> = [0.5f64, f64::NAN, 1e300].iter().flat_map(|x| x.to_be_bytes()).collect();
        let floats = numbers::<f32>(">f8", &doubles).unwrap();
        assert!(floats[0] == 0.5 && floats[1].is_nan() && floats[2] == f32::INFINITY);
        assert!(numbers::<i32>(">f8", &doubles).unwrap_err().contains("0.5"));
        assert!(numbers::<i32>(">f8", &doubles[8..]).unwrap_err().contains("NaN"));
        assert!(numbers::<u8>("<u2", &[0, 1]).is_err());
    }

    #[test]
    fn columns_first_become_rows_first() {
        let header = array("|u1", "True", "(2, 3)");
        assert_eq!(header.numbers::<u8>([0, 10, 1, 11, 2, 12].as_slice()).unwrap(), [0, 1, 2, 10, 11, 12]);
        let header = array("|u1", "True", "(2, 1, 2, 2)");
        let file: Vec<u8> = (0..8).collect();
        assert_eq!(header.numbers::<u8>(file.as_slice()).unwrap(), [0, 4, 2, 6, 1, 5, 3, 7]);
        assert!(array("<f4", "True", "(2, 0)").numbers::<f32>([].as_slice()).unwrap().is_empty());
    }

    #[test]
    fn headers_of_all_kinds() {
        assert_eq!(array("<f4", "False", "(3L, 4L)").shape, [3, 4]);
        assert_eq!(array("<U7", "False", "(3,)").element, ElementType::Other("<U7".into()));
        let structure = "{'descr': [('a', '<f4', (2,)), ('b', '|O')], 'fortran_order': False, 'shape': (2,)}";
        assert_eq!(header(structure).unwrap().element.size(), None);
        for bad in [
            "",
            "{}",
            "{'descr': '<f4', 'fortran_order': False}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999999,)}",
            "{'descr': '<f4', 'fortran_order': 3, 'shape': (1,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} behind",
            "{'descr': [[[[[[[[[[",
        ] {
            assert!(header(bad).is_err(), "{bad}");
        }
        let ones = "1, ".repeat(MOST_AXES + 1);
        assert!(header(&format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({ones})}}")).is_err());
        let huge = array("<f8", "False", "(4294967296, 4294967296, 4294967296)");
        assert_eq!((huge.elements(), huge.file_bytes()), (None, None));
        assert!(huge.numbers::<f32>([0; 64].as_slice()).is_err());
        let claimed = array("<f8", "False", "(1099511627776,)");
        assert!(claimed.numbers::<f32>([0; 64].as_slice()).unwrap_err().contains("it ends before"));
    }
}
