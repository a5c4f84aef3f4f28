//! The layer that makes an input of a model of text.

use serde::{Deserialize, Serialize};

use super::{Encoded, Hashing, StringLookup, TextVectorization, failed};
use crate::error::Error;

/// A layer over texts.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "class_name", content = "config")]
pub enum TextLayer {
    TextVectorization(TextVectorization),
    StringLookup(StringLookup),
    Hashing(Hashing),
}

/// How an input of a model is made of text. Its JSON form is part of compiled models.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TextInput {
    #[serde(flatten)]
    layer: TextLayer,
    /// Texts of a row.
    texts: usize,
}

impl TextInput {
    /// A layer over rows of so many texts.
    pub fn new(layer: TextLayer, texts: usize) -> TextInput {
        TextInput { layer, texts: texts.max(1) }
    }

    /// The JSON form.
    pub fn to_json(&self) -> String {
        // Keys are strings and numbers are finite or null, so this has no way to fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads the JSON form, and checks the layer.
    pub fn from_json(text: &str) -> Result<TextInput, Error> {
        let input: TextInput = serde_json::from_str(text).map_err(|why| failed(why.to_string()))?;
        input.check().map_err(failed)?;
        Ok(input)
    }

    /// The layer.
    pub fn layer(&self) -> &TextLayer {
        &self.layer
    }

    /// Texts of a row.
    pub fn texts(&self) -> usize {
        self.texts
    }

    fn check(&self) -> Result<(), String> {
        if self.texts == 0 {
            return Err("rows have no text".to_string());
        }
        match &self.layer {
            TextLayer::TextVectorization(layer) => layer.check(),
            TextLayer::StringLookup(layer) => layer.check(),
            TextLayer::Hashing(layer) => layer.check(),
        }
    }

    /// Learns the vocabulary of some texts; a layer that hashes has none.
    pub fn adapt(&mut self, texts: &[&str]) -> Result<(), Error> {
        match &mut self.layer {
            TextLayer::TextVectorization(layer) => layer.adapt(texts),
            TextLayer::StringLookup(layer) => layer.adapt(texts),
            TextLayer::Hashing(_) => return Err(failed("Hashing has no vocabulary to adapt")),
        }
        Ok(())
    }

    /// What the model takes for some texts.
    pub fn encode(&self, texts: &[&str]) -> Result<Encoded, Error> {
        if !texts.len().is_multiple_of(self.texts) {
            return Err(failed(format!("{} texts are no rows of {}", texts.len(), self.texts)));
        }
        match &self.layer {
            TextLayer::TextVectorization(layer) => layer.call_rows(texts, self.texts),
            TextLayer::StringLookup(layer) => layer.call_rows(texts, self.texts),
            TextLayer::Hashing(layer) => layer.call_rows(texts, self.texts),
        }
    }
}
