//! The text layers of an open model.

use std::collections::BTreeMap;

use super::{Encoded, TextInput, failed};
use crate::error::Error;
use crate::model::Model;
use crate::signature::Signature;

/// The text inputs of a model by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Texts {
    inputs: BTreeMap<String, Known>,
}

/// A text input.
#[derive(Clone, Debug)]
struct Known {
    input: TextInput,
    /// Elements of a row that the model takes.
    row: usize,
    /// Whether the vocabulary is another one than the object has.
    #[cfg_attr(not(feature = "safetensors"), expect(dead_code, reason = "only files keep vocabularies"))]
    adapted: bool,
}

impl Texts {
    /// The text inputs that a descriptor names.
    pub fn read(signature: &Signature) -> Result<Texts, Error> {
        let mut texts = Texts::default();
        for port in signature.entries.iter().flat_map(|entry| &entry.inputs) {
            let Some(text) = &port.text else { continue };
            if texts.inputs.contains_key(&port.name) {
                continue;
            }
            let damaged = |what: String| Error::Descriptor { model: signature.name.clone(), what };
            let input = TextInput::from_json(text).map_err(|e| damaged(format!("input `{}`: {e}", port.name)))?;
            let row = port.row_len().ok_or_else(|| damaged(format!("input `{}` is text without rows", port.name)))?;
            texts.inputs.insert(port.name.clone(), Known { input, row, adapted: false });
        }
        Ok(texts)
    }

    fn known(&self, name: &str) -> Result<&Known, Error> {
        let names = || Error::names(self.inputs.keys().map(String::as_str));
        self.inputs
            .get(name)
            .ok_or_else(|| failed(format!("no input `{name}` is made of text; of text are {}", names())))
    }

    /// The argument that some texts are for an input.
    pub fn encode(&self, name: &str, texts: &[&str]) -> Result<Encoded, Error> {
        let Known { input, row, .. } = self.known(name)?;
        let encoded = input.encode(texts)?;
        let rows = texts.len() / input.texts();
        if encoded.len() != rows * row {
            let found = encoded.len() / rows.max(1);
            return Err(failed(format!("input `{name}` takes rows of {row} elements, the layer gives {found}")));
        }
        Ok(encoded)
    }

    /// Puts another layer in place of an input's, if it gives rows as long.
    fn replace(&mut self, name: &str, input: TextInput) -> Result<(), Error> {
        let known = self.known(name)?.clone();
        let mut next = self.clone();
        next.inputs.insert(name.to_string(), Known { input, adapted: true, ..known });
        let row = vec![""; next.known(name)?.input.texts()];
        next.encode(name, &row)?;
        *self = next;
        Ok(())
    }

    /// The layers that have another vocabulary than the object, as JSON by name; nothing if there are none.
    #[cfg(feature = "safetensors")]
    pub fn adapted(&self) -> Option<String> {
        let adapted = self.inputs.iter().filter(|(_, known)| known.adapted);
        let forms: BTreeMap<&str, &TextInput> = adapted.map(|(name, known)| (name.as_str(), &known.input)).collect();
        if forms.is_empty() { None } else { serde_json::to_string(&forms).ok() }
    }

    /// The same layers with those that [`Texts::adapted`] gave.
    #[cfg(feature = "safetensors")]
    pub fn restored(&self, forms: &str) -> Result<Texts, Error> {
        let forms: BTreeMap<String, TextInput> = serde_json::from_str(forms).map_err(|why| failed(why.to_string()))?;
        let mut texts = self.clone();
        for (name, input) in forms {
            texts.replace(&name, input)?;
        }
        Ok(texts)
    }
}

impl Model {
    /// The layer that makes an input of text.
    pub fn text(&self, input: &str) -> Result<&TextInput, Error> {
        Ok(&self.texts().known(input)?.input)
    }

    /// The argument of a call that some texts are: a row for each, or for as many as an item has.
    pub fn encode(&self, input: &str, texts: &[&str]) -> Result<Encoded, Error> {
        self.texts().encode(input, texts)
    }

    /// Learns the vocabulary of a text input anew. It is saved with the weights from then on.
    ///
    /// # Errors
    /// If the vocabulary gives rows of another length than the model was compiled for: encodings need a fixed number of
    /// columns, which `max_tokens` with `pad_to_max_tokens` gives.
    pub fn adapt(&mut self, input: &str, texts: &[&str]) -> Result<(), Error> {
        let mut layer = self.text(input)?.clone();
        layer.adapt(texts)?;
        self.texts_mut().replace(input, layer)
    }
}
