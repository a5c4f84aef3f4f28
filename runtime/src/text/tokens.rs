//! From texts to tokens.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// What is done to a text before it is split. Letters are lowered as in ASCII, and punctuation is that of ASCII.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standardize {
    LowerAndStripPunctuation,
    Lower,
    StripPunctuation,
}

impl Standardize {
    fn apply(self, text: &str) -> String {
        let lower = self != Standardize::StripPunctuation;
        let strip = self != Standardize::Lower;
        let kept = text.chars().filter(|c| !(strip && c.is_ascii_punctuation()));
        kept.map(|c| if lower { c.to_ascii_lowercase() } else { c }).collect()
    }
}

/// Where a text is split into tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// At runs of ASCII's white space, which also are left out at both ends.
    Whitespace,
    /// After every character (Unicode's code points).
    Character,
}

/// ASCII's white space as C knows it, with the vertical tab.
fn is_space(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\x0b'
}

/// Which runs of neighbouring tokens become tokens, in this order: those of each length, the tokens themselves only
/// where 1 is among the lengths.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Ngrams {
    /// All lengths up to one.
    UpTo(usize),
    /// These lengths.
    Of(Vec<usize>),
}

impl From<usize> for Ngrams {
    fn from(longest: usize) -> Ngrams {
        Ngrams::UpTo(longest)
    }
}

impl<const N: usize> From<[usize; N]> for Ngrams {
    fn from(lengths: [usize; N]) -> Ngrams {
        Ngrams::Of(lengths.to_vec())
    }
}

impl Ngrams {
    fn lengths(&self) -> Cow<'_, [usize]> {
        match self {
            Ngrams::UpTo(longest) => (1..=*longest).collect(),
            Ngrams::Of(lengths) => lengths.into(),
        }
    }

    /// Whether every length is at least 1.
    pub fn is_sound(&self) -> bool {
        match self {
            Ngrams::UpTo(longest) => *longest > 0,
            Ngrams::Of(lengths) => !lengths.is_empty() && !lengths.contains(&0),
        }
    }
}

/// How texts become tokens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tokenizer<'a> {
    pub standardize: Option<Standardize>,
    pub split: Option<Split>,
    pub ngrams: Option<&'a Ngrams>,
}

impl Tokenizer<'_> {
    /// The tokens of one row of texts: of a text, or where texts are not split, the texts themselves.
    pub fn tokens(&self, texts: &[&str]) -> Vec<String> {
        let standard = |text: &&str| self.standardize.map_or_else(|| text.to_string(), |s| s.apply(text));
        let texts = texts.iter().map(standard);
        let tokens: Vec<String> = match self.split {
            None => texts.collect(),
            Some(Split::Character) => texts.flat_map(|t| t.chars().map(String::from).collect::<Vec<_>>()).collect(),
            Some(Split::Whitespace) => texts
                .flat_map(|t| t.split(is_space).filter(|w| !w.is_empty()).map(str::to_string).collect::<Vec<_>>())
                .collect(),
        };
        match self.ngrams {
            None => tokens,
            Some(ngrams) => {
                let lengths = ngrams.lengths();
                lengths.iter().flat_map(|n| tokens.windows((*n).max(1)).map(|run| run.join(" "))).collect()
            }
        }
    }
}
