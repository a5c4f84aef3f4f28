//! Names that people gave, in texts for people.

use std::borrow::Cow;

/// A text without characters that make it look like another one, or like none: control characters, those that turn the
/// direction of writing, and separators of lines, each as its escape `\u{202e}`.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(deceives) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match deceives(c) {
            true => plain.extend(c.escape_default()),
            false => plain.push(c),
        }
    }
    Cow::Owned(plain)
}

/// [`printable`] for a text of several lines, which stay, as tabs do.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    let layout = |c| matches!(c, '\n' | '\t');
    if !text.contains(|c| !layout(c) && deceives(c)) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(
        text.split_inclusive(layout)
            .map(|part| match part.strip_suffix(layout) {
                Some(inside) => printable(inside) + &part[inside.len()..],
                None => printable(part),
            })
            .collect(),
    )
}

/// JSON whose strings hold no characters as [`printable`] escapes them: the same values, in JSON's own escapes.
pub fn printable_json(json: &str) -> Cow<'_, str> {
    let layout = |c| matches!(c, '\n' | '\r' | '\t');
    if !json.contains(|c| !layout(c) && deceives(c)) {
        return Cow::Borrowed(json);
    }
    let mut plain = String::with_capacity(json.len() + 8);
    for c in json.chars() {
        match !layout(c) && deceives(c) {
            // All of them are characters of the basic plane.
            true => plain.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => plain.push(c),
        }
    }
    Cow::Owned(plain)
}

fn deceives(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}')
}

/// The name that a mistyped one probably stands for: the nearest by letters inserted, removed, replaced or swapped with
/// their neighbour, where that is no more than a third of them.
pub fn nearest<'n>(wanted: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let most = (wanted.chars().count() / 3).max(1);
    let near = names.into_iter().map(|name| (distance(wanted, name, most), name));
    near.filter(|(distance, _)| *distance <= most).min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

/// How many letters apart two names are, without regard to capitals; more than `most` where that is plain.
fn distance(a: &str, b: &str, most: usize) -> usize {
    let lower = |text: &str| text.chars().flat_map(char::to_lowercase).collect::<Vec<char>>();
    let (a, b) = (lower(a), lower(b));
    if a.len().abs_diff(b.len()) > most {
        return most + 1;
    }
    // Rows of the table of distances between beginnings: of two letters ago, of the letter before, and the current one.
    let (mut older, mut last) = (vec![0; b.len() + 1], (0..=b.len()).collect::<Vec<usize>>());
    for i in 0..a.len() {
        let mut row = vec![i + 1; b.len() + 1];
        for j in 0..b.len() {
            row[j + 1] = (last[j] + (a[i] != b[j]) as usize).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                row[j + 1] = row[j + 1].min(older[j - 1] + 1);
            }
        }
        older = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_turns_or_breaks_a_line() {
        assert_eq!(printable("größe 大 \u{1f600}"), "größe 大 \u{1f600}");
        assert_eq!(printable("a\u{202e}b\u{2066}\n\u{7f}\u{2028}"), "a\\u{202e}b\\u{2066}\\n\\u{7f}\\u{2028}");
        assert_eq!(printable_lines("one\ttwo\u{202e}\n\n3"), "one\ttwo\\u{202e}\n\n3");
        assert_eq!(printable_json("{\n  \"a\u{202e}ü\": 1\n}"), "{\n  \"a\\u202eü\": 1\n}");
    }

    #[test]
    fn the_nearest_name_is_found() {
        let names = ["predict", "train_step", "evaluate_step"];
        for (wanted, found) in [
            ("predcit", Some("predict")),
            ("Predict", Some("predict")),
            ("trainstep", Some("train_step")),
            ("train_stepp", Some("train_step")),
            ("evaluate", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(wanted, names), found, "{wanted}");
        }
    }
}
