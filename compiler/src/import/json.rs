//! JSON from outside, bounded before it is parsed.
//!
//! A parsed value takes more memory than its text, and how much depends on what it is made of: a list of digits takes 12
//! times its text, a list of small objects 80 times. So the text is looked through first, and what it would take is
//! held against [`budget`]. Text and values together stay below 16 times the text, and a constant.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::model::config::infinite;

/// How deep values may nest, as in `serde_json`.
const MAX_DEPTH: usize = 128;
/// Bytes of parsed values for each byte of text. What Keras writes takes up to 14 as far as it is layers, and 5 to 10
/// where it is long: in lists of words and of numbers.
const EXPANSION: usize = 15;
/// Bytes of parsed values that any text may have.
const FLOOR: usize = 16 << 20;

/// A value in a list or an object.
const VALUE: usize = size_of::<Value>();
/// The least that a block of memory takes, and what it takes beside its content.
const BLOCK: usize = 32;
const HEADER: usize = 16;
/// A node of an object's tree, and how many keys the first one and those after it hold.
const NODE: usize = 640;
const FIRST: usize = 11;
const LATER: usize = 6;

/// The bytes that may be made of a text of this length.
pub(super) fn budget(length: usize) -> usize {
    length.saturating_mul(EXPANSION).saturating_add(FLOOR)
}

/// The bytes that a string takes outside of its value.
pub(super) fn text_bytes(length: usize) -> usize {
    if length == 0 { 0 } else { BLOCK.max(length + HEADER) }
}

/// The bytes of a list of this many short texts, of a text of this length.
#[cfg(feature = "keras")]
pub(super) fn list_bytes(texts: usize, length: usize) -> usize {
    texts.saturating_mul(VALUE + BLOCK).saturating_add(length)
}

/// Parses a text whose values take no more memory than its [`budget`]. Numbers that are not finite become what
/// [`infinite`] has for them.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let (length, most) = (text.len(), budget(text.len()));
    let text = infinite::replaced(text);
    let bytes = estimate(text.as_bytes())?;
    if bytes > most {
        return Err(format!(
            "its {length} bytes hold too many values: they would take {bytes} bytes, more than {most}"
        ));
    }
    serde_json::from_str(&text).map(|Tight(value)| value).map_err(|e| format!("this is no JSON: {e}"))
}

/// A value whose lists and strings have no room left: `serde_json` gives a list of one number room for four.
struct Tight(Value);

impl<'de> Deserialize<'de> for Tight {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Tight, D::Error> {
        struct Build;

        impl<'de> Visitor<'de> for Build {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value of JSON")
            }

            fn visit_unit<E: Error>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
                Ok(Value::Bool(value))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
                Ok(Value::Number(value.into()))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
                Ok(Value::Number(value.into()))
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
                Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number that is not finite"))
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
                Ok(Value::String(value.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
                let mut values = Vec::new();
                while let Some(Tight(value)) = list.next_element()? {
                    values.push(value);
                }
                values.shrink_to_fit();
                Ok(Value::Array(values))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
                let mut values = Map::new();
                while let Some((mut key, Tight(value))) = object.next_entry::<String, _>()? {
                    key.shrink_to_fit();
                    values.insert(key, value);
                }
                Ok(Value::Object(values))
            }
        }

        from.deserialize_any(Build).map(Tight)
    }
}

