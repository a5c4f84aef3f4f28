//! `NaN`, `Infinity` and `-Infinity`, which Python writes into JSON and JSON does not have.
//!
//! A parsed description holds `{"number": "Infinity"}` in the place of one, so that whatever does not look for it
//! refuses an object where it wants a number.

use std::borrow::Cow;

use serde_json::Value;

const NUMBERS: [(&str, f64); 3] = [("-Infinity", f64::NEG_INFINITY), ("Infinity", f64::INFINITY), ("NaN", f64::NAN)];

fn stand_in(name: &str) -> String {
    format!("{{\"number\":\"{name}\"}}")
}

/// A text with what stands for the numbers in their places.
pub(crate) fn replaced(text: &str) -> Cow<'_, str> {
    if !NUMBERS.iter().any(|(name, _)| text.contains(name)) {
        return Cow::Borrowed(text);
    }
    let (mut made, mut done, mut at) = (String::new(), 0, 0);
    let bytes = text.as_bytes();
    while let Some(&byte) = bytes.get(at) {
        let found = NUMBERS.iter().find(|(name, _)| bytes[at..].starts_with(name.as_bytes()));
        match (byte, found) {
            (b'"', _) => {
                at += 1;
                while let Some(&byte) = bytes.get(at).filter(|byte| **byte != b'"') {
                    at += if byte == b'\\' { 2 } else { 1 };
                }
                at += 1;
            }
            (_, Some((name, _))) => {
                made.push_str(&text[done..at]);
                made.push_str(&stand_in(name));
                at += name.len();
                done = at;
            }
            _ => at += 1,
        }
    }
    made.push_str(&text[done..]);
    Cow::Owned(made)
}

/// The number that a value stands for.
pub(crate) fn number(value: &Value) -> Option<f64> {
    let object = value.as_object().filter(|object| object.len() == 1)?;
    let name = object.get("number")?.as_str()?;
    NUMBERS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// Whether one of the numbers is in a value.
pub(crate) fn within(value: &Value) -> bool {
    match value {
        Value::Array(values) => values.iter().any(within),
        Value::Object(object) => number(value).is_some() || object.values().any(within),
        _ => false,
    }
}

/// The text of a value as Python writes it. In a text a quotation mark is escaped, so that no text looks like a number.
pub(crate) fn text(value: &Value) -> String {
    NUMBERS.iter().fold(value.to_string(), |text, (name, _)| text.replace(&stand_in(name), name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back() {
        for text in [
            r#"{"a":[NaN,-Infinity,{"b":Infinity}],"c":"NaN, -Infinity"}"#,
            r#"["\"",NaN,"\\",Infinity,"\\\"NaN",1.5]"#,
            "NaN",
            "[-Infinity]",
        ] {
            let value: Value = serde_json::from_str(&replaced(text)).unwrap();
            assert_eq!(super::text(&value), text);
            assert!(within(&value));
        }
        for text in [r#"{"NaN":"Infinity"}"#, "[]", r#"["{\"number\":\"NaN\"}"]"#] {
            let value: Value = serde_json::from_str(&replaced(text)).unwrap();
            assert_eq!(super::text(&value), text);
            assert!(!within(&value), "{text}");
        }
    }

    #[test]
    fn damaged_texts_stay_damaged() {
        for text in ["\"NaN", "NaN\"\\", "[NaNNaN]", "-NaN", "{NaN:1}", "\u{e9}NaN\u{e9}", "InfinityNa"] {
            assert!(serde_json::from_str::<Value>(&replaced(text)).is_err(), "{text}");
        }
    }
}
