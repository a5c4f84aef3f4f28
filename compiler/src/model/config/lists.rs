//! Arguments that are one value or a list of values.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    fn list(self) -> Vec<T> {
        match self {
            OneOrMany::One(x) => vec![x],
            OneOrMany::Many(list) => list,
        }
    }
}

/// A list, which is written as a value where it has one.
#[derive(Clone)]
pub(crate) struct List<T>(pub Vec<T>);

impl<T: Serialize> Serialize for List<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => one.serialize(serializer),
            many => many.serialize(serializer),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<List<T>, D::Error> {
        OneOrMany::deserialize(deserializer).map(|x| List(x.list()))
    }
}

/// For fields: `#[serde(with = "optional_list")]`.
pub(crate) mod optional_list {
    use super::{Deserialize, Deserializer, List, Serialize, Serializer};

    pub fn serialize<T: Serialize + Clone, S: Serializer>(
        list: &Option<Vec<T>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        list.clone().map(List).serialize(serializer)
    }

    pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Vec<T>>, D::Error> {
        Option::<List<T>>::deserialize(deserializer).map(|list| list.map(|list| list.0))
    }
}
