//! Text and categories on the way into a model: Keras's layers `TextVectorization`, `StringLookup`, `IntegerLookup`
//! and `Hashing`, which work on the host, before a call.
//!
//! Their arguments, defaults and results are Keras's, and serde reads and writes Keras's `get_config()`, with the
//! vocabulary inside. A model that was described with one of them as its first layer has it under the name of its input:
//!
//! ```ignore
//! let train = Data::new().text("review", &texts).target("positive", &labels);
//! model.fit(&train, Fit::epochs(5))?;
//! let score = model.predict_one("a slow film, but a good one")?;
//! ```
//!
//! They also work alone:
//!
//! ```
//! use bakelite::text::TextVectorization;
//!
//! let mut words = TextVectorization::new().max_tokens(1000).output_sequence_length(4);
//! words.adapt(&["The cat sat.", "The dog sat, too."]);
//! assert_eq!(words.get_vocabulary(), ["", "[UNK]", "the", "sat", "too", "dog", "cat"]);
//! assert_eq!(words.call(&["A dog!"])?.ints(), [1, 5, 0, 0]);
//! # Ok::<(), bakelite::Error>(())
//! ```

mod hash;
mod hashing;
mod index;
mod input;
mod lookup;
mod model;
mod sequences;
mod tokens;
mod vectorization;

use serde::{Deserialize, Serialize};

pub use hashing::{Hashing, MaskValue};
pub use index::{OovMethod, Salt};
pub use input::{TextInput, TextLayer};
pub use lookup::{Arguments, IntegerLookup, StringLookup};
pub(crate) use model::Texts;
pub use sequences::{Side, WordHash, hashing_trick, one_hot, pad_sequences, text_to_word_sequence, to_categorical};
pub use tokens::{Ngrams, Split, Standardize};
pub use vectorization::TextVectorization;

use crate::dtype::Input;
use crate::error::Error;

/// What categories become.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputMode {
    /// Their numbers.
    #[default]
    Int,
    /// A row of zeros with a one for each.
    OneHot,
    /// One row for all of an item, with a one where a category occurs.
    #[serde(alias = "binary")]
    MultiHot,
    /// One row for all of an item, with the number of times that each category occurs.
    Count,
    /// The same, times the weight of the category: of how few documents have it.
    #[serde(alias = "tf-idf")]
    TfIdf,
}

impl OutputMode {
    /// Adds the encoding of one row of indices. One hot, every index is a row of its own.
    fn encode(self, indices: &[Option<usize>], depth: usize, weights: Option<&[f32]>, into: &mut Encoded) {
        let rows = match into {
            Encoded::Ints(ints) => return ints.extend(indices.iter().map(|i| i.unwrap_or(0) as i32)),
            Encoded::Floats(rows) => rows,
        };
        if self == OutputMode::OneHot {
            for index in indices {
                let start = rows.len();
                rows.resize(start + depth, 0.0);
                index.filter(|i| *i < depth).into_iter().for_each(|i| rows[start + i] = 1.0);
            }
            return;
        }
        let start = rows.len();
        rows.resize(start + depth, 0.0);
        let row = &mut rows[start..];
        for &index in indices.iter().flatten().filter(|i| **i < depth) {
            row[index] = if self == OutputMode::MultiHot { 1.0 } else { row[index] + 1.0 };
        }
        for (count, weight) in row.iter_mut().zip(weights.unwrap_or_default()) {
            *count *= weight;
        }
    }

    /// Nothing yet, of the type that the mode gives.
    fn empty(self) -> Encoded {
        match self {
            OutputMode::Int => Encoded::Ints(Vec::new()),
            _ => Encoded::Floats(Vec::new()),
        }
    }
}

/// What a layer makes of text, row after row: an argument of a model.
#[derive(Clone, PartialEq, Debug)]
pub enum Encoded {
    /// Indices.
    Ints(Vec<i32>),
    /// Encodings of them.
    Floats(Vec<f32>),
}

impl Encoded {
    /// The indices; none of an encoding.
    pub fn ints(&self) -> &[i32] {
        match self {
            Encoded::Ints(ints) => ints,
            Encoded::Floats(_) => &[],
        }
    }

    /// The encoding; none of indices.
    pub fn floats(&self) -> &[f32] {
        match self {
            Encoded::Ints(_) => &[],
            Encoded::Floats(floats) => floats,
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.ints().len() + self.floats().len()
    }

    /// True without elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All elements, as an argument of a call.
    pub fn as_input(&self) -> Input<'_> {
        match self {
            Encoded::Ints(ints) => Input::new(ints),
            Encoded::Floats(floats) => Input::new(floats),
        }
    }
}

/// An error of a text layer.
fn failed(what: impl Into<String>) -> Error {
    Error::Text { what: what.into() }
}

/// Setters that take and give the value: `name = field: Type;`, `name = field: some Type;` for an optional field, and
/// `name = field: some into Type;` for whatever converts into it.
macro_rules! setters {
    () => {};
    ($(#[$doc:meta])* $name:ident = $($field:ident).+: some into $ty:ty; $($rest:tt)*) => {
        $(#[$doc])*
        pub fn $name(mut self, $name: impl Into<$ty>) -> Self {
            self.$($field).+ = Some($name.into());
            self
        }
        $crate::text::setters! { $($rest)* }
    };
    ($(#[$doc:meta])* $name:ident = $($field:ident).+: some $ty:ty; $($rest:tt)*) => {
        $(#[$doc])*
        pub fn $name(mut self, $name: $ty) -> Self {
            self.$($field).+ = Some($name);
            self
        }
        $crate::text::setters! { $($rest)* }
    };
    ($(#[$doc:meta])* $name:ident = $($field:ident).+: $ty:ty; $($rest:tt)*) => {
        $(#[$doc])*
        pub fn $name(mut self, $name: $ty) -> Self {
            self.$($field).+ = $name;
            self
        }
        $crate::text::setters! { $($rest)* }
    };
}

use setters;

#[cfg(test)]
mod tests;
