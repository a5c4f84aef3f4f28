//! The text of a Program: for `bakelite inspect`, dumps and snapshots. There is no parser for it.
//!
//! ```text
//! program predict: batch up to 128, arena 262144 bytes
//!   x              f32[batch, 784]  input 0
//!   dense.kernel   f32[784, 512]    storage 0
//!   ...
//!
//! kernel k0_dense_contract = dense
//!   for i0 < batch, i1 < 512  (parallel i0; contract m: i0, n: i1, k: i2)
//!     acc0 = sum(i2 < 784) x[i0, i2] * dense.kernel[i2, i1]
//!     h[i0, i1] = relu(acc0 + dense.bias[i1])
//! ```
//!
//! Loops around kernels print as `loop t0 < 60 {` and `} t0`; a buffer whose place is `h from 512 * t0` is the slice of
//! `h` for the current step.
//!
//! Addresses are taken apart into one index an axis of the buffer; where that fails, the flat index stands in braces:
//! `x{3 * i0 + 1}`. `@e` is a run-time index, which loads clamp and stores skip when it is out of range. `+=` stands for
//! [`StoreMode::Add`]. What a stage uses several times is bound by `let`.

use std::collections::HashMap;
use std::fmt::{self, Display, Formatter};

use super::index::range;
use super::program::{
    AccId, Access, Affine, AxisId, Buffer, Event, Expr, ExprId, Kernel, Loop, LoopId, Place, Program, Stage, StoreMode,
};
use crate::ir::{BinaryFn, DType, Number, ReduceFn};

impl Display for Affine {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (at, &(AxisId(axis), c)) in self.terms.iter().enumerate() {
            f.write_str(match (at, c < 0) {
                (0, false) => "",
                (0, true) => "-",
                (_, false) => " + ",
                (_, true) => " - ",
            })?;
            match c.unsigned_abs() {
                1 => write!(f, "i{axis}")?,
                n => write!(f, "{n} * i{axis}")?,
            }
        }
        match (self.terms.is_empty(), self.base) {
            (true, base) => write!(f, "{base}"),
            (false, 0) => Ok(()),
            (false, base) if base < 0 => write!(f, " - {}", base.unsigned_abs()),
            (false, base) => write!(f, " + {base}"),
        }
    }
}

impl Display for Program {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "program {}: batch up to {}, arena {} bytes", self.name, self.max_batch, self.arena_bytes)?;
        let names = names(self);
        let types: Vec<String> = self.buffers.iter().map(|b| format!("{}{}", b.dtype, b.shape)).collect();
        let width = |texts: &[String]| texts.iter().map(|t| t.chars().count()).max().unwrap_or(0);
        let (name_width, type_width) = (width(&names), width(&types));
        for ((buffer, name), ty) in self.buffers.iter().zip(&names).zip(&types) {
            writeln!(f, "  {name:name_width$}  {ty:type_width$}  {}", PlaceText(buffer, self.max_batch, &names))?;
        }
        for event in self.events() {
            match event {
                Event::Kernel(k) => {
                    write!(f, "\n{}", KernelText { program: self, kernel: &self.kernels[k], names: &names })?;
                }
                Event::Open(LoopId(l)) => {
                    let Loop { count, reverse, .. } = self.loops[l as usize];
                    let order = if reverse { ", the last first" } else { "" };
                    writeln!(f, "\nloop t{l} < {count}{order} {{")?;
                }
                Event::Close(LoopId(l)) => writeln!(f, "\n}} t{l}")?,
            }
        }
        Ok(())
    }
}

impl Program {
    /// The text of one of the program's kernels.
    pub fn kernel_text(&self, kernel: &Kernel) -> String {
        KernelText { program: self, kernel, names: &names(self) }.to_string()
    }
}

/// Where a buffer lives.
struct PlaceText<'a>(&'a Buffer, usize, &'a [String]);

impl Display for PlaceText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let PlaceText(buffer, max_batch, names) = self;
        match &buffer.place {
            Place::Input(i) => write!(f, "input {i}"),
            Place::Output(i) => write!(f, "output {i}"),
            Place::Storage(id) => write!(f, "storage {}", id.0),
            Place::Arena { offset } => write!(f, "arena {offset}..{}", offset + buffer.bytes(*max_batch)),
            Place::Const(numbers) => {
                let shown: Vec<String> = numbers.iter().take(8).map(|n| number(*n, buffer.dtype)).collect();
                let more = if numbers.len() > shown.len() { ", ..." } else { "" };
                write!(f, "const {{{}{more}}}", shown.join(", "))
            }
            Place::Slice { of, step, stride } => write!(f, "{} from {stride} * t{}", names[of.index()], step.0),
        }
    }
}

