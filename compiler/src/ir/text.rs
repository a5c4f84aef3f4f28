//! The text form of modules and graphs, for dumps, file tests and bug reports. [`super::parse`] reads it back.
//!
//! ```text
//! module "digits" {max_batch: 64}
//!
//! storage @0 "dense/kernel" : f32[4, 3] param trainable  ; dense  build.rs:12
//!
//! entry "predict" {
//!   input "x" : f32[batch, 4]
//!   %0 = input {index: 0} : f32[batch, 4]
//!   %1 = storage {cell: @0} : f32[4, 3]  ; dense  build.rs:12
//!   %2 = contract(%0, %1) {batch: [], sum: [[1, 0]]} : f32[batch, 3]  ; dense  build.rs:12
//!   %3 = exp(%2) : f32[batch, 3]  ; softmax  build.rs:13
//!   output "y" = %3
//!   assign @0 = %1
//! }
//! ```
//!
//! One node a line: operands in parentheses, attributes in braces, the type, and the site after a semicolon. What the
//! type says is not repeated as an attribute: the shape of `reshape`, `broadcast`, `fold`, `scatter_add`, the target of
//! `cast`, the counts of `slice`. Scalar functions are called by their own names, reductions `reduce_sum` and so on. A
//! comment runs from `#` to the end of the line.
//!
//! A loop's body stands between its attributes and its type. Its first lines declare the carries, the slices of the
//! sequences, and the invariants as inputs; the cells of the body are the carries. Further nodes of the same loop name
//! the node whose body they share:
//!
//! ```text
//!   %2 = scan(%0, %1) {length: 5, reverse: 0, result: 0} body {
//!     carry @0 : f32[batch, 4]
//!     slice "x" : f32[batch, 4]
//!     %0 = storage {cell: @0} : f32[batch, 4]
//!     %1 = input {index: 0} : f32[batch, 4]
//!     %2 = add(%0, %1) : f32[batch, 4]
//!     output "sum" = %2
//!     assign @0 = %2
//!   } : f32[batch, 4]
//!   %3 = scan(%0, %1) {length: 5, reverse: 0, result: 1} body of %2 : f32[5, batch, 4]
//! ```

use std::collections::HashMap;
use std::fmt::{self, Display, Write};

use super::graph::{Graph, InputDecl, Module, Node, NodeId};
use super::op::{Literal, Number, Op};
use super::range::ValueRange;
use super::scan::Scan;
use super::site::Site;

impl Display for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "module {:?} {{max_batch: {}}}", self.name, self.max_batch)?;
        if !self.storage.is_empty() {
            writeln!(f)?;
        }
        for (i, cell) in self.storage.iter().enumerate() {
            write!(f, "storage @{i} {:?} : {} {}", cell.name, cell.ty, cell.kind.name())?;
            if cell.trainable {
                f.write_str(" trainable")?;
            }
            if let Some(first) = cell.first {
                write!(f, " = {first}")?;
            }
            writeln!(f, "{}", SiteText(&cell.site))?;
        }
        for entry in &self.entries {
            write!(f, "\n{entry}")?;
        }
        Ok(())
    }
}

impl Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "entry {:?} {{", self.name)?;
        for input in &self.inputs {
            writeln!(f, "  input {input}")?;
        }
        lines(self, 1, f)?;
        writeln!(f, "}}")
    }
}

/// `"words" : i32[batch, 80] {low: 0, high: 1000}`, and the function of text in quotes.
impl Display for InputDecl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} : {}", self.name, self.ty)?;
        if let Some(ValueRange { low, high }) = self.range {
            write!(f, " {{low: {low}, high: {high}}}")?;
        }
        match &self.text {
            Some(text) => write!(f, " text {text:?}"),
            None => Ok(()),
        }
    }
}

/// The nodes, outputs and assignments of a graph, so many levels in.
fn lines(graph: &Graph, level: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let margin = "  ".repeat(level);
    let mut printed: HashMap<&Scan, NodeId> = HashMap::new();
    for id in graph.ids() {
        let node = graph.node(id);
        write!(f, "{margin}{id} = {}", Head(node))?;
        if let Op::Scan { scan, .. } = &node.op {
            match printed.get(scan.as_ref()) {
                Some(first) => write!(f, " body of {first}")?,
                None => {
                    printed.insert(scan, id);
                    body(scan, level + 1, f)?;
                }
            }
        }
        writeln!(f, " : {}{}", node.ty, SiteText(graph.site(id)))?;
    }
    for output in &graph.outputs {
        writeln!(f, "{margin}output {:?} = {}", output.name, output.node)?;
    }
    for assign in &graph.assigns {
        writeln!(f, "{margin}assign @{} = {}", assign.target.0, assign.node)?;
    }
    Ok(())
}

fn body(scan: &Scan, level: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let margin = "  ".repeat(level);
    writeln!(f, " body {{")?;
    for (i, carry) in scan.carries.iter().enumerate() {
        writeln!(f, "{margin}carry @{i} : {carry}")?;
    }
    for (i, input) in scan.body.inputs.iter().enumerate() {
        let word = if i < scan.sequences { "slice" } else { "input" };
        writeln!(f, "{margin}{word} {input}")?;
    }
    lines(&scan.body, level, f)?;
    write!(f, "{}}}", "  ".repeat(level - 1))
}

/// The line of a node, without its number, body and site: `add(%1, %2) : f32[4]`.
impl Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} : {}", Head(self), self.ty)
    }
}

