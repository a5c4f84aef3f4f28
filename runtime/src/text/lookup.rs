//! Keras's `StringLookup` and `IntegerLookup`.

use serde::{Deserialize, Serialize, Serializer};

use super::index::{Lookup, OovMethod, Salt, Token};
use super::{Encoded, OutputMode, failed, setters};
use crate::error::Error;

/// Replaces strings by their places in a vocabulary, or by encodings of these: Keras's layer of this name.
///
/// Index 0 stands for strings that are not in the vocabulary; a mask token goes before it. Several indices for unknown
/// strings are shared out by a hash.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct StringLookup {
    #[serde(flatten)]
    pub(super) lookup: Lookup<String>,
    encoding: String,
}

impl Default for StringLookup {
    fn default() -> StringLookup {
        StringLookup { lookup: Lookup::default(), encoding: "utf-8".to_string() }
    }
}

/// Replaces integers by their places in a vocabulary, or by encodings of these: Keras's layer of this name.
///
/// Index 0 stands for integers that are not in the vocabulary; a mask token goes before it.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct IntegerLookup {
    #[serde(flatten)]
    pub(super) lookup: Lookup<i64>,
    vocabulary_dtype: String,
}

impl Default for IntegerLookup {
    fn default() -> IntegerLookup {
        IntegerLookup { lookup: Lookup::default(), vocabulary_dtype: "int64".to_string() }
    }
}

impl Serialize for StringLookup {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Form<'a> {
            #[serde(flatten)]
            lookup: Lookup<String>,
            encoding: &'a str,
        }
        Form { lookup: self.lookup.sized(), encoding: &self.encoding }.serialize(serializer)
    }
}

impl Serialize for IntegerLookup {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Form<'a> {
            #[serde(flatten)]
            lookup: Lookup<i64>,
            vocabulary_dtype: &'a str,
        }
        Form { lookup: self.lookup.sized(), vocabulary_dtype: &self.vocabulary_dtype }.serialize(serializer)
    }
}

macro_rules! lookups {
    ($($class:ident: $name:literal of $token:ty;)+) => { $(
        impl $class {
            /// Without a vocabulary: it is given with `vocabulary`, or learnt with `adapt`.
            pub fn new() -> $class {
                $class::default()
            }

            setters! {
                /// The largest size of the vocabulary, with the indices of masked and unknown tokens.
                max_tokens = lookup.max_tokens: some usize;
                /// Indices for tokens that are not in the vocabulary. Without any, such a token is an error.
                num_oov_indices = lookup.num_oov_indices: usize;
                /// The token that becomes index 0 and counts nowhere.
                mask_token = lookup.mask_token: some into $token;
                /// What stands for unknown tokens in the way back.
                oov_token = lookup.oov_token: some into $token;
                output_mode = lookup.output_mode: OutputMode;
                /// Whether encodings have `max_tokens` columns, however small the vocabulary is.
                pad_to_max_tokens = lookup.pad_to_max_tokens: bool;
                /// Whether the layer is for the way back, from indices to tokens.
                invert = lookup.invert: bool;
                /// The weights of the tokens of the vocabulary, for `OutputMode::TfIdf`.
                idf_weights = lookup.idf_weights: some into Vec<f32>;
                /// The key of the hash that shares out unknown tokens.
                salt = lookup.salt: some into Salt;
            }

            /// Learns the vocabulary of some tokens, each a document of its own for the weights.
            pub fn adapt<S: Clone + Into<$token>>(&mut self, data: &[S]) {
                self.lookup.adapt(data.iter().map(|token| [token.clone().into()]));
            }

            /// Learns the vocabulary of documents, which are lists of tokens.
            pub fn adapt_documents<S: Clone + Into<$token>>(&mut self, documents: &[impl AsRef<[S]>]) {
                let tokens = |list: &[S]| list.iter().map(|token| token.clone().into()).collect::<Vec<$token>>();
                self.lookup.adapt(documents.iter().map(|document| tokens(document.as_ref())));
            }

            /// Replaces the vocabulary. For `OutputMode::TfIdf` it comes with weights.
            pub fn set_vocabulary(
                &mut self,
                vocabulary: impl IntoIterator<Item = impl Into<$token>>,
                idf_weights: Option<Vec<f32>>,
            ) -> Result<(), Error> {
                let mut next = self.clone();
                next.lookup.set_vocabulary(Some(vocabulary.into_iter().map(Into::into).collect()), idf_weights);
                next.check().map_err(failed)?;
                *self = next;
                Ok(())
            }

            /// The vocabulary: a token's place is its index.
            pub fn get_vocabulary(&self) -> Vec<$token> {
                self.lookup.whole()
            }

            /// Size of the vocabulary, with the indices of masked and unknown tokens.
            pub fn vocabulary_size(&self) -> usize {
                self.lookup.size()
            }

            /// What is wrong with the arguments or the vocabulary.
            pub fn check(&self) -> Result<(), String> {
                self.lookup.check($name)
            }

            /// The token of an index: what Keras's layer gives with `invert`.
            pub fn token(&self, index: i32) -> Option<&$token> {
                self.lookup.token(index)
            }

            /// The arguments, for whoever builds the layer into something else.
            pub fn arguments(&self) -> Arguments<'_, $token> {
                let Lookup { num_oov_indices, mask_token, output_mode, invert, oov_method, .. } = &self.lookup;
                Arguments {
                    tokens: self.lookup.tokens(),
                    mask_token: mask_token.as_ref(),
                    unknown_start: self.lookup.unknown_start(),
                    num_oov_indices: *num_oov_indices,
                    hashed: *oov_method == OovMethod::Farmhash,
                    output_mode: *output_mode,
                    depth: self.lookup.depth(),
                    weights: self.lookup.weights(),
                    invert: *invert,
                }
            }

            fn encode(&self, tokens: &[$token], row: usize) -> Result<Encoded, Error> {
                self.check().map_err(failed)?;
                let mode = self.lookup.output_mode;
                let mut result = mode.empty();
                let depth = match (mode, self.lookup.depth()) {
                    (OutputMode::Int, _) => 0,
                    (_, Some(depth)) => depth,
                    (_, None) => return Err(failed(concat!($name, " has no vocabulary yet: give or adapt one"))),
                };
                let weights = self.lookup.weights();
                for row in tokens.chunks(row.max(1)) {
                    let indices = self.lookup.indices(row).map_err(|token| unknown($name, token))?;
                    mode.encode(&indices, depth, weights.as_deref(), &mut result);
                }
                Ok(result)
            }
        }
    )+ };
}

