//! Saving and loading parameters and state as safetensors.
//!
//! A file holds each cell under its path, row-major. The names of the cells that only training needs are listed in
//! the file's metadata, so that a model compiled for prediction alone can skip them.
//!
//! Saving is atomic: the file appears whole under its name, or not at all. Loading checks every name, type, shape and
//! byte before it changes the model, and needs memory for no more than the model's own size and a bounded header.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use crate::abi::CellKind;
use crate::dtype::DType;
use crate::error::Error;
use crate::file::write_atomically;
use crate::memory::defaults;
use crate::model::Model;
use crate::params::Param;
use crate::signature::Port;

/// Which cells of a model a file holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Contents {
    /// Parameters, and the state that predictions read.
    Weights,
    /// All of it: also optimizer slots and whatever else training continues from.
    Training,
}

/// The metadata key that lists the names of training cells, one a line.
const TRAINING_KEY: &str = "bakelite.training";
/// The metadata key of text layers whose vocabulary is not the object's.
#[cfg(feature = "text")]
const TEXT_KEY: &str = "bakelite.text";
/// The most bytes of a vocabulary in a file.
const VOCABULARIES: u64 = 64 << 20;

impl Model {
    /// Writes parameters and the state that predictions read.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        self.save_with(path, Contents::Weights)
    }

    /// Writes a choice of parameters and state. A file that was there is replaced in one step, or left as it was.
    ///
    /// # Errors
    /// [`Error::NoValue`] where a parameter was never given one, [`Error::Io`] where the file cannot be written.
    pub fn save_with(&self, path: impl AsRef<Path>, contents: Contents) -> Result<(), Error> {
        let path = path.as_ref();
        let wanted = |p: &Param<'_>| contents == Contents::Training || p.cell().kind != CellKind::Training;
        let mut params: Vec<Param<'_>> = self.params().filter(wanted).collect();
        self.have_values(params.iter(), || format!("saving {}", path.display()))?;
        // The widest elements first, so that every tensor is aligned within the file.
        params.sort_by_key(|p| std::cmp::Reverse(p.dtype().size()));
        write_atomically(path, |file| {
            let header = header(&params, self.extras())?;
            file.write_all(&(header.len() as u64).to_le_bytes())?;
            file.write_all(&header)?;
            let mut bytes = Vec::new();
            for param in &params {
                let length = param.len() * param.dtype().size();
                bytes.try_reserve(length.saturating_sub(bytes.len()))?;
                bytes.resize(length, 0);
                param.read_bytes(&mut bytes);
                file.write_all(&bytes)?;
            }
            Ok(())
        })
        .map_err(|source| Error::Io { action: "write", path: path.to_path_buf(), source })
    }

    /// Reads what [`Model::save_with`] wrote. The file must hold every parameter and every state that predictions
    /// read; the state of training is taken where the file has it, and otherwise kept as it is: as it begins, in a model that
    /// was just opened.
    pub fn load(&mut self, path: impl AsRef<Path>) -> Result<(), Error> {
        self.load_checked(path.as_ref(), None)
    }

    /// Reads a choice of parameters and state, all of which the file must hold.
    pub fn load_with(&mut self, path: impl AsRef<Path>, contents: Contents) -> Result<(), Error> {
        self.load_checked(path.as_ref(), Some(contents))
    }

    fn load_checked(&mut self, path: &Path, contents: Option<Contents>) -> Result<(), Error> {
        let texts = self.entries().iter().any(|entry| entry.inputs.iter().any(Port::is_text));
        let mut reader = Reader::open(path, self.params().len(), texts)?;
        let training = reader.training_names();
        for name in reader.header.offset_keys() {
            if self.param(&name).is_err() && !training.contains(&name) {
                return Err(reader.wrong(format!("model `{}` has no parameter `{name}`", self.name())));
            }
        }
        let has_training = reader.has_training(self);
        let mut loaded: Vec<(usize, Vec<u8>)> = Vec::new();
        for (index, param) in self.params().enumerate() {
            let wanted = match (param.cell().kind, contents) {
                (CellKind::Param | CellKind::State, _) | (CellKind::Training, Some(Contents::Training)) => true,
                (CellKind::Training, Some(Contents::Weights)) => false,
                (CellKind::Training, None) => has_training,
            };
            if wanted {
                loaded.push((index, reader.read(&param)?));
            }
        }
        #[cfg(feature = "text")]
        if let Some(forms) = reader.metadata(TEXT_KEY) {
            let texts = self.texts().restored(forms).map_err(|e| reader.wrong(format!("the vocabularies: {e}")))?;
            *self.texts_mut() = texts;
        }
        // Everything is checked: from here on nothing fails.
        for (index, bytes) in &loaded {
            self.overwrite(*index, bytes);
        }
        Ok(())
    }
}

impl Model {
    /// What a file says besides the tensors.
    fn extras(&self) -> HashMap<String, String> {
        #[cfg(feature = "text")]
        if let Some(forms) = self.texts().adapted() {
            return HashMap::from([(TEXT_KEY.to_string(), forms)]);
        }
        HashMap::new()
    }
}

