//! NumPy's `.npz` archives, and lone `.npy` files.
//!
//! Opening reads the directory and every header, so that names and shapes are known before any number is read. What is
//! not trusted: an array must be as long as its header and the directory say, and a compressed one may not be out of
//! all proportion to the file.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bakelite::{DType, Values};
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::file;
use super::mistake::failed;
use super::npy::{self, ElementType, Header};
use crate::diag::{Code, Diagnostics, Problem};
use crate::ir::SourceLine;

/// The most arrays of an archive.
const MOST_ARRAYS: usize = 10_000;
/// Compressed arrays may take this many bytes in any case, ...
const FREE_BYTES: u64 = 1 << 28;
/// ... and this many times their compressed size.
const MOST_RATIO: u64 = 64;

/// An open file of arrays.
pub struct Npz {
    path: PathBuf,
    container: Container,
    arrays: Vec<Array>,
}

enum Container {
    Archive(Box<ZipArchive<BufReader<File>>>),
    Lone(File),
}

/// An array, as far as it is known without its numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Array {
    /// The key; empty for a lone `.npy` file.
    pub name: String,
    header: Header,
    /// The place in the archive.
    entry: usize,
}

impl Array {
    /// The extents, as NumPy has them.
    pub fn shape(&self) -> &[usize] {
        &self.header.shape
    }

    /// The type of the elements.
    pub fn element(&self) -> &ElementType {
        &self.header.element
    }
}

/// Whether a path is that of a lone array, by its ending.
pub fn is_npy(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npy"))
}

impl Npz {
    /// Opens an archive or a lone array, and reads all headers.
    pub fn open(path: impl AsRef<Path>) -> Result<Npz, Diagnostics> {
        let path = path.as_ref();
        let opened = File::open(path).and_then(|mut file| {
            if file.metadata()?.is_dir() {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            if !file.metadata()?.is_file() {
                return Err(io::Error::other("it is no regular file, which can be read in any order"));
            }
            let mut lead = Vec::new();
            (&file).take(6).read_to_end(&mut lead)?;
            file.rewind()?;
            Ok((file, lead))
        });
        let (file, lead) = opened.map_err(|e| failed(path, "read", &e))?;
        let wrong = |part: &str, what: String| damaged(path, part, what);
        if lead == npy::MAGIC {
            let length = file.metadata().map_err(|e| failed(path, "read", &e))?.len();
            let header = Header::read(BufReader::new(&file)).map_err(|what| wrong("", what))?;
            check_length(&header, length).map_err(|what| wrong("", what))?;
            let arrays = vec![Array { name: String::new(), header, entry: 0 }];
            return Ok(Npz { path: path.to_path_buf(), container: Container::Lone(file), arrays });
        }
        if !lead.starts_with(b"PK") {
            return Err(wrong("", "this is neither an .npz archive nor an .npy array".to_string()));
        }
        let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|e| wrong("", zip_text(e)))?;
        if archive.len() > MOST_ARRAYS {
            return Err(wrong("", format!("{} arrays, more than {MOST_ARRAYS}", archive.len())));
        }
        if archive.has_duplicate_names() {
            return Err(wrong("", "two of its arrays have one name, and one of them would be ignored".to_string()));
        }
        let mut arrays = Vec::new();
        for entry in 0..archive.len() {
            let raw = archive.by_index_raw(entry).map_err(|e| wrong("", zip_text(e)))?;
            let name = raw.name().map_err(|e| wrong("", zip_text(e)))?.into_owned();
            // NumPy puts arrays alone into its archives.
            let Some(key) = name.strip_suffix(".npy").map(str::to_string) else { continue };
            let (size, compressed, method) = (raw.size(), raw.compressed_size(), raw.compression());
            drop(raw);
            if method != CompressionMethod::Stored && size > FREE_BYTES.max(compressed.saturating_mul(MOST_RATIO)) {
                let what = format!("{compressed} bytes that unpack to {size}: save it with `np.savez`, uncompressed");
                return Err(wrong(&key, what));
            }
            let header = archive
                .by_index(entry)
                .map_err(zip_text)
                .and_then(|file| Header::read(BufReader::new(file)))
                .and_then(|header| check_length(&header, size).map(|()| header))
                .map_err(|what| wrong(&key, what))?;
            arrays.push(Array { name: key, header, entry });
        }
        Ok(Npz { path: path.to_path_buf(), container: Container::Archive(Box::new(archive)), arrays })
    }