/// The bytes that a text takes when it is parsed, or more. What is no JSON has some estimate too.
fn estimate(text: &[u8]) -> Result<usize, String> {
    let mut bytes = VALUE;
    // For every open list or object: how many keys, where it is an object.
    let mut open: Vec<Option<usize>> = Vec::new();
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        at += 1;
        match byte {
            b'"' => {
                let start = at;
                while let Some(&byte) = text.get(at).filter(|byte| **byte != b'"') {
                    at += if byte == b'\\' { 2 } else { 1 };
                }
                bytes += text_bytes(at.min(text.len()) - start);
                at += 1;
            }
            b'{' | b'[' => {
                if open.len() == MAX_DEPTH {
                    return Err(format!("its values nest more than {MAX_DEPTH} deep"));
                }
                open.push((byte == b'{').then_some(0));
                let empty = text[at..].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b']');
                if byte == b'[' && !empty {
                    bytes += HEADER + VALUE;
                }
            }
            b'}' | b']' => drop(open.pop()),
            b':' => {
                if let Some(Some(keys)) = open.last_mut() {
                    if *keys == 0 || *keys >= FIRST && (*keys - FIRST).is_multiple_of(LATER) {
                        bytes += NODE;
                    }
                    *keys += 1;
                }
            }
            b',' if matches!(open.last(), Some(None)) => bytes += VALUE,
            _ => {}
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dense_is_refused_before_it_is_parsed() {
        let long = 8 << 20;
        for item in ["{\"a\":0},", "{\"\":[]},", "[[{\"a\":{}}]],", "[[[[0]]]],"] {
            let items = item.repeat(long / item.len());
            let text = format!("[{}]", items.trim_end_matches(','));
            let error = parse(&text).map(drop).unwrap_err();
            assert!(error.contains("too many values"), "{item}: {error}");
        }
    }

    /// The bytes that a value takes outside of itself, as the system's allocator hands them out.
    fn held(value: &Value) -> usize {
        let block = |bytes: usize| if bytes == 0 { 0 } else { (bytes + 8).next_multiple_of(16).max(BLOCK) };
        match value {
            Value::String(text) => block(text.capacity()),
            Value::Array(values) => block(values.capacity() * VALUE) + values.iter().map(held).sum::<usize>(),
            // A node has room for eleven keys and values and is half full at least, but for the only one.
            Value::Object(values) => {
                let nodes = if values.len() <= FIRST { values.len().min(1) } else { values.len().div_ceil(5) };
                let keys: usize = values.keys().map(|key| block(key.capacity())).sum();
                nodes * block(11 * (size_of::<String>() + VALUE) + 16) + keys + values.values().map(held).sum::<usize>()
            }
            _ => 0,
        }
    }

    #[test]
    fn nothing_takes_more_than_the_estimate_nor_than_sixteen_times_its_text() {
        let items = [
            "0,",
            "\"\",",
            "\"a\",",
            "[],",
            "{},",
            "[0],",
            "[[0]],",
            "[[[0]]],",
            "[[],[]],",
            "[0,0],",
            "{\"a\":0},",
            "[\"\",[\"abcd\"],1.5],",
            "{\"name\":\"x\",\"shape\":[null,8],\"no\":{}},",
            "\"\\u0061\\n\",",
            "true,",
        ];
        for item in items {
            let items = item.repeat((2 << 20) / item.len());
            let text = format!("[{}]", items.trim_end_matches(','));
            let value = serde_json::from_str::<Tight>(&text).unwrap().0;
            let (held, estimate) = (held(&value) + VALUE, estimate(text.as_bytes()).unwrap());
            assert!(held <= estimate + 64, "{item}: {held} of {estimate}");
            if parse(&text).is_ok() {
                assert!(held + text.len() <= 16 * text.len() + FLOOR, "{item}");
            }
        }
    }

    #[test]
    fn long_lists_of_words_and_numbers_are_not() {
        for item in ["\"wording\", ", "\"a few words\",", "0.12345678,", "12345, ", "0,", "[],", "{},"] {
            let items = item.repeat((8 << 20) / item.len());
            let text = format!("{{\"list\": [{}]}}", items.trim_end().trim_end_matches(','));
            assert!(parse(&text).is_ok(), "{item}");
        }
    }

    #[test]
    fn short_texts_may_be_anything() {
        for text in ["0", "[]", "{}", "\"\\\"\"", "[0,[1,{\"a\":[]}]]"] {
            assert_eq!(parse(text).unwrap(), serde_json::from_str::<Value>(text).unwrap());
        }
        for text in ["", "\"", "\"\\", "[", "}", "]]]]", ":", "{:", "[,,,", "\u{e9}"] {
            assert!(parse(text).is_err(), "{text}");
        }
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        assert!(parse(&deep).unwrap_err().contains("deep"));
    }
}
