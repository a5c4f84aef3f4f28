//! Reads the text form that [`super::text`] prints.
//!
//! The text is not trusted: every mistake is an error with its line and column, work is linear in its length, and
//! nothing recurses deeper than lists and loops may nest. What a line alone can tell is checked here (types, references); the rest
//! is for the verifier.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::dtype::DType;
use super::graph::{Graph, InputDecl, Module, NodeId, Storage, StorageKind};
use super::op::{Number, Op, StorageId};
use super::range::ValueRange;
use super::scan::Scan;
use super::shape::{Dim, Shape, TensorType};
use super::site::{Site, SourceLine};
use super::text::plain;

mod operation;

use operation::{Attributes, Value, operation};

/// What is wrong with a text, and where. Lines and columns count from one, columns in characters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParseError {
    pub line: usize,
    pub column: usize,
    pub message: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for ParseError {}

/// The most axes of a tensor in a text.
const MAX_RANK: usize = 64;
/// How deep lists nest in attributes.
const MAX_DEPTH: usize = 3;
/// How deep loops nest.
const MAX_LOOPS: usize = 16;

/// The graph whose lines are being read.
struct Scope {
    graph: Graph,
    /// Number of storage cells or carries.
    cells: usize,
    names: HashMap<String, NodeId>,
    /// How many loops are around it.
    depth: usize,
}

/// Reads a module.
pub fn parse_module(text: &str) -> Result<Module, ParseError> {
    let mut parser = Parser { text, at: 0 };
    parser.module().map_err(|(at, message)| {
        let at = at.min(text.len());
        let before = &text[..at];
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        let (line, column) = (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1);
        ParseError { line, column, message }
    })
}

/// A byte offset and what is wrong there.
type Failure = (usize, String);
type Parsed<T> = Result<T, Failure>;

