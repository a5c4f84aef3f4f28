//! The vocabulary behind lookups of strings and integers, generic over what is looked up.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::{OutputMode, hash};

/// What can be in a vocabulary.
pub trait Token: Clone + Ord + Hash + std::fmt::Debug {
    /// The token that stands for all that are in no vocabulary, by default.
    fn unknown() -> Self;

    /// What hashes are made of.
    fn text(&self) -> String;

    /// The remainder of an integer; none of a text.
    fn remainder(&self, buckets: usize) -> Option<usize>;
}

impl Token for String {
    fn unknown() -> String {
        "[UNK]".to_string()
    }

    fn text(&self) -> String {
        self.clone()
    }

    fn remainder(&self, _buckets: usize) -> Option<usize> {
        None
    }
}

impl Token for i64 {
    fn unknown() -> i64 {
        -1
    }

    fn text(&self) -> String {
        self.to_string()
    }

    fn remainder(&self, buckets: usize) -> Option<usize> {
        Some(self.rem_euclid(buckets as i64) as usize)
    }
}

/// How integers that are in no vocabulary are divided into buckets, where there are several.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OovMethod {
    /// By their remainder.
    #[default]
    Floormod,
    /// By FarmHash of their digits.
    Farmhash,
}

/// The key of a hash: two numbers, or one for both.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(from = "SaltForm", into = "[u64; 2]")]
pub struct Salt(pub [u64; 2]);

#[derive(Deserialize)]
#[serde(untagged)]
enum SaltForm {
    One(u64),
    Two([u64; 2]),
}

impl From<SaltForm> for Salt {
    fn from(form: SaltForm) -> Salt {
        match form {
            SaltForm::One(key) => Salt([key; 2]),
            SaltForm::Two(keys) => Salt(keys),
        }
    }
}

impl From<Salt> for [u64; 2] {
    fn from(salt: Salt) -> [u64; 2] {
        salt.0
    }
}

impl From<u64> for Salt {
    fn from(key: u64) -> Salt {
        Salt([key; 2])
    }
}

impl From<[u64; 2]> for Salt {
    fn from(keys: [u64; 2]) -> Salt {
        Salt(keys)
    }
}

/// The bucket of a text among so many.
pub fn bucket(text: &str, buckets: usize, salt: Option<Salt>) -> usize {
    let hash = match salt {
        Some(Salt(key)) => hash::keyed(text.as_bytes(), key),
        None => hash::fingerprint(text.as_bytes()),
    };
    (hash % buckets as u64) as usize
}

/// The arguments of Keras's lookups.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, bound(deserialize = "T: Token + Deserialize<'de>"))]
pub struct Lookup<T> {
    pub max_tokens: Option<usize>,
    pub num_oov_indices: usize,
    pub mask_token: Option<T>,
    pub oov_token: Option<T>,
    /// As it was given: with the tokens that stand for masked and unknown ones, or without them.
    pub vocabulary: Option<Vec<T>>,
    pub idf_weights: Option<Vec<f32>>,
    pub invert: bool,
    pub output_mode: OutputMode,
    pub pad_to_max_tokens: bool,
    pub oov_method: OovMethod,
    pub salt: Option<Salt>,
    /// The size of a vocabulary that is not here.
    pub vocabulary_size: Option<usize>,
    /// The index of every token of the vocabulary, once someone has asked.
    #[serde(skip)]
    pub(super) places: OnceLock<HashMap<T, usize>>,
}

impl<T: Token> Default for Lookup<T> {
    fn default() -> Lookup<T> {
        Lookup {
            max_tokens: None,
            num_oov_indices: 1,
            mask_token: None,
            oov_token: Some(T::unknown()),
            vocabulary: None,
            idf_weights: None,
            invert: false,
            output_mode: OutputMode::Int,
            pad_to_max_tokens: false,
            oov_method: OovMethod::Floormod,
            salt: None,
            vocabulary_size: None,
            places: OnceLock::new(),
        }
    }
}

impl<T: Token> Lookup<T> {
    /// Whether index 0 is the mask's.
    fn masks(&self) -> bool {
        self.mask_token.is_some() && self.output_mode == OutputMode::Int
    }

    /// The index of the first bucket of unknown tokens.
    pub fn unknown_start(&self) -> usize {
        self.masks() as usize
    }

    /// The index of the first known token.
    pub fn token_start(&self) -> usize {
        self.unknown_start() + self.num_oov_indices
    }

