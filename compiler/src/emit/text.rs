//! Writing source text as rustfmt would lay it out with `use_small_heuristics = "Max"`.

use std::fmt::Write;

/// The width of a line.
const LINE: usize = 100;

/// Text under construction.
#[derive(Default)]
pub struct Text {
    text: String,
    indent: usize,
}

impl Text {
    /// One line at the current indentation; an empty one has none.
    pub fn line(&mut self, line: impl AsRef<str>) {
        let line = line.as_ref();
        if !line.is_empty() {
            let _ = write!(self.text, "{:width$}{line}", "", width = 4 * self.indent);
        }
        self.text.push('\n');
    }

    /// Several lines, indented as a whole.
    pub fn lines(&mut self, lines: &str) {
        lines.lines().for_each(|line| self.line(line));
    }

    /// Documentation comments, a line each.
    pub fn doc(&mut self, lines: &[String]) {
        lines.iter().for_each(|line| self.line(format!("/// {line}").trim_end()));
    }

    /// Lines between braces.
    pub fn block(&mut self, head: impl AsRef<str>, body: impl FnOnce(&mut Text)) {
        self.line(format!("{} {{", head.as_ref()));
        self.nested(body);
        self.line("}");
    }

    /// The head of a function on one line, or with a line for each parameter, and its body.
    pub fn function(&mut self, name: &str, parameters: &[String], result: &str, body: impl FnOnce(&mut Text)) {
        let line = format!("{name}({}) -> {result}", parameters.join(", "));
        if self.fits(&[&line, " {"]) {
            return self.block(line, body);
        }
        self.line(format!("{name}("));
        self.nested(|text| parameters.iter().for_each(|p| text.line(format!("{p},"))));
        self.block(format!(") -> {result}"), body);
    }

    /// Whether a line of these parts is short enough.
    pub fn fits(&self, parts: &[&str]) -> bool {
        4 * self.indent + parts.iter().map(|part| part.len()).sum::<usize>() <= LINE
    }

    /// A comma-separated list between `open` and `close` on one line, or with a line for each item.
    pub fn list(&mut self, open: &str, items: &[Item], close: &str) {
        let flat = Item::flat(items);
        if self.fits(&[open, &flat, close]) {
            return self.line(format!("{open}{flat}{close}"));
        }
        self.line(open);
        self.nested(|text| {
            for item in items {
                match item {
                    Item::Word(word) => text.line(format!("{word},")),
                    Item::List(open, items, close) => text.list(open, items, &format!("{close},")),
                }
            }
        });
        self.line(close);
    }

    /// One level deeper.
    pub fn nested(&mut self, body: impl FnOnce(&mut Text)) {
        self.indent += 1;
        body(self);
        self.indent -= 1;
    }

    /// The text.
    pub fn finish(self) -> String {
        self.text
    }
}

/// An item of [`Text::list`].
pub enum Item {
    Word(String),
    /// Opening, items, closing.
    List(&'static str, Vec<Item>, &'static str),
}

impl Item {
    fn flat(items: &[Item]) -> String {
        let one = |item: &Item| match item {
            Item::Word(word) => word.clone(),
            Item::List(open, items, close) => format!("{open}{}{close}", Item::flat(items)),
        };
        items.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}
