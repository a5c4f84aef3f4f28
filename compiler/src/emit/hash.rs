//! Which build something comes from, as a few letters in its symbols.

use bakelite::abi::ABI_VERSION;

/// A hash of everything that goes into an object: two builds that differ in any of it have different symbols. It begins
/// with the version of this crate, and never changes from run to run (64-bit FNV-1a).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hash(u64);

impl Hash {
    pub fn new() -> Hash {
        Hash(0xcbf2_9ce4_8422_2325).text(env!("CARGO_PKG_VERSION")).text(&ABI_VERSION.to_string())
    }

    /// With one more part; where parts begin and end matters.
    pub fn text(self, part: &str) -> Hash {
        let bytes = part.bytes().chain([0xff]);
        Hash(bytes.fold(self.0, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)))
    }

    /// With the debugging text of a value.
    pub fn value(self, part: &impl std::fmt::Debug) -> Hash {
        self.text(&format!("{part:?}"))
    }
}

impl std::fmt::Display for Hash {
    /// Sixteen hexadecimal digits.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_their_borders_matter() {
        let hash = |parts: &[&str]| parts.iter().fold(Hash::new(), |hash, part| hash.text(part)).to_string();
        let all = [hash(&[]), hash(&["a"]), hash(&["a", ""]), hash(&["ab", "c"]), hash(&["a", "bc"])];
        assert!((0..all.len()).all(|i| all[..i].iter().all(|other| *other != all[i])));
        assert!(all.iter().all(|hash| hash.len() == 16));
        assert_eq!(hash(&["a"]), hash(&["a"]));
    }
}
