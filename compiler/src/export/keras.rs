//! `.keras` and `.weights.h5` files.

use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::{compile, config, weights};
use crate::diag::{Code, Diagnostics, Problem};
use crate::import::KerasFile;
use crate::model::Model;
use crate::model::config::infinite;

/// The version of Keras whose files these are.
const VERSION: &str = "3.15.0";

/// Writes a model as a `.keras` file: its configuration from its layers, its compile configuration, and the weights and
/// optimizer state of what was compiled from it. The file appears whole under its name or not at all.
///
/// Entry points of one's own have no counterpart in Keras and are left out; layers, losses and metrics that have none
/// are mistakes, listed together.
pub fn save_keras(path: impl AsRef<Path>, model: &Model, from: &bakelite::Model) -> Result<(), Diagnostics> {
    let document = config::document(model, from)?;
    write(path.as_ref(), document, VERSION, model, from)
}

/// Everything that would keep [`save_keras`] from writing a model, apart from the file itself: to be asked before a long
/// training.
pub fn check_keras(model: &Model, from: &bakelite::Model) -> Result<(), Diagnostics> {
    config::document(model, from)?;
    model.saved().map(drop)
}

/// Writes weights and optimizer state alone, as Keras's `model.save_weights("....weights.h5")` does.
pub fn save_weights(path: impl AsRef<Path>, model: &Model, from: &bakelite::Model) -> Result<(), Diagnostics> {
    let path = path.as_ref();
    let failed = |problem: Problem| mistake(path, model, problem);
    let saved = model.saved()?;
    let bytes = weights::weights(&saved, from).map_err(failed)?;
    bakelite::write_atomically(path, |file| file.write_all(&bytes)).map_err(|e| failed(cannot(path, &e)))
}

impl KerasFile {
    /// Writes a `.keras` file of this description with the weights and the optimizer state of a model that was compiled
    /// from it. What the file says about the model stays, but for the optimizer's present learning rate. The file
    /// appears whole under its name or not at all; `path` may be the file that was read.
    pub fn save(&self, path: impl AsRef<Path>, model: &Model, from: &bakelite::Model) -> Result<(), Diagnostics> {
        match self.updated(model, from)? {
            Some(document) => write(path.as_ref(), document, self.version.as_deref().unwrap_or(VERSION), model, from),
            None => save_keras(path, model, from),
        }
    }

    /// Everything that would keep [`KerasFile::save`] from writing a model, apart from the file itself: to be asked before
    /// a long training.
    pub fn check_save(&self, model: &Model, from: &bakelite::Model) -> Result<(), Diagnostics> {
        match self.updated(model, from)? {
            Some(_) => model.saved().map(drop),
            None => check_keras(model, from),
        }
    }

    /// The file's own description with the present learning rate. Older files have none: they spell it in other ways.
    fn updated(&self, model: &Model, from: &bakelite::Model) -> Result<Option<Value>, Diagnostics> {
        let mut document = self.document.as_deref().cloned();
        if let Some(document) = &mut document {
            compile::update(document, model, from)?;
        }
        Ok(document)
    }
}

fn write(
    path: &Path,
    document: Value,
    version: &str,
    model: &Model,
    from: &bakelite::Model,
) -> Result<(), Diagnostics> {
    let failed = |problem: Problem| mistake(path, model, problem);
    let saved = model.saved()?;
    let weights = weights::weights(&saved, from).map_err(failed)?;
    let metadata = json!({ "keras_version": version, "date_saved": date(SystemTime::now()) });
    let members = [
        ("metadata.json", metadata.to_string().into_bytes()),
        ("config.json", infinite::text(&document).into_bytes()),
        ("model.weights.h5", weights),
    ];
    let written = bakelite::write_atomically(path, |file| {
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(false);
        let mut zip = ZipWriter::new(file);
        for (name, bytes) in members {
            let large = bytes.len() as u64 >= u32::MAX as u64;
            zip.start_file(name, options.large_file(large)).map_err(io::Error::other)?;
            zip.write_all(&bytes)?;
        }
        zip.finish().map(drop).map_err(io::Error::other)
    });
    written.map_err(|e| failed(cannot(path, &e)))
}

fn cannot(path: &Path, error: &io::Error) -> Problem {
    Problem::new(Code::Build, format!("cannot write {}: {error}", path.display()))
}

fn mistake(path: &Path, model: &Model, problem: Problem) -> Diagnostics {
    Diagnostics::in_file(problem, path).of_model(model.name())
}

/// `2024-05-01@12:30:00`, in universal time.
fn date(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days since the first of March of the year 0, in cycles of 400 years.
    let days = days + 719_468;
    let (cycle, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let march = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * march + 2) / 5 + 1, if march < 10 { march + 3 } else { march - 9 });
    let year = year + cycle * 400 + (month <= 2) as u64;
    format!("{year:04}-{month:02}-{day:02}@{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dates() {
        let at = |seconds| date(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01@00:00:00");
        assert_eq!(at(951_782_400), "2000-02-29@00:00:00");
        assert_eq!(at(1_735_689_599), "2024-12-31@23:59:59");
        assert_eq!(at(4_107_542_400), "2100-03-01@00:00:00");
    }
}