struct Parser<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Parser<'t> {
    fn module(&mut self) -> Parsed<Module> {
        self.keyword("module")?;
        let mut module = Module { name: self.string()?, ..Module::default() };
        let mut attributes = self.attributes()?;
        module.max_batch = attributes.usize("max_batch")?;
        attributes.finish()?;
        loop {
            let start = self.skip_space();
            if self.at == self.text.len() {
                return Ok(module);
            }
            match self.word() {
                "storage" => {
                    let at = self.skip_space();
                    let index = self.cell()?;
                    if index as usize != module.storage.len() {
                        return Err((at, format!("the next storage cell is @{}", module.storage.len())));
                    }
                    let cell = self.storage()?;
                    module.storage.push(cell);
                }
                "entry" => {
                    let entry = self.entry(module.storage.len())?;
                    module.entries.push(entry);
                }
                _ => return Err((start, "expected `storage` or `entry`".into())),
            }
        }
    }

    fn storage(&mut self) -> Parsed<Storage> {
        let name = self.string()?;
        self.expect(":")?;
        let ty = self.ty()?;
        let at = self.skip_space();
        let kind = match self.word() {
            "param" => StorageKind::Param,
            "state" => StorageKind::State,
            "training" => StorageKind::Training,
            _ => return Err((at, "expected `param`, `state` or `training`".into())),
        };
        let trainable = self.eat("trainable");
        let first = match self.eat("=") {
            true => Some(self.number()?),
            false => None,
        };
        let site = self.site()?;
        Ok(Storage { name, ty, kind, trainable, first, site })
    }

    fn entry(&mut self, cells: usize) -> Parsed<Graph> {
        let graph = Graph::new(self.string()?);
        let mut scope = Scope { graph, cells, names: HashMap::new(), depth: 0 };
        self.expect("{")?;
        self.lines(&mut scope)?;
        Ok(scope.graph)
    }

    /// The lines of an entry point or body, and the brace that closes it.
    fn lines(&mut self, scope: &mut Scope) -> Parsed<()> {
        let unnamed = scope.graph.set_site(Default::default());
        scope.graph.set_site(unnamed);
        loop {
            let start = self.skip_space();
            if self.eat("}") {
                return Ok(());
            }
            if self.text[self.at..].starts_with('%') {
                let name = self.node_name()?;
                if scope.names.contains_key(&name) {
                    return Err((start, format!("%{name} is defined twice")));
                }
                self.expect("=")?;
                let (op, args, ty) = self.node(scope)?;
                let site = self.site()?;
                let graph = &mut scope.graph;
                let site = graph.site_id(&site);
                graph.set_site(site);
                let id = graph.try_push(op, &args).map_err(|e| (start, e.to_string()))?;
                if *graph.ty(id) != ty {
                    return Err((start, format!("declared as {ty}, the operation gives {}", graph.ty(id))));
                }
                graph.set_site(unnamed);
                scope.names.insert(name, id);
                continue;
            }
            match self.word() {
                "input" => scope.graph.inputs.push(self.input()?),
                "output" => {
                    let name = self.string()?;
                    self.expect("=")?;
                    let node = self.node_ref(&scope.names)?;
                    scope.graph.output(name, node);
                }
                "assign" => {
                    let at = self.skip_space();
                    let cell = self.cell()?;
                    if cell as usize >= scope.cells {
                        return Err((at, format!("there are {} storage cells", scope.cells)));
                    }
                    self.expect("=")?;
                    let node = self.node_ref(&scope.names)?;
                    scope.graph.assign(StorageId(cell), node);
                }
                _ => return Err((start, "expected a node, `input`, `output`, `assign` or `}`".into())),
            }
        }
    }

    /// The name and type of an input or slice, and what may be said of its values.
    fn input(&mut self) -> Parsed<InputDecl> {
        let name = self.string()?;
        self.expect(":")?;
        let mut input = InputDecl::new(name, self.ty()?);
        let at = self.skip_space();
        if self.text[at..].starts_with('{') {
            let mut attributes = self.attributes()?;
            let range = ValueRange { low: attributes.i64("low")?, high: attributes.i64("high")? };
            attributes.finish()?;
            if range.low >= range.high {
                return Err((at, "a range without values".into()));
            }
            input.range = Some(range);
        }
        if self.eat("text") {
            input.text = Some(self.string()?.into());
        }
        Ok(input)
    }

    /// The loop of a line, behind its attributes: `body { ... }`, or `body of %2`.
    fn scan(&mut self, scope: &Scope, length: usize, reverse: bool) -> Parsed<Arc<Scan>> {
        let at = self.skip_space();
        self.keyword("body")?;
        if !self.eat("{") {
            self.keyword("of")?;
            let at = self.skip_space();
            let node = self.node_ref(&scope.names)?;
            return match &scope.graph.node(node).op {
                Op::Scan { scan, .. } if (scan.length, scan.reverse) == (length, reverse) => Ok(scan.clone()),
                Op::Scan { .. } => Err((at, "the length or direction is another one".into())),
                _ => Err((at, "that is no loop".into())),
            };
        }
        if scope.depth == MAX_LOOPS {
            return Err((at, "loops nest too deep".into()));
        }
        let (mut graph, mut carries) = (Graph::new("body"), Vec::new());
        loop {
            let at = self.skip_space();
            if self.eat("carry") {
                let at = self.skip_space();
                if self.cell()? as usize != carries.len() {
                    return Err((at, format!("the next carry is @{}", carries.len())));
                }
                self.expect(":")?;
                carries.push(self.ty()?);
            } else if self.eat("slice") {
                graph.inputs.push(self.input()?);
            } else {
                self.at = at;
                break;
            }
        }
        let sequences = graph.inputs.len();
        let mut body = Scope { graph, cells: carries.len(), names: HashMap::new(), depth: scope.depth + 1 };
        self.lines(&mut body)?;
        Ok(Arc::new(Scan::new(body.graph, length, reverse, carries, sequences)))
    }

    /// The right side of a node's line, up to its type.
    fn node(&mut self, scope: &Scope) -> Parsed<(Op, Vec<NodeId>, TensorType)> {
        let at = self.skip_space();
        let word = self.word().to_string();
        let mut args = Vec::new();
        if self.eat("(") && !self.eat(")") {
            loop {
                args.push(self.node_ref(&scope.names)?);
                if self.eat(")") {
                    break;
                }
                self.expect(",")?;
            }
        }
        self.skip_space();
        let mut attributes = if self.text[self.at..].starts_with('{') {
            self.attributes()?
        } else {
            Attributes { at: self.at, items: Vec::new() }
        };
        let mut scan = None;
        if word == "scan" {
            let (length, reverse) = (attributes.usize("length")?, attributes.flag("reverse")?);
            scan = Some(self.scan(scope, length, reverse)?);
        }
        self.expect(":")?;
        let ty = self.ty()?;
        let op = match scan {
            Some(scan) => Op::Scan { scan, result: attributes.usize("result")? },
            None => operation(&word, &mut attributes, &ty)?.ok_or_else(|| (at, format!("no operation `{word}`")))?,
        };
        let attributes_at = attributes.at;
        attributes.finish()?;
        match &op {
            Op::Input { index, .. } if *index >= scope.graph.inputs.len() => {
                return Err((attributes_at, format!("{} inputs are declared before this", scope.graph.inputs.len())));
            }
            Op::Storage { id, .. } if id.0 as usize >= scope.cells => {
                return Err((attributes_at, format!("there are {} storage cells", scope.cells)));
            }
            _ => {}
        }
        Ok((op, args, ty))
    }

    /// `{name: value, ...}`
    fn attributes(&mut self) -> Parsed<Attributes> {
        let start = self.skip_space();
        self.expect("{")?;
        let mut items: Vec<(String, usize, Value)> = Vec::new();
        while !self.eat("}") {
            if !items.is_empty() {
                self.expect(",")?;
            }
            let at = self.skip_space();
            let name = self.word().to_string();
            if name.is_empty() || items.iter().any(|i| i.0 == name) || items.len() == 8 {
                return Err((at, "expected the name of one more attribute".into()));
            }
            self.expect(":")?;
            let value_at = self.skip_space();
            let value = self.value(0)?;
            items.push((name, value_at, value));
        }
        Ok(Attributes { at: start, items })
    }

    fn value(&mut self, depth: usize) -> Parsed<Value> {
        let at = self.skip_space();
        if self.text[at..].starts_with('@') {
            return Ok(Value::Cell(self.cell()?));
        }
        if !self.eat("[") {
            return self.number_or_dim();
        }
        if depth == MAX_DEPTH {
            return Err((at, "lists nest too deep".into()));
        }
        let mut items = Vec::new();
        while !self.eat("]") {
            if !items.is_empty() {
                self.expect(",")?;
            }
            items.push(self.value(depth + 1)?);
        }
        Ok(Value::List(items))
    }

    /// A number, whole or not.
    fn number(&mut self) -> Parsed<Number> {
        let at = self.skip_space();
        match self.number_or_dim()? {
            Value::Number(x) => Ok(Number(x)),
            Value::Int(n) => Ok(Number(n as f64)),
            _ => Err((at, "expected a number".into())),
        }
    }

    /// An integer, a number, or an extent.
    fn number_or_dim(&mut self) -> Parsed<Value> {
        let at = self.skip_space();
        let word = self.take(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '_'));
        let bad = || (at, format!("`{word}` is no number"));
        if word == "nan" && self.eat_here("@") {
            let digits = self.take(|c| c.is_ascii_digit());
            let number = digits.parse().map(f64::from_bits).ok().filter(|x| x.is_nan());
            return number.map(Value::Number).ok_or((at, "no bits of a NaN".into()));
        }
        match word {
            "batch" => return Ok(Value::Dim(Dim::BATCH)),
            "nan" => return Ok(Value::Number(f64::NAN)),
            "inf" => return Ok(Value::Number(f64::INFINITY)),
            "-inf" => return Ok(Value::Number(f64::NEG_INFINITY)),
            _ => {}
        }
        if word.contains(|c: char| c.is_ascii_alphabetic() && c != 'e') {
            return Err(bad());
        }
        if word.contains(['.', 'e']) {
            return word.parse().map(Value::Number).map_err(|_| bad());
        }
        let int: i64 = word.parse().map_err(|_| bad())?;
        if self.eat_here("*") {
            if self.word() != "batch" {
                return Err((at, "an extent is `n` or `n*batch`".into()));
            }
            let scale = usize::try_from(int).map_err(|_| bad())?;
            return Ok(Value::Dim(Dim { scale, batch: true }));
        }
        Ok(Value::Int(int))
    }

    /// `f32[batch, 28]`
    fn ty(&mut self) -> Parsed<TensorType> {
        let at = self.skip_space();
        let dtype = DType::parse(self.word()).ok_or((at, "expected an element type".to_string()))?;
        self.expect("[")?;
        let mut dims = Vec::new();
        while !self.eat("]") {
            if !dims.is_empty() {
                self.expect(",")?;
            }
            let at = self.skip_space();
            dims.push(self.number_or_dim()?.dim().ok_or((at, "expected an extent".to_string()))?);
            if dims.len() > MAX_RANK {
                return Err((at, format!("more than {MAX_RANK} axes")));
            }
        }
        Ok(TensorType::new(dtype, Shape(dims)))
    }

    /// `; grad(conv_1)  build.rs:40`, or nothing.
    fn site(&mut self) -> Parsed<Site> {
        self.skip_blanks();
        if !self.eat_here(";") {
            return Ok(Site::default());
        }
        let mut site = Site::default();
        loop {
            self.skip_blanks();
            let at = self.at;
            if self.eat_here("?") {
                break;
            }
            let word = self.site_word()?;
            if !self.eat_here("(") {
                site.path = word;
                break;
            }
            if word.is_empty() {
                return Err((at, "expected what the site is derived by".into()));
            }
            site.derived.insert(0, Cow::Owned(word));
            if site.derived.len() > 256 {
                return Err((at, "the site is derived too often".into()));
            }
        }
        for _ in 0..site.derived.len() {
            if !self.eat_here(")") {
                return Err((self.at, "expected `)`".into()));
            }
        }
        self.skip_blanks();
        if self.text[self.at..].starts_with(['\n', '#']) || self.at == self.text.len() {
            return Ok(site);
        }
        let file = self.site_word()?;
        if !self.eat_here(":") {
            return Err((self.at, "expected `:` and the line".into()));
        }
        let at = self.at;
        let line = self.take(|c| c.is_ascii_digit()).parse().map_err(|_| (at, "expected a line number".to_string()))?;
        site.source = Some(SourceLine { file, line });
        self.skip_blanks();
        if self.text[self.at..].starts_with(['\n', '#']) || self.at == self.text.len() {
            return Ok(site);
        }
        Err((self.at, "expected the end of the line".into()))
    }

    /// A plain or quoted word of a site.
    fn site_word(&mut self) -> Parsed<String> {
        if self.text[self.at..].starts_with('"') {
            return self.string();
        }
        let word = self.take(plain);
        if word.is_empty() { Err((self.at, "expected a name".into())) } else { Ok(word.to_string()) }
    }

    /// `%name`
    fn node_name(&mut self) -> Parsed<String> {
        let at = self.skip_space();
        if !self.eat_here("%") {
            return Err((at, "expected a node such as %0".into()));
        }
        let name = self.take(word_char);
        if name.is_empty() { Err((at, "expected a node such as %0".into())) } else { Ok(name.to_string()) }
    }

    fn node_ref(&mut self, names: &HashMap<String, NodeId>) -> Parsed<NodeId> {
        let at = self.skip_space();
        let name = self.node_name()?;
        names.get(&name).copied().ok_or_else(|| (at, format!("%{name} is not defined before this")))
    }

    /// `@3`
    fn cell(&mut self) -> Parsed<u32> {
        let at = self.skip_space();
        let digits = if self.eat_here("@") { self.take(|c| c.is_ascii_digit()) } else { "" };
        digits.parse().map_err(|_| (at, "expected a storage cell such as @0".into()))
    }

    /// A string in quotes with Rust's escapes.
    fn string(&mut self) -> Parsed<String> {
        let start = self.skip_space();
        if !self.eat_here("\"") {
            return Err((start, "expected a string in quotes".into()));
        }
        let mut out = String::new();
        let open = || (start, "the string does not end".to_string());
        loop {
            let at = self.at;
            match self.next().ok_or_else(open)? {
                '"' => return Ok(out),
                '\n' => return Err(open()),
                '\\' => out.push(match self.next().ok_or_else(open)? {
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    '0' => '\0',
                    c @ ('\\' | '"' | '\'') => c,
                    'u' => self.unicode().ok_or((at, "no such character".to_string()))?,
                    _ => return Err((at, "no such escape".into())),
                }),
                c => out.push(c),
            }
        }
    }

    /// `{1f600}`
    fn unicode(&mut self) -> Option<char> {
        if !self.eat_here("{") {
            return None;
        }
        let code = u32::from_str_radix(self.take(|c| c.is_ascii_hexdigit()), 16).ok();
        if self.eat_here("}") { code.and_then(char::from_u32) } else { None }
    }

    fn keyword(&mut self, word: &str) -> Parsed<()> {
        let at = self.skip_space();
        if self.word() == word { Ok(()) } else { Err((at, format!("expected `{word}`"))) }
    }

    fn expect(&mut self, token: &str) -> Parsed<()> {
        if self.eat(token) { Ok(()) } else { Err((self.at, format!("expected `{token}`"))) }
    }

    /// Takes a token if it is next, after space and comments.
    fn eat(&mut self, token: &str) -> bool {
        self.skip_space();
        self.eat_here(token)
    }

    /// Takes a token if it is next.
    fn eat_here(&mut self, token: &str) -> bool {
        let found = self.text[self.at..].starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    /// The next word after space and comments; empty where there is none.
    fn word(&mut self) -> &'t str {
        self.skip_space();
        self.take(word_char)
    }

    fn take(&mut self, accept: impl Fn(char) -> bool) -> &'t str {
        let rest = &self.text[self.at..];
        let (taken, _) = rest.split_at(rest.find(|c| !accept(c)).unwrap_or(rest.len()));
        self.at += taken.len();
        taken
    }

    fn next(&mut self) -> Option<char> {
        let c = self.text[self.at..].chars().next()?;
        self.at += c.len_utf8();
        Some(c)
    }

    /// Skips space and comments; returns where the next token is.
    fn skip_space(&mut self) -> usize {
        loop {
            self.take(char::is_whitespace);
            if !self.eat_here("#") {
                return self.at;
            }
            self.take(|c| c != '\n');
        }
    }

    /// Skips space within the line.
    fn skip_blanks(&mut self) {
        self.take(|c| c != '\n' && c.is_whitespace());
    }
}

