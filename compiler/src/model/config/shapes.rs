use serde::{Deserialize, Deserializer};

#[derive(Deserialize)]
#[serde(untagged, expecting = "a whole number that is not negative, or one for each axis")]
enum Extents {
    Every(usize),
    Each(Vec<usize>),
}

/// An extent for each of `N` axes: a list, or one number for all of them.
pub(crate) fn extents<'de, const N: usize, D: Deserializer<'de>>(deserializer: D) -> Result<[usize; N], D::Error> {
    match Extents::deserialize(deserializer)? {
        Extents::Every(n) => Ok([n; N]),
        Extents::Each(list) => list.try_into().map_err(|list: Vec<usize>| {
            serde::de::Error::custom(format!("{} extents, where {N} are needed", list.len()))
        }),
    }
}