/// A name for every buffer, with its number where several buffers share one. Slashes would read as divisions.
fn names(program: &Program) -> Vec<String> {
    let plain: Vec<String> = program.buffers.iter().map(|b| b.name.replace('/', ".")).collect();
    let mut count: HashMap<&str, usize> = HashMap::new();
    for name in &plain {
        *count.entry(name).or_default() += 1;
    }
    let unique =
        |(i, name): (usize, &String)| if count[name.as_str()] == 1 { name.clone() } else { format!("{name}#{i}") };
    plain.iter().enumerate().map(unique).collect()
}

/// A number of a type.
fn number(n: Number, dtype: DType) -> String {
    match dtype {
        DType::F32 | DType::F64 => n.to_string(),
        DType::I32 | DType::U32 | DType::U8 => (n.0 as i64).to_string(),
        DType::Bool => (n.0 != 0.0).to_string(),
    }
}

struct KernelText<'a> {
    program: &'a Program,
    kernel: &'a Kernel,
    names: &'a [String],
}

impl Display for KernelText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let kernel = self.kernel;
        let sites: Vec<String> = kernel.sites.iter().map(|s| s.to_string()).collect();
        writeln!(f, "kernel {} = {}", kernel.name, sites.join(" + "))?;
        let outer = if kernel.outer.is_empty() { "once".into() } else { format!("for {}", self.loops(&kernel.outer)) };
        let mut notes = Vec::new();
        notes.extend(kernel.parallel.map(|a| format!("parallel i{}", a.0)));
        if let Some(roles) = &kernel.contract {
            let axes = |axes: &[AxisId]| axes.iter().map(|a| format!(" i{}", a.0)).collect::<String>();
            let all = [("batch", &roles.batch), ("m", &roles.m), ("n", &roles.n), ("k", &roles.k)];
            let roles = all.iter().filter(|r| !r.1.is_empty()).map(|(role, a)| format!("{role}:{}", axes(a)));
            notes.push(format!("contract {}", roles.collect::<Vec<_>>().join(", ")));
        }
        let notes = if notes.is_empty() { String::new() } else { format!("  ({})", notes.join("; ")) };
        writeln!(f, "  {outer}{notes}")?;
        for stage in &kernel.stages {
            StageText { kernel: self, stage, named: named(kernel, stage) }.write(f)?;
        }
        Ok(())
    }
}

impl KernelText<'_> {
    fn loops(&self, axes: &[AxisId]) -> String {
        axes.iter().map(|a| format!("i{} < {}", a.0, self.kernel.extent(*a))).collect::<Vec<_>>().join(", ")
    }
}

/// The expressions that a stage uses several times and that are worth a name.
fn named(kernel: &Kernel, stage: &Stage) -> Vec<bool> {
    let mut uses = vec![0usize; kernel.exprs.len()];
    for acc in &stage.accs {
        uses[kernel.accs[acc.index()].value.index()] += 1;
    }
    for store in &stage.stores {
        uses[store.value.index()] += 1;
        store.access.indirect.iter().for_each(|i| uses[i.index.index()] += 1);
    }
    for (i, typed) in kernel.exprs.iter().enumerate().rev() {
        if uses[i] > 0 {
            typed.expr.operands().iter().for_each(|o| uses[o.index()] += 1);
        }
    }
    let worth = |expr: &Expr| match expr {
        Expr::Unary(..) | Expr::Binary(..) | Expr::Select(..) => true,
        Expr::Const(_) | Expr::Size(_) | Expr::Index(_) | Expr::Load(_) | Expr::Acc(_) | Expr::Cast(_) => false,
    };
    kernel.exprs.iter().zip(uses).map(|(typed, uses)| uses > 1 && worth(&typed.expr)).collect()
}

struct StageText<'a> {
    kernel: &'a KernelText<'a>,
    stage: &'a Stage,
    named: Vec<bool>,
}