fn word_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ir::random::{self, Rng};
    use crate::ir::{BinaryFn, UnaryFn};

    fn assert_same(a: &Module, b: &Module) {
        assert_eq!((&a.name, a.max_batch, &a.storage), (&b.name, b.max_batch, &b.storage));
        assert_eq!(a.entries.len(), b.entries.len());
        for (a, b) in a.entries.iter().zip(&b.entries) {
            assert_eq!((&a.name, &a.inputs, &a.outputs, &a.assigns), (&b.name, &b.inputs, &b.outputs, &b.assigns));
            assert_eq!(a.nodes(), b.nodes());
            assert!(a.ids().all(|id| a.site(id) == b.site(id)));
        }
    }

    proptest! {
        #[test]
        fn printing_and_reading_gives_the_same_module(seed: u64) {
            let module = random::module_with_loops(seed, 30);
            let text = module.to_string();
            let read = parse_module(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
            assert_same(&module, &read);
            prop_assert_eq!(text, read.to_string());
        }

        #[test]
        fn broken_text_is_an_error_or_a_module(seed: u64) {
            let mut rng = Rng::new(seed);
            let mut text: Vec<char> = random::module_with_loops(seed, 12).to_string().chars().collect();
            let junk: Vec<char> = "@%{}[]()\":;,=-*#\\\n .019aenbt\u{e9}".chars().collect();
            for _ in 0..1 + rng.below(4) {
                let at = rng.below(text.len());
                match rng.below(3) {
                    0 => text[at] = rng.pick(&junk),
                    1 => text.insert(at, rng.pick(&junk)),
                    _ => _ = text.drain(at..(at + 1 + rng.below(20)).min(text.len())),
                }
            }
            if let Err(error) = parse_module(&text.into_iter().collect::<String>()) {
                prop_assert!(error.line > 0 && error.column > 0);
            }
        }
    }

    #[test]
    fn numbers_and_names_survive_to_the_bit() {
        let mut module = Module { name: "\"\\\n\u{1f600}\0'".into(), max_batch: 3, ..Module::default() };
        let mut g = Graph::new("");
        let odd_nan = f64::from_bits(f64::NAN.to_bits() | 1 << 63 | 5);
        for x in
            [0.0, -0.0, 0.1, 1e300, -1e-300, f64::NAN, odd_nan, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE]
        {
            g.scalar(DType::F32, x);
        }
        module.entries.push(g);
        assert_same(&module, &parse_module(&module.to_string()).unwrap());
    }

    #[test]
    fn errors_say_where() {
        let body = |lines: &str| format!("module \"m\" {{max_batch: 2}}\nentry \"e\" {{\n{lines}\n}}\n");
        let cases = [
            (String::new(), "1:1: expected `module`"),
            ("module \"m".into(), "1:8: the string does not end"),
            ("module \"\\q\"".into(), "1:9: no such escape"),
            ("module \"m\" {max_batch: -1}".into(), "1:24: `max_batch` is a whole number"),
            ("module \"m\" {batch: 1}".into(), "1:12: expected the attribute `max_batch`"),
            ("module \"m\" {max_batch: 1} thing".into(), "1:27: expected `storage` or `entry`"),
            ("module \"m\" {max_batch: 1} storage @1".into(), "1:35: the next storage cell is @0"),
            (body("  %0 = nothing : f32[]"), "3:8: no operation `nothing`"),
            (body("  %0 = const {splat: 1.0} : f33[]"), "3:29: expected an element type"),
            (body("  %0 = const {splat: 1.0} : f32[x]"), "3:33: `x` is no number"),
            (body("  %0 = const {splat: [1]} : f32[]"), "3:22: `splat` is a number"),
            (body("  %0 = const {dense: [[[[]]]]} : f32[]"), "3:25: lists nest too deep"),
            (body("  %0 = exp(%0) : f32[]"), "3:12: %0 is not defined before this"),
            (body("  %0 = input {index: 0} : f32[]"), "3:14: 0 inputs are declared before this"),
            (body("  %0 = storage {cell: @7} : f32[]"), "3:16: there are 0 storage cells"),
            (body("  %0 = const {splat: 1.0, axis: 2} : f32[]"), "3:33: no attribute `axis` here"),
            (body("  %0 = const {splat: 1.0} : f32[]\n  %0 = exp(%0) : f32[]"), "4:3: %0 is defined twice"),
            (
                body("  %a = const {splat: 1.0} : f32[2]\n  %b = exp(%a) : f32[3]"),
                "4:3: declared as f32[3], the operation gives f32[2]",
            ),
            (body("  %0 = const {splat: 1.0} : f32[]  ; a(b"), "3:41: expected `)`"),
            (body("  %0 = const {splat: 1.0} : f32[]  ; a  b.rs:x"), "3:46: expected a line number"),
            (body("  output \"y\" = %0"), "3:16: %0 is not defined before this"),
            (body("  assign @0 = %0"), "3:10: there are 0 storage cells"),
            (
                body("  %0 = const {splat: 1.0} : f32[9999999999, 9999999999]"),
                "3:3: const: [9999999999, 9999999999] has too many elements",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_module(&text).unwrap_err().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn extreme_attributes_do_not_overflow() {
        let big = usize::MAX / 2;
        let lines = [
            format!("slice(%0) {{start: [{big}], step: [1]}} : f32[0]"),
            format!("slice(%0) {{start: [0], step: [-{big}]}} : f32[1]"),
            format!("pad(%0) {{low: [{big}], high: [{big}], interior: [0], value: 0}} : f32[1]"),
            format!("pad(%0) {{low: [0], high: [0], interior: [{big}], value: 0}} : f32[1]"),
            format!("window(%0) {{axis: [0], size: [{big}], stride: [1], dilation: [{big}]}} : f32[1, 1]"),
            format!("broadcast(%0) {{axes: [0]}} : f32[4, {big}, {big}]"),
            format!("reshape(%0) : f32[0, {big}, {big}]"),
            format!("permute(%0) {{perm: [{big}]}} : f32[4]"),
            format!("contract(%0, %0) {{batch: [[{big}, 0]], sum: []}} : f32[4]"),
        ];
        for line in lines {
            let text = format!(
                "module \"m\" {{max_batch: 1}} entry \"e\" {{ input \"x\" : f32[4] %0 = input {{index: 0}} : f32[4]\n%1 = {line} }}"
            );
            let error = parse_module(&text).unwrap_err();
            assert_eq!((error.line, error.column), (2, 1), "{error}");
        }
    }

    #[test]
    fn words_of_operations_are_not_functions() {
        for word in ["input", "storage", "const", "iota", "select", "cast", "contract", "reshape", "permute", "pad"]
            .into_iter()
            .chain(["broadcast", "slice", "concat", "window", "fold", "gather", "scatter_add", "scan"])
        {
            assert!(UnaryFn::parse(word).is_none() && BinaryFn::parse(word).is_none());
        }
    }

    /// A loop with another inside it, and several results of both.
    fn loops() -> Module {
        use crate::ir::{Over, Stepped};
        let mut g = Graph::new("loops");
        let xs = g.input("xs", TensorType::new(DType::F32, Shape::fixed(&[5, 3])));
        let w = g.input("w", TensorType::scalar(DType::F32));
        let over = Over { length: 5, reverse: true, carries: &[w], sequences: &[xs], invariants: &[w] };
        let outer = g.scan(over, |g, step| {
            let over = Over { length: 3, carries: &step.carries, sequences: &step.slices, ..Over::default() };
            let inner = g.scan(over, |g, step| {
                let next = g.mul(step.carries[0], step.slices[0]);
                Stepped { carries: vec![next], outputs: vec![next] }
            });
            let total = g.sum_all(inner.stacked[0]);
            let next = g.add(inner.carries[0], step.invariants[0]);
            Stepped { carries: vec![next], outputs: vec![total] }
        });
        g.output("last", outer.carries[0]);
        g.output("all", outer.stacked[0]);
        Module { name: "m".into(), max_batch: 2, entries: vec![g], ..Module::default() }
    }

    #[test]
    fn loops_read_back() {
        let module = loops();
        let text = module.to_string();
        let read = parse_module(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert_same(&module, &read);
        assert_eq!(text, read.to_string());
        assert_eq!(text.matches("body {").count(), 2, "a body is printed once\n{text}");
        for (from, to, error) in [
            ("body of %2", "body of %1", "that is no loop"),
            (
                "length: 5, reverse: 1, result: 1",
                "length: 4, reverse: 1, result: 1",
                "the length or direction is another one",
            ),
            ("reverse: 1, result: 0", "reverse: 2, result: 0", "`reverse` is 0 or 1"),
            ("carry @0", "carry @1", "the next carry is @0"),
            ("result: 1} body of %2", "result: 2} body of %2", "scan: the loop has 2 results"),
            (
                "slice \"slice0\" : f32[3]",
                "slice \"slice0\" : f32[4]",
                "operand 1 is f32[5, 3], the loop needs f32[5, 4]",
            ),
        ] {
            assert!(text.contains(from), "{from}\n{text}");
            let found = parse_module(&text.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(found.contains(error), "{found}");
        }
    }
}