    /// The tokens before those of the vocabulary.
    fn special(&self) -> Vec<Option<T>> {
        let mask = self.masks().then(|| self.mask_token.clone());
        mask.into_iter().chain(std::iter::repeat_n(self.oov_token.clone(), self.num_oov_indices)).collect()
    }

    /// Whether the vocabulary was given with the special tokens.
    fn has_special(&self) -> bool {
        let special = self.special();
        let vocabulary = self.vocabulary.as_deref().unwrap_or_default();
        vocabulary.len() >= special.len() && vocabulary.iter().zip(&special).all(|(a, b)| Some(a) == b.as_ref())
    }

    /// The vocabulary without the special tokens.
    pub fn tokens(&self) -> &[T] {
        let vocabulary = self.vocabulary.as_deref().unwrap_or_default();
        if self.has_special() { &vocabulary[self.token_start()..] } else { vocabulary }
    }

    /// The whole vocabulary: a token's place is its index.
    pub fn whole(&self) -> Vec<T> {
        let special = self.special().into_iter().map(|token| token.unwrap_or_else(T::unknown));
        special.chain(self.tokens().iter().cloned()).collect()
    }

    /// Indices in use.
    pub fn size(&self) -> usize {
        match (&self.vocabulary, self.vocabulary_size) {
            (None, Some(size)) => size,
            _ => self.token_start() + self.tokens().len(),
        }
    }

    /// The same arguments with the size of the vocabulary, as Keras writes them.
    pub fn sized(&self) -> Lookup<T> {
        let size = self.vocabulary.as_ref().map(|_| self.size()).or(self.vocabulary_size);
        Lookup { vocabulary_size: size, ..self.clone() }
    }

    /// The width of a row of an encoding, `None` where it is not known yet.
    pub fn depth(&self) -> Option<usize> {
        match (self.pad_to_max_tokens, &self.vocabulary, self.vocabulary_size) {
            (true, ..) => self.max_tokens,
            (false, None, size) => size.filter(|size| *size > self.token_start()),
            (false, Some(_), _) => Some(self.size()),
        }
    }