impl StageText<'_> {
    fn write(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (kernel, stage) = (self.kernel.kernel, self.stage);
        let lets: Vec<ExprId> = (0..kernel.exprs.len()).filter(|&i| self.named[i]).map(|i| ExprId(i as u32)).collect();
        let mut indent = "    ";
        if let ([acc], [], [], false) = (&stage.accs[..], &stage.stores[..], &lets[..], stage.axes.is_empty()) {
            let (function, value) = self.fold(*acc);
            return writeln!(f, "{indent}acc{} = {function}({}) {value}", acc.0, self.kernel.loops(&stage.axes));
        }
        if !stage.axes.is_empty() {
            writeln!(f, "{indent}for {}", self.kernel.loops(&stage.axes))?;
            indent = "      ";
        }
        for id in lets {
            writeln!(f, "{indent}let v{} = {}", id.0, bare(&self.spell(id)))?;
        }
        for acc in &stage.accs {
            let (function, value) = self.fold(*acc);
            writeln!(f, "{indent}acc{} = {function} {value}", acc.0)?;
        }
        for store in &stage.stores {
            let sign = match store.mode {
                StoreMode::Set => "=",
                StoreMode::Add => "+=",
            };
            writeln!(f, "{indent}{} {sign} {}", self.access(&store.access), bare(&self.value(store.value)))?;
        }
        Ok(())
    }

    /// What an accumulator folds, and how.
    fn fold(&self, acc: AccId) -> (&'static str, String) {
        let acc = &self.kernel.kernel.accs[acc.index()];
        let word = match acc.f {
            ReduceFn::Sum | ReduceFn::Max | ReduceFn::Min => acc.f.name(),
        };
        (word, bare(&self.value(acc.value)).to_string())
    }

    fn value(&self, id: ExprId) -> String {
        if self.named[id.index()] { format!("v{}", id.0) } else { self.spell(id) }
    }

    /// An expression as an operand.
    fn spell(&self, id: ExprId) -> String {
        let typed = self.kernel.kernel.expr(id);
        match &typed.expr {
            Expr::Const(n) => number(*n, typed.dtype),
            Expr::Size(dim) => converted(&dim.to_string(), typed.dtype),
            Expr::Index(index) => converted(&index.to_string(), typed.dtype),
            Expr::Load(access) => self.access(access),
            Expr::Acc(acc) => format!("acc{}", acc.0),
            Expr::Unary(f, x) => format!("{}({})", f.row().name, bare(&self.value(*x))),
            Expr::Binary(f, x, y) => match infix(*f) {
                Some(sign) => format!("({} {sign} {})", self.value(*x), self.value(*y)),
                None => format!("{}({}, {})", f.row().name, bare(&self.value(*x)), bare(&self.value(*y))),
            },
            Expr::Select(c, a, b) => format!("({} ? {} : {})", self.value(*c), self.value(*a), self.value(*b)),
            Expr::Cast(x) => format!("{}({})", typed.dtype, bare(&self.value(*x))),
        }
    }

    fn access(&self, access: &Access) -> String {
        let name = &self.kernel.names[access.buffer.index()];
        if let Some(components) = self.components(access) {
            return format!("{name}[{}]", components.join(", "));
        }
        let flat = match &access.indirect {
            Some(i) => format!("{} + {} * @{}", access.index, i.stride, self.value(i.index)),
            None => access.index.to_string(),
        };
        format!("{name}{{{flat}}}")
    }

    /// An address as one index for each axis of the buffer, if each stays inside its axis.
    fn components(&self, access: &Access) -> Option<Vec<String>> {
        let (program, kernel) = (self.kernel.program, self.kernel.kernel);
        let buffer = program.buffer(access.buffer);
        let strides = buffer.strides(program.max_batch);
        let extents = buffer.shape.at(program.max_batch);
        // The outermost axis with this step; an axis of extent 1 never moves.
        let axis_of = |step: i64| (0..extents.len()).find(|&d| extents[d] > 1 && step % strides[d] == 0);
        let mut indices = vec![Affine::default(); extents.len()];
        for &(axis, c) in &access.index.terms {
            let d = axis_of(c)?;
            indices[d].terms.push((axis, c / strides[d]));
        }
        let mut base = access.index.base;
        for (index, stride) in indices.iter_mut().zip(&strides) {
            index.base = base / stride;
            base %= stride;
        }
        let inside = |index: &Affine, extent: usize| {
            let (low, high) = range(index, &|a| kernel.extent(a), program.max_batch);
            low >= 0 && high < extent as i64
        };
        if base != 0 || !indices.iter().zip(&extents).all(|(index, extent)| inside(index, *extent)) {
            return None;
        }
        let mut texts: Vec<String> = indices.iter().map(|i| i.to_string()).collect();
        if let Some(indirect) = &access.indirect {
            let d = axis_of(indirect.stride)
                .filter(|&d| strides[d] == indirect.stride && indices[d] == Affine::default())?;
            texts[d] = format!("@{}", self.value(indirect.index));
        }
        Some(texts)
    }
}

/// An index or a size, as a number of a type.
fn converted(text: &str, dtype: DType) -> String {
    match dtype {
        DType::I32 if text.contains(' ') => format!("({text})"),
        DType::I32 => text.to_string(),
        DType::F32 | DType::F64 | DType::U32 | DType::U8 | DType::Bool => format!("{dtype}({text})"),
    }
}

/// The sign of a function that is written between its operands, in the spelling of the scalar table.
fn infix(f: BinaryFn) -> Option<&'static str> {
    match f {
        BinaryFn::Div => Some("/"),
        BinaryFn::Rem => Some("%"),
        _ => f.row().cuda.strip_prefix("({0} ")?.strip_suffix(" {1})"),
    }
}

/// Text without the parentheses around all of it.
pub(crate) fn bare(text: &str) -> &str {
    let Some(inner) = text.strip_prefix('(').and_then(|t| t.strip_suffix(')')) else { return text };
    let mut depth = 0i32;
    for c in inner.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth < 0 {
            return text;
        }
    }
    inner
}
