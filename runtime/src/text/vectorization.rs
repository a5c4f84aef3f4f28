//! Keras's `TextVectorization`.

use serde::{Deserialize, Serialize};

use super::index::Lookup;
use super::lookup::unknown;
use super::tokens::{Ngrams, Split, Standardize, Tokenizer};
use super::{Encoded, OutputMode, failed, setters};
use crate::error::Error;

/// Replaces texts by the indices of their words, or by encodings of these: Keras's layer of this name.
///
/// Texts are standardised, split into tokens, and looked up. In the output mode `Int`, index 0 is padding and index 1
/// stands for tokens that are not in the vocabulary; in the others, column 0 stands for these.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "Form", into = "Form")]
pub struct TextVectorization {
    standardize: Option<Standardize>,
    split: Option<Split>,
    ngrams: Option<Ngrams>,
    output_sequence_length: Option<usize>,
    encoding: String,
    lookup: Lookup<String>,
}

/// The arguments as Keras writes them.
#[derive(Clone, Serialize, Deserialize)]
#[serde(default)]
struct Form {
    max_tokens: Option<usize>,
    standardize: Option<Standardize>,
    split: Option<Split>,
    ngrams: Option<Ngrams>,
    output_mode: OutputMode,
    output_sequence_length: Option<usize>,
    pad_to_max_tokens: bool,
    vocabulary: Option<Vec<String>>,
    idf_weights: Option<Vec<f32>>,
    encoding: String,
    vocabulary_size: Option<usize>,
}

impl Default for Form {
    fn default() -> Form {
        Form {
            max_tokens: None,
            standardize: Some(Standardize::LowerAndStripPunctuation),
            split: Some(Split::Whitespace),
            ngrams: None,
            output_mode: OutputMode::Int,
            output_sequence_length: None,
            pad_to_max_tokens: false,
            vocabulary: None,
            idf_weights: None,
            encoding: "utf-8".to_string(),
            vocabulary_size: None,
        }
    }
}

impl From<Form> for TextVectorization {
    fn from(form: Form) -> TextVectorization {
        TextVectorization {
            standardize: form.standardize,
            split: form.split,
            ngrams: form.ngrams,
            output_sequence_length: form.output_sequence_length,
            encoding: form.encoding,
            lookup: Lookup {
                max_tokens: form.max_tokens,
                mask_token: Some(String::new()),
                vocabulary: form.vocabulary,
                idf_weights: form.idf_weights,
                output_mode: form.output_mode,
                pad_to_max_tokens: form.pad_to_max_tokens,
                vocabulary_size: form.vocabulary_size,
                ..Lookup::default()
            },
        }
    }
}

impl From<TextVectorization> for Form {
    fn from(layer: TextVectorization) -> Form {
        let vocabulary_size = Some(layer.vocabulary_size());
        let TextVectorization { standardize, split, ngrams, output_sequence_length, encoding, lookup } = layer;
        Form {
            max_tokens: lookup.max_tokens,
            standardize,
            split,
            ngrams,
            output_mode: lookup.output_mode,
            output_sequence_length,
            pad_to_max_tokens: lookup.pad_to_max_tokens,
            vocabulary: lookup.vocabulary,
            idf_weights: lookup.idf_weights,
            encoding,
            vocabulary_size,
        }
    }
}

impl Default for TextVectorization {
    fn default() -> TextVectorization {
        Form::default().into()
    }
}

impl TextVectorization {
    /// Without a vocabulary: it is given with [`TextVectorization::vocabulary`], or learnt with
    /// [`TextVectorization::adapt`].
    pub fn new() -> TextVectorization {
        TextVectorization::default()
    }

    setters! {
        /// The largest size of the vocabulary, with the indices of padding and unknown tokens.
        max_tokens = lookup.max_tokens: some usize;
        /// What is done to a text first; nothing where this is `None`.
        standardize = standardize: Option<Standardize>;
        /// Where a text is split; nowhere where this is `None`.
        split = split: Option<Split>;
        /// Makes tokens of runs of neighbouring tokens: up to a number of them, or of these numbers of them.
        ngrams = ngrams: some into Ngrams;
        output_mode = lookup.output_mode: OutputMode;
        /// Indices of a text in the output mode `Int`: more are cut off, fewer are filled up with 0. A layer of a
        /// model needs it.
        output_sequence_length = output_sequence_length: some usize;
        /// Whether encodings have `max_tokens` columns, however small the vocabulary is.
        pad_to_max_tokens = lookup.pad_to_max_tokens: bool;
        /// The weights of the tokens of the vocabulary, for `OutputMode::TfIdf`.
        idf_weights = lookup.idf_weights: some into Vec<f32>;
    }

