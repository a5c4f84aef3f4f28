//! Keras's helpers for lists of words and labels.

use super::{failed, hash};
use crate::error::Error;

/// The beginning or the end of a sequence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    Pre,
    Post,
}

/// Sequences of one length, one after the other: longer ones are cut and shorter ones filled up with `value`, each at
/// the side that is named. `None` is the length of the longest. Keras's `pad_sequences`, whose defaults are `Side::Pre`
/// for both.
///
/// ```
/// use bakelite::text::{Side, pad_sequences};
/// let rows = pad_sequences(&[vec![1], vec![2, 3, 4]], 2, Side::Pre, Side::Pre, 0);
/// assert_eq!(rows, [0, 1, 3, 4]);
/// ```
pub fn pad_sequences<T: Clone, S: AsRef<[T]>>(
    sequences: &[S],
    maxlen: impl Into<Option<usize>>,
    padding: Side,
    truncating: Side,
    value: T,
) -> Vec<T> {
    let longest = || sequences.iter().map(|s| s.as_ref().len()).max().unwrap_or(0);
    let length = maxlen.into().unwrap_or_else(longest);
    let mut rows = Vec::with_capacity(length * sequences.len());
    for sequence in sequences {
        let sequence = sequence.as_ref();
        let kept = match truncating {
            Side::Pre => &sequence[sequence.len().saturating_sub(length)..],
            Side::Post => &sequence[..sequence.len().min(length)],
        };
        let fill = std::iter::repeat_n(value.clone(), length - kept.len());
        match padding {
            Side::Pre => rows.extend(fill.chain(kept.iter().cloned())),
            Side::Post => rows.extend(kept.iter().cloned().chain(fill)),
        }
    }
    rows
}

/// A row of zeros with a one for each label. `None` is one class more than the largest label. Fails at a label that is
/// no class, where Keras counts negative ones from the end.
pub fn to_categorical(labels: &[i32], num_classes: impl Into<Option<usize>>) -> Result<Vec<f32>, Error> {
    let most = || labels.iter().max().map_or(0, |most| usize::try_from(*most).map_or(0, |most| most + 1));
    let classes = num_classes.into().unwrap_or_else(most);
    let mut rows = vec![0.0; classes * labels.len()];
    for (row, &label) in labels.iter().enumerate() {
        match usize::try_from(label).ok().filter(|label| *label < classes) {
            Some(label) => rows[row * classes + label] = 1.0,
            None => return Err(failed(format!("row {row} has the label {label}, there are {classes} classes"))),
        }
    }
    Ok(rows)
}

/// The characters that separate words besides spaces, by default.
const FILTERS: &str = "!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n";

/// The words of a text in lower case: what is between spaces, tabs, line ends and punctuation except the apostrophe.
pub fn text_to_word_sequence(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let separates = |c: char| c == ' ' || FILTERS.contains(c);
    lower.split(separates).filter(|word| !word.is_empty()).map(str::to_string).collect()
}

/// The hash of a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum WordHash {
    /// Keras's `"md5"`. Its default is Python's `hash`, which is another one in every process.
    #[default]
    Md5,
    /// FarmHash: as good, and faster.
    Farmhash,
}

/// The words of a text as numbers from 1 to `n - 1`, by a hash; different words may get one number. For `n` below 2,
/// every number is 1.
pub fn hashing_trick(text: &str, n: usize, hash: WordHash) -> Vec<i32> {
    let range = n.saturating_sub(1).clamp(1, i32::MAX as usize) as u128;
    let number = |word: &String| match hash {
        WordHash::Md5 => hash::md5(word.as_bytes()),
        WordHash::Farmhash => hash::fingerprint(word.as_bytes()).into(),
    };
    text_to_word_sequence(text).iter().map(|word| (number(word) % range) as i32 + 1).collect()
}

/// [`hashing_trick`] with the default hash.
pub fn one_hot(text: &str, n: usize) -> Vec<i32> {
    hashing_trick(text, n, WordHash::default())
}