    /// The arrays, in the order of the file.
    pub fn arrays(&self) -> &[Array] {
        &self.arrays
    }

    /// The array with a key.
    pub fn find(&self, name: &str) -> Option<&Array> {
        self.arrays.iter().find(|array| array.name == name)
    }

    /// The place of the file, for messages.
    pub fn source(&self) -> SourceLine {
        SourceLine::file(&self.path)
    }

    /// The numbers of an array of this file in row-major order, converted to a type of the model: to floats by
    /// rounding, to integers and truth values only where nothing is lost.
    pub fn values(&mut self, array: &Array, dtype: DType) -> Result<Values<'static>, Diagnostics> {
        let values = match &mut self.container {
            Container::Lone(file) => file
                .seek(SeekFrom::Start(array.header.length))
                .map_err(|e| e.to_string())
                .and_then(|_| array.header.values(BufReader::new(file), dtype)),
            Container::Archive(archive) => archive.by_index(array.entry).map_err(zip_text).and_then(|mut file| {
                let skipped = io::copy(&mut file.by_ref().take(array.header.length), &mut io::sink());
                skipped.map_err(|e| e.to_string())?;
                array.header.values(BufReader::with_capacity(1 << 16, file), dtype)
            }),
        };
        values.map_err(|what| damaged(&self.path, &array.name, what))
    }
}

fn check_length(header: &Header, length: u64) -> Result<(), String> {
    match header.file_bytes() {
        None if header.element.size().is_none() => Ok(()),
        Some(bytes) if bytes == length => Ok(()),
        _ => Err(format!("the header says {} {:?}, the array has {length} bytes", header.element, header.shape)),
    }
}

fn zip_text(error: ZipError) -> String {
    match error {
        ZipError::Io(e) => e.to_string(),
        other => format!("the archive is damaged: {other}"),
    }
}

fn damaged(path: &Path, part: &str, what: String) -> Diagnostics {
    Diagnostics::one(Problem::new(Code::File, what), part, Some(SourceLine::file(path)))
}

/// Fails early, before long work, where [`write()`] could not write.
pub fn check_output(path: &Path) -> Result<(), Diagnostics> {
    if !path.is_dir()
        && !is_npy(path)
        && path.extension().is_none_or(|extension| !extension.eq_ignore_ascii_case("npz"))
    {
        let name = path.with_extension("npz");
        let problem = Problem::new(Code::File, "arrays are written as .npz, or one alone as .npy");
        return Err(Diagnostics::in_file(problem.help(format!("name it {}", name.display())), path));
    }
    file::check_writable(path)
}

/// Writes arrays by key as an uncompressed archive; or, where the path says so, one array as a lone `.npy` file. A file
/// that was there is replaced in one step, or left as it was.
pub fn write(path: &Path, arrays: &[(&str, Vec<usize>, &Values<'_>)]) -> Result<(), Diagnostics> {
    file::replace(path, |file| {
        if let (true, [(_, shape, values)]) = (is_npy(path), arrays) {
            return buffered(file, shape, values);
        }
        let mut archive = ZipWriter::new(file).set_auto_large_file();
        for (name, shape, values) in arrays {
            let bytes = values.len() as u64 * values.dtype().size() as u64;
            let options = SimpleFileOptions::default()
                .compression_method(CompressionMethod::Stored)
                .large_file(bytes > u64::from(u32::MAX / 2));
            archive.start_file(format!("{name}.npy"), options)?;
            buffered(&mut archive, shape, values)?;
        }
        archive.finish()?;
        Ok(())
    })
}

fn buffered(into: &mut impl Write, shape: &[usize], values: &Values<'_>) -> io::Result<()> {
    let mut into = BufWriter::with_capacity(1 << 20, into);
    npy::write(&mut into, shape, values)?;
    into.flush()
}