    /// What is wrong with the arguments. `what` names the class.
    pub fn check(&self, what: &str) -> Result<(), String> {
        let fail = |why: String| Err(format!("{what} {why}"));
        match self.max_tokens {
            Some(n) if n < 2 => return fail(format!("with max_tokens {n}: must be more than 1")),
            None if self.pad_to_max_tokens => return fail("with pad_to_max_tokens and without max_tokens".into()),
            _ => {}
        }
        let by_remainder = self.oov_method == OovMethod::Floormod && T::unknown().remainder(1).is_some();
        if self.salt.is_some() && by_remainder {
            return fail("with a salt, which only OovMethod::Farmhash uses".into());
        }
        if self.invert && self.output_mode != OutputMode::Int {
            return fail("with invert gives tokens, which have no other output mode than Int".into());
        }
        if self.idf_weights.is_some() && self.output_mode != OutputMode::TfIdf {
            return fail("with idf_weights and another output mode than TfIdf".into());
        }
        let Some(vocabulary) = &self.vocabulary else { return Ok(()) };
        if vocabulary.is_empty() {
            return fail("with an empty vocabulary".into());
        }
        let tokens = self.tokens();
        let mut sorted: Vec<&T> = tokens.iter().collect();
        sorted.sort_unstable();
        if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return fail(format!("with {:?} twice in its vocabulary", twice[0]));
        }
        let oov = self.oov_token.as_ref().filter(|_| self.invert);
        if let Some(token) = self.mask_token.as_ref().into_iter().chain(oov).find(|t| tokens.contains(t)) {
            let start: Vec<T> = self.special().into_iter().flatten().collect();
            return fail(format!(
                "with {token:?} among the tokens of its vocabulary: give the special tokens at the start, as {start:?}, or leave them out"
            ));
        }
        match self.max_tokens {
            Some(most) if self.size() > most => {
                return fail(format!("with a vocabulary of {} and max_tokens {most}", self.size()));
            }
            _ => {}
        }
        match &self.idf_weights {
            Some(weights) if weights.len() != vocabulary.len() => {
                fail(format!("with {} idf_weights for a vocabulary of {}", weights.len(), vocabulary.len()))
            }
            None if self.output_mode == OutputMode::TfIdf => fail("with a vocabulary and without idf_weights".into()),
            _ => Ok(()),
        }
    }

    /// The weight of every index of an encoding: those of unknown tokens weigh the mean.
    pub fn weights(&self) -> Option<Vec<f32>> {
        let given = self.idf_weights.as_ref()?;
        let mean = given.iter().map(|x| f64::from(*x)).sum::<f64>() / given.len().max(1) as f64;
        let missing = if self.has_special() { 0 } else { self.token_start() };
        let mut all: Vec<f32> = std::iter::repeat_n(mean as f32, missing).chain(given.iter().copied()).collect();
        all.resize(self.depth().unwrap_or(all.len()).max(all.len()), 0.0);
        Some(all)
    }

    /// Replaces the vocabulary, with the weights of its tokens where the output mode has any.
    pub fn set_vocabulary(&mut self, vocabulary: Option<Vec<T>>, idf_weights: Option<Vec<f32>>) {
        self.vocabulary = vocabulary;
        self.idf_weights = idf_weights;
        self.places = OnceLock::new();
    }

    /// Learns the vocabulary of documents, which are lists of tokens: the most frequent tokens first, equally frequent
    /// ones in falling order. Weights are `ln(1 + documents / (1 + documents with the token))`.
    pub fn adapt<D: AsRef<[T]>>(&mut self, documents: impl Iterator<Item = D>) {
        #[derive(Default)]
        struct Count {
            tokens: usize,
            documents: usize,
            last: usize,
        }
        let mut counts: HashMap<T, Count> = HashMap::new();
        let mut total = 0;
        for document in documents {
            total += 1;
            for token in document.as_ref() {
                if !counts.contains_key(token) {
                    counts.insert(token.clone(), Count::default());
                }
                let Some(count) = counts.get_mut(token) else { continue };
                count.tokens += 1;
                count.documents += (count.last != total) as usize;
                count.last = total;
            }
        }
        let special = [self.mask_token.as_ref(), self.oov_token.as_ref()];
        counts.retain(|token, _| !special.contains(&Some(token)));
        let mut found: Vec<(T, Count)> = counts.into_iter().collect();
        found.sort_unstable_by(|(a, x), (b, y)| (y.tokens, b).cmp(&(x.tokens, a)));
        if let Some(most) = self.max_tokens {
            found.truncate(most.saturating_sub(self.token_start()));
        }
        let weight = |count: &Count| (1.0 + total as f64 / (1.0 + count.documents as f64)).ln() as f32;
        let weights: Vec<f32> = found.iter().map(|(_, count)| weight(count)).collect();
        let vocabulary: Vec<T> = found.into_iter().map(|(token, _)| token).collect();
        self.vocabulary_size = Some(self.token_start() + vocabulary.len());
        let known = !vocabulary.is_empty();
        let weights = Some(weights).filter(|_| known && self.output_mode == OutputMode::TfIdf);
        self.set_vocabulary(Some(vocabulary).filter(|_| known), weights);
    }

    /// The index of every token; none for a masked one in an encoding. Fails at a token that has no index.
    pub fn indices<'t>(&self, tokens: &'t [T]) -> Result<Vec<Option<usize>>, &'t T> {
        let places = self.places.get_or_init(|| {
            let tokens = self.tokens().iter().cloned();
            tokens.zip(self.token_start()..).collect()
        });
        let index = |token: &'t T| {
            if self.mask_token.as_ref() == Some(token) {
                return Ok((self.output_mode == OutputMode::Int).then_some(0));
            }
            if let Some(place) = places.get(token) {
                return Ok(Some(*place));
            }
            let bucket = match self.num_oov_indices {
                0 => return Err(token),
                1 => 0,
                buckets => match (self.oov_method, token.remainder(buckets)) {
                    (OovMethod::Floormod, Some(bucket)) => bucket,
                    _ => bucket(&token.text(), buckets, self.salt),
                },
            };
            Ok(Some(self.unknown_start() + bucket))
        };
        tokens.iter().map(index).collect()
    }

    /// The token of an index: that of unknown ones where there is none.
    pub fn token(&self, index: i32) -> Option<&T> {
        let Ok(index) = usize::try_from(index) else { return self.oov_token.as_ref() };
        match index.checked_sub(self.token_start()) {
            Some(place) => self.tokens().get(place).or(self.oov_token.as_ref()),
            None if self.masks() && index == 0 => self.mask_token.as_ref(),
            None => self.oov_token.as_ref(),
        }
    }
}