/// The header of a file that holds these tensors one after the other.
fn header(params: &[Param<'_>], mut metadata: HashMap<String, String>) -> io::Result<Vec<u8>> {
    let mut end = 0;
    let mut tensors = Vec::with_capacity(params.len());
    for param in params {
        let start = end;
        end += param.len() * param.dtype().size();
        let info =
            TensorInfo { dtype: file_dtype(param.dtype()), shape: param.shape().to_vec(), data_offsets: (start, end) };
        tensors.push((param.name().to_string(), info));
    }
    let training: Vec<&str> = params.iter().filter(|p| p.cell().kind == CellKind::Training).map(|p| p.name()).collect();
    if !training.is_empty() {
        metadata.insert(TRAINING_KEY.to_string(), training.join("\n"));
    }
    let metadata = Some(metadata).filter(|metadata| !metadata.is_empty());
    let header = Metadata::new(metadata, tensors).map_err(io::Error::other)?;
    let mut text = serde_json::to_vec(&header)?;
    text.resize(text.len().next_multiple_of(8), b' ');
    Ok(text)
}

fn file_dtype(dtype: DType) -> Dtype {
    match dtype {
        DType::F32 => Dtype::F32,
        DType::F64 => Dtype::F64,
        DType::I32 => Dtype::I32,
        DType::U32 => Dtype::U32,
        DType::U8 => Dtype::U8,
        DType::Bool => Dtype::BOOL,
    }
}

/// An open file whose header has been checked against its length.
struct Reader<'a> {
    path: &'a Path,
    file: File,
    header: Metadata,
    /// Where the bytes of the tensors begin.
    data: u64,
}

impl<'a> Reader<'a> {
    fn open(path: &'a Path, cells: usize, texts: bool) -> Result<Reader<'a>, Error> {
        let io_error = |source| Error::Io { action: "read", path: path.to_path_buf(), source };
        let wrong = |what: String| Error::File { path: path.to_path_buf(), what };
        let metadata = fs::metadata(path).map_err(io_error)?;
        if !metadata.is_file() {
            return Err(wrong("not a file".into()));
        }
        let mut file = File::open(path).map_err(io_error)?;
        let length = file.metadata().map_err(io_error)?.len();
        let mut word = [0; 8];
        if length < 8 {
            return Err(wrong(format!("not a safetensors file: {length} bytes")));
        }
        file.read_exact(&mut word).map_err(io_error)?;
        let header_length = u64::from_le_bytes(word);
        // Generous for names, types, shapes and foreign metadata, and still bounded by the model.
        let bound = (1 << 20) + 4096 * cells as u64 + if texts { VOCABULARIES } else { 0 };
        if header_length > bound.min(length - 8) {
            return Err(wrong(format!("not a safetensors file: a header of {header_length} bytes")));
        }
        let mut text = vec![0; header_length as usize];
        file.read_exact(&mut text).map_err(io_error)?;
        let header: Metadata = serde_json::from_slice(&text).map_err(|e| wrong(format!("damaged header: {e}")))?;
        let data = 8 + header_length;
        if data.checked_add(header.data_len() as u64) != Some(length) {
            let expected = header.data_len();
            return Err(wrong(format!("{expected} bytes of tensors expected, {} found", length - data)));
        }
        Ok(Reader { path, file, header, data })
    }

    fn wrong(&self, what: String) -> Error {
        Error::File { path: self.path.to_path_buf(), what }
    }

    fn metadata(&self, key: &str) -> Option<&str> {
        self.header.metadata().as_ref().and_then(|m| m.get(key)).map(String::as_str)
    }

    /// Names of the tensors that only training needs.
    fn training_names(&self) -> HashSet<String> {
        let listed = self.metadata(TRAINING_KEY);
        listed.map_or(HashSet::new(), |names| names.lines().map(str::to_string).collect())
    }

    /// Whether the file holds any training state of the model.
    fn has_training(&self, model: &Model) -> bool {
        model.params().any(|p| p.cell().kind == CellKind::Training && self.header.info(p.name()).is_some())
    }

    /// The bytes of a tensor, checked against the cell that they are for.
    fn read(&mut self, param: &Param<'_>) -> Result<Vec<u8>, Error> {
        let name = param.name();
        let Some(info) = self.header.info(name) else {
            return Err(self.wrong(format!("parameter `{name}` is missing")));
        };
        if info.dtype != file_dtype(param.dtype()) {
            let expected = param.dtype();
            return Err(self.wrong(format!("`{name}` is {:?}, the model's is {expected}", info.dtype)));
        }
        if info.shape != param.shape() {
            let (found, expected) = (&info.shape, param.shape());
            return Err(self.wrong(format!("`{name}` has shape {found:?}, the model's has {expected:?}")));
        }
        let start = self.data + info.data_offsets.0 as u64;
        let mut bytes = defaults(param.len() * param.dtype().size(), "tensors of a file")?;
        self.file
            .seek(SeekFrom::Start(start))
            .and_then(|_| self.file.read_exact(&mut bytes))
            .map_err(|source| Error::Io { action: "read", path: self.path.to_path_buf(), source })?;
        if param.dtype() == DType::Bool && bytes.iter().any(|b| *b > 1) {
            return Err(self.wrong(format!("`{name}` is bool and holds other bytes than 0 and 1")));
        }
        Ok(bytes)
    }
}