    /// Gives the vocabulary, with `""` and `"[UNK]"` at its start or without them.
    pub fn vocabulary<S: Into<String>>(mut self, tokens: impl IntoIterator<Item = S>) -> TextVectorization {
        let weights = self.lookup.idf_weights.take();
        self.lookup.set_vocabulary(Some(tokens.into_iter().map(Into::into).collect()), weights);
        self
    }

    /// Learns the vocabulary of some texts, each a document of its own for the weights: the most frequent tokens first,
    /// as many as `max_tokens` admits.
    pub fn adapt<S: AsRef<str>>(&mut self, texts: &[S]) {
        let tokenizer = Tokenizer { standardize: self.standardize, split: self.split, ngrams: self.ngrams.as_ref() };
        self.lookup.adapt(texts.iter().map(|text| tokenizer.tokens(&[text.as_ref()])));
    }

    /// Replaces the vocabulary. For `OutputMode::TfIdf` it comes with weights.
    pub fn set_vocabulary(
        &mut self,
        vocabulary: impl IntoIterator<Item = impl Into<String>>,
        idf_weights: Option<Vec<f32>>,
    ) -> Result<(), Error> {
        let mut next = self.clone();
        next.lookup.set_vocabulary(Some(vocabulary.into_iter().map(Into::into).collect()), idf_weights);
        next.check().map_err(failed)?;
        *self = next;
        Ok(())
    }

    /// The vocabulary: a token's place is its index.
    pub fn get_vocabulary(&self) -> Vec<String> {
        self.lookup.whole()
    }

    /// Size of the vocabulary, with the indices of padding and unknown tokens.
    pub fn vocabulary_size(&self) -> usize {
        self.lookup.size()
    }

    /// The token of an index: the way back.
    pub fn token(&self, index: i32) -> Option<&str> {
        self.lookup.token(index).map(String::as_str)
    }

    /// What is wrong with the arguments or the vocabulary.
    pub fn check(&self) -> Result<(), String> {
        let fail = |why: &str| Err(format!("TextVectorization {why}"));
        if self.ngrams.as_ref().is_some_and(|ngrams| !ngrams.is_sound()) {
            return fail("with ngrams of no token");
        }
        match (self.lookup.output_mode, self.output_sequence_length) {
            (OutputMode::OneHot, _) => return fail("with OutputMode::OneHot: texts have any number of tokens"),
            (OutputMode::Int, Some(0)) => return fail("with output_sequence_length 0: must be at least 1"),
            (OutputMode::Int, _) | (_, None) => {}
            (_, Some(_)) => return fail("with output_sequence_length and another output mode than Int"),
        }
        self.lookup.check("TextVectorization")
    }

    /// Whether texts are split, so that a row is one text.
    pub fn splits(&self) -> bool {
        self.split.is_some()
    }

    /// Whether results are indices, not encodings.
    pub fn gives_indices(&self) -> bool {
        self.lookup.output_mode == OutputMode::Int
    }

    /// Elements of a row of the result, where that is known.
    pub fn width(&self) -> Option<usize> {
        if self.gives_indices() { self.output_sequence_length } else { self.lookup.depth() }
    }

    /// Vectorizes texts, a row for each. Without `output_sequence_length`, rows of indices are as long as the longest.
    pub fn call<S: AsRef<str>>(&self, texts: &[S]) -> Result<Encoded, Error> {
        self.call_rows(texts, 1)
    }

    /// The same for texts that are not split and of which several are a row.
    pub fn call_rows<S: AsRef<str>>(&self, texts: &[S], row: usize) -> Result<Encoded, Error> {
        self.check().map_err(failed)?;
        let tokenizer = Tokenizer { standardize: self.standardize, split: self.split, ngrams: self.ngrams.as_ref() };
        let indices = |texts: &[S]| {
            let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
            let tokens = tokenizer.tokens(&texts);
            self.lookup.indices(&tokens).map_err(|token| unknown("TextVectorization", token))
        };
        let rows = texts.chunks(row.max(1)).map(indices);
        let mode = self.lookup.output_mode;
        let mut result = mode.empty();
        if self.gives_indices() {
            let rows = rows.collect::<Result<Vec<_>, Error>>()?;
            let longest = || rows.iter().map(Vec::len).max().unwrap_or(0);
            let length = self.output_sequence_length.unwrap_or_else(longest);
            for mut row in rows {
                row.resize(length, Some(0));
                mode.encode(&row, 0, None, &mut result);
            }
            return Ok(result);
        }
        let depth = self.lookup.depth();
        let depth = depth.ok_or_else(|| failed("TextVectorization has no vocabulary yet: give or adapt one"))?;
        let weights = self.lookup.weights();
        for row in rows {
            mode.encode(&row?, depth, weights.as_deref(), &mut result);
        }
        Ok(result)
    }
}
