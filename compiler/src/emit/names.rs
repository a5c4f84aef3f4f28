//! Identifiers made from the names of models, layers and tensors, which may be any text.

use std::collections::HashSet;

/// Words that are no identifiers in Rust (all editions) or C.
const KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "auto", "await", "become", "bool", "box", "break", "case", "char", "const", "continue",
    "crate", "default", "do", "double", "dyn", "else", "enum", "extern", "f32", "f64", "false", "final", "float", "fn",
    "for", "gen", "goto", "i32", "if", "impl", "in", "inline", "int", "let", "long", "loop", "macro", "match", "mod",
    "move", "mut", "override", "priv", "pub", "ref", "register", "restrict", "return", "self", "short", "signed",
    "sizeof", "static", "str", "struct", "super", "switch", "trait", "true", "try", "type", "typedef", "typeof", "u32",
    "u8", "union", "unsafe", "unsized", "unsigned", "use", "usize", "virtual", "void", "volatile", "where", "while",
    "yield",
];

/// `snake_case`: letters, digits and single underscores, not beginning with a digit.
pub fn snake(name: &str) -> String {
    let mut text = String::new();
    let mut previous = ' ';
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            if c.is_ascii_uppercase() && previous.is_ascii_lowercase() {
                text.push('_');
            }
            text.push(c.to_ascii_lowercase());
        } else if !text.is_empty() && !text.ends_with('_') {
            text.push('_');
        }
        previous = c;
    }
    let text = text.trim_end_matches('_');
    match text.chars().next() {
        None => "unnamed".to_string(),
        Some(c) if c.is_ascii_digit() => format!("n{text}"),
        Some(_) if KEYWORDS.contains(&text) => format!("{text}_"),
        Some(_) => text.to_string(),
    }
}

/// `SCREAMING_SNAKE_CASE`.
pub fn screaming(name: &str) -> String {
    snake(name).trim_end_matches('_').to_uppercase()
}

/// `CamelCase`.
pub fn camel(name: &str) -> String {
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    snake(name).split('_').filter(|word| !word.is_empty()).map(capital).collect()
}

/// The identifiers of one scope.
#[derive(Default)]
pub struct Scope(HashSet<String>);

impl Scope {
    /// A scope in which some identifiers are taken.
    pub fn with(taken: &[&str]) -> Scope {
        Scope(taken.iter().map(|name| name.to_string()).collect())
    }

    /// The identifier itself, or with the first number that makes it new.
    pub fn unique(&mut self, name: String) -> String {
        // Types take no underscores, and two in a row are none of Rust's style.
        let is_type = name.starts_with(char::is_uppercase) && name.contains(char::is_lowercase);
        let separator = if is_type || name.ends_with('_') { "" } else { "_" };
        let numbered = (2..).map(|n| format!("{name}{separator}{n}"));
        let free = std::iter::once(name.clone()).chain(numbered).find(|name| !self.0.contains(name));
        let free = free.unwrap_or(name);
        self.0.insert(free.clone());
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_becomes_an_identifier() {
        for (name, expected) in [
            ("conv_1/kernel", "conv_1_kernel"),
            ("Conv2D", "conv2d"),
            ("trainStep", "train_step"),
            ("type", "type_"),
            ("3x3", "n3x3"),
            ("a  b--c", "a_b_c"),
            ("__x__", "x"),
            ("größe", "gr_e"),
            ("", "unnamed"),
            ("/", "unnamed"),
            ("Self", "self_"),
        ] {
            assert_eq!(snake(name), expected);
        }
        assert_eq!(
            (screaming("type"), camel("train_step"), camel("3")),
            ("TYPE".into(), "TrainStep".into(), "N3".into())
        );
    }

    #[test]
    fn names_in_a_scope_are_unique() {
        let mut scope = Scope::with(&["batch"]);
        let names: Vec<String> = ["batch", "x", "x", "x_2"].map(|n| scope.unique(n.into())).into();
        assert_eq!(names, ["batch_2", "x", "x_2", "x_2_2"]);
        let mut scope = Scope::with(&["Model", "type_", "N"]);
        assert_eq!(["Model", "type_", "N"].map(|n| scope.unique(n.into())), ["Model2", "type_2", "N_2"]);
    }
}