/// The word, operands and attributes of a node.
struct Head<'a>(&'a Node);

impl Display for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Head(node) = self;
        match &node.op {
            Op::Unary(function) => f.write_str(function.row().name)?,
            Op::Binary(function) => f.write_str(function.row().name)?,
            Op::Reduce { f: function, .. } => write!(f, "reduce_{}", function.name())?,
            op => f.write_str(op.name())?,
        }
        if !node.args.is_empty() {
            write!(f, "({})", Joined(node.args.iter()))?;
        }
        let attributes = attributes(&node.op);
        if attributes.is_empty() { Ok(()) } else { write!(f, " {{{attributes}}}") }
    }
}

/// The attributes of an operation that its type does not tell.
#[deny(clippy::wildcard_enum_match_arm)]
fn attributes(op: &Op) -> String {
    match op {
        Op::Input { index, .. } => format!("index: {index}"),
        Op::Storage { id, .. } => format!("cell: @{}", id.0),
        Op::Const { value: Literal::Splat(x), .. } => format!("splat: {}", Exact(*x)),
        Op::Const { value: Literal::Dense(v), .. } => format!("dense: {}", list(v.iter().map(|x| Exact(*x)))),
        Op::Const { value: Literal::Size(dim), .. } => format!("size: {dim}"),
        Op::Iota { axis, .. } | Op::Concat { axis } => format!("axis: {axis}"),
        Op::Gather { axis, batch: 0 } | Op::ScatterAdd { axis, batch: 0, .. } => format!("axis: {axis}"),
        Op::Gather { axis, batch } | Op::ScatterAdd { axis, batch, .. } => format!("axis: {axis}, batch: {batch}"),
        Op::Unary(_) | Op::Binary(_) | Op::Select | Op::Cast(_) | Op::Reshape(_) => String::new(),
        Op::Reduce { axes, .. } | Op::Broadcast { axes, .. } => format!("axes: {}", list(axes.iter())),
        Op::Contract(axes) => {
            let pairs = |p: &[(usize, usize)]| list(p.iter().map(|(a, b)| format!("[{a}, {b}]")));
            format!("batch: {}, sum: {}", pairs(&axes.batch), pairs(&axes.sum))
        }
        Op::Permute(perm) => format!("perm: {}", list(perm.iter())),
        Op::Slice(axes) => {
            let (start, step) = (list(axes.iter().map(|s| s.start)), list(axes.iter().map(|s| s.step)));
            format!("start: {start}, step: {step}")
        }
        Op::Pad { axes, value } => {
            let (low, high) = (list(axes.iter().map(|p| p.low)), list(axes.iter().map(|p| p.high)));
            let interior = list(axes.iter().map(|p| p.interior));
            format!("low: {low}, high: {high}, interior: {interior}, value: {}", Exact(*value))
        }
        Op::Window(axes) | Op::Fold { axes, .. } => {
            let (axis, size) = (list(axes.iter().map(|w| w.axis)), list(axes.iter().map(|w| w.size)));
            let (stride, dilation) = (list(axes.iter().map(|w| w.stride)), list(axes.iter().map(|w| w.dilation)));
            format!("axis: {axis}, size: {size}, stride: {stride}, dilation: {dilation}")
        }
        Op::Scan { scan, result } => {
            format!("length: {}, reverse: {}, result: {result}", scan.length, scan.reverse as u8)
        }
    }
}

fn list<T: Display>(items: impl Iterator<Item = T> + Clone) -> String {
    format!("[{}]", Joined(items))
}

/// Items separated by commas.
struct Joined<I>(I);

impl<T: Display, I: Iterator<Item = T> + Clone> Display for Joined<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, item) in self.0.clone().enumerate() {
            write!(f, "{}{item}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// A number to the bit: NaNs other than the usual one print theirs.
struct Exact(Number);

impl Display for Exact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.0 {
            x if x.is_nan() && x.to_bits() != f64::NAN.to_bits() => write!(f, "nan@{}", x.to_bits()),
            _ => write!(f, "{}", self.0),
        }
    }
}

/// A site as it follows a line, `  ; grad(conv_1)  build.rs:40`; nothing for the unnamed site.
struct SiteText<'a>(&'a Site);

impl Display for SiteText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Site { path, source, derived } = self.0;
        if path.is_empty() && source.is_none() && derived.is_empty() {
            return Ok(());
        }
        f.write_str("  ; ")?;
        for by in derived.iter().rev() {
            write!(f, "{}(", Word(by))?;
        }
        if path.is_empty() {
            f.write_char('?')?
        } else {
            write!(f, "{}", Word(path))?
        }
        for _ in derived {
            f.write_char(')')?;
        }
        match source {
            Some(line) => write!(f, "  {}:{}", Word(&line.file), line.line),
            None => Ok(()),
        }
    }
}

/// A name as it is where it is plain, quoted where it is not.
struct Word<'a>(&'a str);

impl Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.is_empty() && self.0.chars().all(plain) { f.write_str(self.0) } else { write!(f, "{:?}", self.0) }
    }
}

/// Characters of a site's words that need no quotes.
pub(super) fn plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '/' | '.' | '-')
}

/// The line of a node with its number, and with its site: what a report about it shows.
pub fn node_line(graph: &Graph, id: NodeId) -> String {
    format!("{id} = {}{}", graph.node(id), SiteText(graph.site(id)))
}