lookups! {
    StringLookup: "StringLookup" of String;
    IntegerLookup: "IntegerLookup" of i64;
}

pub(super) fn unknown<T: Token>(class: &str, token: &T) -> Error {
    failed(format!("{class} without oov indices: {token:?} is not in the vocabulary"))
}

/// The parts of a lookup that its result depends on.
pub struct Arguments<'a, T> {
    /// The vocabulary without special tokens.
    pub tokens: &'a [T],
    pub mask_token: Option<&'a T>,
    /// The first index of unknown tokens; those of the vocabulary follow behind.
    pub unknown_start: usize,
    pub num_oov_indices: usize,
    /// Whether unknown tokens are shared out by a hash.
    pub hashed: bool,
    pub output_mode: OutputMode,
    /// The width of encodings, where it is known.
    pub depth: Option<usize>,
    /// The weights of the columns of an encoding.
    pub weights: Option<Vec<f32>>,
    pub invert: bool,
}

impl StringLookup {
    /// Gives the vocabulary, with the special tokens at its start or without them.
    pub fn vocabulary<S: Into<String>>(mut self, tokens: impl IntoIterator<Item = S>) -> StringLookup {
        let tokens = tokens.into_iter().map(Into::into).collect();
        let weights = self.lookup.idf_weights.take();
        self.lookup.set_vocabulary(Some(tokens), weights);
        self
    }

    /// Looks up texts, `row` of which belong together: encodings of several have one row for them.
    pub fn call_rows(&self, texts: &[&str], row: usize) -> Result<Encoded, Error> {
        let tokens: Vec<String> = texts.iter().map(|t| t.to_string()).collect();
        self.encode(&tokens, row)
    }

    /// Looks up texts, each on its own.
    pub fn call(&self, texts: &[&str]) -> Result<Encoded, Error> {
        self.call_rows(texts, 1)
    }
}

impl IntegerLookup {
    /// Gives the vocabulary, with the special tokens at its start or without them.
    pub fn vocabulary(mut self, tokens: impl IntoIterator<Item = i64>) -> IntegerLookup {
        let weights = self.lookup.idf_weights.take();
        self.lookup.set_vocabulary(Some(tokens.into_iter().collect()), weights);
        self
    }

    /// Shares out unknown integers by a hash of their digits, where there are several indices for them; by default it
    /// is by their remainders.
    pub fn oov_method(mut self, method: OovMethod) -> IntegerLookup {
        self.lookup.oov_method = method;
        self
    }

    /// Looks up integers, `row` of which belong together: encodings of several have one row for them.
    pub fn call_rows(&self, values: &[i64], row: usize) -> Result<Encoded, Error> {
        self.encode(values, row)
    }

    /// Looks up integers, each on its own.
    pub fn call(&self, values: &[i64]) -> Result<Encoded, Error> {
        self.call_rows(values, 1)
    }
}
