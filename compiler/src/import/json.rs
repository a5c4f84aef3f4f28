//! JSON from outside, bounded before it is parsed.
//!
//! A parsed value takes more memory than its text, and how much depends on what it is made of: a list of digits takes 16
//! times its text, a list of empty objects 200 times. So the text is looked through first, and what it would take is
//! held against [`budget`].

use serde_json::Value;

/// How deep values may nest, as in `serde_json`.
const MAX_DEPTH: usize = 128;
/// Bytes of parsed values for each byte of text. What Keras writes takes up to 14 as far as it is layers, and 5 to 10
/// where it is long: in lists of words and of numbers.
const EXPANSION: usize = 12;
/// Bytes of parsed values that any text may have.
const FLOOR: usize = 16 << 20;

/// A value in a list or an object.
const VALUE: usize = size_of::<Value>();
/// The least that a block of memory takes.
const BLOCK: usize = 32;
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
    if length == 0 { 0 } else { BLOCK.max(length + 16) }
}

/// The bytes of a list of this many short texts, of a text of this length.
pub(super) fn list_bytes(texts: usize, length: usize) -> usize {
    texts.saturating_mul(VALUE + BLOCK).saturating_add(length)
}

/// Parses a text whose values take no more memory than its [`budget`].
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let (bytes, most) = (estimate(text.as_bytes())?, budget(text.len()));
    if bytes > most {
        let length = text.len();
        return Err(format!(
            "its {length} bytes hold too many values: they would take {bytes} bytes, more than {most}"
        ));
    }
    serde_json::from_str(text).map_err(|e| format!("this is no JSON: {e}"))
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
                bytes += VALUE;
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
        for item in ["[],", "{},", "{\"a\":0},", "[[],[]],"] {
            let items = item.repeat(long / item.len());
            let text = format!("[{}]", items.trim_end_matches(','));
            let error = parse(&text).map(drop).unwrap_err();
            assert!(error.contains("too many values"), "{item}: {error}");
        }
    }

    #[test]
    fn long_lists_of_words_and_numbers_are_not() {
        for item in ["\"wording\", ", "\"a few words\",", "0.12345678,", "12345, "] {
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
