//! Keras's files: a description and the weights for it.

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::archive::{Archive, MAX_CONFIG, MAX_WEIGHTS};
use super::h5::Store;
use super::restore::{Layout, Restored, restore};
use super::{KerasModel, json, legacy, malformed, older, vocabulary};
use crate::cargo;
use crate::diag::Diagnostics;
use crate::ir::SourceLine;
use crate::model::Model;

/// A model as Keras saves it: a `.keras` file, or a whole model in the older `.h5` format.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use bakelite_compiler::compile::{self, compile};
/// use bakelite_compiler::import::KerasFile;
/// use bakelite_compiler::jit::JitModel;
///
/// let file = KerasFile::open("digits.keras")?;
/// let description = file.model().max_batch(64).build()?;
/// let compiled = compile(description.lower()?, &compile::Options::default())?;
/// let code = JitModel::new(&compiled, Default::default())?;
/// let mut model = bakelite::Model::open(code)?;
/// model.init(42)?;
/// file.restore(&description, &mut model)?;
/// // ... train, then hand it back to Keras:
/// file.save("trained.keras", &description, &model)?;
/// # Ok(())
/// # }
/// ```
///
/// Files are not trusted: sizes are bounded by [`MAX_CONFIG`], [`MAX_WEIGHTS`] and
/// [`MAX_EXPANSION`](super::MAX_EXPANSION), and whatever is wrong is an error.
pub struct KerasFile {
    pub(crate) model: KerasModel,
    /// The configuration, if it is that of a `.keras` file of Keras 3.
    pub(crate) document: Option<Arc<Value>>,
    pub(crate) version: Option<String>,
    layout: Layout,
    store: Store,
    source: SourceLine,
}

/// The first bytes of a zip archive and of an HDF5 file.
pub(super) const ZIP: &[u8] = b"PK";
pub(super) const HDF5: &[u8] = b"\x89HDF\r\n\x1a\n";

/// Reads a file of bounded size.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Diagnostics> {
    cargo::reads(path);
    let length = opened(path).and_then(|file| Ok(file.metadata()?.len())).map_err(|e| unreadable(path, &e))?;
    if length > MAX_WEIGHTS {
        let why = format!("{} has {length} bytes, more than {MAX_WEIGHTS}", path.display());
        return Err(malformed("", why, &SourceLine::file(path)));
    }
    fs::read(path).map_err(|e| unreadable(path, &e))
}

/// The first bytes of a file.
pub(super) fn lead(path: &Path, count: usize) -> Result<Vec<u8>, Diagnostics> {
    cargo::reads(path);
    let mut bytes = Vec::new();
    let read = opened(path).and_then(|file| file.take(count as u64).read_to_end(&mut bytes));
    read.map(|_| bytes).map_err(|e| unreadable(path, &e))
}

fn opened(path: &Path) -> io::Result<fs::File> {
    // What is no file may have no end, or block.
    match fs::metadata(path)?.is_file() {
        true => fs::File::open(path),
        false => Err(io::Error::other("it is no file")),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Diagnostics {
    malformed("", format!("cannot read {}: {error}", path.display()), &SourceLine::file(path))
}

impl KerasFile {
    /// Reads a file; which format it has is told from its contents. A folder is read as the `.keras` file whose members it
    /// has, as Keras writes with `zipped=False`.
    pub fn open(path: impl AsRef<Path>) -> Result<KerasFile, Diagnostics> {
        let path = path.as_ref();
        match path.is_dir() {
            true => KerasFile::from_archive(Archive::folder(path), SourceLine::file(path)),
            false => KerasFile::from_bytes(read(path)?, SourceLine::file(path)),
        }
    }

    /// Reads the bytes of a file.
    pub fn parse(bytes: &[u8]) -> Result<KerasFile, Diagnostics> {
        KerasFile::from_bytes(bytes.to_vec(), SourceLine::file("bytes"))
    }

    fn from_bytes(bytes: Vec<u8>, source: SourceLine) -> Result<KerasFile, Diagnostics> {
        let failed = |part: &str, why: String| malformed(part, why, &source);
        if bytes.starts_with(ZIP) {
            let archive = Archive::open(&bytes).map_err(|why| failed("", why))?;
            return KerasFile::from_archive(archive, source);
        }
        if bytes.starts_with(HDF5) {
            let store = Store::open(bytes).map_err(|why| failed("", why))?;
            let version = store.text("", "keras_version").map_err(|why| failed("", why))?;
            let document = legacy::document(&store).map_err(|why| failed("", why))?;
            let model = KerasModel::from_value(Arc::new(document), source.clone())?;
            return Ok(KerasFile { model, document: None, version, layout: Layout::ByLayer, store, source });
        }
        Err(failed("", "this is neither a .keras file nor an HDF5 file".into()))
    }

    fn from_archive(mut archive: Archive<'_>, source: SourceLine) -> Result<KerasFile, Diagnostics> {
        let failed = |part: &str, why: String| malformed(part, why, &source);
        let mut member = |name: &str, most| archive.member(name, most).map_err(|why| failed(name, why));
        let text = |name: &str, bytes: Vec<u8>| {
            String::from_utf8(bytes).map_err(|_| failed(name, format!("the member `{name}` is no UTF-8")))
        };
        let (config, metadata) = (member("config.json", MAX_CONFIG)?, member("metadata.json", MAX_CONFIG)?);
        let weights = member("model.weights.h5", MAX_WEIGHTS)?;
        let lacks = |name: &str| failed("", format!("this is no .keras file: the archive has no `{name}`"));
        let config = text("config.json", config.ok_or_else(|| lacks("config.json"))?)?;
        let weights = weights.ok_or_else(|| lacks("model.weights.h5"))?;
        let store = Store::open(weights).map_err(|why| failed("model.weights.h5", why))?;
        let mut document = json::parse(&config).map_err(|why| failed("config.json", why))?;
        vocabulary::fill(&mut document, &mut archive, &store).map_err(|why| failed("", why))?;
        let metadata = metadata.and_then(|bytes| String::from_utf8(bytes).ok());
        let metadata = metadata.and_then(|text| json::parse(&text).ok());
        let version = metadata.as_ref().and_then(|m| m.get("keras_version")?.as_str().map(str::to_string));
        let older = version.as_deref().is_some_and(older::is_older);
        if older {
            older::bring_up_to_date(&mut document, version.as_deref());
        }
        let document = Arc::new(document);
        let model = KerasModel::from_value(document.clone(), source.clone())?;
        let document = Some(document).filter(|_| !older);
        Ok(KerasFile { model, document, version, layout: Layout::Numbered, store, source })
    }

    /// The description, as a builder: give shapes that the file leaves open, then build it.
    pub fn model(&self) -> KerasModel {
        self.model.clone()
    }

    /// The version of Keras that wrote the file, where it says so.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Writes the file's weights and statistics into an opened model of its description, and the optimizer's state if
    /// both have one. Sums of metrics and the seed stay as they are. Nothing is written if anything is wrong.
    pub fn restore(&self, model: &Model, into: &mut bakelite::Model) -> Result<Restored, Diagnostics> {
        restore(&self.store, self.layout, model, into, &self.source, true)
    }
}
