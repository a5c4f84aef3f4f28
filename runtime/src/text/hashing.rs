//! Keras's `Hashing`.

use serde::{Deserialize, Serialize};

use super::index::{Salt, bucket};
use super::{Encoded, OutputMode, failed, setters};
use crate::error::Error;

/// Divides texts or integers into a number of bins by a hash, without a vocabulary: Keras's layer of this name, with its
/// hashes: FarmHash, or SipHash where there is a salt.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Hashing {
    num_bins: usize,
    salt: Option<Salt>,
    mask_value: Option<MaskValue>,
    output_mode: OutputMode,
}

/// The value that a layer leaves out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum MaskValue {
    Number(i64),
    Text(String),
}

impl From<&str> for MaskValue {
    fn from(text: &str) -> MaskValue {
        MaskValue::Text(text.to_string())
    }
}

impl From<i64> for MaskValue {
    fn from(number: i64) -> MaskValue {
        MaskValue::Number(number)
    }
}

impl MaskValue {
    fn text(&self) -> String {
        match self {
            MaskValue::Number(number) => number.to_string(),
            MaskValue::Text(text) => text.clone(),
        }
    }
}

impl Default for Hashing {
    fn default() -> Hashing {
        Hashing::new(1)
    }
}

impl Hashing {
    pub fn new(num_bins: usize) -> Hashing {
        Hashing { num_bins, salt: None, mask_value: None, output_mode: OutputMode::Int }
    }

    setters! {
        /// A key, one number or two: the hash is SipHash with it.
        salt = salt: some into Salt;
        /// A value that has bin 0 to itself.
        mask_value = mask_value: some into MaskValue;
        output_mode = output_mode: OutputMode;
    }

    /// Whether results are bins, not encodings of them.
    pub fn gives_indices(&self) -> bool {
        self.output_mode == OutputMode::Int
    }

    /// What bins become.
    pub fn mode(&self) -> OutputMode {
        self.output_mode
    }

    /// Number of bins.
    pub fn bins(&self) -> usize {
        self.num_bins
    }

    /// What is wrong with the arguments.
    pub fn check(&self) -> Result<(), String> {
        if self.num_bins == 0 || self.num_bins > i32::MAX as usize {
            return Err(format!("Hashing with num_bins {}: must be between 1 and {}", self.num_bins, i32::MAX));
        }
        match self.output_mode {
            OutputMode::TfIdf => Err("Hashing with OutputMode::TfIdf: bins have no weights".to_string()),
            _ => Ok(()),
        }
    }

    /// The bins of texts, each on its own.
    pub fn call(&self, texts: &[&str]) -> Result<Encoded, Error> {
        self.call_rows(texts, 1)
    }

    /// The bins of texts, `row` of which belong together: encodings of several have one row for them.
    pub fn call_rows(&self, texts: &[&str], row: usize) -> Result<Encoded, Error> {
        self.check().map_err(failed)?;
        let mask = self.mask_value.as_ref().filter(|_| self.num_bins > 1).map(MaskValue::text);
        let bin = |text: &&str| match &mask {
            Some(mask) if mask == text => 0,
            Some(_) => 1 + bucket(text, self.num_bins - 1, self.salt),
            None => bucket(text, self.num_bins, self.salt),
        };
        let mut result = self.output_mode.empty();
        for row in texts.chunks(row.max(1)) {
            let bins: Vec<Option<usize>> = row.iter().map(|text| Some(bin(text))).collect();
            self.output_mode.encode(&bins, self.num_bins, None, &mut result);
        }
        Ok(result)
    }

    /// The bins of integers, which are hashed by their decimal digits.
    pub fn call_integers(&self, values: &[i64], row: usize) -> Result<Encoded, Error> {
        let texts: Vec<String> = values.iter().map(i64::to_string).collect();
        self.call_rows(&texts.iter().map(String::as_str).collect::<Vec<_>>(), row)
    }
}
