//! Enums whose variants are Keras classes.

use serde_json::Value;

use super::{Arguments, Object, object};
use crate::model::layer::snake_case;

/// How a variant is read from the arguments of its class.
pub(crate) type Row<T> = (&'static str, fn(&mut Arguments<'_>) -> T);

/// An enum whose variants are Keras classes: one row each in [`Family::CLASSES`], and one arm in [`Family::write`].
/// [`keras_family`] gives it its serde form: Keras's serialised object, where a name such as `glorot_uniform` or
/// `GlorotUniform` is read as the class with its default arguments.
pub(crate) trait Family: Sized + 'static {
    /// The Python module, such as `keras.initializers`.
    const MODULE: &'static str;
    /// The word in messages.
    const WHAT: &'static str;
    const CLASSES: &'static [Row<Self>];
    /// Other names of classes.
    const ALIASES: &'static [(&'static str, &'static str)] = &[];

    /// The class and its arguments.
    fn write(&self) -> (&'static str, Value);

    /// Reads a name or a serialised object.
    fn read(value: &Value) -> Result<Self, String> {
        let Object { class, config } = Object::parse(value)?;
        let wanted = Self::ALIASES.iter().find(|(alias, _)| *alias == class).map_or(class.as_str(), |(_, name)| name);
        let named = |row: &&Row<Self>| row.0 == wanted || snake_case(row.0) == wanted || row.0.to_lowercase() == wanted;
        let Some((class, read)) = Self::CLASSES.iter().find(named) else {
            let known: Vec<&str> = Self::CLASSES.iter().map(|row| row.0).collect();
            return Err(format!("no {} is called `{class}`; there are {}", Self::WHAT, known.join(", ")));
        };
        let mut arguments = Arguments::new(class, config.into_owned());
        let read = read(&mut arguments);
        arguments.finish().map_err(|problems| {
            let messages: Vec<String> = problems.into_iter().map(|p| p.message).collect();
            messages.join("; ")
        })?;
        Ok(read)
    }

    /// The serialised object.
    fn serialised(&self) -> Value {
        let (class, config) = self.write();
        object(Self::MODULE, class, config)
    }
}

/// Serde by [`Family::read`] and [`Family::write`].
macro_rules! keras_family {
    ($name:ty) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serde::Serialize::serialize(&$crate::model::config::Family::serialised(self), serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = <serde_json::Value as serde::Deserialize>::deserialize(deserializer)?;
                <$name as $crate::model::config::Family>::read(&value).map_err(serde::de::Error::custom)
            }
        }
    };
}

pub(crate) use keras_family;
